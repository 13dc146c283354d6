//! What a supervisor writes down of its pod, at every change: `status.json`, and an event for those who follow them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use isopod_contract::change::AppChange;
use isopod_plan::apps::update::Update;
use isopod_plan::layout;
use isopod_spec::{AppName, PodName};
use isopod_vm::agent::{AppReport, ExitStatus, FailureCause, Health, MemoryBound};

use super::allowance::Allowance;
use super::error::RunError;
use super::outcome::{AppEnd, Outcome};
use super::report::{AppFailure, AppNews, OnStarted, Watcher};
use super::supervision::Note;
use crate::clock::{self, now_ms};
use crate::events::{Event, EventKind, EventLog};
use crate::json_file::{self, Durability};
use crate::pods::Claim;
use crate::pods::files::ArrivedRecord;
use crate::pods::files::{AppState, AppStatus, HealthState, PodRecord, Status};
use crate::pods::start_times::StartTimes;
use crate::pods::state::Phase;
use crate::pods::updates::Updates;
use crate::pods::volumes::AttachedRecord;

/// What ended an app that had eaten all the memory, or was the largest when another had.
fn out_of_memory(within: MemoryBound) -> &'static str {
    match within {
        MemoryBound::Guest => "there was no memory left for it, and the guest's kernel killed it",
        MemoryBound::App => "it needed more memory than its limit, and the guest's kernel killed it",
    }
}

/// How many events of its apps a pod has at once, and how long it takes until there is room for one more. The rest are
/// counted: a guest may say as often as it likes that an app is ready, and not any more.
const EVENTS_AT_ONCE: u32 = 200;
const EVENT_EVERY: Duration = Duration::from_secs(3);

/// How many changes go to the disk at once, and how often one more does; others are there when the host does not crash.
const SYNCS_AT_ONCE: u32 = 100;
const SYNC_EVERY: Duration = Duration::from_millis(500);

/// The status of a pod, on disk as it is here.
pub(super) struct StatusWriter {
    dir: PathBuf,
    durability: Durability,
    events: EventLog,
    uuid: String,
    name: Option<PodName>,
    status: Status,
    failures: Vec<AppFailure>,
    /// Why it stops, where that is not because all apps have ended.
    why: Option<&'static str>,
    /// Whether the last write failed, of which one message is enough.
    silent: bool,
    events_allowed: Allowance,
    syncs_allowed: Allowance,
    pub(super) on_started: Option<OnStarted>,
    pub(super) watcher: Option<Arc<dyn Watcher>>,
}

impl StatusWriter {
    /// Writes that the pod is starting.
    pub(super) fn begin(claim: &Claim, record: &PodRecord) -> Self {
        let apps = record.apps.iter().map(|app| app.name.clone());
        let mut writer = Self {
            dir: claim.path().to_owned(),
            durability: record.keep.into(),
            events: claim.events(),
            uuid: record.uuid.clone(),
            name: record.name.clone(),
            status: Status::starting(apps),
            failures: Vec::new(),
            why: None,
            silent: false,
            events_allowed: Allowance::new(EVENTS_AT_ONCE, EVENT_EVERY),
            syncs_allowed: Allowance::new(SYNCS_AT_ONCE, SYNC_EVERY),
            on_started: None,
            watcher: None,
        };
        writer.write();
        writer.emit(EventKind::Started, |_| {});
        writer
    }

    /// Reports something that happens to the pod.
    fn emit(&self, kind: EventKind, more: impl FnOnce(&mut Event)) {
        let mut event = Event::now(kind, &self.uuid, self.name.as_ref());
        more(&mut event);
        self.events.add(&event);
    }

    /// Reports something that happens to an app, where that does not happen too often. What happens to an app once, its end
    /// for good, is always reported.
    fn emit_of_app(&mut self, app: usize, kind: EventKind, more: impl FnOnce(&mut Event)) {
        let once = matches!(kind, EventKind::AppExited | EventKind::AppFailed);
        let left_out = match self.events_allowed.take(Instant::now()) {
            Some(left_out) => left_out,
            None if once => 0,
            None => return,
        };
        self.emit(kind, |event| {
            event.left_out = (left_out > 0).then_some(left_out);
            event.app = self.status.apps.get(app).map(|app| app.name.clone());
            more(event);
        });
    }

    /// The agent has answered, and the pod has come to it. Written with what follows.
    pub(super) fn came(&mut self, start: StartTimes) {
        self.status.start = Some(start);
    }

