//! The kinds of object that a pod file has, each where it belongs: a pod, what a pod is made of, what has a pod as its
//! template, and what only a cluster gives a meaning to, which is passed over with one notice.

use std::cell::RefCell;

use super::names;
use super::objects::{Objects, Secrecy};
use super::workloads::{self, Template};
use crate::located::{FaultKind, Node};
use crate::words::{nearest, shown};

/// What becomes of an object of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Pod,
    Values(Secrecy),
    Claim,
    Volume,
    Workload,
    /// A list of objects of any kind.
    List,
}

/// The kinds that are read: name, `apiVersion`, role.
const KINDS: [(&str, &str, Role); 13] = [
    ("Pod", "v1", Role::Pod),
    ("ConfigMap", "v1", Role::Values(Secrecy::Open)),
    ("Secret", "v1", Role::Values(Secrecy::Secret)),
    ("PersistentVolumeClaim", "v1", Role::Claim),
    ("PersistentVolume", "v1", Role::Volume),
    ("Deployment", "apps/v1", Role::Workload),
    ("StatefulSet", "apps/v1", Role::Workload),
    ("DaemonSet", "apps/v1", Role::Workload),
    ("ReplicaSet", "apps/v1", Role::Workload),
    ("ReplicationController", "v1", Role::Workload),
    ("Job", "batch/v1", Role::Workload),
    ("CronJob", "batch/v1", Role::Workload),
    (LIST, "v1", Role::List),
];

const LIST: &str = "List";

/// The kinds that only a cluster gives a meaning to, by the group of their API (empty: the core's).
const PASSED_OVER: [(&str, &[&str]); 18] = [
    (
        "",
        &[
            "Service",
            "Namespace",
            "ServiceAccount",
            "Endpoints",
            "LimitRange",
            "ResourceQuota",
            "Event",
        ],
    ),
    (
        "rbac.authorization.k8s.io",
        &["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"],
    ),
    ("networking.k8s.io", &["Ingress", "IngressClass", "NetworkPolicy"]),
    ("extensions", &["Ingress", "NetworkPolicy"]),
    (
        "gateway.networking.k8s.io",
        &[
            "Gateway",
            "GatewayClass",
            "HTTPRoute",
            "GRPCRoute",
            "ReferenceGrant",
        ],
    ),
    ("policy", &["PodDisruptionBudget", "PodSecurityPolicy"]),
    ("autoscaling", &["HorizontalPodAutoscaler"]),
    (
        "storage.k8s.io",
        &["StorageClass", "CSIDriver", "VolumeAttributesClass"],
    ),
    ("snapshot.storage.k8s.io", &["VolumeSnapshotClass"]),
    ("scheduling.k8s.io", &["PriorityClass"]),
    ("apiextensions.k8s.io", &["CustomResourceDefinition"]),
    (
        "admissionregistration.k8s.io",
        &[
            "ValidatingWebhookConfiguration",
            "MutatingWebhookConfiguration",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
            "MutatingAdmissionPolicy",
            "MutatingAdmissionPolicyBinding",
        ],
    ),
    ("apiregistration.k8s.io", &["APIService"]),
    ("node.k8s.io", &["RuntimeClass"]),
    ("discovery.k8s.io", &["EndpointSlice"]),
    ("coordination.k8s.io", &["Lease"]),
    (
        "flowcontrol.apiserver.k8s.io",
        &["FlowSchema", "PriorityLevelConfiguration"],
    ),
    ("certificates.k8s.io", &["CertificateSigningRequest"]),
];

/// What was found in the files, sorted.
#[derive(Default)]
pub(super) struct Sorted<'a> {
    pub(super) objects: Objects<'a>,
    /// The pods, and the templates of pods.
    pub(super) pods: Vec<Template<'a>>,
    /// What was passed over: where its kind stands, and what it is.
    passed_over: RefCell<Vec<(Node<'a>, String)>>,
    /// Whether something has no pod because it says so (`replicas: 0`).
    pub(super) has_none: bool,
}

