//! What goes into a [`Supervision`](super::Supervision) and what comes out of it.

use std::io;
use std::time::Duration;

use isopod_spec::{AppName, AppRole, FailurePolicy};
use isopod_vm::agent::{AppReport, BootTimes, Event, SyncFailure};

use crate::pods::files::{AppRecord, PodRecord};
use crate::run::report::Milestone;

/// What is known of a pod before it runs.
#[derive(Clone, Debug)]
pub(in crate::run) struct Terms {
    pub(in crate::run) apps: Vec<AppTerms>,
    /// How long the apps have to stop.
    pub(in crate::run) grace: Duration,
    /// How long the pod may run.
    pub(in crate::run) allowed: Option<Duration>,
    /// How long the guest may be silent.
    pub(in crate::run) silence: Option<Duration>,
    pub(in crate::run) on_failure: FailurePolicy,
    /// Whether the pod continues whatever becomes of its apps.
    pub(in crate::run) held: bool,
}

/// What is known of an app before it runs.
#[derive(Clone, Debug)]
pub(in crate::run) struct AppTerms {
    pub(in crate::run) name: AppName,
    pub(in crate::run) role: AppRole,
    /// Whether it has probes.
    pub(in crate::run) probed: bool,
    /// Whether it is reported when it is ready, which otherwise it is once it has started.
    pub(in crate::run) reports_readiness: bool,
    /// Whether the end of its log may be its last words.
    pub(in crate::run) words_from_log: bool,
}

impl From<&PodRecord> for Terms {
    fn from(record: &PodRecord) -> Self {
        Self {
            apps: record.apps.iter().map(AppTerms::from).collect(),
            held: record.held,
            grace: Duration::from_millis(record.stop_timeout_ms),
            allowed: record.deadline_ms.map(Duration::from_millis),
            silence: record.silent_kill_ms.map(Duration::from_millis),
            on_failure: record.on_failure,
        }
    }
}

impl From<&AppRecord> for AppTerms {
    fn from(app: &AppRecord) -> Self {
        Self {
            name: app.name.clone(),
            role: app.role,
            probed: app.probed,
            reports_readiness: app.reports_readiness,
            words_from_log: app.words_from_log,
        }
    }
}

#[derive(Debug)]
pub(in crate::run) enum Input {
    /// An app comes, behind all others.
    Comes(AppTerms),
    /// It has not come.
    NotCome(usize, String),
    /// The agent reports. Streams are for whoever performs the actions.
    Guest(Event),
    /// All that the apps wrote is where it is to go, after [`Action::AwaitOutput`].
    OutputWritten,
    /// What the apps write can be written no more.
    OutputBroken(io::Error),
    /// The caller asks for a stop: the first time in order, then at once, then it kills the VM.
    CallerStop,
    /// A command asks for a stop, within this time or the pod's own.
    Stop(Option<Duration>),
    /// A signal for an app, or for all.
    Signal { app: Option<usize>, signal: u8 },
    /// The moment has come that [`Supervision::due`](super::Supervision::due) named.
    Due,
}

/// What is to be done, in this order.
#[derive(Debug)]
pub(in crate::run) enum Action {
    /// Ask the agent to stop the apps within this time.
    Stop(Duration),
    /// Send a signal to an app.
    Signal { app: usize, signal: u8 },
    /// Wait until all that the apps wrote is where it is to go; then comes [`Input::OutputWritten`].
    AwaitOutput,
    /// Let the agent write back what is to survive the guest.
    Finish,
    /// Report how far the pod is.
    Reach(Milestone),
    /// Write down what has become of the pod.
    Record(Note),
    /// Write down the last words of an app that has ended: these, or the end of its log where `from_log` says so. That
    /// belongs to this life alone and is forgotten in any case.
    LastWords {
        app: usize,
        words: Option<String>,
        from_log: bool,
    },
    /// Log a line that the guest brought about, where there is room for it.
    Log(GuestLine),
    /// Kill the VM: this is over. The last action.
    End(SupervisionEnd),
}

/// What has become of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::run) enum Note {
    Running,
    /// It is to stop for this reason.
    StoppingBecause(&'static str),
    Stopping,
    /// The guest has not answered for so long.
    Silent(Duration),
    Answers,
    /// There is no app that could not be ready.
    AllReady,
    /// An app is ready, and perhaps every one has been.
    AppReady {
        app: usize,
        all: bool,
    },
    /// How the guest's boot went.
    Booted(BootTimes),
    /// An app has started, at this time of the guest's clock; whether it has probes.
    AppStarted {
        app: usize,
        uptime_ms: u64,
        probed: bool,
    },
    /// Another report about an app. Of its last words nothing is noted before its end ([`Action::LastWords`]).
    App(usize, AppReport),
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::run) enum GuestLine {
    Info(String),
    Warning(String),
}

/// How the supervision ends.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::run) enum SupervisionEnd {
    /// Everything was written back, but for these.
    Synced(Vec<SyncFailure>),
    /// The apps did not end within this time.
    NotStopped(Duration),
    /// The guest has not answered for so long, which is longer than it may be silent.
    Silent(Duration),
    /// The guest did not answer to its stop within this time.
    StopUnanswered(Duration),
    /// The caller killed it.
    Killed,
}
