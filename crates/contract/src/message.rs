//! The messages, as they go over the wire: postcard, in which an enum is its variant's position. So the order of
//! variants and fields is the format: new ones go last, and any other change raises [`crate::PROTOCOL_VERSION`].
//!
//! An app is named by its position in the order in which the pod's apps have come ([`crate::arrival`]): the receiver has the
//! list itself and need only check a bound. Texts that a guest wrote may hold anything: escape them before a terminal
//! sees them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use crate::app::{AppIndex, ExitStatus};

/// The most lines of the guest's log that travel with one failure: the cause is in the last few, and a message has
/// to stay within [`MAX_MESSAGE_BYTES`].
pub const MAX_LOG_LINES: usize = 20;

/// The most bytes of one line of log: a kernel record is below 1 KiB, and a path of an error message may take half.
pub const MAX_LOG_LINE_BYTES: usize = 1024;

/// The longest message, in bytes: one of the name system ([`crate::names`]) is the largest (64 KiB), a failure with all its log
/// lines the next (20 KiB).
pub const MAX_MESSAGE_BYTES: usize = 65 * 1024;

const _: () = assert!(MAX_LOG_LINES * (MAX_LOG_LINE_BYTES + 8) + 8 * 1024 < MAX_MESSAGE_BYTES);

/// How many random bytes come with each arrival: as many as the kernel's generator is seeded with.
pub const ENTROPY_BYTES: usize = 32;

/// The first message on a stream that the host opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostStream {
    /// 0: the control stream. There is exactly one, opened right after the handshake.
    Control,
    /// 1: executes a command in an app ([`crate::exec`]).
    Exec(crate::exec::Request),
    /// 2: asks what the apps use ([`crate::stats`]).
    Stats,
    /// 3: asks for a file or directory of an app, as an archive ([`crate::copy`]). An app that does not run has what is mounted
    /// for it, and not what the kernel shows of its processes.
    CopyOut {
        app: AppIndex,
        /// The file, as the app sees it. `DIR/.` is what is in a directory.
        path: String,
        /// Whether a symbolic link there is followed.
        follow_link: bool,
    },
    /// 4: brings an archive to an app ([`crate::copy`]).
    CopyIn {
        app: AppIndex,
        /// The target, as the app sees it.
        path: String,
    },
    /// 5: brings a volume to apps that run ([`crate::hotplug`]).
    AddVolume(crate::hotplug::HotplugVolume),
    /// 6: takes a volume away that was brought so ([`crate::hotplug`]).
    RemoveVolume {
        /// What was said when it came.
        volume: crate::hotplug::HotplugVolume,
        /// Whether also from apps that use it: they keep what they have open.
        force: bool,
    },
    /// 7: changes how an app runs ([`crate::change`]).
    ChangeApp {
        app: AppIndex,
        /// What becomes of it.
        change: crate::change::AppChange,
    },
    /// 8: asks which processes the apps have ([`crate::processes`]).
    Processes,
    /// 9: asks for what an app has in its root: the frames of a copy out of it ([`crate::copy`]).
    Root {
        /// The app; it need not run.
        app: AppIndex,
        part: RootPart,
    },
    /// 10: brings apps and what they need, or the whole pod ([`crate::arrival`]).
    Arrive {
        /// The number of the first of them: those of an arrival that failed are not used again.
        first: AppIndex,
        /// Random bytes for the guest's kernel, before anything of what comes runs: a VM that was restored has the state of its
        /// random number generator in common with others.
        entropy: [u8; ENTROPY_BYTES],
    },
    /// 11: takes away an app that has ended, with all that came with it ([`crate::arrival`]).
    Depart(crate::arrival::Departure),
    /// 12: connects with a TCP port of the guest's loopback interface. A [`DialAnswer`], then what both sides write.
    Dial { port: u16 },
    /// 13: configures an interface whose device was plugged in ([`crate::network`]).
    AddInterface {
        /// The [`crate::network::GuestInterface`] as JSON: it leaves out what says nothing, which postcard cannot. It has an Ethernet
        /// address, by which its device is found.
        interface: String,
    },
    /// 14: takes an interface from the apps; its device may be unplugged then ([`crate::network`]).
    RemoveInterface { name: String },
    /// 15: gives a volume of files new content, an archive of `DIR/.` as in [`HostStream::CopyIn`]. What reads it sees names come and go as the
    /// kubelet changes them: new directories, then links, then what is not there any more.
    Refill { volume: String },
    /// 16: brings the whole pod as [`HostStream::Arrive`] does, but to be looked into: its roots and volumes are mounted, no app of it
    /// is started and no network is set up.
    Open {
        /// As in [`HostStream::Arrive`].
        entropy: [u8; ENTROPY_BYTES],
    },
    /// 17: the name servers `before` of the apps' `/etc/resolv.conf` are `after` from now on ([`crate::network`]).
    Nameservers { before: Vec<IpAddr>, after: Vec<IpAddr> },
    /// 18: questions to a name server that the guest does not reach, from now on ([`crate::names`]).
    Names { server: IpAddr },
    /// 19: says who the VM is from now on, where its first arrival said something else ([`crate::network::InterfaceAnswer`]).
    Identify {
        /// The [`crate::config::Identity`] as JSON, for the same reason as an interface's.
        identity: String,
    },
}

