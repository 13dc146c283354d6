//! What a container is to its engine: the sandbox of a pod, a container in one, or one for itself. By annotations, of which each
//! implementation of CRI has its own.

use std::collections::BTreeMap;

use super::spec::Spec;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A pod's sandbox, in which nothing runs but what comes.
    Sandbox,
    /// A container of the sandbox with this ID.
    Container { sandbox: String },
    /// A container that is alone in its VM (`ctr run`, docker, nerdctl).
    Single,
}

/// The annotations of containerd's CRI plugin, and of CRI-O's.
const TYPES: [(&str, &str); 2] = [
    ("io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"),
    (
        "io.kubernetes.cri-o.ContainerType",
        "io.kubernetes.cri-o.SandboxID",
    ),
];

impl Role {
    /// What the container of `spec` is.
    pub(crate) fn of(spec: &Spec) -> Self {
        for (kind, sandbox) in TYPES {
            match (spec.annotation(kind), spec.annotation(sandbox)) {
                (Some("sandbox"), _) => return Self::Sandbox,
                (Some("container"), Some(id)) => {
                    return Self::Container {
                        sandbox: id.to_owned(),
                    };
                }
                _ => {}
            }
        }
        Self::Single
    }
}

/// What people find a pod by: `isopod list --filter label=io.kubernetes.pod.name=web`.
pub(super) fn labels(spec: &Spec) -> BTreeMap<String, String> {
    const LABELS: [(&str, &str); 3] = [
        ("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"),
        (
            "io.kubernetes.cri.sandbox-namespace",
            "io.kubernetes.pod.namespace",
        ),
        ("io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"),
    ];
    let known = LABELS.iter();
    known
        .filter_map(|(annotation, label)| {
            Some(((*label).to_owned(), spec.annotation(annotation)?.to_owned()))
        })
        .collect()
}

/// What a container is called in messages and in `isopod status`: as in its pod, and one more by its ID.
pub(crate) fn name(spec: &Spec, id: &str) -> String {
    let name = spec.annotation("io.kubernetes.cri.container-name");
    name.map_or_else(|| id.chars().take(12).collect(), str::to_owned)
}