    /// Writes down what has become of the pod.
    pub(super) fn record(&mut self, note: Note) {
        match note {
            Note::Running => {
                self.status.phase = Phase::Running;
                self.write();
                if let Some(watcher) = &self.watcher {
                    watcher.running();
                }
            }
            Note::StoppingBecause(why) => {
                self.why.get_or_insert(why);
                self.stopping();
            }
            Note::Stopping => self.stopping(),
            Note::Silent(silence) => self.silent(silence),
            Note::Answers => self.answers(),
            Note::AllReady => {
                self.status.ready_ms = Some(now_ms());
                self.write();
                self.emit(EventKind::Ready, |_| {});
                if let Some(on_started) = self.on_started.take() {
                    on_started(&self.failures);
                }
            }
            Note::AppReady { app, all } => self.app_ready(app, all),
            Note::Booted(boot) => {
                if let Some(start) = &mut self.status.start {
                    start.boot = boot;
                }
            }
            Note::AppStarted {
                app,
                uptime_ms,
                probed,
            } => self.app_started(app, uptime_ms, probed),
            Note::App(app, report) => self.app_reported(app, report),
        }
    }

    fn app_reported(&mut self, app: usize, report: AppReport) {
        match report {
            // They are notes of their own, with what the supervision knows beside them.
            AppReport::Started { .. } | AppReport::Ready | AppReport::LastWords { .. } => {}
            AppReport::Unready => self.app_unready(app),
            AppReport::OutOfMemory { within } => {
                self.app(app, |app| app.error = Some(out_of_memory(within).to_owned()));
                self.notify_watcher(app, AppNews::OutOfMemory);
            }
            AppReport::ProcessOutOfMemory { .. } => self.notify_watcher(app, AppNews::OutOfMemory),
            AppReport::Health { health, text } => self.app_health(app, health, text),
            AppReport::Ending { reason } => self.app_ending(app, reason),
            AppReport::Failed { cause } => self.app_failed(app, &cause),
            AppReport::Restarting { status, count, .. } => self.app_restarting(app, status, count),
            AppReport::Exited { status } => self.app_exited(app, status),
        }
    }

    fn write(&mut self) {
        let durability = match self.syncs_allowed.take(Instant::now()) {
            Some(_) => self.durability,
            None => Durability::Fleeting,
        };
        self.write_as(durability);
    }

    fn write_as(&mut self, durability: Durability) {
        self.status.boot_ms = clock::boot_ms();
        match json_file::write_reserved(&self.dir, layout::STATUS, &self.status, durability) {
            Ok(()) => self.silent = false,
            // The pod runs on: what it does matters more than what is written of it.
            Err(error) if !self.silent => {
                self.silent = true;
                tracing::warn!("cannot record the state of the pod: {error}");
            }
            Err(_) => {}
        }
    }

    fn stopping(&mut self) {
        if self.status.phase != Phase::Stopping {
            self.status.phase = Phase::Stopping;
            self.write();
            self.emit(EventKind::Stopping, |event| {
                event.reason = self.why.map(str::to_owned)
            });
        }
    }

    /// The guest has not answered for so long.
    fn silent(&mut self, silence: Duration) {
        let silence = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
        self.status.silent_since_ms = Some(clock::boot_ms().saturating_sub(silence));
        self.write();
        self.emit(EventKind::Silent, |_| {});
    }

    fn answers(&mut self) {
        self.status.silent_since_ms = None;
        self.write();
        self.emit(EventKind::Responsive, |_| {});
    }

    fn app(&mut self, app: usize, change: impl FnOnce(&mut AppStatus)) {
        if let Some(app) = self.status.apps.get_mut(app) {
            change(app);
        }
        self.write();
        let waiting = |app: &AppStatus| app.state == AppState::Waiting;
        if !self.status.apps.iter().any(waiting)
            && let Some(on_started) = self.on_started.take()
        {
            on_started(&self.failures);
        }
    }

    /// Volumes came or went.
    pub(super) fn volumes(&mut self, attached: Vec<AttachedRecord>, count: u32) {
        let before = std::mem::replace(&mut self.status.attached, attached);
        self.status.volume_changes = count;
        self.write();
        let after = &self.status.attached;
        self.emit_volumes(EventKind::VolumeDetached, &before, after);
        self.emit_volumes(EventKind::VolumeAttached, after, &before);
    }

    /// The name of an app.
    pub(super) fn name_of(&self, app: usize) -> Option<&AppName> {
        self.status.apps.get(app).map(|app| &app.name)
    }

    /// Reports to the watcher what has become of an app.
    fn notify_watcher(&self, app: usize, news: AppNews) {
        if let (Some(watcher), Some(name)) = (&self.watcher, self.name_of(app)) {
            watcher.app(name, news);
        }
    }

    /// How many apps the pod has had.
    pub(super) fn apps(&self) -> usize {
        self.status.apps.len()
    }

    /// An app comes.
    pub(super) fn comes(&mut self, arrived: &ArrivedRecord) {
        self.status
            .apps
            .push(AppStatus::waiting(arrived.app.name.clone()));
        self.status.arrived.push(arrived.clone());
        self.write();
    }