/// The agent's answer to [`HostStream::Dial`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DialAnswer {
    /// 0: what follows is the connection's.
    Connected,
    /// 1: there is none.
    Failed {
        /// Why, in one line.
        text: String,
    },
}

/// What of an app's root, with all that is mounted in it left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootPart {
    /// 0: the list of what the app changed of its image: for each path `A`, `C` or `D` (added, changed, deleted), a blank, the
    /// path from the root and a NUL.
    Changes,
    /// 1: the same as a layer of an image (image-spec, layer.md).
    Layer,
    /// 2: all of it, as an archive.
    Whole,
}

/// The first message on a stream that the guest opens. Each app has exactly one `Stdout` and one `Stderr`, and at
/// most one `Stdin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GuestStream {
    /// 0: the host writes what the app reads as its standard input, and half-closes for the end of input. The guest
    /// resets the stream when nobody reads any more.
    Stdin { app: AppIndex },
    /// 1: what the app writes to its standard output, up to the end of the app.
    Stdout { app: AppIndex },
    /// 2: what the app writes to its standard error, up to the end of the app, its restarts included.
    Stderr { app: AppIndex },
}

/// What the host asks, on the control stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostMessage {
    /// 0: stop every app: its stop signal first, `SIGKILL` to what is left of it after the grace.
    Stop {
        /// The grace in milliseconds; 0 kills at once.
        grace_ms: u32,
    },
    /// 1: send a signal to an app's main process.
    Signal {
        app: AppIndex,
        /// The signal's number (signal(7)).
        signal: u8,
    },
    /// 2: write everything back to the host, then say [`GuestMessage::Synced`].
    Finish {
        /// What is written back.
        write_back: WriteBack,
    },
    /// 3: the answer to [`GuestMessage::Beat`].
    Time {
        /// The beat's number.
        number: u32,
        /// The host's time, in nanoseconds since 1970.
        unix_ns: u64,
    },
    /// 4: the size of the terminal that is connected with an app's. Of an app without a terminal it says nothing.
    Resize {
        app: AppIndex,
        size: crate::exec::WindowSize,
    },
    /// 5: start an app that [waits](crate::config::GuestApp::waits) for this. Of another it says nothing.
    StartApp { app: AppIndex },
    /// 6: stop one app for good: its stop signal first, `SIGKILL` to what is left of it after the grace.
    StopApp {
        app: AppIndex,
        /// The grace in milliseconds; 0 kills at once.
        grace_ms: u32,
    },
}

/// What the guest writes back to the host before it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WriteBack {
    /// 0: host volumes. The pod's own disks are removed with it.
    Shares,
    /// 1: the pod's own disks too, with which it may be started again.
    SharesAndDisks,
}

/// The first message of the agent's on a stream that the host has opened, the control stream left out. It comes at once,
/// before what was asked for is begun: where it does not come, the guest has fallen silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamAnswer {
    /// 0: the header was read.
    Taken,
}

/// What memory has run out in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemoryBound {
    /// 0: the guest's whole memory.
    Guest,
    /// 1: what the app itself may have.
    App,
}

/// What the guest reports, on the control stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GuestMessage {
    /// 0: the agent serves. The first message, once.
    Ready(BootTimes),
    /// 1: something about an app.
    App(AppIndex, AppReport),
    /// 2: every app has ended or failed. Once.
    AllEnded,
    /// 3: the answer to [`HostMessage::Finish`]: all was written back, but for what is in the list.
    Synced {
        /// The file systems that could not be written back.
        failed: Vec<SyncFailure>,
    },
    /// 4: something that the agent could not do and that keeps no app from running.
    Warning {
        /// What, in one line.
        text: String,
    },
    /// 5: the agent lives; every [`crate::BEAT_EVERY`], and at once when it is to stop the apps. The host answers with
    /// [`HostMessage::Time`], and the next comes only after that, or after a while.
    Beat {
        /// One more than the last time.
        number: u32,
    },
}

