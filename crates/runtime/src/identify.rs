//! A pod that came up before it was known which one it is: its VM is given to another pod, which gets its directory and number.
//!
//! ```text
//! plan the pod as any other ─> the VM has what it would get, but for who it is? ─> written down ─> the tap joins the other
//!                                                                                 namespace ─> the guest is told
//! ```
//!
//! Only what an arrival calls its identity may differ: the host name, the kernel's parameters, the network. All else, processes with
//! their arguments, devices and the files of the guest, is compared.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use isopod_contract::config::{Arrival, Identity};
use isopod_contract::layout::ARRIVAL;
use isopod_contract::message::HostStream;
use isopod_contract::network::{InterfaceAnswer, Mac};
use isopod_plan::{PodPlan, layout};
use isopod_protocol::codec::read_message;
use isopod_spec::PodSpec;
use isopod_spec::words::shown;
use isopod_vm::netns::{self, NetnsError};
use serde_json::json;

use crate::arrival_files;
use crate::control::{self, ControlError};
use crate::gather::Gathered;
use crate::json_file::{self, Durability};
use crate::pods::files::{NetnsRecord, PodRecord};
use crate::pods::{Pods, PodsError, failed};
use crate::prepare::{self, PrepareError, PrepareOptions};

/// How long the agent may take.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// Why a pod did not become another one. It is of no use then.
#[derive(Debug, thiserror::Error)]
pub enum IdentifyError {
    /// Its directory.
    #[error(transparent)]
    Pods(#[from] PodsError),
    /// Its record.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The guest's description cannot be read.
    #[error("cannot read what the plan says of the guest")]
    Arrival(#[source] io::Error),
    /// The namespace's network is not its.
    #[error("cannot use the network namespace")]
    Netns(#[from] NetnsError),
    /// The agent is not reached.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The agent refused.
    #[error("the guest refused: {0}")]
    Guest(String),
}

impl IdentifyError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Pods(error) => error.hint(),
            Self::Prepare(error) => error.hint(),
            Self::Netns(error) => error.hint(),
            Self::Control(error) => error.hint(),
            Self::Arrival(_) | Self::Guest(_) => None,
        }
    }
}

/// What is left to do when a pod is written down as another one.
#[derive(Debug)]
pub struct Identified {
    identity: Identity,
    /// The namespaces that its network is in, and is to be in.
    netns: Option<[NetnsRecord; 2]>,
}

/// Writes the pod `uuid` down as `spec`, which became `plan`; `None`, and nothing is changed, where its VM is not such a one.
///
/// # Errors
/// [`IdentifyError`].
pub fn record(
    pods: &Pods,
    uuid: &str,
    spec: &PodSpec,
    plan: &PodPlan,
    gathered: &Gathered,
    options: &PrepareOptions,
) -> Result<Option<Identified>, IdentifyError> {
    let Some(entry) = pods.entry(uuid) else {
        return Ok(None);
    };
    let Some(before) = entry.record else {
        return Ok(None);
    };
    let dir = pods.started_path(uuid);
    let record = prepare::record(uuid, &dir, plan, gathered, options);
    let kept = Kept::of(&entry.path).map_err(IdentifyError::Arrival)?;
    let planned = Kept::planned(plan).map_err(IdentifyError::Arrival)?;
    let netns = before.netns.clone().zip(record.netns.clone());
    let differs = match (is_such_a_vm(&before, &record), kept.same_but_identity(&planned)) {
        (true, true) => None,
        (false, _) => Some("its processes or devices differ"),
        (_, false) => Some("its guest was sent other files"),
    };
    if let Some(differs) = differs {
        tracing::info!("the VM of pod `{uuid}` is not such a one: {differs}");
        return Ok(None);
    }
    let identity = planned.arrival.identity.unwrap_or_default();
    prepare::keep_asked(&dir, spec, options)?;
    let path = dir.join(layout::RECORD);
    json_file::write(&dir, layout::RECORD, &record, Durability::from(options.keep))
        .map_err(failed("write", &path))?;
    Ok(Some(Identified {
        identity,
        netns: netns.map(|(from, to)| [from, to]),
    }))
}

/// Does the rest: moves the network, and tells the guest.
///
/// # Errors
/// [`IdentifyError`].
pub async fn become_it(dir: &Path, identified: Identified) -> Result<(), IdentifyError> {
    let Identified { identity, netns } = identified;
    if let Some([from, to]) = netns {
        let moved = tokio::task::spawn_blocking(move || {
            let interfaces = to.network.interfaces.iter();
            interfaces
                .map(|interface| &*interface.name)
                .try_for_each(|interface| netns::hand_over(&from.path, &to.path, interface))
        });
        moved
            .await
            .map_err(|panic| IdentifyError::Guest(panic.to_string()))??;
    }
    let identity = serde_json::to_string(&identity).map_err(|error| IdentifyError::Arrival(error.into()))?;
    let mut stream = control::open(dir, HostStream::Identify { identity }).await?;
    match tokio::time::timeout(ANSWERS_WITHIN, read_message(&mut stream)).await {
        Ok(Ok(Some(InterfaceAnswer::Done))) => Ok(()),
        Ok(Ok(Some(InterfaceAnswer::Failed { text }))) => Err(IdentifyError::Guest(shown(&text))),
        Ok(Ok(None)) | Err(_) => Err(IdentifyError::Guest("it did not answer".to_owned())),
        Ok(Err(error)) => Err(IdentifyError::Guest(error.to_string())),
    }
}

