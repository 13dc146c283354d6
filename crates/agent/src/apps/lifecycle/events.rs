//! What happens to the apps of a pod, and what is to be done about it.

use std::time::Duration;

use isopod_contract::config::GuestCheck;
use isopod_contract::message::{ExitStatus, FailureCause, GuestMessage, MemoryBound};

use crate::apps::check::Done;
use crate::apps::notify::ReadinessReport;

/// What happens. Apps are named by their position.
#[derive(Debug)]
pub(crate) enum LifecycleInput {
    /// systemd says that an app's program executes.
    Running {
        app: usize,
        uptime_ms: u64,
        /// Whether the program has ended, though its unit has not.
        leaves: bool,
        /// What about its mounts is not as it must be; looked at where the app [starts](Lifecycle::is_starting).
        fault: Option<FailureCause>,
    },
    /// The app's program could not be executed.
    NotExecuted { app: usize, status: u8, text: String },
    /// An app has ended.
    Exited(AppExit),
    /// An app never ran, and why.
    NeverRan { app: usize, cause: FailureCause },
    /// An app [was stopped](Lifecycle::was_stopped) before its next run began.
    Cancelled { app: usize },
    /// systemd did not take an app's start.
    NotStarted { app: usize, text: String },
    /// An app says how ready it is.
    Readiness { app: usize, report: ReadinessReport },
    /// What [`LifecycleAction::Check`] asked for is done.
    Done {
        app: usize,
        run: u32,
        what: What,
        done: Done,
    },
    /// The last message of an app was sent.
    LastSent,
    /// An app that waits for the host is to start.
    StartApp(usize),
    /// An app is to stop within this time, for good.
    StopApp(usize, Duration),
    /// All apps are to stop within this time.
    Stop(Duration),
    /// The moment has come that [`Lifecycle::due`] named.
    Due,
}

/// The end of an app's run, as far as it can be looked at.
#[derive(Debug)]
pub(crate) struct AppExit {
    pub(crate) app: usize,
    pub(crate) status: ExitStatus,
    /// When its process was started, where it was not yet known that it ran.
    pub(crate) uptime_ms: Option<u64>,
    /// As in [`LifecycleInput::Running`].
    pub(crate) fault: Option<FailureCause>,
    /// What it left to be known of its end.
    pub(crate) last_words: Option<String>,
    /// What memory has run out in, where the kernel killed it for that.
    pub(crate) out_of_memory: Option<MemoryBound>,
    /// The same for which another process of it was killed.
    pub(crate) process_out_of_memory: Option<MemoryBound>,
    /// When its run was active and when its process was started, as systemd counts.
    pub(crate) times: (u64, u64),
}

/// What is to be done, in this order.
#[derive(Debug)]
pub(crate) enum LifecycleAction {
    /// Send the host a message.
    Send(GuestMessage),
    /// An app has ended: end its streams, and when its output is out send this and report [`LifecycleInput::LastSent`].
    End { app: usize, last: GuestMessage },
    /// Start the app's unit; where systemd does not take it, [`LifecycleInput::NotStarted`] follows.
    Start(usize),
    /// Stop the app's unit.
    Stop(usize),
    /// Kill all processes of the app's unit.
    Kill(usize),
    /// Make the app's root again for its next run, before [`LifecycleAction::Start`].
    RenewRoot(usize),
    /// Nobody holds the app's standard input open for a further run.
    LeaveStdin(usize),
    /// Do this for an app, within `limit` where there is one; [`LifecycleInput::Done`] follows.
    Check {
        app: usize,
        run: u32,
        what: What,
        check: GuestCheck,
        limit: Option<Duration>,
    },
    /// End whatever is being done for an app.
    Abandon(usize),
}

/// Something that is done for an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    PostStart,
    Probe(usize),
    PreStop,
}
