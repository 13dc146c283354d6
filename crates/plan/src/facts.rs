//! Facts: all that planning knows of the world. They are gathered once, before planning, by `isopod-runtime`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use isopod_contract::config::GuestNetwork;
use isopod_spec::seccomp::SeccompProfile;
use isopod_spec::{
    App, Architecture, MacAddress, NamedNetwork, NetworkName, RunConfig, StartMode, VolumeName,
};

use crate::distribution::Distribution;
use crate::path::Tree;

/// What is known of the world.
#[derive(Clone, Debug)]
pub struct Facts {
    /// One for each app of the pod, in the same order.
    pub apps: Vec<AppFacts>,
    /// One for each host volume of the pod.
    pub sources: BTreeMap<VolumeName, SourceFacts>,
    /// One for each volume of the pod that is an image.
    pub volume_images: BTreeMap<VolumeName, VolumeImageFacts>,
    /// The VM that the pod is planned for.
    pub host: HostFacts,
}

/// What is known of an app.
#[derive(Clone, Debug, Default)]
pub struct AppFacts {
    /// Its root; `None` where only units are planned, as in the rkt profile.
    pub root: Option<RootFacts>,
    /// The caller's values of the variables that the app takes over by name (`-e NAME`).
    pub caller_env: BTreeMap<String, String>,
    /// The profile of system calls that the app names ([`Seccomp::Profile`](isopod_spec::Seccomp::Profile)).
    pub seccomp_profile: Option<SeccompProfile>,
}

impl AppFacts {
    /// How an app is to be run before the user's changes: by its manifest's `app` section, or as its image says.
    #[must_use]
    pub(crate) fn run_config(&self, app: &App) -> RunConfig {
        let of_image = || {
            self.root
                .as_ref()
                .map(|root| root.config.clone())
                .unwrap_or_default()
        };
        app.run_config.clone().unwrap_or_else(of_image)
    }
}

/// What is known of an app's root.
#[derive(Clone, Debug)]
pub struct RootFacts {
    pub origin: RootOrigin,
    /// How it wants to be run, where it is an image.
    pub config: RunConfig,
    /// What it holds at the paths that planning asks for ([`crate::survey`]).
    pub tree: Tree,
    /// The text of its `/etc/passwd`, empty where it has none.
    pub passwd: String,
    /// The text of its `/etc/group`.
    pub group: String,
}

/// What an app's root is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootOrigin {
    Image {
        id: String,
        /// The file that holds its root filesystem, on the host.
        rootfs: PathBuf,
    },
    /// A directory of the host.
    Directory {
        /// The path with every symbolic link followed.
        path: PathBuf,
        /// Which directory that is.
        id: FileId,
        /// How what is mounted at it and below it is named.
        mounts: MountNames,
    },
}

/// What is known of a host volume's source.
#[derive(Clone, Debug)]
pub struct SourceFacts {
    /// The path with every symbolic link followed.
    pub path: PathBuf,
    pub kind: SourceKind,
    /// Which file that is; none where it is to be made.
    pub id: Option<FileId>,
    /// How what is mounted at it and below it is named.
    pub mounts: MountNames,
    /// Whether it is of a file system whose files do not know their sizes, such as /proc.
    pub sizes: Sizes,
    /// What it holds at the paths that planning asks for.
    pub tree: Tree,
}

/// The paths of what is mounted somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountNames {
    /// None has a sign that mountinfo escapes (proc_pid_mountinfo(5)).
    Plain,
    /// One has, or may have.
    Any,
}

/// Whether the files of a file system are as long as they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// They are.
    Known,
    /// They are made when they are read, and are 0 or 4096 bytes long before (proc(5), sysfs(5)).
    Untold,
}

/// Which file a path named when it was looked at (stat(2), `st_dev` and `st_ino`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    /// The device that its file system is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

/// What is known of the image that a volume is.
#[derive(Clone, Debug)]
pub struct VolumeImageFacts {
    pub id: String,
    /// The file that holds its root filesystem, on the host.
    pub rootfs: PathBuf,
    /// What it holds at the paths that planning asks for.
    pub tree: Tree,
}

/// What can be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    Directory,
    File,
}

/// What is known of the host.
#[derive(Clone, Debug)]
pub struct HostFacts {
    /// What it calls packages.
    pub distribution: Distribution,
    /// Who runs the pod.
    pub user: HostUser,
    /// His user and group, by number.
    pub caller: Owner,
    /// The users that he may be beside himself; looked for where the pod is to have them.
    pub subordinates: Option<SubordinateIds>,
    /// Whether processes and files can be given to the users of [`confinement::OWN_USERS`](crate::vm::confinement::OWN_USERS).
    pub own_users: OwnUsers,
    /// Whether a guest was seen to run with KVM.
    pub kvm: Kvm,
    /// Whether QEMU finds [`QBOOT`](crate::vm::board::QBOOT).
    pub qboot: bool,
    /// Whether a mount namespace can be had (in a user namespace when not root).
    pub namespaces: Namespaces,
    /// The program that makes file systems for volumes on disk (`mkfs.ext4`, with `debugfs` beside it).
    pub mkfs: Option<PathBuf>,
    /// How much can be written to the disk that its state directory is on, in bytes.
    pub free_bytes: u64,
    /// The virtiofsd that works here.
    pub virtiofsd: Option<Virtiofsd>,
    /// How many files a process may have open at most (getrlimit(2), `RLIMIT_NOFILE`); `None`: any number.
    pub open_files: Option<u64>,
    /// What there is for the host user's network.
    pub network: NetworkFacts,
    /// Its search domains (resolv.conf(5)).
    pub search_domains: Vec<String>,
    /// The guest image.
    pub guest: GuestFacts,
    /// What is known of templates.
    pub templates: TemplateFacts,
}

