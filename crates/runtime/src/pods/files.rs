//! The files of a pod's directory that outlive a process: versioned JSON, written beside and renamed into place.
//!
//! ```text
//! pod.json      PodRecord  what was prepared; written again only where the pod becomes another ([`identify`](crate::identify))
//! spec.json     Asked      what was asked for, where JSON can hold it; likewise
//! status.json   Status     what became of it; written by the supervisor at every change
//! ```

mod status;

use std::net::IpAddr;
use std::path::PathBuf;

use isopod_contract::config::GuestNetwork;
use isopod_contract::in_one_line;
use isopod_plan::vm::qemu::Mapping;
use isopod_spec::{
    AppName, AppRole, FailurePolicy, LogLimits, PodName, PodSpec, PortForward, RestartPolicy, RootfsAccess,
    Vm,
};
use isopod_vm::netns;
use serde::{Deserialize, Serialize};

use super::os_text::OsText;
use super::volumes::{MountRecord, OwnerRecord, ShareRecord, VolumeRecord};
use crate::joining::NetworksRecord;
use crate::json_file::Durability;

pub use crate::json_file::VERSION;
pub use status::{AppState, AppStatus, ArrivedRecord, HealthState, Now, Status};

/// What was prepared: all that starting the pod needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PodRecord {
    /// [`VERSION`].
    pub version: u32,
    pub uuid: String,
    /// Its name, where it has one.
    pub name: Option<PodName>,
    /// When it was prepared, in milliseconds since 1970.
    pub created_ms: u64,
    /// What becomes of its directory when it has ended.
    pub keep: Keep,
    /// What its app reads in the background.
    pub stdin: Stdin,
    /// The key of the guest image that it boots.
    pub guest: String,
    /// The host's ports that lead into it.
    pub ports: Vec<PortForward>,
    /// What one app's failure means for the others.
    pub on_failure: FailurePolicy,
    /// The guest's host name.
    pub hostname: String,
    /// What the guest has of its network, and the name servers that are the host's; `None`: the loopback interface alone.
    pub network: Option<(GuestNetwork, Vec<IpAddr>)>,
    /// Whether it continues when its last app has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// Whether it has a disk that takes what its apps write.
    pub writable: bool,
    /// Whether its apps are in a slice of their own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub slice: bool,
    /// How its host volumes reach the guest.
    pub share: ShareRecord,
    /// Whose files those of its host volumes are in the guest.
    pub owner: OwnerRecord,
    /// Its volumes, as far as an app mounts them or its images want them.
    pub volumes: Vec<VolumeRecord>,
    /// The IDs of its images, apps' and volumes', by their numbers.
    pub images: Vec<String>,
    /// systemd's version in the guest.
    pub systemd_version: u32,
    /// The apps, in the order of declaration.
    pub apps: Vec<AppRecord>,
    /// The launcher that becomes QEMU ([`isopod_vm::launcher::Launcher`]'s arguments, the parent left out).
    pub qemu: Vec<OsText>,
    /// The template that its VM may be restored from; `None`: it boots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateRecord>,
    /// What becomes QEMU where it is opened and not run; `None`: an older isopod prepared it, which did not open pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<OpenedRecord>,
    /// The launcher that becomes virtiofsd.
    pub virtiofsd: Option<Vec<OsText>>,
    /// The network namespace that the VM takes over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<NetnsRecord>,
    /// What it has of networks with names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networks: Option<NetworksRecord>,
    /// Whether the host's kernel serves its taps, by `/dev/vhost-net`.
    #[serde(default)]
    pub vhost_net: bool,
    /// The launcher that becomes passt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passt: Option<Vec<OsText>>,
    /// How long the apps have to stop.
    pub stop_timeout_ms: u64,
    /// How long the pod may run; `None`: as long as it likes.
    pub deadline_ms: Option<u64>,
    /// How long the guest may take to come up.
    pub boot_timeout_ms: u64,
    /// How long the guest may be silent before it is killed; `None`: that is only reported.
    pub silent_kill_ms: Option<u64>,
}

/// A network namespace that a VM takes over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NetnsRecord {
    pub path: PathBuf,
    /// What was in it when the pod was prepared, and the guest has.
    pub network: GuestNetwork,
}

impl NetnsRecord {
    /// Takes away what is left of the VM in it, which has ended.
    pub(crate) fn release(&self) {
        let interfaces = self.network.interfaces.iter();
        let released = netns::release(&self.path, interfaces.map(|interface| &*interface.name));
        if let Err(error) = released {
            tracing::warn!(
                "cannot clean up the network namespace `{}`: {}",
                self.path.display(),
                in_one_line(&error)
            );
        }
    }
}

