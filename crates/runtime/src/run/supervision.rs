//! The supervision of a pod whose agent has answered: what is done about whatever happens to it. It performs nothing and
//! reads no clock; [`super`] feeds it with what happens and performs what it says.
//!
//! ```text
//!             a stop is asked for; an app failed, the main apps ended, the time is up, nobody reads
//!            ┌───┐
//!   running ─┴───┴── all apps have ended ──> draining ── output written ──> syncing ── synced ──> over
//!     │                                                                       │
//!     ├── asked to stop, and the grace and KILL_SLACK are over ───────────────┼── SYNC_DEADLINE is over ──> over
//!     └── the guest is silent for too long, or does not answer to its stop; the third request of the caller ──> over
//! ```
//!
//! A deadline moves to earlier times only, until all apps have ended. The pod stops for a reason of its own only as long
//! as neither it nor the caller has done so before, and only when nothing else has happened that it does not know yet:
//! such a reason is due at once ([`Supervision::due`]), behind whatever waits.

mod events;

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use isopod_spec::{AppRole, FailurePolicy};
use isopod_vm::agent::{AppReport, Event, ExitStatus, FailureCause, Health, MemoryBound, SyncFailure};

use super::outcome::{AppEnd, Outcome, Timings};
use super::report::Milestone;
use super::watch::{Found, SILENT_AFTER, Watch};
pub(super) use events::{Action, AppTerms, GuestLine, Input, Note, SupervisionEnd, Terms};

/// Longer than any pod is asked to run.
const YEAR: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// How long the guest may take to write its shares back. The data of a share over a slow disk may be that slow.
const SYNC_DEADLINE: Duration = Duration::from_secs(60);

/// How long the agent may take beyond the grace to report apps that it killed.
const KILL_SLACK: Duration = Duration::from_secs(30);

/// Why a pod ended that was asked to.
const STOPPED: &str = "it was stopped";

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Running,
    /// All apps have ended; what they wrote has not come to its place.
    Draining,
    /// The guest writes the shares back.
    Syncing,
    Over,
}

/// The supervision of a pod.
#[derive(Debug)]
pub(super) struct Supervision {
    terms: Terms,
    /// When the pod's processes were started.
    started: Instant,
    phase: Progress,
    ends: Vec<Option<AppEnd>>,
    first_failed: Option<usize>,
    restarts: Vec<u32>,
    out_of_memory: Vec<Option<MemoryBound>>,
    /// What apps said of their ends, which have not come yet.
    last_words: BTreeMap<usize, String>,
    /// Which apps have been ready.
    ready: Vec<bool>,
    timings: Timings,
    /// How often the caller, or the pod itself, has asked for a stop.
    stops: u32,
    stopping: bool,
    /// When the apps must have ended, and after what time that is.
    deadline: Option<(Instant, Duration)>,
    /// When it has run as long as it may.
    expiry: Option<Instant>,
    past_deadline: bool,
    unwritten: Option<io::Error>,
    watch: Watch,
    actions: Vec<Action>,
}

impl Supervision {
    /// Of a pod whose processes were started at `started` and whose agent has answered now.
    pub(super) fn new(terms: Terms, started: Instant, now: Instant) -> Self {
        let count = terms.apps.len();
        let mut actions = vec![Action::Record(Note::Running)];
        if count == 0 {
            // Nothing is waited for.
            actions.extend([Action::Record(Note::AllReady), Action::Reach(Milestone::Ready)]);
        }
        let timings = Timings {
            ready: now.saturating_duration_since(started),
            ..Timings::default()
        };
        Self {
            started,
            phase: Progress::Running,
            ends: (0..count).map(|_| None).collect(),
            first_failed: None,
            restarts: vec![0; count],
            out_of_memory: vec![None; count],
            last_words: BTreeMap::new(),
            ready: vec![false; count],
            timings,
            stops: 0,
            stopping: false,
            deadline: None,
            // Nothing that a clock cannot hold.
            expiry: terms.allowed.map(|allowed| now + allowed.min(YEAR)),
            past_deadline: false,
            unwritten: None,
            watch: Watch::new(now, terms.silence),
            actions,
            terms,
        }
    }

