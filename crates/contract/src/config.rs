//! What comes to a VM, as the agent reads it. The VM boots without knowing its pod; the pod's apps and what they need come as
//! *arrivals*, the first when the agent has answered and others while the pod runs: an archive of files for the guest's
//! tree, and in it, at [`ARRIVAL`](crate::layout::ARRIVAL), an [`Arrival`] as JSON. It carries facts, no decisions.
//!
//! Every path in it is absolute in the guest and UTF-8, since systemd reads no other (the planner refuses the rest).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use crate::network::GuestNetwork;

/// The version this crate writes and the only one it reads.
pub const ARRIVAL_VERSION: u32 = 7;

/// The file system type of an [`EarlyMount`] that shows a directory of the guest, as it is, in a second place (mount(2),
/// `MS_BIND`).
pub const BIND: &str = "bind";

/// What comes to the VM at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Arrival {
    /// [`ARRIVAL_VERSION`].
    pub version: u32,
    /// What the VM is from now on: in the first arrival, and in no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// The target unit that starts the apps which wait for nothing, and by which systemd remembers the others.
    pub unit: String,
    /// The kernel modules that it needs, by name; what they depend on is loaded before them.
    pub modules: Vec<String>,
    /// What is mounted before systemd knows the units, in this order: images, the writable disk, every app's root filesystem.
    pub early_mounts: Vec<EarlyMount>,
    /// The mounts of systemd's mount units, parents first, which the agent makes ahead of it: a unit whose mount is there
    /// already is active without a process. Whatever is not there when the apps begin, systemd mounts.
    pub mounts_ahead: Vec<MountAhead>,
    /// Mount points of file systems whose data lives on the host: written back before the VM ends.
    pub shares: Vec<String>,
    /// Mount points of the pod's own disks: likewise, where it may be started again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<String>,
    /// The apps, in the order of declaration; they are numbered behind those that came before.
    pub apps: Vec<GuestApp>,
}

/// What a VM is when its first arrival has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Identity {
    /// The guest's host name.
    pub hostname: String,
    /// How much of the memory files may take.
    #[serde(default)]
    pub memory: GuestMemory,
    /// The kernel's parameters that differ from its own defaults, set before any app begins.
    pub sysctls: Vec<Sysctl>,
    /// The network interface; `None`: there is the loopback interface alone.
    pub network: Option<GuestNetwork>,
    /// Whether the pod continues when its last app has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
}

/// How much of the guest's memory files may take: together less than there is, so that one who fills them all finds no
/// space left, and not the kernel no memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GuestMemory {
    /// What the apps write to their roots and to empty volumes without a size, in bytes.
    pub root_bytes: u64,
    /// `/dev/shm`, which the apps of a pod share, in bytes.
    pub shm_bytes: u64,
}

/// A mount that is there before systemd reads the units: the agent makes it. A mount unit costs a process
/// and tens of milliseconds under emulation, and nothing that systemd could order or leave out depends on these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EarlyMount {
    /// What is mounted: a device, or a word that the file system takes.
    pub source: String,
    /// Where; the directory exists.
    pub mount_point: String,
    /// The file system type, or [`BIND`].
    pub fs_type: String,
    /// The file system's own options, with commas between them.
    pub options: String,
    /// Whether it is read-only.
    pub read_only: bool,
    /// The directories that are made in it, parents first, where they are not there yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directories: Vec<NewDirectory>,
    /// A directory of the guest's whose content is put into what is mounted: a directory that is missing is made there, and a
    /// file is bound over the one of its name, or over an empty one that is made for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub laid: Option<String>,
}

/// A directory on the writable disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NewDirectory {
    pub path: String,
    /// Its permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Whether what an earlier life of the pod left in it goes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub emptied: bool,
}

/// A mount unit's mount, in the unit's own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MountAhead {
    /// `What=`.
    pub source: String,
    /// `Where=`.
    pub mount_point: String,
    /// `Type=`.
    pub fs_type: String,
    /// `Options=`.
    pub options: String,
}

/// A parameter of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Sysctl {
    /// Its name, as sysctl(8) has it.
    pub name: String,
    pub value: String,
    /// Whether no app may start without it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
}

