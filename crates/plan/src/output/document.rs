//! A plan as a document: what `isopod plan` shows, in the form that other programs read (`--format json`) and from which
//! the text and the pictures are made. It is a format of its own, versioned, and not the planner's types.
//!
//! `docs/plan.schema.json` is made from these types.

use std::ffi::OsStr;

use schemars::JsonSchema;
use serde::Serialize;

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
    /// The size of the disk that takes what the apps write to their roots and to volumes of their own, in bytes. Left out where they
    /// write to the guest's memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writable_bytes: Option<u64>,
    /// The file systems that the agent mounts: images, that disk, and every app's root.
    pub early_mounts: Vec<EarlyMount>,
    /// The mounts that systemd makes in the guest, shares first, then app by app, parents before children.
    pub mounts: Vec<Mount>,
    /// The hypervisor.
    pub hypervisor: Hypervisor,
    /// virtiofsd's command line, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtiofsd: Option<Vec<TextOrHex>>,
    /// passt's command line, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passt: Option<Vec<TextOrHex>>,
    /// The files that the plan adds to the guest.
    pub guest_files: Vec<GuestFile>,
    /// Whether the other apps are stopped when one has failed for good; left out where they are not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stops_on_app_failure: bool,
    /// What all apps together may take of the VM: the settings of their slice (systemd.resource-control(5)); left out
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
    /// The host user's own.
    #[serde(rename_all = "camelCase")]
    User {
        /// The program that is the router: `passt` or `qemu`.
        router: String,
        /// Whether the router's address leads to the host's loopback interface.
        host_loopback: bool,
        /// The guest's interfaces.
        interfaces: Vec<Interface>,
        /// The name servers that ask the host's own.
        nameservers: Vec<String>,
        /// The host's ports that lead into the pod.
        ports: Vec<Port>,
    },
    /// What is in a network namespace of the host.
    #[serde(rename_all = "camelCase")]
    Namespace {
        /// The namespace.
        path: String,
        /// The guest's interfaces.
        interfaces: Vec<Interface>,
        /// The name servers.
        nameservers: Vec<String>,
    },
    /// Networks with names, by which pods reach each other.
    #[serde(rename_all = "camelCase")]
    Networks {
        /// The networks, in the order of the guest's interfaces.
        networks: Vec<JoinedNetwork>,
        /// The guest's interfaces.
        interfaces: Vec<Interface>,
        /// The name servers.
        nameservers: Vec<String>,
        /// The host's ports that lead into the pod.
        ports: Vec<Port>,
    },
}

/// A network with a name that the pod is in.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JoinedNetwork {
    /// Its name.
    pub name: String,
    /// The host's interface to it.
    pub host_interface: String,
    /// Whether nothing leads out of it; left out where it does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub internal: bool,
    /// The pod's names there.
    pub names: Vec<String>,
}

/// A network interface of the guest.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its Ethernet address; left out where it is its device's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The longest packet, in bytes; left out where it is its device's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Its addresses, with the lengths of their prefixes.
    pub addresses: Vec<String>,
    /// The routes through it: `0.0.0.0/0 via 10.0.2.2`.
    pub routes: Vec<String>,
}

/// A port of the host that leads into the pod.
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

/// A directory of the host that is an app's root.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RootDirectory {
    /// The path, links followed.
    pub source: TextOrHex,
    /// Whether what the app writes to its root changes it; otherwise the pod keeps that in a layer above it.
    pub written: bool,
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
    /// The directory of the host that its root is, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_directory: Option<RootDirectory>,
    /// What it executes; left out in the profile `rkt`, which plans volumes only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessDocument>,
    /// Whether it may write to its root filesystem.
    pub readonly_rootfs: bool,
    /// When it is restarted, as `--restart` takes it; left out where it never is.
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
    pub health: Vec<CheckDocument>,
    /// Its volumes, in the order in which they are mounted.
    pub mounts: Vec<AppMount>,
}

/// A probe or a handler.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckDocument {
    /// What it is called.
    pub name: String,
    /// What it does, in words.
    pub does: String,
}

/// What an app executes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProcessDocument {
    /// The program's path in the app's root.
    pub executable: TextOrHex,
    /// Its arguments, the name it is called by first.
    pub argv: Vec<String>,
    /// The names of the variables of its environment. Values may be secrets.
    pub environment: Vec<String>,
    /// Who it runs as.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Where it starts.
    pub working_dir: TextOrHex,
    /// Whether its standard streams are a terminal of its own; left out where they are not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tty: bool,
    /// What it may take of the VM and which system calls it may make: the settings of its service
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
    pub target: TextOrHex,
    /// Where that is in the app's root, links followed.
    pub place: TextOrHex,
    /// The mount unit.
    pub unit: String,
    /// The path within the volume, where it is not the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<TextOrHex>,
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
    pub source: Option<TextOrHex>,
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
    /// To whom its files are given before the pod starts (`U`): user and group, by the guest's numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given_to: Option<[u32; 2]>,
}

/// What a volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeType {
    /// A directory of the host.
    HostDirectory,
    /// A file of the host.
    HostFile,
    /// A directory of the guest.
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
    /// In a file of the pod on the host.
    Disk,
}

/// A mount unit.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Its name.
    pub unit: String,
    /// `What=`.
    pub what: TextOrHex,
    /// `Where=`.
    #[serde(rename = "where")]
    pub place: TextOrHex,
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

/// A file system that the agent mounts.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EarlyMount {
    /// What is mounted.
    pub what: TextOrHex,
    /// Where.
    #[serde(rename = "where")]
    pub place: TextOrHex,
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
    pub share_args: Vec<TextOrHex>,
    /// The whole command line, the program first. Paths are relative to the pod's directory.
    pub argv: Vec<TextOrHex>,
    /// PCI devices used.
    pub devices_used: usize,
    /// PCI devices that fit.
    pub devices_available: usize,
    /// Guest memory, in MiB.
    pub memory_mib: u32,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Whether it boots or is restored; left out in the profile `rkt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
}

/// How a VM starts.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    /// `cold`: it boots; `warm`: it is restored from a template.
    pub kind: String,
    /// Why so.
    pub reason: String,
    /// The key of the template that it is restored from, or that is made for the next one; left out where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
}

/// A file that the plan adds to the guest.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GuestFile {
    /// Its path.
    pub path: TextOrHex,
    /// What it is: `directory`, `file`, `symlink` or `fifo`.
    pub kind: String,
    /// Its permission bits, octal.
    pub mode: String,
}

/// A text of the host: a string, or where it is not UTF-8 its bytes in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum TextOrHex {
    /// UTF-8.
    String(String),
    /// Anything else.
    Bytes {
        /// Two digits a byte.
        hex: String,
    },
}

impl TextOrHex {
    pub(crate) fn new(text: impl AsRef<OsStr>) -> Self {
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