    /// What is to be done at first.
    pub(super) fn begin(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// When [`Input::Due`] is to come at the latest; `None`: only something else is waited for. A time that has passed means
    /// at once, but behind everything else that has happened.
    pub(super) fn due(&self) -> Option<Instant> {
        if self.phase == Progress::Over {
            return None;
        }
        let own = self.own_reason().map(|_| self.started);
        let expiry = self.expiry.filter(|_| self.may_expire());
        let deadline = self.deadline.map(|(at, _)| at);
        [own, expiry, deadline, self.watch.due()]
            .into_iter()
            .flatten()
            .min()
    }

    /// What is to be done about `input`, which happens now.
    pub(super) fn on(&mut self, input: Input, now: Instant) -> Vec<Action> {
        if self.phase == Progress::Over {
            return Vec::new();
        }
        match input {
            Input::Comes(terms) => self.comes(terms),
            Input::NotCome(app, why) => {
                let cause = FailureCause::Unit {
                    unit: String::new(),
                    result: why,
                    log: Vec::new(),
                };
                self.receive(Event::App(app, AppReport::Failed { cause }), now);
            }
            Input::Guest(event) => self.receive(event, now),
            Input::OutputWritten => self.output_written(now),
            Input::OutputBroken(error) => self.output_broken(error, now),
            Input::CallerStop => {
                self.stops = self.stops.saturating_add(1);
                match self.stops {
                    1 => self.stop(self.terms.grace, STOPPED, now),
                    2 => self.stop(Duration::ZERO, STOPPED, now),
                    _ => self.end(SupervisionEnd::Killed),
                }
            }
            Input::Stop(grace) => self.stop(grace.unwrap_or(self.terms.grace), STOPPED, now),
            Input::Signal { app, signal } => self.signal(app, signal),
            Input::Due => self.on_due(now),
        }
        std::mem::take(&mut self.actions)
    }

    /// What became of the pod, whose shares were written back but for those in `failed`.
    pub(super) fn outcome(self, failed: Vec<SyncFailure>) -> Outcome {
        let unknown = || AppEnd::Exited(ExitStatus::Code(125));
        let ends = self.ends.into_iter().map(|end| end.unwrap_or_else(unknown));
        let names = self.terms.apps.into_iter().map(|app| app.name);
        let unsynced = failed
            .into_iter()
            .map(|f| format!("{}: {}", f.mount_point, f.error));
        Outcome {
            apps: names.zip(ends).collect(),
            first_failed: self.first_failed,
            past_deadline: self.past_deadline,
            unwritten: self.unwritten,
            restarts: self.restarts,
            out_of_memory: self.out_of_memory,
            unsynced: unsynced.collect(),
            timings: self.timings,
        }
    }

    fn comes(&mut self, terms: AppTerms) {
        self.terms.apps.push(terms);
        self.ends.push(None);
        self.restarts.push(0);
        self.out_of_memory.push(None);
        self.ready.push(false);
    }

    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    fn record(&mut self, note: Note) {
        self.act(Action::Record(note));
    }

    fn end(&mut self, end: SupervisionEnd) {
        self.phase = Progress::Over;
        self.act(Action::End(end));
    }

    fn on_due(&mut self, now: Instant) {
        if let Some((_, after)) = self.deadline.filter(|(at, _)| *at <= now) {
            return self.end(SupervisionEnd::NotStopped(after));
        }
        match self.watch.look(now) {
            None => {}
            Some(Found::Silent) => {
                let seconds = SILENT_AFTER.as_secs();
                self.warn(format!("the guest has not answered for {seconds} s"));
                let silence = now.saturating_duration_since(self.watch.last_answer());
                self.record(Note::Silent(silence));
            }
            Some(Found::TooLong(after)) => return self.end(SupervisionEnd::Silent(after)),
            Some(Found::StopUnanswered(within)) => return self.end(SupervisionEnd::StopUnanswered(within)),
        }
        if let Some(reason) = self.own_reason() {
            self.stop_by_itself(reason, now);
        } else if self.may_expire() && self.expiry.is_some_and(|at| at <= now) {
            self.past_deadline = true;
            self.stop_by_itself("it ran for as long as it may", now);
        }
    }

    /// Whether the pod may still stop for a reason of its own.
    fn may_stop_by_itself(&self) -> bool {
        self.stops == 0 && self.phase == Progress::Running
    }

    fn may_expire(&self) -> bool {
        self.may_stop_by_itself()
    }

    /// Why the pod is to stop, whatever the time.
    fn own_reason(&self) -> Option<&'static str> {
        if !self.may_stop_by_itself() || self.terms.held {
            return None;
        }
        let fails = self.terms.on_failure == FailurePolicy::Stop
            && self.first_failed.is_some()
            && self.ends.iter().any(Option::is_none);
        let left = |role| {
            let mut apps = self.terms.apps.iter().zip(&self.ends);
            apps.any(|(app, end)| app.role == role && end.is_none())
        };
        if fails {
            Some("an app has failed, and the others were stopped")
        } else if left(AppRole::Sidecar) && !left(AppRole::Main) {
            Some("its main apps have ended")
        } else {
            None
        }
    }

