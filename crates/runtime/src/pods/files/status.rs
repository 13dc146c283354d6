//! What became of a pod: `status.json`.

use std::time::Duration;

use isopod_contract::arrival::Departure;
use isopod_spec::AppName;
use serde::{Deserialize, Serialize};

use super::{AppRecord, VERSION};
use crate::clock::{boot_id, boot_ms, now_ms};
use crate::pods::start_times::StartTimes;
use crate::pods::state::Phase;
use crate::pods::volumes::{AttachedRecord, VolumeRecord};
use crate::process::Process;

/// What became of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Status {
    /// [`VERSION`].
    pub version: u32,
    /// How far it is.
    pub phase: Phase,
    /// The host's boot that it runs in (random(4), `boot_id`).
    pub boot_id: String,
    /// When this was written, in milliseconds since that boot (time_namespaces(7), `CLOCK_BOOTTIME`): the clock that
    /// nobody sets.
    pub boot_ms: u64,
    /// When its start was asked for, in milliseconds since 1970.
    pub started_ms: u64,
    /// When every app had been ready.
    pub ready_ms: Option<u64>,
    /// When it had ended.
    pub ended_ms: Option<u64>,
    /// The apps, in the order of declaration.
    pub apps: Vec<AppStatus>,
    /// The volumes that were attached while it runs.
    pub attached: Vec<AttachedRecord>,
    /// The apps that came while it runs, those that have gone again included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arrived: Vec<ArrivedRecord>,
    /// How often volumes came or went, or were to.
    pub volume_changes: u32,
    /// Where the time of its start went; `None` until its guest has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartTimes>,
    /// The process that supervises it.
    pub supervisor: Option<Process>,
    /// Since when its guest has not answered, in milliseconds since the host's boot; `None`: it answers.
    pub silent_since_ms: Option<u64>,
    /// The pod's exit status, once it has ended.
    pub exit_status: Option<u8>,
    /// Why it ended, in words.
    pub reason: Option<String>,
}

impl Status {
    /// The status of a pod of these apps whose start was just asked for.
    #[must_use]
    pub fn starting(apps: impl Iterator<Item = AppName>) -> Self {
        Self {
            version: VERSION,
            phase: Phase::Starting,
            boot_id: boot_id(),
            boot_ms: boot_ms(),
            started_ms: now_ms(),
            ready_ms: None,
            ended_ms: None,
            apps: apps.map(AppStatus::waiting).collect(),
            attached: Vec::new(),
            arrived: Vec::new(),
            volume_changes: 0,
            start: None,
            supervisor: Process::current(),
            silent_since_ms: None,
            exit_status: None,
            reason: None,
        }
    }

    /// How long ago this was written, which is the pod's end for one that has ended. Within one boot the time of day
    /// may be set as it likes; a pod of an earlier boot has ended before this one began.
    #[must_use]
    pub fn age(&self, now: &Now) -> Duration {
        if self.boot_id == now.boot_id {
            return Duration::from_millis(now.boot_ms.saturating_sub(self.boot_ms));
        }
        let ended = self.ended_ms.unwrap_or(self.started_ms);
        Duration::from_millis(now.wall_ms.saturating_sub(ended).max(now.boot_ms))
    }

    /// Why a pod with this status does not run any more: its own reason, or what must have happened.
    #[must_use]
    pub fn exit_reason(&self) -> String {
        match &self.reason {
            Some(reason) => reason.clone(),
            None if self.boot_id != boot_id() => "the host was restarted while it ran".into(),
            None => "its supervisor was killed".into(),
        }
    }
}

