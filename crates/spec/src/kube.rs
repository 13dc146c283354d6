//! Reads Kubernetes pod files: a Pod (`v1`) with the ConfigMaps, Secrets, claims and volumes that it uses; writes them, too
//! (write.rs).
//!
//! ```text
//! files ─ yaml.rs: values with their places ─ node.rs: held against table.rs, the API's fields ─┐
//!   ┌───────────────────────────────────────────────────────────────────────────────────────────┘
//!   ├─ objects.rs: ConfigMaps, Secrets, claims, volumes ─┐
//!   └─ pod.rs ── container.rs, env.rs, downward.rs, ─────┴─> PodSpec ─> crate::check
//!                probes.rs, security.rs, volumes.rs, claims.rs
//! ```
//!
//! Every fault is reported, not the first one, each with its file, line and field. A field that the API does not have is
//! a fault, and so is one that cannot be honoured, unless the caller wants to do without; what only a cluster gives a
//! meaning to is left out silently (`fields.txt` says which). What only the caller knows (the pod's UUID and addresses)
//! comes in as [`Surroundings`].

mod claims;
mod container;
mod downward;
mod env;
mod expand;
mod fault;
mod node;
mod objects;
mod pod;
mod probes;
mod quantity;
mod security;
pub mod table;
mod volumes;
mod write;
mod yaml;

pub use fault::{Fault, FaultKind, PodFileErrors};
pub use write::write;

use std::net::IpAddr;
use std::path::PathBuf;

use crate::appc::{Location, Part};
use crate::check::{self, PodFault};
use crate::words::{nearest, shown};
use crate::{PodName, PodSpec, VolumeName};
use node::{Faults, Node, Origin};
use objects::{Objects, Secrecy};
use yaml::{At, Value};

/// A pod file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File<'a> {
    /// Its name in messages.
    pub name: &'a str,
    /// What it holds: YAML or JSON, any number of documents.
    pub text: &'a str,
}

/// What a pod file does not say and a pod may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// The UUID that the pod will have.
    pub uuid: String,
    /// Its name, where the caller gives it one in place of the file's.
    pub name: Option<PodName>,
    /// The host's name.
    pub node_name: String,
    /// The pod's address; `None` without a network.
    pub pod_ip: Option<IpAddr>,
    /// The address by which it reaches the host; `None` without a network.
    pub host_ip: Option<IpAddr>,
    /// The directory in which claims without a volume are kept.
    pub claims_dir: PathBuf,
    /// The machine's memory in MiB, where the caller says it; otherwise it follows from the containers' limits.
    pub memory_mib: Option<u32>,
    /// The machine's CPUs, where the caller says so; otherwise they follow from the containers' limits.
    pub cpus: Option<u32>,
}

/// What is done about what cannot be honoured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// The file is refused.
    Refuse,
    /// The pod does without.
    Ignore,
}

/// A pod that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFile {
    /// The pod.
    pub pod: PodSpec,
    /// What it does without, with [`Unsupported::Ignore`], and what is done in part ([`FaultKind::InPart`]).
    pub left_out: Vec<Fault>,
    /// The volumes among that: the pod has neither them nor their mounts.
    pub volumes_left_out: Vec<VolumeName>,
    places: Vec<(Part, Location)>,
}

impl PodFile {
    /// Where a part of the pod stands; `None`: an image brought it.
    #[must_use]
    pub fn locate(&self, part: &Part) -> Option<Location> {
        let exact = self.places.iter().find(|(other, _)| other == part);
        let within = || match part {
            Part::Target(app, _) => self
                .places
                .iter()
                .find(|(other, _)| *other == Part::App(app.clone())),
            Part::App(_) | Part::Volume(_) => None,
        };
        exact.or_else(within).map(|(_, location)| location.clone())
    }
}