    fn stop_by_itself(&mut self, reason: &'static str, now: Instant) {
        self.stops = self.stops.saturating_add(1);
        self.stop(self.terms.grace, reason, now);
    }

    /// Asks the apps to stop within `grace`; an earlier deadline stays.
    fn stop(&mut self, grace: Duration, reason: &'static str, now: Instant) {
        self.record(Note::StoppingBecause(reason));
        if !std::mem::replace(&mut self.stopping, true) {
            self.act(Action::Reach(Milestone::Stopping));
        }
        self.act(Action::Stop(grace));
        self.watch.stopping(now, grace);
        let after = grace.saturating_add(KILL_SLACK);
        let at = now + after.min(YEAR);
        // What its apps wrote is waited for as long as it takes.
        if self.phase != Progress::Draining && self.deadline.is_none_or(|(earlier, _)| at < earlier) {
            self.deadline = Some((at, after));
        }
    }

    /// Sends a signal to an app, or to all, where they have not ended.
    fn signal(&mut self, app: Option<usize>, signal: u8) {
        let apps = match app {
            Some(app) => app..app.saturating_add(1),
            None => 0..self.ends.len(),
        };
        for app in apps {
            if self.ends.get(app).is_some_and(Option::is_none) {
                self.act(Action::Signal { app, signal });
            }
        }
    }

    /// Nobody takes what the apps write (`| head`): as if they had been asked to stop.
    fn output_broken(&mut self, error: io::Error, now: Instant) {
        if self.stops > 0 {
            return;
        }
        let reason = match error.kind() {
            io::ErrorKind::BrokenPipe => "nothing read its apps' output any more",
            _ => {
                self.unwritten = Some(error);
                "its apps' output could not be written"
            }
        };
        self.stop_by_itself(reason, now);
    }

    fn output_written(&mut self, now: Instant) {
        if self.phase != Progress::Draining {
            return;
        }
        self.phase = Progress::Syncing;
        self.record(Note::Stopping);
        self.deadline = Some((now + SYNC_DEADLINE, SYNC_DEADLINE));
        self.act(Action::Finish);
    }

    fn receive(&mut self, event: Event, now: Instant) {
        match event {
            Event::Ready(boot) => {
                self.timings.boot = boot;
                self.record(Note::Booted(boot));
            }
            Event::App(app, report) => self.app_reported(app, report),
            Event::Warning(text) => self.warn(format!("the agent in the guest: {text}")),
            Event::Beat => {
                if self.watch.beat(now) {
                    self.warn("the guest answers again".to_owned());
                    self.record(Note::Answers);
                }
            }
            Event::AllEnded if self.phase == Progress::Running => {
                self.timings.ended = now.saturating_duration_since(self.started);
                self.phase = Progress::Draining;
                self.deadline = None;
                self.act(Action::AwaitOutput);
            }
            Event::Synced { failed } => {
                self.timings.synced = now.saturating_duration_since(self.started);
                self.end(SupervisionEnd::Synced(failed));
            }
            Event::AllEnded | Event::Stdin { .. } | Event::Stdout { .. } | Event::Stderr { .. } => {}
        }
    }

