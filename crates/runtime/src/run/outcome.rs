//! How a pod and its apps ended.

use std::io;
use std::time::Duration;

use isopod_spec::AppName;
use isopod_vm::agent::{ArrivalTimes, BootTimes, ExitStatus, FailureCause, MemoryBound};

/// How a pod ended.
#[derive(Debug)]
pub struct Outcome {
    /// Each app's end, in the order of declaration.
    pub apps: Vec<(AppName, AppEnd)>,
    /// Which app failed first, if one did.
    pub first_failed: Option<usize>,
    /// How often each app was restarted.
    pub restarts: Vec<u32>,
    /// Which apps the guest's kernel killed because there was no memory left, and what it had run out in the last time.
    pub out_of_memory: Vec<Option<MemoryBound>>,
    /// Whether it was stopped because it had run as long as it may.
    pub past_deadline: bool,
    /// Why it was stopped, where its apps' output could not be written to the caller's streams.
    pub unwritten: Option<io::Error>,
    /// Shares whose data may not have reached the host, with the reason.
    pub unsynced: Vec<String>,
    /// When what happened.
    pub timings: Timings,
}

/// How an app ended.
#[derive(Debug)]
pub enum AppEnd {
    Exited(ExitStatus),
    Failed(FailureCause),
}

impl AppEnd {
    /// The exit status a shell would show: 128 and the signal's number for a killed process, 125 for an app that did
    /// not start, and 0 where that is because the pod was stopped.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            AppEnd::Exited(ExitStatus::Code(code)) => u8::try_from(code & 0xff).unwrap_or(125),
            AppEnd::Exited(ExitStatus::Signal { signal, .. }) => {
                u8::try_from(signal.saturating_add(128) & 0xff).unwrap_or(125)
            }
            AppEnd::Failed(FailureCause::Stopped) => 0,
            AppEnd::Failed(_) => 125,
        }
    }
}

/// The exit status of a pod that `isopod` could not run as it was to.
const NOT_RUN: u8 = 125;

/// The exit status of a pod that ran longer than it may (timeout(1)).
const TIMED_OUT: u8 = 124;

impl Outcome {
    /// The pod's exit status: timeout(1)'s where it ran longer than it may, that of the app that failed first, otherwise
    /// 0.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        if self.past_deadline {
            return TIMED_OUT;
        }
        if self.unwritten.is_some() {
            return NOT_RUN;
        }
        self.first_failed
            .and_then(|app| self.apps.get(app))
            .map_or(0, |(_, end)| end.exit_status())
    }
}

/// When what happened, for benchmarks: host times since the processes were spawned, guest times since its kernel ran.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timings {
    /// The guest's own words.
    pub boot: BootTimes,
    /// Likewise, of how the pod came to it.
    pub arrival: ArrivalTimes,
    /// Host: the agent had answered.
    pub ready: Duration,
    /// Guest: the first app's process ran, in milliseconds of guest uptime.
    pub first_app_ms: u64,
    /// Host: every app had ended.
    pub ended: Duration,
    /// Host: the shares were written back.
    pub synced: Duration,
    /// Host: the VM was gone.
    pub gone: Duration,
}