/// Reads the pod that `files` describe together. The machine's accelerator and transport are the default ones, its
/// size follows from limits where [`Surroundings`] do not say it.
///
/// # Errors
/// [`PodFileErrors`] with every fault of the files.
pub fn read(
    files: &[File<'_>],
    surroundings: &Surroundings,
    unsupported: Unsupported,
) -> Result<PodFile, PodFileErrors> {
    let faults = Faults::default();
    let documents: Vec<Vec<Value>> = files
        .iter()
        .enumerate()
        .map(|(index, file)| {
            let documents = yaml::read(file.text);
            documents.unwrap_or_else(|(at, message)| {
                origin(files, index, &faults).report(at, "", FaultKind::Syntax(message));
                Vec::new()
            })
        })
        .collect();
    let mut objects = Objects::default();
    let mut pods = Vec::new();
    for (index, values) in documents.iter().enumerate() {
        for value in values {
            let node = Node::root(origin(files, index, &faults), value);
            sort(&node, &mut objects, &mut pods);
        }
    }
    for second in pods.iter().skip(1) {
        second.rule("there is a second pod; a command takes one");
    }
    let read = match pods.first() {
        Some(node) => pod::read(node, &objects, surroundings),
        None => {
            // A file that is no YAML has said so.
            if documents.iter().flatten().count() > 0 || files.iter().all(|file| file.text.trim().is_empty())
            {
                let at = At { line: 1, column: 1 };
                origin(files, 0, &faults).report(at, "", FaultKind::Rule("there is no pod".to_owned()));
            }
            None
        }
    };
    let checked = read.map(|read| {
        for fault in check::check(&read.pod) {
            read.report(fault);
        }
        read.finish()
    });
    drop(pods);
    drop(objects);
    finish(faults, checked, unsupported)
}

/// The pod, unless there are faults.
fn finish(faults: Faults, read: Option<PodFile>, unsupported: Unsupported) -> Result<PodFile, PodFileErrors> {
    let is_left_out = |fault: &Fault| match fault.kind {
        FaultKind::InPart(_) => true,
        FaultKind::Unsupported { .. } => unsupported == Unsupported::Ignore,
        _ => false,
    };
    let (left_out, faults): (Vec<Fault>, Vec<Fault>) =
        faults.into_sorted().into_iter().partition(is_left_out);
    match read {
        Some(file) if faults.is_empty() => Ok(PodFile { left_out, ..file }),
        _ => Err(PodFileErrors { faults }),
    }
}

fn origin<'a>(files: &[File<'a>], index: usize, faults: &'a Faults) -> Origin<'a> {
    let file = files.get(index).map_or("", |file| file.name);
    Origin { file, index, faults }
}

const LIST: &str = "List";

const KINDS: [&str; 6] = [
    "Pod",
    "ConfigMap",
    "Secret",
    "PersistentVolumeClaim",
    "PersistentVolume",
    LIST,
];

/// Puts a document where its kind belongs, its form checked.
fn sort<'a>(node: &Node<'a>, objects: &mut Objects<'a>, pods: &mut Vec<Node<'a>>) {
    let Some((kind_node, kind)) = node.text("kind") else {
        return node.missing("kind");
    };
    let known = |kind: &str| KINDS.into_iter().find(|known| *known == kind);
    // As the API gives several of a kind.
    let listed = kind
        .strip_suffix(LIST)
        .and_then(known)
        .filter(|kind| *kind != LIST);
    if known(kind).or(listed).is_none() {
        return refuse_kind(node, &kind_node, kind);
    }
    match node.text("apiVersion") {
        Some((_, "v1")) => {}
        Some((version, text)) => version.reject(text, "`v1`"),
        None => node.missing("apiVersion"),
    }
    match (known(kind), listed) {
        (Some(LIST), _) => {
            let items = node.items("items");
            items.iter().for_each(|item| sort(item, objects, pods));
        }
        (Some(kind), _) => add(node, kind, objects, pods),
        (None, listed) => {
            let listed = listed.unwrap_or(LIST);
            for item in node.items("items") {
                // The list alone says it, as a rule.
                match item.text("kind") {
                    Some((other, kind)) if kind != listed => {
                        other.reject(kind, "the kind that the list is of")
                    }
                    _ => add(&item, listed, objects, pods),
                }
            }
        }
    }
}

