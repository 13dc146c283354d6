//! Reads Kubernetes pod files: Pods (`v1`), and what has a pod as its template, with the ConfigMaps, Secrets, claims and
//! volumes that they use; writes a Pod, too (write.rs).
//!
//! ```text
//! files ─ crate::located: values with their places ─ check.rs: held against table.rs, the API's fields ─┐
//!   ┌────────────────────────────────────────────────────────────────────────────────────────────────────┘
//!   └─ kinds.rs: each object where it belongs
//!        ├─ objects.rs: ConfigMaps, Secrets, claims, volumes ──┐
//!        ├─ workloads.rs: Deployments, Jobs ... ─> templates ─┐│
//!        └─ Pods ─────────────────────────────────────────────┴┴─> for each: pod.rs ─> PodSpec ─> crate::check
//!                          container.rs, env.rs, downward.rs, probes.rs, security.rs, volumes.rs, claims.rs, ../size.rs
//! ```
//!
//! Every fault is reported, not the first one, each with its file, line and field. A field that the API does not have is
//! a fault, and so is one that cannot be honoured, unless the caller wants to do without; what only a cluster gives a
//! meaning to is left out silently (`fields.txt` says which). What only the caller knows (the pod's UUID and addresses)
//! comes in as [`KubeSurroundings`].

mod annotations;
mod check;
mod choices;
mod claims;
mod container;
mod context;
mod downward;
mod env;
mod expand;
mod fault;
mod kinds;
mod names;
mod objects;
mod pod;
mod probes;
mod quantity;
mod schedule;
mod security;
pub mod table;
mod values;
mod volumes;
mod workloads;
mod write;

pub use crate::gaps::Unsupported;
pub use fault::PodFileErrors;
pub use write::write;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::check::PodFault;
use crate::located::{
    At, Fault, FaultKind, Faults, Location, MountFields, Node, Origin, Part, PodPlaces, Value, read_yaml,
};
use crate::words::shown;
use crate::{PodName, PodSpec, VolumeName};
use claims::Bindings;
use kinds::Sorted;

/// A pod file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File<'a> {
    /// Its name in messages.
    pub name: &'a str,
    /// What it holds: YAML or JSON, any number of documents.
    pub text: &'a str,
}

/// What a pod file does not say and a pod may ask for.
#[derive(Clone, Debug)]
pub struct KubeSurroundings {
    /// Gives the UUID that a pod will have, another one at each call.
    pub new_uuid: fn() -> String,
    /// The pod's name, where the caller gives it one in place of the file's: for files of one pod.
    pub name: Option<PodName>,
    /// The host's name.
    pub node_name: String,
    /// The pod's address; `None` without a network.
    pub pod_ip: Option<IpAddr>,
    /// The address by which it reaches the host; `None` without a network.
    pub host_ip: Option<IpAddr>,
    /// The directory in which claims without a volume are kept.
    pub claims_dir: PathBuf,
    /// The VM's memory in MiB, where the caller says it; otherwise it follows from the containers' limits.
    pub memory_mib: Option<u32>,
    /// The VM's CPUs, where the caller says so; otherwise they follow from the containers' limits.
    pub cpus: Option<u32>,
}

/// The pods that were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFiles {
    /// The pods, in the order of the files; none where what has them says so (`replicas: 0`).
    pub pods: Vec<PodFile>,
    /// What they do without, with [`Unsupported::Ignore`], what is done in part ([`FaultKind::InPart`]), and what is another
    /// thing here ([`FaultKind::Notice`]).
    pub left_out: Vec<Fault>,
}

/// A pod that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFile {
    pub pod: PodSpec,
    /// The UUID that it was read with.
    pub uuid: String,
    /// The volumes that it does without, with [`Unsupported::Ignore`]: it has neither them nor their mounts.
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