/// What VMs are restored from, and what else than command lines a saved VM depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TemplateFacts {
    /// How pods start that do not say it.
    pub otherwise: StartMode,
    /// What distinguishes this QEMU from any other: its path, and its file's identity.
    pub qemu: String,
    /// What distinguishes this processor from any other.
    pub cpu: String,
    /// The keys of the templates that are there.
    pub there: BTreeSet<String>,
}

/// What the host has for a pod with the host user's network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkFacts {
    /// passt(1), which is looked for where the pod may have it.
    pub passt: Option<PathBuf>,
    /// Whether a route leads out over IPv4.
    pub ipv4_route: bool,
    /// Whether one does over IPv6.
    pub ipv6_route: bool,
    /// The host's name servers (resolv.conf(5)), or those that a namespace has of its own (ip-netns(8)).
    pub nameservers: Vec<IpAddr>,
    /// Whether `/dev/vhost-net` can be opened, by which the host's kernel serves taps.
    pub vhost_net: bool,
    /// What is in the network namespace that the pod is to have, where it is to have one.
    pub namespace: Option<Result<GuestNetwork, NamespaceFault>>,
    /// What there is of networks with names, where the pod is to be in one.
    pub named: NamedNetworks,
}

/// The programs that make networks with names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkPrograms {
    /// netavark(1).
    pub netavark: Option<PathBuf>,
    /// aardvark-dns.
    pub aardvark: Option<PathBuf>,
    /// pasta(1), which leads out of an ordinary user's.
    pub pasta: Option<PathBuf>,
}

/// What the host has for a pod in networks with names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedNetworks {
    pub programs: NetworkPrograms,
    /// What keeps an ordinary user from having the namespaces that they are in.
    pub obstacle: Option<String>,
    /// Those that there are; why one cannot be had, in words, where its file cannot be read.
    pub networks: BTreeMap<NetworkName, Result<TakenNetwork, String>>,
}

/// A network with a name, and what other pods have of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenNetwork {
    pub network: NamedNetwork,
    /// The addresses of pods.
    pub addresses: BTreeSet<IpAddr>,
    /// Their Ethernet addresses.
    pub macs: BTreeSet<MacAddress>,
}

/// Why a network namespace cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceFault {
    /// The reason, in words.
    pub reason: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Who runs the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostUser {
    Root,
    /// Anyone else.
    Ordinary {
        uid: u32,
    },
}

/// The users and groups that an ordinary user may be beside himself (subuid(5)), and what maps them (newuidmap(1)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubordinateIds {
    pub newuidmap: PathBuf,
    pub newgidmap: PathBuf,
    /// The users, as `/etc/subuid` has them.
    pub users: Vec<IdRange>,
    /// The groups, as `/etc/subgid` has them.
    pub groups: Vec<IdRange>,
}

impl SubordinateIds {
    /// As many as there are of both.
    #[must_use]
    pub fn count(&self) -> u32 {
        let sum = |ranges: &[IdRange]| {
            ranges
                .iter()
                .fold(0_u32, |sum, range| sum.saturating_add(range.count))
        };
        sum(&self.users).min(sum(&self.groups))
    }
}

/// Consecutive users or groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    pub first: u32,
    pub count: u32,
}

/// Whether a process can become a user that nobody else is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnUsers {
    Available,
    /// It cannot, for this reason.
    Unavailable(String),
}

/// Whether KVM works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kvm {
    /// A guest ran with it.
    Works,
    /// It does not, for this reason.
    Unusable(String),
    /// Nobody asked: the pod is to be emulated anyway.
    NotAsked,
}

/// Whether a private mount namespace can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    Available,
    /// It cannot, for this reason.
    Unavailable(String),
    /// It can, and namespaces of processes too, but none of the network, for this reason.
    WithoutNetwork(String),
    /// It can, but in it no root file system of the process's own, for this reason.
    WithoutRoot(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Virtiofsd {
    pub program: PathBuf,
    /// Which of the two it is.
    pub flavour: VirtiofsdFlavour,
    /// Its version, major and minor.
    pub version: (u32, u32),
}

impl Virtiofsd {
    /// Whether it can show files as another user's than they are (`--translate-uid`, since 1.13).
    #[must_use]
    pub fn translates_users(&self) -> bool {
        self.flavour == VirtiofsdFlavour::Rust && self.version >= (1, 13)
    }
}

/// The two virtiofsds: same protocol, other options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VirtiofsdFlavour {
    /// QEMU's own, up to 7.2 (Debian 12's `/usr/lib/qemu/virtiofsd`): works as root only.
    C,
    /// The Rust program of the virtio-fs project.
    Rust,
}

/// What is known of the guest image.
#[derive(Clone, Debug)]
pub struct GuestFacts {
    /// The architecture that it is for, and the VM's therefore.
    pub architecture: Architecture,
    /// The uncompressed kernel.
    pub kernel: PathBuf,
    /// What it unpacks: the guest's tree but for the pods' part, the same file for every pod.
    pub initrd: PathBuf,
    /// Kernel modules that only some pods get, to be unpacked behind the pod's files.
    pub more_modules: PathBuf,
    /// Its release, as uname(1) prints it.
    pub release: String,
    /// The kernel modules that the image can load, or has built in.
    pub modules: BTreeSet<String>,
    pub systemd_version: u32,
    /// Why better kernels than this one were passed over, each in a line.
    pub passed_over: Vec<String>,
}

/// Whose files the guest's users see in the host volumes of an ordinary user's pod, who is one user to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user that the caller's files belong to in the guest.
    pub uid: u32,
    pub gid: u32,
}