/// Puts an object of a known kind where it belongs.
fn add<'a>(node: &Node<'a>, kind: &'static str, objects: &mut Objects<'a>, pods: &mut Vec<Node<'a>>) {
    node.check(kind);
    match kind {
        "Pod" => pods.push(node.clone()),
        "ConfigMap" => objects.add_values(node, Secrecy::Open),
        "Secret" => objects.add_values(node, Secrecy::Secret),
        "PersistentVolumeClaim" => Objects::add_named(&mut objects.claims, node, kind),
        _ => Objects::add_named(&mut objects.volumes, node, kind),
    }
}

/// Reports a kind that a pod file does not have.
fn refuse_kind(node: &Node<'_>, kind_node: &Node<'_>, kind: &str) {
    if nearest(kind, KINDS).is_some() {
        return kind_node.reject(
            kind,
            "`Pod`, `ConfigMap`, `Secret`, `PersistentVolumeClaim`, `PersistentVolume` or `List`",
        );
    }
    let why = match node.get("spec").and_then(|spec| spec.get("template")) {
        Some(_) => "put its `spec.template` into a `Pod`",
        None => "a pod file has a Pod and the ConfigMaps, Secrets and PersistentVolumeClaims that it uses",
    };
    kind_node.refuse(format!("kind `{}` is", shown(kind)), why);
}

/// A pod that was read, whose parts know their places.
struct Read<'a> {
    pod: PodSpec,
    places: Places<'a>,
}

/// Where the parts of a pod stand.
#[derive(Default)]
struct Places<'a> {
    parts: Vec<(Part, Location)>,
    volumes: Vec<Node<'a>>,
    apps: Vec<AppPlaces<'a>>,
    ports: Vec<Node<'a>>,
    /// The volumes that a pod with [`Unsupported::Ignore`] does without, and without their mounts.
    left_out: Vec<VolumeName>,
}

/// Where the parts of an app stand.
struct AppPlaces<'a> {
    container: Node<'a>,
    mounts: Vec<Node<'a>>,
}

impl Read<'_> {
    /// The pod without the volumes that are left out.
    fn finish(mut self) -> PodFile {
        let volumes_left_out = self.places.left_out;
        let stays = |name: &VolumeName| !volumes_left_out.contains(name);
        self.pod.volumes.retain(|volume| stays(&volume.name));
        for app in &mut self.pod.apps {
            app.mounts.retain(|mount| stays(&mount.volume));
        }
        PodFile {
            pod: self.pod,
            left_out: Vec::new(),
            volumes_left_out,
            places: self.places.parts,
        }
    }

    fn report(&self, fault: PodFault) {
        let app = |index: usize| self.places.apps.get(index);
        let field = |index: usize, name: &str| app(index).and_then(|app| app.container.get(name));
        let mount = |index: usize, mount: usize, name: &str| app(index)?.mounts.get(mount)?.get(name);
        let node = match &fault {
            PodFault::DoubledApp { app_index, .. }
            | PodFault::UnknownDependency { app_index, .. }
            | PodFault::DependencyCycle { app_index, .. }
            | PodFault::EndlessDependency { app_index, .. } => field(*app_index, "name"),
            PodFault::DoubledVolume { volume_index, .. } => self
                .places
                .volumes
                .get(*volume_index)
                .and_then(|node| node.get("name")),
            PodFault::UnknownVolume {
                app_index,
                mount_index,
                ..
            } => mount(*app_index, *mount_index, "name"),
            PodFault::DoubledTarget {
                app_index,
                mount_index,
                ..
            } => mount(*app_index, *mount_index, "mountPath"),
            PodFault::DoubledPort { port_index, .. } => self.places.ports.get(*port_index).cloned(),
            PodFault::TooManyPorts => self.places.ports.get(check::MAX_PORTS).cloned(),
            PodFault::Probe { app_index, kind, .. } => field(*app_index, &format!("{}Probe", kind.as_str())),
            PodFault::Handler {
                app_index, handler, ..
            } => field(*app_index, "lifecycle").and_then(|lifecycle| lifecycle.get(handler)),
        };
        let node = node.or_else(|| Some(self.places.apps.first()?.container.clone()));
        if let Some(node) = node {
            node.fault(FaultKind::Pod(fault));
        }
    }
}