/// Reads the pods that `files` describe together. The VM's accelerator and transport are the default ones, its size
/// follows from limits and requests where [`KubeSurroundings`] do not say it.
///
/// # Errors
/// [`PodFileErrors`] with every fault of the files.
pub fn read(
    files: &[File<'_>],
    surroundings: &KubeSurroundings,
    unsupported: Unsupported,
) -> Result<PodFiles, PodFileErrors> {
    let faults = Faults::default();
    let documents = documents(files, &faults);
    let sorted = sort(files, &documents, &faults);
    sorted.report();
    check_names(&sorted);
    let (objects, pods) = (&sorted.objects, &sorted.pods);
    if pods.is_empty() && !sorted.has_none {
        // A file that is no YAML has said so.
        if documents.iter().flatten().count() > 0 || files.iter().all(|file| file.text.trim().is_empty()) {
            let at = At { line: 1, column: 1 };
            origin(files, 0, &faults).report(at, "", FaultKind::Rule("there is no pod".to_owned()));
        }
    }
    let bindings = Bindings::new(objects);
    let mut found = Vec::new();
    for template in pods {
        faults.next_pod();
        let uuid = (surroundings.new_uuid)();
        let read = pod::read(template, objects, &bindings, surroundings, &uuid);
        found.extend(read.map(|read| {
            for fault in crate::check::check(&read.pod) {
                read.report(fault);
            }
            read.finish(uuid.clone())
        }));
    }
    drop(bindings);
    let all_read = found.len() == pods.len();
    drop(sorted);
    finish(faults, all_read.then_some(found), unsupported)
}

/// The names of the pods that `files` describe, whatever else is wrong with those; a pod without a name is left out.
///
/// # Errors
/// [`PodFileErrors`] where a file is no YAML.
pub fn names(files: &[File<'_>]) -> Result<Vec<PodName>, PodFileErrors> {
    let faults = Faults::default();
    let documents = documents(files, &faults);
    let faults = faults.into_sorted();
    if !faults.is_empty() {
        return Err(PodFileErrors { faults });
    }
    // What else is wrong is not asked for.
    let ignored = Faults::default();
    let sorted = sort(files, &documents, &ignored);
    Ok(sorted.pods.iter().filter_map(pod::pod_name).collect())
}

/// The documents of each file that is YAML; what is wrong with the others is reported.
fn documents(files: &[File<'_>], faults: &Faults) -> Vec<Vec<Value>> {
    let read = |(index, file): (usize, &File<'_>)| match read_yaml(file.text) {
        Ok(documents) => documents,
        Err((at, message)) => {
            origin(files, index, faults).report(
                at,
                "",
                FaultKind::Syntax {
                    language: "YAML",
                    message,
                },
            );
            Vec::new()
        }
    };
    files.iter().enumerate().map(read).collect()
}

/// Puts every document where its kind belongs.
fn sort<'a>(files: &[File<'a>], documents: &'a [Vec<Value>], faults: &'a Faults) -> Sorted<'a> {
    let mut sorted = Sorted::default();
    for (index, values) in documents.iter().enumerate() {
        for value in values {
            sorted.add(&Node::root(origin(files, index, faults), value));
        }
    }
    sorted
}

/// Pods of one name are one pod here, whatever makes them.
fn check_names(sorted: &Sorted<'_>) {
    let mut seen = BTreeSet::new();
    for template in &sorted.pods {
        let Some(name) = pod::pod_name(template) else {
            continue;
        };
        if !seen.insert(name.clone()) {
            let node = template.metadata.as_ref().and_then(|node| node.get("name"));
            let node = node.unwrap_or_else(|| template.node.clone());
            node.rule(format!("a second pod would be called `{}`", shown(name.as_str())));
        }
    }
}

/// The pods, unless there are faults.
fn finish(
    faults: Faults,
    pods: Option<Vec<PodFile>>,
    unsupported: Unsupported,
) -> Result<PodFiles, PodFileErrors> {
    let is_left_out = |fault: &Fault| match fault.kind {
        FaultKind::InPart(_) | FaultKind::Notice(_) => true,
        FaultKind::Unsupported { .. } => unsupported == Unsupported::Ignore,
        _ => false,
    };
    let (left_out, faults): (Vec<Fault>, Vec<Fault>) =
        faults.into_sorted().into_iter().partition(is_left_out);
    match pods {
        Some(pods) if faults.is_empty() => Ok(PodFiles { pods, left_out }),
        _ => Err(PodFileErrors { faults }),
    }
}

fn origin<'a>(files: &[File<'a>], index: usize, faults: &'a Faults) -> Origin<'a> {
    let (file, text) = files.get(index).map_or(("", ""), |file| (file.name, file.text));
    Origin {
        file,
        text,
        index,
        faults,
    }
}

/// A pod that was read, whose parts know their places.
struct Read<'a> {
    pod: PodSpec,
    places: ReadPlaces<'a>,
}

/// Where the parts of a pod stand.
#[derive(Default)]
struct ReadPlaces<'a> {
    parts: Vec<(Part, Location)>,
    of: PodPlaces<'a>,
    /// The volumes that a pod with [`Unsupported::Ignore`] does without, and without their mounts.
    left_out: Vec<VolumeName>,
}

impl Read<'_> {
    /// The pod without the volumes that are left out.
    fn finish(mut self, uuid: String) -> PodFile {
        let volumes_left_out = self.places.left_out;
        let stays = |name: &VolumeName| !volumes_left_out.contains(name);
        self.pod.volumes.retain(|volume| stays(&volume.name));
        for app in &mut self.pod.apps {
            app.mounts.retain(|mount| stays(&mount.volume));
        }
        PodFile {
            pod: self.pod,
            uuid,
            volumes_left_out,
            places: self.places.parts,
        }
    }

    fn report(&self, fault: PodFault) {
        const FIELDS: MountFields = MountFields {
            volume: "name",
            target: "mountPath",
        };
        if let Some(node) = self.places.of.of(&fault, &FIELDS) {
            node.fault(FaultKind::Pod(fault));
        }
    }
}