/// A VM that is restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TemplateRecord {
    /// The template's key.
    pub key: String,
    /// Its VM: memory, CPUs and accelerator, and whether it is made where it is not there before the pod starts.
    pub vm: Vm,
    /// The launcher that becomes QEMU, in place of the one that boots.
    pub qemu: Vec<OsText>,
    /// Whether another process has the VM's memory too.
    pub shares_memory: bool,
    /// The devices that QEMU gets before the guest continues: the arguments of QMP's `device_add`.
    pub added: Vec<serde_json::Value>,
}

/// The VM of a pod that is opened and not run: that of one that runs, without the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct OpenedRecord {
    /// The launcher that becomes QEMU, with its arguments, as the pod's record has them.
    pub qemu: Vec<OsText>,
    /// What its VM is restored from, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateRecord>,
}

impl TemplateRecord {
    /// How the VM has its memory.
    pub(crate) fn mapping(&self) -> Mapping {
        match self.shares_memory {
            true => Mapping::Shared,
            false => Mapping::Private,
        }
    }
}

/// What was asked for, before images and the host had their say. Starting the pod does not need it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Asked {
    /// [`VERSION`].
    pub version: u32,
    pub spec: PodSpec,
}

/// What becomes of a pod's directory when the pod has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// It stays until somebody removes it.
    UntilRemoved,
    /// It is removed (`--rm`, and a pod in the foreground that nobody could name).
    UntilEnded,
    /// It is removed, and stays as long as it was not started (`create --rm`).
    UntilRun,
}

/// What the app of a pod in the background reads as its standard input. In the foreground it is the caller's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stdin {
    /// Nothing: it has ended when the app begins.
    #[default]
    Empty,
    /// What those who attach to the pod write, one after the other, without an end (docker's `-i`).
    Attached,
}

/// What an app's root is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum RootRecord {
    Image {
        id: String,
        /// The number of its file.
        number: usize,
    },
    /// A directory of the host.
    Directory {
        /// Its path, links followed.
        path: OsText,
        /// Which directory it was: device and inode.
        id: (u64, u64),
        /// Whether what the app writes changes it.
        written: bool,
    },
}

impl RootRecord {
    /// The image's ID, where it is one.
    #[must_use]
    pub fn image_id(&self) -> Option<&str> {
        match self {
            Self::Image { id, .. } => Some(id),
            Self::Directory { .. } => None,
        }
    }

    /// The number of the image's file, where it is one.
    #[must_use]
    pub fn image_number(&self) -> Option<usize> {
        match self {
            Self::Image { number, .. } => Some(*number),
            Self::Directory { .. } => None,
        }
    }

    /// The directory, where it is one.
    #[must_use]
    pub fn directory(&self) -> Option<PathBuf> {
        match self {
            Self::Image { .. } => None,
            Self::Directory { path, .. } => Some(std::ffi::OsString::from(path.clone()).into()),
        }
    }
}

/// An app of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AppRecord {
    pub name: AppName,
    /// What its root is.
    pub root: RootRecord,
    /// Whether its standard streams are a terminal of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tty: bool,
    /// Whether it came while the pod runs, and has a standard input; of the others the pod says it ([`PodRecord::stdin`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stdin: bool,
    /// Whether it may write to its root filesystem.
    pub rootfs: RootfsAccess,
    /// The user that it runs as.
    pub uid: u32,
    pub executable: String,
    /// Its arguments, the program's name first.
    pub argv: Vec<String>,
    /// What happens when it has ended.
    pub restart: RestartPolicy,
    /// Whether the app reports when it is ready, which otherwise it is as soon as it has started.
    pub reports_readiness: bool,
    /// Whether it has probes or a health check.
    pub probed: bool,
    /// Whether the pod lives as long as it does.
    pub role: AppRole,
    /// Whether the end of its log is its last words where it failed and left none.
    #[serde(default)]
    pub words_from_log: bool,
    /// How large its log may become.
    #[serde(default, skip_serializing_if = "LogLimits::is_default")]
    pub log: LogLimits,
    pub mounts: Vec<MountRecord>,
    /// Whether it came while the pod runs and has gone again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
}

impl From<Keep> for Durability {
    fn from(keep: Keep) -> Self {
        match keep {
            Keep::UntilRemoved | Keep::UntilRun => Durability::Durable,
            Keep::UntilEnded => Durability::Fleeting,
        }
    }
}