/// An app, as the agent sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GuestApp {
    /// The app's name.
    pub name: String,
    /// The systemd unit that runs it (`NAME.service`).
    pub unit: String,
    /// Where the agent makes the unit's standard input, where the app has one.
    pub stdin: Option<String>,
    /// The named pipe that the unit's standard output is.
    pub stdout: String,
    /// The named pipe that the unit's standard error is.
    pub stderr: String,
    /// Where the agent makes a link to the terminal that is all three of the unit's standard streams; `None`: the pipes are.
    /// What the host sends as standard input is typed on it, and its output is the standard output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<String>,
    /// The directory that its processes find as [`LAUNCH_DIR`](crate::layout::LAUNCH_DIR).
    pub launch: String,
    /// The mounts without which the app must not start.
    pub mounts: Vec<GuestMount>,
    /// When it is restarted; `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<GuestRestart>,
    /// How its root is recreated before each life but the first; `None`: it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fresh_root: Option<FreshRoot>,
    /// Whether the host says when it is started ([`HostMessage::StartApp`](crate::message::HostMessage::StartApp)).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits: bool,
    /// What must come before it: the agent starts it then. Without any, it is started as soon as it has come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<GuestDependency>,
    /// Where the agent makes the socket on which the app says that it is ready (sd_notify(3)); `None`: it is as soon as
    /// it has started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<String>,
    /// The directory that it finds as `/dev`, to be filled.
    #[serde(default)]
    pub dev: String,
    /// The file in which it says why it ended; emptied for each life. `None`: a volume's file is in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_words: Option<String>,
    /// Character devices that it finds there besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<GuestDevice>,
    /// Whether it has the guest's own devices and, in `sys`, the guest's own `/sys`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub privileged: bool,
    /// Whether a volume is its `/dev/shm`, in place of the pod's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_shm: bool,
    /// The directory that it finds as `/sys`, where that is not [`APP_SYS`](crate::layout::APP_SYS) itself: a volume is mounted in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sys: Option<String>,
    /// How readily the kernel kills what is executed in it when memory runs out (proc_pid_oom_score_adj(5)); its own
    /// process has that from its unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i16>,
    /// What is asked of it while it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<GuestProbe>,
    /// What is done as soon as it executes. It counts as ready, and is probed, when that is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_start: Option<GuestHandler>,
    /// What is done before it is asked to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_stop: Option<GuestHandler>,
    /// Whether its unit runs something before the program, which may be what failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pre_start: bool,
    /// How long what its unit runs after the program may take beyond the time that the apps have to stop, in
    /// milliseconds; `None`: the unit runs nothing then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_stop_ms: Option<u64>,
}

/// An app's root of which nothing stays but what its image and the pod have in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FreshRoot {
    /// Where it is mounted; one of [`Arrival::early_mounts`].
    pub mount_point: String,
    /// What the pod has in it: the layer above the image, whose own mode and owner are the root's.
    pub seed: String,
    /// What the app wrote: the layer above that.
    pub upper: String,
    /// overlayfs's own directory for it.
    pub work: String,
}

/// A character device that everybody in an app may open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GuestDevice {
    /// Its path below the app's `/dev`.
    pub path: String,
    pub major: u32,
    pub minor: u32,
}

/// A limit of setrlimit(2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GuestRlimit {
    /// What is limited: `nofile` for `RLIMIT_NOFILE`.
    pub name: String,
    /// What holds; `None`: no limit.
    pub soft: Option<u64>,
    /// As far as it may be raised; `None`: no limit.
    pub hard: Option<u64>,
}

impl GuestApp {
    /// Whether it reports when it is ready: otherwise it is as soon as it has started.
    #[must_use]
    pub fn reports_readiness(&self) -> bool {
        let reports = |probe: &GuestProbe| probe.holds_others || probe.readies;
        self.notify.is_some() || self.post_start.is_some() || self.probes.iter().any(reports)
    }
}