    /// What came with an app, where that has ended and may go.
    ///
    /// # Errors
    /// Why it may not.
    pub(super) fn removable(&self, app: usize) -> Result<&ArrivedRecord, &'static str> {
        let status = self.status.apps.get(app).ok_or("there is no such app")?;
        let before = self.status.apps.len() - self.status.arrived.len();
        let arrived = app.checked_sub(before).and_then(|at| self.status.arrived.get(at));
        let arrived =
            arrived.ok_or("the pod was started with it; only an app that came later can be removed")?;
        match status.state {
            _ if arrived.app.gone => Err("it has been removed"),
            AppState::Exited | AppState::Failed => Ok(arrived),
            AppState::Waiting | AppState::Running | AppState::Restarting => Err("it has not ended"),
        }
    }

    /// An app has gone, or has not come; its name.
    pub(super) fn gone(&mut self, app: usize) -> Option<AppName> {
        let before = self.status.apps.len() - self.status.arrived.len();
        let arrived = self.status.arrived.get_mut(app.checked_sub(before)?)?;
        arrived.app.gone = true;
        let name = arrived.app.name.clone();
        self.write();
        Some(name)
    }

    /// Reports those volumes that are not among the others.
    fn emit_volumes(&self, kind: EventKind, these: &[AttachedRecord], others: &[AttachedRecord]) {
        for one in these {
            if others.iter().all(|other| other.serial != one.serial) {
                self.emit(kind, |event| event.volume = Some(one.volume.name.clone()));
            }
        }
    }

    /// An app runs in another way.
    pub(super) fn app_changed(&mut self, app: usize, change: &AppChange) {
        match change {
            AppChange::Pause => {
                self.app(app, |app| app.paused = true);
                self.emit_of_app(app, EventKind::AppPaused, |_| {});
            }
            AppChange::Unpause => self.apps_continue(Some(app)),
            AppChange::Properties(_) | AppChange::Restart(_) => {}
        }
    }

    /// An app has other limits, or another restart policy, and is to have them in the pod's next lives too.
    pub(super) fn app_updated(&mut self, app: usize, update: Update) -> io::Result<()> {
        let Some(name) = self.status.apps.get(app).map(|app| app.name.clone()) else {
            return Ok(());
        };
        Updates::read(&self.dir).add(name, update, &self.dir, self.durability)
    }

    /// An app that is held continues, or all do.
    pub(super) fn apps_continue(&mut self, app: Option<usize>) {
        for index in 0..self.status.apps.len() {
            if app.is_none_or(|app| app == index) && self.status.apps[index].paused {
                self.app(index, |app| app.paused = false);
                self.emit_of_app(index, EventKind::AppUnpaused, |_| {});
            }
        }
    }

    /// An app is ready, and perhaps every one has been.
    fn app_ready(&mut self, app: usize, all: bool) {
        let first = all && self.status.ready_ms.is_none();
        if all {
            self.status.ready_ms.get_or_insert_with(now_ms);
        }
        self.app(app, |app| app.ready = true);
        self.emit_of_app(app, EventKind::AppReady, |_| {});
        if first {
            self.emit(EventKind::Ready, |_| {});
        }
    }

    fn app_unready(&mut self, app: usize) {
        self.app(app, |app| app.ready = false);
        self.emit_of_app(app, EventKind::AppUnready, |_| {});
    }

    /// An app has started; whether it is healthy is not known yet, where that is asked.
    fn app_started(&mut self, app: usize, uptime_ms: u64, probed: bool) {
        if let (Some(start), Some(status)) = (&mut self.status.start, self.status.apps.get(app)) {
            start.app_executed(&status.name, uptime_ms);
        }
        self.app(app, |app| {
            app.state = AppState::Running;
            app.error = None;
            app.started_ms = Some(now_ms());
            app.health = probed.then_some(HealthState::Starting);
            app.health_text = None;
        });
        self.emit_of_app(app, EventKind::AppStarted, |_| {});
        self.notify_watcher(app, AppNews::Started);
    }

    fn app_health(&mut self, app: usize, health: Health, text: String) {
        let (state, kind) = match health {
            Health::Starting => (HealthState::Starting, None),
            Health::Healthy => (HealthState::Healthy, Some(EventKind::AppHealthy)),
            Health::Unhealthy => (HealthState::Unhealthy, Some(EventKind::AppUnhealthy)),
        };
        self.app(app, |app| {
            app.health = Some(state);
            app.health_text = Some(text.clone());
        });
        if let Some(kind) = kind {
            self.emit_of_app(app, kind, |event| event.reason = Some(text));
        }
    }

    /// Isopod ends an app's life, which has not ended yet.
    fn app_ending(&mut self, app: usize, reason: String) {
        self.app(app, |app| app.ended_because = Some(reason.clone()));
        self.emit_of_app(app, EventKind::AppEnding, |event| event.reason = Some(reason));
    }

    fn app_failed(&mut self, app: usize, cause: &FailureCause) {
        if let Some(status) = self.status.apps.get(app) {
            self.failures.push(AppFailure {
                app: status.name.clone(),
                cause: cause.clone(),
            });
        }
        let error = describe(cause);
        let reason = error.clone();
        self.app(app, |app| {
            app.state = AppState::Failed;
            app.exit_status = Some(125);
            app.ended_ms = Some(now_ms());
            app.error = Some(error);
        });
        self.notify_watcher(app, AppNews::Failed(reason.clone()));
        self.emit_of_app(app, EventKind::AppFailed, |event| event.reason = Some(reason));
    }

    fn app_restarting(&mut self, app: usize, status: ExitStatus, count: u32) {
        self.ended(app, AppState::Restarting, status);
        self.app(app, |app| app.restarts = count);
        self.emit_end(app, EventKind::AppRestarting, status, Some(count));
    }

    fn app_exited(&mut self, app: usize, status: ExitStatus) {
        self.ended(app, AppState::Exited, status);
        self.emit_end(app, EventKind::AppExited, status, None);
        self.notify_watcher(app, AppNews::Exited(status));
    }

    /// What an app said of its end, which has come.
    pub(super) fn app_last_words(&mut self, app: usize, words: Option<String>) {
        if let Some(app) = self.status.apps.get_mut(app) {
            app.last_words = words;
        }
    }

    fn ended(&mut self, app: usize, state: AppState, status: ExitStatus) {
        self.app(app, |app| {
            app.state = state;
            app.ready = false;
            app.paused = false;
            app.health = None;
            app.exit_status = Some(AppEnd::Exited(status).exit_status());
            app.signal = signal(status);
            app.ended_ms = Some(now_ms());
        });
    }

    fn emit_end(&mut self, app: usize, kind: EventKind, status: ExitStatus, restarts: Option<u32>) {
        self.emit_of_app(app, kind, |event| {
            event.exit_status = Some(AppEnd::Exited(status).exit_status());
            event.signal = signal(status);
            event.restarts = restarts;
        });
    }

    /// What the pod's exit status is due to, where the app that it is of has not ended by itself.
    fn first_killed(&self, outcome: &Outcome) -> String {
        let failed = outcome.first_failed.and_then(|app| self.status.apps.get(app));
        match failed.and_then(|app| Some((&app.name, app.error.as_ref()?))) {
            Some((app, error)) => format!("; app `{app}`: {error}"),
            None => String::new(),
        }
    }

    /// Writes the last word.
    pub(super) fn end(&mut self, result: &Result<Outcome, RunError>) {
        self.status.phase = Phase::Exited;
        self.status.ended_ms = Some(now_ms());
        // They lasted until here.
        self.status.attached.clear();
        self.status.silent_since_ms = None;
        self.status.supervisor = None;
        let (exit_status, reason) = match result {
            Ok(outcome) => {
                let why = self.why.unwrap_or("all apps have ended");
                (
                    outcome.exit_status(),
                    why.to_owned() + &self.first_killed(outcome),
                )
            }
            Err(error) => (125, isopod_contract::in_one_line(error)),
        };
        self.status.exit_status = Some(exit_status);
        self.status.reason = Some(reason.clone());
        self.write_as(self.durability);
        json_file::release(&self.dir, layout::STATUS);
        self.emit(EventKind::Exited, |event| {
            event.exit_status = Some(exit_status);
            event.reason = Some(reason);
        });
    }
}

/// The signal that ended it.
fn signal(status: ExitStatus) -> Option<i32> {
    match status {
        ExitStatus::Code(_) => None,
        ExitStatus::Signal { signal, .. } => Some(signal),
    }
}

/// Why an app could not be started, in a line.
fn describe(cause: &FailureCause) -> String {
    match cause {
        FailureCause::Mount {
            unit,
            volume: Some(volume),
            result,
            ..
        } => {
            format!("volume `{volume}` was not mounted (`{unit}`): {result}")
        }
        FailureCause::Mount {
            unit,
            volume: None,
            result,
            ..
        } => {
            format!("a part of its root filesystem was not mounted (`{unit}`): {result}")
        }
        FailureCause::Dependency { unit, result, .. } => {
            format!("`{unit}`, which it needs, failed: {result}")
        }
        FailureCause::Unit { unit, result, .. } => {
            format!("`{unit}` failed before its program ran: {result}")
        }
        FailureCause::Stopped => "the pod was stopped while it waited for others".to_owned(),
    }
}
