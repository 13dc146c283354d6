//! A plan as a document: what `isopod plan` shows, in the form that other programs read (`--format json`) and from which
//! the text and the pictures are made. It is a format of its own, versioned, and not the planner's types.
//!
//! `docs/plan.schema.json` is made from these types.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::Path;

use isopod_spec::{EmptyVolume, FailurePolicy, Medium, Readiness, RestartPolicy, RootfsAccess, VolumeKind};
use schemars::JsonSchema;
use serde::Serialize;

use crate::apps::lifecycle;
use crate::facts::SourceKind;
use crate::guest::tree::{Entry, EntryKind, GuestTree};
use crate::guest::units::MountUnit;
use crate::plan::{AppPlan, PodPlan};
use crate::profile::Profile;
use crate::rkt::RktPlan;
use crate::vm::hardware::{PCI_DEVICES, SharedVolume};
use crate::vm::network::{self, UserNetwork};
use crate::volumes::{Origin, VolumeMount};

/// The version of the document.
pub const DOCUMENT_VERSION: u32 = 1;

/// A plan.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// [`DOCUMENT_VERSION`]: raised when a field changes its meaning or goes.
    pub version: u32,
    /// The profile: `default` or `rkt`.
    pub profile: String,
    /// The guest's host name; left out in the profile `rkt`, which plans volumes only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The network; left out in the profile `rkt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// The apps, in the order of declaration.
    pub apps: Vec<App>,
    /// The volumes.
    pub volumes: Vec<Volume>,
    /// The file systems that are there before systemd: images, and every app's root.
    pub early_mounts: Vec<EarlyMount>,
    /// The mounts that systemd makes in the guest, shares first, then app by app, parents before children.
    pub mounts: Vec<Mount>,
    /// The hypervisor.
    pub hypervisor: Hypervisor,
    /// virtiofsd's command line, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtiofsd: Option<Vec<Text>>,
    /// The files that the plan adds to the guest.
    pub guest_files: Vec<GuestFile>,
    /// Whether the other apps are stopped when one has failed for good; left out where they are not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stops_on_app_failure: bool,
    /// What all apps together may take of the machine: the settings of their slice (systemd.resource-control(5)); left out
    /// where nothing binds them together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<String>,
    /// What the user should know; nothing of it keeps the pod from running.
    pub notices: Vec<String>,
}

/// The pod's network.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Network {
    /// The loopback interface alone.
    None,
    /// QEMU's user mode.
    #[serde(rename_all = "camelCase")]
    User {
        /// The pod's address.
        address: String,
        /// The router, which is also the host's loopback interface.
        gateway: String,
        /// The name server.
        nameserver: String,
        /// The host's ports that lead into the pod.
        ports: Vec<Port>,
    },
}

/// A port of the host's that leads into the pod.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// The host's address; `0.0.0.0` is every one.
    pub host_ip: String,
    /// The host's port.
    pub host_port: u16,
    /// The pod's port.
    pub pod_port: u16,
    /// The protocol: `tcp` or `udp`.
    pub protocol: String,
}

/// An app.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct App {
    /// Its name.
    pub name: String,
    /// The unit that runs it.
    pub unit: String,
    /// Its image's ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// What it executes; left out in the profile `rkt`, which plans volumes only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// Whether it may write to its root filesystem.
    pub readonly_rootfs: bool,
    /// When it is started anew, as `--restart` takes it; left out where it never is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<String>,
    /// Whether it says itself when it is ready; left out where it is ready once it has started.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub notifies: bool,
    /// The apps that come before it, as `--depends-on` takes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// What is asked of it while it runs, and what is run around its life.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health: Vec<Check>,
    /// Its volumes, in the order in which they are mounted.
    pub mounts: Vec<AppMount>,
}

/// A probe or a handler.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What it is called.
    pub name: String,
    /// What it does, in words.
    pub does: String,
}

/// What an app executes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// The program's path in the app's root.
    pub executable: Text,
    /// Its arguments, the name it is called by first.
    pub argv: Vec<String>,
    /// The names of the variables of its environment. Values may be secrets.
    pub environment: Vec<String>,
    /// Who it runs as.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Where it starts.
    pub working_dir: Text,
    /// What it may take of the machine and which system calls it may make: the settings of its service
    /// (systemd.resource-control(5), systemd.exec(5)), in the form `SETTING=VALUE`.
    pub limits: Vec<String>,
}