/// Whether the VM of `before` is, but for its network's addresses and its host name, the one that `after` would have.
fn is_such_a_vm(before: &PodRecord, after: &PodRecord) -> bool {
    let own = |record: &PodRecord| {
        let mac = record.netns.iter().flat_map(|netns| &netns.network.interfaces);
        let macs: Vec<String> = mac.filter_map(|interface| interface.mac).map(spelled).collect();
        let mut text = json!([
            record.guest,
            record.qemu,
            record.template,
            record.virtiofsd,
            record.passt,
            record.share,
            record.vhost_net,
            record.writable,
            record.held,
            record.ports,
            record.networks,
        ])
        .to_string();
        for mac in &macs {
            text = text.replace(mac, "MAC");
        }
        (text, macs.len())
    };
    own(before) == own(after)
}

/// An Ethernet address as QEMU has it.
fn spelled(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// What a guest was sent for a pod that has no apps yet.
struct Kept {
    arrival: Arrival,
    /// All other files, with what the kernel's archives say of each.
    files: BTreeMap<String, (u32, Vec<u8>)>,
    /// What is behind the archive: modules.
    rest: Vec<u8>,
}

impl Kept {
    /// That of the pod in the directory `dir`.
    fn of(dir: &Path) -> io::Result<Self> {
        Self::read(&std::fs::read(dir.join(layout::POD_FILES))?)
    }

    /// That of a pod that was planned.
    fn planned(plan: &PodPlan) -> io::Result<Self> {
        let mut archive = Vec::new();
        arrival_files::append(&mut archive, &plan.guest)?;
        if let Some(more) = &plan.more_modules {
            archive.extend(std::fs::read(more)?);
        }
        Self::read(&archive)
    }

    fn read(mut archive: &[u8]) -> io::Result<Self> {
        let (mut arrival, mut files) = (None, BTreeMap::new());
        loop {
            let mut reader = cpio::newc::Reader::new(archive)?;
            let entry = reader.entry();
            if entry.is_trailer() {
                archive = reader.finish()?;
                break;
            }
            let (name, mode) = (entry.name().to_owned(), entry.mode());
            let mut content = Vec::new();
            reader.read_to_end(&mut content)?;
            archive = reader.finish()?;
            if Path::new("/").join(&name) == Path::new(ARRIVAL) {
                arrival = Some(serde_json::from_slice(&content)?);
            } else {
                files.insert(name, (mode, content));
            }
        }
        Ok(Self {
            arrival: arrival.ok_or(io::ErrorKind::NotFound)?,
            files,
            rest: archive.to_vec(),
        })
    }

    /// Whether the guest of `self` would have got as much as that of `other`, but for who it is.
    fn same_but_identity(&self, other: &Self) -> bool {
        let nobody = |kept: &Self| Arrival {
            identity: kept.arrival.identity.as_ref().map(|identity| Identity {
                memory: identity.memory,
                held: identity.held,
                ..Identity::default()
            }),
            ..kept.arrival.clone()
        };
        nobody(self) == nobody(other) && self.files == other.files && self.rest == other.rest
    }
}

#[cfg(test)]
mod tests {
    use isopod_contract::network::GuestNetwork;

    use super::*;

    fn kept(hostname: &str, modules: &[&str], file: &[u8]) -> Kept {
        Kept {
            arrival: Arrival {
                version: 1,
                identity: Some(Identity {
                    hostname: hostname.to_owned(),
                    network: (hostname != "spare").then(GuestNetwork::default),
                    held: true,
                    ..Identity::default()
                }),
                unit: "arrival-0.target".to_owned(),
                modules: modules.iter().map(|&module| module.to_owned()).collect(),
                early_mounts: Vec::new(),
                mounts_ahead: Vec::new(),
                shares: Vec::new(),
                disks: Vec::new(),
                apps: Vec::new(),
            },
            files: [("etc/x".to_owned(), (0o644, file.to_vec()))].into(),
            rest: Vec::new(),
        }
    }

    #[test]
    fn a_guest_may_become_another_that_differs_in_who_it_is() {
        let spare = kept("spare", &["virtio_net"], b"x");
        assert!(spare.same_but_identity(&kept("web", &["virtio_net"], b"x")));
        assert!(!spare.same_but_identity(&kept("web", &["virtio_net", "ext4"], b"x")));
        assert!(!spare.same_but_identity(&kept("web", &["virtio_net"], b"y")));
        let mut ends = kept("web", &["virtio_net"], b"x");
        ends.arrival.identity.as_mut().unwrap().held = false;
        assert!(!spare.same_but_identity(&ends));
    }

    #[test]
    fn what_is_no_archive_is_reported() {
        assert!(Kept::read(b"").is_err() && Kept::read(b"070701 and no more").is_err());
    }
}
