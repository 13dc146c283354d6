//! What is known of one app: how it is to be run, and where its run is.

use std::time::Duration;

use isopod_contract::config::{GuestApp, GuestDependency, GuestEnding, GuestHandler, GuestProbe};
use isopod_contract::message::{ExitStatus, Health};
use tokio::time::Instant;

use crate::apps::notify::ReadinessReport;
use crate::apps::order::Standing;
use crate::apps::probe_schedule::ProbeSchedule;
use crate::apps::restart::Restarts;

/// What the planner wrote of an app's lives.
#[derive(Debug, Default)]
pub(super) struct Terms {
    pub(super) name: String,
    pub(super) unit: String,
    pub(super) depends_on: Vec<GuestDependency>,
    /// Whether it says itself how ready it is.
    pub(super) notifies: bool,
    pub(super) reports_readiness: bool,
    pub(super) probes: Vec<GuestProbe>,
    pub(super) post_start: Option<GuestHandler>,
    pub(super) pre_stop: Option<GuestHandler>,
    pub(super) post_stop: Option<Duration>,
    /// Whether each run begins with a fresh root.
    pub(super) fresh_root: bool,
}

impl Terms {
    pub(super) fn of(app: &GuestApp) -> Self {
        Self {
            name: app.name.clone(),
            unit: app.unit.clone(),
            depends_on: app.depends_on.clone(),
            notifies: app.notify.is_some(),
            reports_readiness: app.reports_readiness(),
            probes: app.probes.clone(),
            post_start: app.post_start.clone(),
            pre_stop: app.pre_stop.clone(),
            post_stop: app.post_stop_ms.map(Duration::from_millis),
            fresh_root: app.fresh_root.is_some(),
        }
    }
}

/// How far an app is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Others must come before it, or the host's word: its unit was not started yet.
    Held,
    Starting,
    Running,
    /// It has ended like this and is started again.
    Waiting {
        until: Instant,
        status: ExitStatus,
    },
    Ended,
}

/// How far an app's stop is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stop {
    #[default]
    No,
    /// Its `preStop` handler runs.
    Before,
    Asked,
}

/// One run of an app.
#[derive(Debug, Default)]
pub(super) struct AppRun {
    pub(super) number: u32,
    /// Since when it runs.
    pub(super) since: Option<Instant>,
    /// Whether its `postStart` handler is done.
    pub(super) begun: bool,
    pub(super) schedule: Option<ProbeSchedule>,
    /// The health that the host knows of.
    pub(super) health: Option<Health>,
    /// How the agent ends it, where it does.
    pub(super) ending: Option<GuestEnding>,
    pub(super) kill_at: Option<Instant>,
    pub(super) stop: Stop,
    /// What it last said of its readiness.
    pub(super) readiness: Option<ReadinessReport>,
    /// Whether the host knows that it is ready.
    pub(super) ready: bool,
}

impl AppRun {
    /// Whether all that the app's readiness depends on says so.
    pub(super) fn is_ready(&self, terms: &Terms) -> bool {
        let reported = !terms.notifies || self.readiness == Some(ReadinessReport::Ready);
        let well = self.schedule.as_ref().is_some_and(ProbeSchedule::is_ready);
        let begun = terms.post_start.is_none() || self.begun;
        reported && begun && self.ending.is_none() && (terms.probes.is_empty() || well)
    }

    /// When something is due.
    pub(super) fn due(&self) -> Option<Instant> {
        let probe = self.schedule.as_ref().and_then(ProbeSchedule::next);
        let probe = probe.and_then(|due| self.since?.checked_add(due));
        probe.into_iter().chain(self.kill_at).min()
    }
}

#[derive(Debug)]
pub(super) struct App {
    pub(super) terms: Terms,
    pub(super) state: State,
    /// Whether the host says when it is started, and has not yet.
    pub(super) waits: bool,
    /// How far it is, for those that wait for it.
    pub(super) standing: Standing,
    /// How it ended for good, in words.
    pub(super) end: Option<String>,
    /// Its restarts, where its policy has any.
    pub(super) restarts: Option<Restarts>,
    /// How its last run ended, where it has another.
    pub(super) last_end: Option<ExitStatus>,
    /// The times of that run.
    pub(super) seen: (u64, u64),
    pub(super) run: AppRun,
}