/// A volume in an app.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppMount {
    /// The volume.
    pub volume: String,
    /// The path that was asked for, cleaned.
    pub target: Text,
    /// Where that is in the app's root, links followed.
    pub place: Text,
    /// The mount unit.
    pub unit: String,
    /// The path within the volume, where it is not the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<Text>,
    /// Who keeps the app from writing.
    pub read_only: ReadOnly,
    /// Who asked for the mount.
    pub origin: MountOrigin,
}

/// Who keeps an app from writing through a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReadOnly {
    /// Nobody: it may write.
    No,
    /// The host, which lets nothing of the guest write, and the guest's mount besides.
    Host,
    /// The guest's mount alone: its root could undo it.
    Guest,
}

/// Who asked for a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MountOrigin {
    /// The user.
    Mount,
    /// The image, for a volume of the pod.
    MountPoint,
    /// The image, and it gets an empty volume of its own.
    Implicit,
}

/// A volume.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: VolumeType,
    /// The host's path, links followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Text>,
    /// Where an empty volume is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub medium: Option<VolumeMedium>,
    /// The most that an empty volume may hold, in bytes, where that was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// The ID of the image that it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// How a host volume reaches the guest: `virtiofs` or `9p`. Left out for one that is not shared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
}

/// What a volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeType {
    /// A directory of the host's.
    HostDirectory,
    /// A file of the host's.
    HostFile,
    /// A directory of the guest's.
    Empty,
    /// Files that came with the pod.
    Files,
    /// An image's root filesystem.
    Image,
}

/// Where an empty volume is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeMedium {
    /// In the guest's memory.
    Memory,
    /// In a file of the pod's on the host.
    Disk,
}

/// A mount unit.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Its name.
    pub unit: String,
    /// `What=`.
    pub what: Text,
    /// `Where=`.
    #[serde(rename = "where")]
    pub place: Text,
    /// `Type=`.
    #[serde(rename = "type")]
    pub fs_type: String,
    /// `Options=`.
    pub options: Vec<String>,
    /// The units that must be active before it.
    pub after: Vec<String>,
    /// The services that do not start without it.
    pub required_by: Vec<String>,
    /// The volume that it brings, or is a part of bringing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// Whether it is read-only in the guest.
    pub read_only: bool,
}

/// A file system that is there before systemd.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EarlyMount {
    /// What is mounted.
    pub what: Text,
    /// Where.
    #[serde(rename = "where")]
    pub place: Text,
    /// Its type.
    #[serde(rename = "type")]
    pub fs_type: String,
    /// Whether it is read-only.
    pub read_only: bool,
}

/// The hypervisor.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hypervisor {
    /// `qemu` or `lkvm`.
    pub kind: String,
    /// The arguments that share volumes, in order.
    pub share_args: Vec<Text>,
    /// The whole command line, the program first. Paths are relative to the pod's directory.
    pub argv: Vec<Text>,
    /// PCI devices used.
    pub devices_used: usize,
    /// PCI devices that fit.
    pub devices_available: usize,
    /// Guest memory, in MiB.
    pub memory_mib: u32,
    /// Virtual CPUs.
    pub cpus: u32,
}

/// A file that the plan adds to the guest.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GuestFile {
    /// Its path.
    pub path: Text,
    /// What it is: `directory`, `file`, `symlink` or `fifo`.
    pub kind: String,
    /// Its permission bits, octal.
    pub mode: String,
}

/// A text of the host's: a string, or where it is no UTF-8 its bytes in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Text {
    /// UTF-8.
    String(String),
    /// Anything else.
    Bytes {
        /// Two digits a byte.
        hex: String,
    },
}

impl Text {
    fn new(text: impl AsRef<OsStr>) -> Self {
        let text = text.as_ref();
        match text.to_str() {
            Some(text) => Self::String(text.to_owned()),
            None => Self::Bytes {
                hex: text
                    .as_encoded_bytes()
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect(),
            },
        }
    }

