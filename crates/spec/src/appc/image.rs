//! Reads an appc image manifest (App Container specification 0.8.11, "Image Manifest Schema").
//!
//! An image that depends on others is refused, with how to make one of them: there is nothing that would find them, appc's
//! discovery is gone.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{PodManifestErrors, finish, origin, parse, read_kind_and_version, run_config};
use crate::located::{FaultKind, Faults, Node};
use crate::{RunConfig, check::clean};

/// What an image manifest says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageManifest {
    /// The image's name (`example.com/reduce-worker`).
    pub name: String,
    /// The label `version`.
    pub version: Option<String>,
    /// The label `os`; `None`: any.
    pub os: Option<String>,
    /// The label `arch`; `None`: any.
    pub arch: Option<String>,
    /// When it was built: the annotation `created`.
    pub created: Option<String>,
    /// How to run it; `None`: it does not say.
    pub run: Option<RunConfig>,
    /// The only paths that its root filesystem has, clean; empty: all of them.
    pub path_whitelist: Vec<PathBuf>,
}

const FIELDS: [&str; 8] = [
    "acVersion",
    "acKind",
    "name",
    "labels",
    "app",
    "dependencies",
    "pathWhitelist",
    "annotations",
];

/// Reads the image manifest `text`; `file` is its name in messages.
///
/// # Errors
/// [`PodManifestErrors`] with every fault of the manifest.
pub fn read_image_manifest(text: &str, file: &str) -> Result<ImageManifest, PodManifestErrors> {
    let faults = Faults::default();
    let root = parse(text, file, &faults);
    let root = root
        .as_ref()
        .map(|value| Node::root(origin(text, file, &faults), value));
    let manifest = root.and_then(|root| read(&root));
    finish(file, manifest, faults.into_sorted())
}

fn read(root: &Node<'_>) -> Option<ImageManifest> {
    let fields = root.expect_object(&FIELDS)?;
    read_kind_and_version(&fields, "ImageManifest", "`ImageManifest`");
    let name = fields.required_text("name");
    if let Some((node, name)) = &name
        && !is_identifier(name)
    {
        node.reject(
            name,
            "lower-case letters, digits and single `-`, `.`, `_`, `~`, `/` between them",
        );
    }
    let labels = read_pairs(&fields, "labels");
    let label = |name: &str| {
        labels
            .iter()
            .find(|(label, _)| label == name)
            .map(|(_, value)| value.clone())
    };
    let annotations = read_pairs(&fields, "annotations");
    let created = annotations.into_iter().find(|(name, _)| name == "created");
    if let Some(dependencies) = fields.get("dependencies").filter(|node| !node.is_empty_list()) {
        dependencies.refuse_it(
            "an image that depends on others is",
            "make one image of them: unpack the `rootfs` of each dependency (`tar -xf DEPENDENCY.aci rootfs`), then its own over \
             them, take `dependencies` out of `manifest`, and `tar -cf NEW.aci manifest rootfs`; `docker2aci` squashes by default",
        );
    }
    let path_whitelist = fields.expect_items("pathWhitelist");
    let paths = path_whitelist.iter().filter_map(Node::absolute_path);
    Some(ImageManifest {
        version: label("version"),
        os: label("os"),
        arch: label("arch"),
        created: created.map(|(_, value)| value),
        run: fields
            .get("app")
            .and_then(|node| run_config::read_run_config(&node)),
        path_whitelist: paths.map(|path| clean(&path)).collect(),
        name: name?.1,
    })
}

/// AC Identifier Type.
fn is_identifier(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.split(['-', '.', '_', '~', '/'])
        .all(|part| !part.is_empty() && part.chars().all(inner))
}

/// A list of names and values; a name twice is a fault.
pub(super) fn read_pairs(fields: &Node<'_>, list: &str) -> Vec<(String, String)> {
    let (mut pairs, mut seen) = (Vec::new(), BTreeSet::new());
    for item in fields.expect_items(list) {
        let Some(pair) = item.expect_object(&["name", "value"]) else {
            continue;
        };
        let value = pair.required("value").and_then(|node| node.expect_text());
        if let (Some((node, name)), Some(value)) = (pair.required_text("name"), value) {
            if !seen.insert(name.clone()) {
                node.fault(FaultKind::DuplicateField);
            }
            pairs.push((name, value));
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let errors = read_image_manifest(text, "manifest").unwrap_err();
        errors.faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn reads_a_whole_manifest() {
        let text = r#"{"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/reduce-worker",
            "labels": [{"name": "version", "value": "1.0.0"}, {"name": "os", "value": "linux"}, {"name": "arch", "value": "amd64"}],
            "app": {"exec": ["/usr/bin/worker", "--quiet"], "user": "100", "group": "300", "supplementaryGIDs": [7],
                "eventHandlers": [{"name": "pre-start", "exec": ["/usr/bin/fetch"]}],
                "workingDirectory": "/opt/work", "environment": [{"name": "DEBUG", "value": "true"}],
                "isolators": [{"name": "resource/memory", "value": {"limit": "2G"}}],
                "mountPoints": [{"name": "work", "path": "/var/lib/work", "readOnly": true}],
                "ports": [{"name": "health", "port": 4000, "protocol": "tcp"}]},
            "dependencies": [], "pathWhitelist": ["/usr/bin/worker", "/etc/x/"],
            "annotations": [{"name": "created", "value": "2014-10-27T19:32:27Z"}]}"#;
        let manifest = read_image_manifest(text, "manifest").unwrap();
        let run = manifest.run.unwrap();
        assert_eq!(run.entrypoint, ["/usr/bin/worker", "--quiet"]);
        assert_eq!(
            (run.user.as_deref(), run.supplementary_gids.as_slice()),
            (Some("100"), &[7][..])
        );
        assert_eq!(run.resources.memory_limit_bytes, Some(2_000_000_000));
        assert!(run.mount_points[0].read_only && run.event_handlers.pre_start.is_some());
        assert_eq!(
            (manifest.name.as_str(), manifest.version.as_deref()),
            ("example.com/reduce-worker", Some("1.0.0"))
        );
        assert_eq!(
            (manifest.os.as_deref(), manifest.arch.as_deref()),
            (Some("linux"), Some("amd64"))
        );
        assert_eq!(
            manifest.path_whitelist,
            [PathBuf::from("/usr/bin/worker"), "/etc/x".into()]
        );
        assert_eq!(manifest.created.as_deref(), Some("2014-10-27T19:32:27Z"));
    }

    #[test]
    fn every_fault_is_named() {
        let found = faults(
            r#"{"acKind": "PodManifest", "acVersion": "0.9.0", "name": "Bad Name",
            "labels": [{"name": "os", "value": "linux"}, {"name": "os", "value": "linux"}],
            "dependencies": [{"imageName": "a"}],
            "pathWhitelist": ["relative"], "more": 1}"#,
        );
        for fault in [
            "`PodManifest` must be `ImageManifest`",
            "`0.9.0` must be a version",
            "`Bad Name` must be lower-case letters",
            "the field is given twice",
            "an image that depends on others is not supported",
            "`relative` must be an absolute path",
            "`more`: there is no such field",
        ] {
            assert!(
                found.iter().any(|found| found.contains(fault)),
                "{fault}: {found:#?}"
            );
        }
        assert_eq!(found.len(), 7, "{found:#?}");
    }
}