/// Something that is asked of an app again and again while it runs. Times are in milliseconds, and those of a life
/// count from the start of the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GuestProbe {
    /// What it is called in messages: `liveness probe`.
    pub name: String,
    pub check: GuestCheck,
    /// When it is done first.
    pub initial_delay_ms: u64,
    /// How long from the begin of one to the begin of the next.
    pub period_ms: u64,
    /// How long it may take.
    pub timeout_ms: u64,
    /// How many successes in a row make the app healthy.
    pub success_threshold: u32,
    /// How many failures in a row make the app unhealthy.
    pub failure_threshold: u32,
    /// A failure that began within this time does not count while there was no success; 0: every one counts.
    pub lenient_ms: u64,
    /// The period within that time.
    pub lenient_period_ms: u64,
    /// Whether all others wait for its success, after which it is not asked any more in this life.
    pub holds_others: bool,
    /// Whether the app is ready only while this is healthy.
    pub readies: bool,
    /// How the app is ended when this is unhealthy; `None`: it is not.
    pub on_failure: Option<GuestEnding>,
}

/// How the agent ends an app's life by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GuestEnding {
    /// How long the app has to stop before it is killed, in milliseconds; 0: it is killed at once.
    pub grace_ms: u64,
    /// Whether its end counts as a failure for [`GuestApp::restart`]; otherwise it is not restarted.
    pub restarts: bool,
}

/// Something that is done once in an app's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GuestHandler {
    /// What it is called in messages: `postStart handler`.
    pub name: String,
    pub check: GuestCheck,
    /// How the app is ended when it fails; `None`: it is not.
    pub on_failure: Option<GuestEnding>,
}

/// Something that is done and succeeds or fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum GuestCheck {
    /// Executes a command in the app, as the app's user and with its environment; exit status 0 is a success.
    Exec {
        /// Program and arguments.
        argv: Vec<String>,
    },
    /// Sends an HTTP request, and others where redirections on the same host lead; a status from 200 to 399 is a success.
    HttpGet {
        /// Whether TLS is spoken; the server's certificate is not looked at.
        tls: bool,
        /// To which address; `None`: the loopback interface's.
        host: Option<IpAddr>,
        port: u16,
        /// The path with its query.
        path: String,
        /// Header fields beyond those that every request has, in order.
        headers: Vec<(String, String)>,
    },
    /// Asks a gRPC server in the guest for the health of a service.
    Grpc {
        /// Whether TLS is spoken; the server's certificate is not looked at.
        tls: bool,
        port: u16,
        /// The service; empty: the server's own health.
        service: String,
    },
    /// Connects; a connection is a success.
    Tcp {
        /// To which address; `None`: the loopback interface's.
        host: Option<IpAddr>,
        port: u16,
    },
    /// Waits, and succeeds.
    Sleep {
        /// For how long, in milliseconds.
        ms: u64,
    },
}

/// An app that must have come so far before another starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GuestDependency {
    /// Its number.
    pub app: u16,
    /// How far it must have come.
    pub condition: DependencyCondition,
}

/// How far an app must have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DependencyCondition {
    /// It has started, and is ready where it says so itself.
    Started,
    /// It has ended with exit status 0.
    Succeeded,
    /// It has been healthy.
    Healthy,
}

/// When an app that has ended is restarted. The delay doubles from one restart to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GuestRestart {
    /// After which end.
    pub after: RestartAfter,
    /// How often at most; `None`: without limit.
    pub max_restarts: Option<u32>,
    /// The first delay, in milliseconds.
    pub first_delay_ms: u64,
    /// The longest delay, in milliseconds.
    pub max_delay_ms: u64,
    /// An app that ran this long, in milliseconds, gets the first delay again.
    pub reset_after_ms: u64,
}

/// After which end of an app it is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RestartAfter {
    /// An exit status other than 0, or a signal.
    Failure,
    /// Every end.
    AnyEnd,
}

/// A mount that an app needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GuestMount {
    /// The mount unit.
    pub unit: String,
    /// Where it must be, as /proc/self/mountinfo names it (before octal escaping).
    pub mount_point: String,
    /// The volume that it brings; `None` for a part of the app's root filesystem.
    pub volume: Option<String>,
    /// The file system type it must have; `None` where the planner cannot know it (a bind mount of a host directory
    /// has its source's type).
    pub fs_type: Option<String>,
    /// Whether it must be read-only.
    pub read_only: bool,
}