    /// For people: control characters escaped, what is no UTF-8 as `\xNN`.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::String(text) => text.chars().flat_map(shown_char).collect(),
            Self::Bytes { hex } => {
                let byte =
                    |pair: &[u8]| u8::from_str_radix(&String::from_utf8_lossy(pair), 16).unwrap_or(b'?');
                hex.as_bytes()
                    .chunks(2)
                    .map(|pair| byte(pair).escape_ascii().to_string())
                    .collect()
            }
        }
    }
}

fn shown_char(c: char) -> Vec<char> {
    if c.is_control() {
        c.escape_default().collect()
    } else {
        vec![c]
    }
}

fn texts(texts: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Vec<Text> {
    texts.into_iter().map(Text::new).collect()
}

impl From<&PodPlan> for Document {
    fn from(plan: &PodPlan) -> Self {
        let (qemu, shared) = (&plan.qemu, shared(plan));
        let argv = std::iter::once(qemu.program.clone().into_os_string()).chain(qemu.argv());
        Document {
            version: DOCUMENT_VERSION,
            profile: Profile::DEFAULT.name.into(),
            hostname: Some(plan.hostname.clone()),
            network: Some(network_of(plan.network.as_ref())),
            apps: plan.apps.iter().map(|app| app_of(app, plan, &shared)).collect(),
            volumes: plan
                .volumes
                .iter()
                .map(|volume| volume_of(volume, plan, &shared))
                .collect(),
            early_mounts: plan.early_mounts.iter().map(early_mount_of).collect(),
            mounts: plan.mounts.iter().map(mount_of).collect(),
            hypervisor: Hypervisor {
                kind: "qemu".into(),
                share_args: texts(qemu.share_args()),
                argv: texts(argv),
                devices_used: qemu.devices.iter().filter(|d| d.is_pci()).count(),
                devices_available: PCI_DEVICES,
                memory_mib: qemu.memory_mib,
                cpus: qemu.smp,
            },
            virtiofsd: plan.virtiofsd.as_ref().map(|command| {
                let program = command.daemon.program.clone().into_os_string();
                texts(std::iter::once(program).chain(command.argv(Path::new(crate::layout::HOST_SHARE_DIR))))
            }),
            guest_files: files_of(&plan.guest),
            stops_on_app_failure: plan.on_failure == FailurePolicy::Stop,
            limits: crate::apps::limits::slice_settings(plan.limits)
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
            notices: plan.notices.iter().chain(&plan.hints).cloned().collect(),
        }
    }
}

fn network_of(network: Option<&UserNetwork>) -> Network {
    let Some(UserNetwork { ports }) = network else {
        return Network::None;
    };
    let port = |port: &isopod_spec::PortForward| Port {
        host_ip: port.address().to_string(),
        host_port: port.host_port,
        pod_port: port.pod_port,
        protocol: port.protocol.to_string(),
    };
    Network::User {
        address: format!("{}/{}", network::ADDRESS, network::PREFIX_LEN),
        gateway: network::GATEWAY.to_string(),
        nameserver: network::NAMESERVER.to_string(),
        ports: ports.iter().map(port).collect(),
    }
}

/// The host volumes that are shared, by name.
type Shared<'a> = HashMap<&'a str, &'a SharedVolume>;

fn shared(plan: &PodPlan) -> Shared<'_> {
    let volumes = plan.sharing.iter().flat_map(|sharing| &sharing.volumes);
    volumes.map(|volume| (volume.name.as_str(), volume)).collect()
}

fn app_of(app: &AppPlan, plan: &PodPlan, shared: &Shared<'_>) -> App {
    let process = &app.process;
    let mount = |mount: &VolumeMount| {
        let on_host = shared
            .get(mount.volume.as_str())
            .is_some_and(|shared| shared.read_only);
        app_mount(mount, &crate::layout::app_place(&app.name, &mount.place), on_host)
    };
    App {
        name: app.name.to_string(),
        unit: app.unit.clone(),
        image: plan.images.get(app.image).map(|image| image.id.clone()),
        process: Some(Process {
            executable: Text::new(&process.executable),
            argv: process.shown_argv(),
            environment: process.env.keys().cloned().collect(),
            uid: process.identity.uid,
            gid: process.identity.gid,
            working_dir: Text::new(&process.working_dir),
            limits: process
                .limits
                .words()
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        }),
        readonly_rootfs: app.rootfs == RootfsAccess::ReadOnly,
        restart: (app.life.restart != RestartPolicy::No).then(|| lifecycle::restart_words(app.life.restart)),
        notifies: app.life.readiness == Readiness::Notify,
        depends_on: app
            .life
            .depends_on
            .iter()
            .map(lifecycle::dependency_words)
            .collect(),
        health: checks(app),
        mounts: app.mounts.iter().map(mount).collect(),
    }
}