impl GuestMessage {
    /// What messages about the message call it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ready(_) => "ready",
            Self::App(_, report) => report.name(),
            Self::AllEnded => "all ended",
            Self::Synced { .. } => "synced",
            Self::Warning { .. } => "warning",
            Self::Beat { .. } => "beat",
        }
    }
}

/// What the guest reports about an app. The host passes it on as it is, once it has found that it may come now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppReport {
    /// 0: its main process is executing. Once per app, and once more after each [`AppReport::Restarting`].
    Started {
        /// When systemd started the process, in milliseconds of guest uptime.
        uptime_ms: u64,
    },
    /// 1: it will never run. Its last message.
    Failed { cause: FailureCause },
    /// 2: it has ended; what it wrote went to its streams before. Its last message.
    Exited { status: ExitStatus },
    /// 3: it has ended and will be restarted. Only for an app with a restart policy. Its streams live on.
    Restarting {
        status: ExitStatus,
        /// When it will be started, in milliseconds from now.
        in_ms: u32,
        /// How often it will have been restarted then: one more than the last time.
        count: u32,
    },
    /// 4: it runs and is ready now, as it says itself. An app whose readiness nobody reports is ready once it has started.
    Ready,
    /// 5: it was ready and is not any more. One that has ended is not ready either; this does not come then.
    Unready,
    /// 6: the kernel killed its main process because there was no memory left. Before what says that it ended.
    OutOfMemory {
        /// What there was no memory left in.
        within: MemoryBound,
    },
    /// 7: the kernel killed another process of it because there was no memory left. Before what says that it ended, once in
    /// a life.
    ProcessOutOfMemory {
        /// What there was no memory left in.
        within: MemoryBound,
    },
    /// 8: what its probes find of it is new. Only while it runs.
    Health {
        /// What they find.
        health: Health,
        /// The last words of the probe that it is due to, in a line.
        text: String,
    },
    /// 9: the agent ends its life by itself. Only while it runs, once in a life.
    Ending {
        /// Why, in a line.
        reason: String,
    },
    /// 10: what it left to be known of its end. Before what says that it ended, once in a life.
    LastWords {
        /// What. It may hold anything.
        text: String,
    },
}

impl AppReport {
    fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Failed { .. } => "failed",
            Self::Exited { .. } => "exited",
            Self::Restarting { .. } => "restarting",
            Self::Ready => "app ready",
            Self::Unready => "app unready",
            Self::OutOfMemory { .. } => "out of memory",
            Self::ProcessOutOfMemory { .. } => "process out of memory",
            Self::Health { .. } => "health",
            Self::Ending { .. } => "ending",
            Self::LastWords { .. } => "last words",
        }
    }
}

/// The most bytes of an app's last words: Kubernetes'.
pub const MAX_LAST_WORDS_BYTES: usize = 4096;

/// What an app's probes find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    /// 0: nothing yet.
    Starting,
    /// 1: all is well.
    Healthy,
    /// 2: one of them has failed.
    Unhealthy,
}

/// The most bytes of a text about an app's health: a probe's last words.
pub const MAX_HEALTH_BYTES: usize = 4096;

/// When the guest's boot reached what, in milliseconds of guest uptime (`CLOCK_BOOTTIME`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootTimes {
    /// The agent's `main` began.
    pub agent_started_ms: u64,
    /// systemd answered.
    pub systemd_ms: u64,
    /// The host had been greeted.
    pub connected_ms: u64,
    /// The kernel had started the first process; 0 where that is not known.
    pub init_ms: u64,
    /// The way to the host was there, and the first process became systemd; 0 where not known.
    pub systemd_begun_ms: u64,
}

/// Why an app will never run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureCause {
    /// 0: a mount that it needs failed.
    Mount {
        /// The mount unit that failed.
        unit: String,
        /// The volume that is missing because of it; `None` for a part of the app's root filesystem.
        volume: Option<String>,
        /// systemd's word for it (`exit-code`, `timeout`).
        result: String,
        /// What the guest's log says about it.
        log: Vec<String>,
    },
    /// 1: another unit that it needs failed.
    Dependency {
        /// The unit that failed.
        unit: String,
        /// systemd's word for it, or how the app ended that should have come first.
        result: String,
        /// What the guest's log says about it.
        log: Vec<String>,
    },
    /// 2: the app's own unit failed before the program was executed.
    Unit {
        /// The app's unit.
        unit: String,
        /// systemd's word for it, or the name of the step that failed (`226/NAMESPACE`).
        result: String,
        /// What the guest's log says about it.
        log: Vec<String>,
    },
    /// 3: none; the pod was stopped while the app waited for others.
    Stopped,
}

/// A share that could not be written back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncFailure {
    /// Its mount point in the guest.
    pub mount_point: String,
    /// The system's words for why.
    pub error: String,
}