/// What became of an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AppStatus {
    pub name: AppName,
    /// Where it is.
    pub state: AppState,
    /// The exit status as a shell shows it, once it has ended.
    pub exit_status: Option<u8>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether its processes are held.
    #[serde(default)]
    pub paused: bool,
    /// How often it was restarted.
    pub restarts: u32,
    /// When its program was started last, in milliseconds since 1970.
    pub started_ms: Option<u64>,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// Why it did not start, or what ended it that was not its own doing.
    pub error: Option<String>,
    /// What its probes find while it runs; `None`: it has none, or does not run.
    pub health: Option<HealthState>,
    /// What the probe last said to which that is due.
    pub health_text: Option<String>,
    /// Why its last life was ended by Isopod itself, where one was.
    pub ended_because: Option<String>,
    /// What it left to be known of the end of its last life. It may hold anything.
    #[serde(default)]
    pub last_words: Option<String>,
}

impl AppStatus {
    /// The status of an app that has not started yet.
    pub(crate) fn waiting(name: AppName) -> Self {
        Self {
            name,
            state: AppState::Waiting,
            exit_status: None,
            signal: None,
            ready: false,
            paused: false,
            restarts: 0,
            started_ms: None,
            ended_ms: None,
            error: None,
            health: None,
            health_text: None,
            ended_because: None,
            last_words: None,
        }
    }
}

/// Where an app is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AppState {
    /// It has not started yet.
    Waiting,
    Running,
    /// It has ended, and will be restarted.
    Restarting,
    Exited,
    Failed,
}

impl AppState {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            AppState::Waiting => "waiting",
            AppState::Running => "running",
            AppState::Restarting => "restarting",
            AppState::Exited => "exited",
            AppState::Failed => "failed",
        }
    }
}

/// What an app's probes find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthState {
    /// Nothing yet.
    Starting,
    /// All is well.
    Healthy,
    /// One of them has failed.
    Unhealthy,
}

impl HealthState {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            HealthState::Starting => "starting",
            HealthState::Healthy => "healthy",
            HealthState::Unhealthy => "unhealthy",
        }
    }
}

/// An app that came while the pod runs: it lasts until the pod stops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ArrivedRecord {
    /// The app. Whether it has gone again, it says itself.
    pub app: AppRecord,
    /// The volumes that came with it.
    pub volumes: Vec<VolumeRecord>,
    /// Under which numbers of changes what came with it is bound below the share.
    pub serials: Vec<u32>,
    /// What goes with it.
    pub departure: Departure,
    /// Whether the pod's apps are in a slice of their own since.
    pub slice: bool,
}

/// The host's clocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Now {
    /// The host's boot.
    pub boot_id: String,
    /// Milliseconds since that boot.
    pub boot_ms: u64,
    /// Milliseconds since 1970.
    pub wall_ms: u64,
}

impl Now {
    /// What they say now.
    #[must_use]
    pub fn read() -> Self {
        Self {
            boot_id: boot_id(),
            boot_ms: boot_ms(),
            wall_ms: now_ms(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the time of day does, and however long the host slept.
    #[test]
    fn an_age_is_of_the_clock_that_nobody_sets() {
        let mut status = Status::starting(std::iter::empty());
        status.boot_ms = 10_000;
        status.ended_ms = Some(5_000_000);
        let now = |boot_id: &str, boot_ms, wall_ms| Now {
            boot_id: boot_id.to_owned(),
            boot_ms,
            wall_ms,
        };
        let here = status.boot_id.clone();
        for wall_ms in [0, 5_000_000, u64::MAX] {
            assert_eq!(status.age(&now(&here, 13_000, wall_ms)), Duration::from_secs(3));
        }
        // After a reboot there is the time of day, and the boot's own age where that was set back.
        assert_eq!(status.age(&now("0", 2_000, 5_060_000)), Duration::from_secs(60));
        assert_eq!(status.age(&now("0", 2_000, 0)), Duration::from_secs(2));
    }

    #[test]
    fn another_boot_is_a_reason() {
        let mut status = Status::starting(std::iter::empty());
        assert_eq!(status.exit_reason(), "its supervisor was killed");
        status.boot_id = "0".into();
        assert_eq!(status.exit_reason(), "the host was restarted while it ran");
        status.reason = Some("all apps have ended".into());
        assert_eq!(status.exit_reason(), "all apps have ended");
    }
}