impl<'a> Sorted<'a> {
    /// Puts a document where its kind belongs, its form checked.
    pub(super) fn add(&mut self, node: &Node<'a>) {
        let Some((kind_node, kind)) = node.text("kind") else {
            return node.missing("kind");
        };
        // As the API gives several of a kind.
        let listed = kind.strip_suffix(LIST).filter(|kind| !kind.is_empty());
        let version = node.text("apiVersion");
        if self.pass_over(
            node,
            &kind_node,
            kind,
            version.as_ref().map(|(_, version)| *version),
        ) {
            return;
        }
        let named = |kind: &str| KINDS.into_iter().find(|(known, ..)| *known == kind);
        let Some((known, right, role)) = named(kind).or_else(|| named(listed?)) else {
            return refuse_kind(node, &kind_node, kind);
        };
        match version {
            Some((_, version)) if version == right => {}
            Some((node, version)) => node.rule(format!("`{}` must be `{right}`", shown(version))),
            None => node.missing("apiVersion"),
        }
        match (role, kind == known) {
            (Role::List, true) => node.items("items").iter().for_each(|item| self.add(item)),
            (_, true) => self.add_object(node, known, role),
            (Role::List, false) => refuse_kind(node, &kind_node, kind),
            (_, false) => {
                for item in node.items("items") {
                    // The list alone says it, as a rule.
                    match item.text("kind") {
                        Some((other, kind)) if kind != known => {
                            other.reject(kind, "the kind that the list is of");
                        }
                        _ => self.add_object(&item, known, role),
                    }
                }
            }
        }
    }

    /// Puts an object of a known kind where it belongs.
    fn add_object(&mut self, node: &Node<'a>, kind: &'static str, role: Role) {
        node.check(kind);
        if let Some(metadata) = node.get("metadata") {
            names::check_metadata(&metadata, names::dns_subdomain);
        }
        match role {
            Role::Pod => self.pods.push(Template::of_pod(node)),
            Role::Values(secrecy) => self.objects.add_values(node, secrecy),
            Role::Claim => Objects::add_named(&mut self.objects.claims, node, kind),
            Role::Workload => match workloads::read(node, kind) {
                Some((template, claims)) => {
                    for claim in claims {
                        // One of the files is that one.
                        if !self.objects.claims.iter().any(|other| other.name == claim.name) {
                            self.objects.claims.push(claim);
                        }
                    }
                    self.pods.push(template);
                }
                None => self.has_none = true,
            },
            Role::Volume | Role::List => Objects::add_named(&mut self.objects.volumes, node, kind),
        }
    }

    /// Passes over what only a cluster gives a meaning to, or a list of that; `false`: it is something else.
    fn pass_over(&self, node: &Node<'a>, kind_node: &Node<'a>, kind: &str, version: Option<&str>) -> bool {
        let version = version.unwrap_or_default();
        let group = match version.split_once('/') {
            Some((group, _)) => group,
            None if version == "v1" => "",
            None => return false,
        };
        let kinds = PASSED_OVER.iter().filter(|(known, _)| *known == group);
        let is_known = |kind: &str| kinds.clone().any(|(_, kinds)| kinds.contains(&kind));
        let is_list = !is_known(kind) && kind.strip_suffix(LIST).is_some_and(is_known);
        if !is_list && !is_known(kind) {
            return false;
        }
        let name = node.get("metadata").and_then(|node| Some(node.text("name")?.1));
        let name = name.map(|name| format!(" `{}`", shown(name))).unwrap_or_default();
        let mut passed_over = self.passed_over.borrow_mut();
        passed_over.push((kind_node.clone(), format!("{kind}{name}")));
        true
    }

    /// Reports all that was passed over, once.
    pub(super) fn report(&self) {
        const MOST: usize = 8;
        let passed_over = self.passed_over.borrow();
        let Some((node, _)) = passed_over.first() else {
            return;
        };
        let first: Vec<&str> = passed_over
            .iter()
            .take(MOST)
            .map(|(_, what)| what.as_str())
            .collect();
        let more = match passed_over.len().saturating_sub(MOST) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        node.fault(FaultKind::Notice(format!(
            "these have a meaning only in a cluster and are ignored: {}{more}",
            first.join(", ")
        )));
    }
}

/// Reports a kind that a pod file does not have.
fn refuse_kind(node: &Node<'_>, kind_node: &Node<'_>, kind: &str) {
    let passed_over = PASSED_OVER.iter().flat_map(|(_, kinds)| kinds.iter().copied());
    let known = KINDS.iter().map(|(known, ..)| *known).chain(passed_over);
    if let Some(known) = nearest(kind, known) {
        return match known == kind {
            true => match node.text("apiVersion") {
                Some((version_node, version)) => version_node.rule(format!(
                    "this version of isopod knows no kind `{known}` of the API `{}`",
                    shown(version)
                )),
                None => node.missing("apiVersion"),
            },
            false => kind_node.rule(format!(
                "there is no kind `{}`: did you mean `{known}`?",
                shown(kind)
            )),
        };
    }
    let why = match node.get("spec").and_then(|spec| spec.get("template")) {
        Some(_) => "put its `spec.template` into a `Pod`",
        None => {
            "a pod file has pods, what they use, and the objects of Kubernetes' own that stand beside them"
        }
    };
    kind_node.refuse(format!("kind `{}` is", shown(kind)), why);
}