    /// What is done about a report, and that it is recorded: before whatever follows from it.
    fn app_reported(&mut self, app: usize, report: AppReport) {
        match &report {
            AppReport::Started { uptime_ms } => return self.app_started(app, *uptime_ms),
            AppReport::Ready => return self.app_ready(app),
            AppReport::LastWords { text } => return drop(self.last_words.insert(app, text.clone())),
            AppReport::Unready | AppReport::ProcessOutOfMemory { .. } => {}
            AppReport::OutOfMemory { within } => {
                if let Some(app) = self.out_of_memory.get_mut(app) {
                    *app = Some(*within);
                }
            }
            AppReport::Health { health, text } => self.log_health(app, *health, text),
            AppReport::Ending { reason } => {
                if let Some(terms) = self.terms.apps.get(app) {
                    self.warn(format!("app `{}` is ended: {reason}", terms.name));
                }
            }
            AppReport::Restarting { status, in_ms, count } => {
                self.app_restarting(app, *status, *in_ms, *count)
            }
            AppReport::Failed { cause } => self.app_ended(app, AppEnd::Failed(cause.clone())),
            AppReport::Exited { status } => {
                self.last_words(app, *status);
                self.app_ended(app, AppEnd::Exited(*status));
            }
        }
        self.record(Note::App(app, report));
    }

    fn warn(&mut self, text: String) {
        self.act(Action::Log(GuestLine::Warning(text)));
    }

    fn app_started(&mut self, app: usize, uptime_ms: u64) {
        if self.timings.first_app_ms == 0 {
            self.timings.first_app_ms = uptime_ms;
        }
        let terms = self.terms.apps.get(app);
        let probed = terms.is_some_and(|app| app.probed);
        let is_ready = terms.is_some_and(|app| !app.reports_readiness);
        self.record(Note::AppStarted {
            app,
            uptime_ms,
            probed,
        });
        if is_ready {
            self.app_ready(app);
        }
    }

    /// An app is ready; when it was the last, the pod is.
    fn app_ready(&mut self, app: usize) {
        let Some(ready) = self.ready.get_mut(app) else {
            return;
        };
        let before = std::mem::replace(ready, true);
        let all = self.ready.iter().all(|ready| *ready);
        self.record(Note::AppReady { app, all });
        if !before && all && !self.stopping {
            self.act(Action::Reach(Milestone::Ready));
        }
    }

    fn log_health(&mut self, app: usize, health: Health, text: &str) {
        let Some(terms) = self.terms.apps.get(app) else {
            return;
        };
        let name = &terms.name;
        let line = match health {
            Health::Unhealthy => GuestLine::Warning(format!("app `{name}` is unhealthy: {text}")),
            Health::Healthy => GuestLine::Info(format!("app `{name}` is healthy")),
            Health::Starting => GuestLine::Info(format!("app `{name}` is not known to be healthy yet")),
        };
        self.act(Action::Log(line));
    }

    fn app_restarting(&mut self, app: usize, status: ExitStatus, in_ms: u32, count: u32) {
        self.last_words(app, status);
        let (Some(terms), Some(slot)) = (self.terms.apps.get(app), self.restarts.get_mut(app)) else {
            return;
        };
        *slot = count;
        let line = format!(
            "app `{}` has ended ({status:?}); restart {count} is in {in_ms} ms",
            terms.name,
        );
        self.act(Action::Log(GuestLine::Info(line)));
    }

    /// What an app said of its end; where it failed and said nothing, the end of its log, where that is asked.
    fn last_words(&mut self, app: usize, status: ExitStatus) {
        let words = self.last_words.remove(&app);
        let asked = self.terms.apps.get(app).is_some_and(|app| app.words_from_log);
        let from_log = asked && status != ExitStatus::Code(0);
        self.act(Action::LastWords { app, words, from_log });
    }

    fn app_ended(&mut self, app: usize, end: AppEnd) {
        let role = self.terms.apps.get(app).map(|app| app.role);
        if end.exit_status() != 0 && self.first_failed.is_none() && role == Some(AppRole::Main) {
            self.first_failed = Some(app);
        }
        if let Some(slot) = self.ends.get_mut(app) {
            *slot = Some(end);
        }
    }
}

#[cfg(test)]
mod tests;