/// Probes and handlers, in the order in which they matter.
fn checks(app: &AppPlan) -> Vec<Check> {
    let program = |name: &str, argv: &Option<Vec<String>>| {
        let argv = argv.as_ref()?;
        Some((
            name.to_owned(),
            format!("runs {}", crate::output::explain::command(argv)),
        ))
    };
    let before = program("pre-start handler", &app.process.pre_start);
    let after = program("post-stop handler", &app.process.post_stop);
    let all = before.into_iter().chain(app.life.care.words()).chain(after);
    all.map(|(name, does)| Check { name, does }).collect()
}

fn app_mount(mount: &VolumeMount, at: &Path, read_only_on_host: bool) -> AppMount {
    AppMount {
        volume: mount.volume.to_string(),
        target: Text::new(&*mount.target),
        place: Text::new(&*mount.place),
        unit: crate::guest::unit_name::for_path(at, ".mount"),
        sub_path: (!mount.sub_path.as_os_str().is_empty()).then(|| Text::new(&mount.sub_path)),
        read_only: match (mount.read_only, read_only_on_host) {
            (false, _) => ReadOnly::No,
            (true, true) => ReadOnly::Host,
            (true, false) => ReadOnly::Guest,
        },
        origin: match mount.origin {
            Origin::Mount => MountOrigin::Mount,
            Origin::MountPoint => MountOrigin::MountPoint,
            Origin::Implicit => MountOrigin::Implicit,
        },
    }
}

fn volume_of(volume: &isopod_spec::Volume, plan: &PodPlan, shared: &Shared<'_>) -> Volume {
    let name = volume.name.to_string();
    let shared = shared.get(name.as_str());
    let mut document = match &volume.kind {
        VolumeKind::Host(host) => {
            let file = shared.is_some_and(|shared| shared.kind == SourceKind::File);
            let kind = if file {
                VolumeType::HostFile
            } else {
                VolumeType::HostDirectory
            };
            host_volume(
                name.clone(),
                kind,
                shared.map_or(&host.source, |shared| &shared.source),
            )
        }
        VolumeKind::Empty(empty) => empty_volume(name.clone(), empty),
        VolumeKind::Files(_) => given_volume(name.clone(), VolumeType::Files),
        VolumeKind::Image(_) => Volume {
            image: plan
                .volume_images
                .get(&volume.name)
                .map(|&image| plan.images[image].id.clone()),
            ..given_volume(name.clone(), VolumeType::Image)
        },
    };
    let transport = plan.sharing.as_ref().map(|sharing| sharing.transport.fs_type());
    document.transport = shared.and(transport).map(str::to_owned);
    document
}

fn host_volume(name: String, kind: VolumeType, source: &Path) -> Volume {
    Volume {
        name,
        kind,
        source: Some(Text::new(source)),
        medium: None,
        size_bytes: None,
        image: None,
        transport: None,
    }
}

/// A volume whose content came with the pod.
fn given_volume(name: String, kind: VolumeType) -> Volume {
    Volume {
        name,
        kind,
        source: None,
        medium: None,
        size_bytes: None,
        image: None,
        transport: None,
    }
}

fn empty_volume(name: String, empty: &EmptyVolume) -> Volume {
    let medium = match empty.medium {
        Medium::Memory => VolumeMedium::Memory,
        Medium::Disk => VolumeMedium::Disk,
    };
    let size_bytes = empty.size_bytes;
    Volume {
        name,
        kind: VolumeType::Empty,
        source: None,
        medium: Some(medium),
        size_bytes,
        image: None,
        transport: None,
    }
}

fn early_mount_of(mount: &isopod_protocol::config::EarlyMount) -> EarlyMount {
    EarlyMount {
        what: Text::new(&mount.source),
        place: Text::new(&mount.mount_point),
        fs_type: mount.fs_type.clone(),
        read_only: mount.read_only,
    }
}

fn mount_of(mount: &MountUnit) -> Mount {
    Mount {
        unit: mount.name(),
        what: Text::new(&*mount.source()),
        place: Text::new(&*mount.place),
        fs_type: mount.fs_type.to_owned(),
        options: mount.options.to_vec(),
        after: mount.after.iter().map(ToString::to_string).collect(),
        required_by: mount.required_by.iter().map(ToString::to_string).collect(),
        volume: mount.volume.as_ref().map(ToString::to_string),
        read_only: mount.read_only,
    }
}

fn files_of(tree: &GuestTree) -> Vec<GuestFile> {
    let kind = |kind: &EntryKind| match kind {
        EntryKind::Directory => "directory",
        EntryKind::File(_) => "file",
        EntryKind::Symlink(_) => "symlink",
        EntryKind::Fifo => "fifo",
    };
    let file = |(path, entry): (Cow<'_, Path>, Cow<'_, Entry>)| GuestFile {
        path: Text::new(&*path),
        kind: kind(&entry.kind).into(),
        mode: format!("{:04o}", entry.mode),
    };
    tree.iter().map(file).collect()
}

/// Whose command line a plan of the profile `rkt` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RktHypervisor {
    /// kvmtool's, rkt's own.
    Lkvm,
    /// QEMU's.
    Qemu,
}

impl Document {
    /// The document of a plan of the profile `rkt`.
    #[must_use]
    pub fn of_rkt(plan: &RktPlan, spec: &isopod_spec::PodSpec, hypervisor: RktHypervisor) -> Self {
        let (kind, share_args, argv) = match hypervisor {
            RktHypervisor::Lkvm => ("lkvm", plan.lkvm_share_args(), plan.lkvm_argv()),
            RktHypervisor::Qemu => ("qemu", plan.qemu_share_args(), plan.qemu_argv()),
        };
        let app = |(app, mounts): (&isopod_spec::App, &Vec<VolumeMount>)| {
            let root = crate::layout::app_root(&app.name);
            App {
                name: app.name.to_string(),
                unit: format!("{}.service", app.name),
                image: None,
                process: None,
                readonly_rootfs: app.rootfs == RootfsAccess::ReadOnly,
                restart: None,
                notifies: false,
                depends_on: Vec::new(),
                health: Vec::new(),
                mounts: mounts
                    .iter()
                    .map(|mount| app_mount(mount, &crate::path::below(&root, &mount.place), false))
                    .collect(),
            }
        };
        let volume = |volume: &isopod_spec::Volume| match &volume.kind {
            VolumeKind::Host(host) => Volume {
                transport: Some("9p".to_owned()),
                ..host_volume(volume.name.to_string(), VolumeType::HostDirectory, &host.source)
            },
            VolumeKind::Empty(empty) => empty_volume(volume.name.to_string(), empty),
            VolumeKind::Files(_) => given_volume(volume.name.to_string(), VolumeType::Files),
            VolumeKind::Image(_) => given_volume(volume.name.to_string(), VolumeType::Image),
        };
        Document {
            version: DOCUMENT_VERSION,
            profile: Profile::RKT.name.into(),
            hostname: None,
            network: None,
            apps: spec.apps.iter().zip(&plan.app_mounts).map(app).collect(),
            volumes: spec.volumes.iter().map(volume).collect(),
            early_mounts: Vec::new(),
            mounts: plan.mounts.iter().map(mount_of).collect(),
            hypervisor: Hypervisor {
                kind: kind.into(),
                share_args: texts(share_args),
                argv: texts(argv),
                devices_used: plan.shares.len(),
                devices_available: PCI_DEVICES,
                memory_mib: plan.memory_mib,
                cpus: plan.cpus,
            },
            virtiofsd: None,
            guest_files: files_of(&plan.guest),
            stops_on_app_failure: false,
            limits: Vec::new(),
            notices: Vec::new(),
        }
    }
}
