//! The lives of a pod's apps, decided: when each is started, probed, asked to stop, killed and started again, and what the
//! host receives. It performs nothing and reads no clock; the session with the host feeds it with what happens and
//! performs what it says.
//!
//! ```text
//!   held ── the others have come so far ──> starting ──> running ── ended for good ──> ended
//!     └── one of them never will ──> ended      ^           └─ by the policy ─> waiting ── a stop ──> ended
//!                                               └── the delay has passed ──────────┘
//!
//!   running:  postStart ──> probes ──> ill, and that ends it ──┐
//!                └───────── failed ────────────────────────────┤
//!   a stop, and what depends on the app has ended ─────────────┴──> preStop ──> asked to stop ──> (the grace) killed
//!                                                                      └─ the grace is over: 2 s more ─┘
//! ```
//!
//! What the results of probes mean is [`ProbeSchedule`]'s, restarts are [`Restarts`]', whether an app may start is
//! [`order`](super::order)'s.

mod events;
mod record;
mod stopping;

use std::time::Duration;

use isopod_contract::config::{GuestApp, GuestCheck, GuestEnding, GuestProbe, GuestRestart};
use isopod_contract::message::{AppIndex, AppReport, ExitStatus, FailureCause, GuestMessage, Health};
use tokio::time::Instant;

use super::check::Done;
use super::order::{self, Gate, Standing, Success, dependents_first};
use super::probe_schedule::ProbeSchedule;
use super::restart::Restarts;

pub(crate) use events::{AppExit, LifecycleAction, LifecycleInput, What};
use record::{App, AppRun, State, Stop, Terms};

/// The lives of a pod's apps.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    apps: Vec<App>,
    /// Whether the pod continues when its last app has ended.
    held: bool,
    /// The order in which they are asked to stop.
    stop_order: Vec<usize>,
    /// Whether they are to stop: none is started any more.
    stopping: bool,
    kill_at: Option<Instant>,
    /// Whether there is no time at all: nothing is asked any more, and all is killed.
    at_once: bool,
    /// How many last messages were not sent yet.
    unsent: usize,
    all_ended: bool,
    actions: Vec<LifecycleAction>,
}

impl Lifecycle {
    /// Whether the pod continues when its last app has ended.
    pub(crate) fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// Adds apps behind those that are there, and what is to be done about them at first. Whoever adds them has those started
    /// that wait for nothing, unless all [are to stop](Self::is_stopping).
    pub(crate) fn add(&mut self, apps: &[GuestApp], now: Instant) -> Vec<LifecycleAction> {
        let stopping = self.stopping;
        let app = |app: &GuestApp| App {
            state: match app.depends_on.is_empty() && !app.waits && !stopping {
                true => State::Starting,
                false => State::Held,
            },
            waits: app.waits,
            standing: Standing::default(),
            end: None,
            restarts: app.restart.clone().map(Restarts::new),
            last_end: None,
            seen: (0, 0),
            run: AppRun::default(),
            terms: Terms::of(app),
        };
        self.apps.extend(apps.iter().map(app));
        self.stop_order = dependents_first(self.apps.iter().map(|app| &*app.terms.depends_on));
        self.all_ended = false;
        self.settle(now)
    }

    /// Leaves out a number.
    pub(crate) fn skip(&mut self) {
        self.apps.push(App {
            terms: Terms::default(),
            state: State::Ended,
            waits: false,
            standing: Standing {
                ended: Some(Success::No),
                ..Standing::default()
            },
            end: None,
            restarts: None,
            last_end: None,
            seen: (0, 0),
            run: AppRun::default(),
        });
    }

    /// Whether an app has ended for good.
    pub(crate) fn has_ended(&self, app: usize) -> bool {
        self.apps[app].state == State::Ended
    }

    /// Forgets all of an app that has ended but that and how it has.
    pub(crate) fn forget(&mut self, app: usize) {
        self.apps[app].terms = Terms::default();
    }

    /// Whether all are to stop: nothing is started any more.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Has an app restarted so from its next end on; what it was restarted until now counts.
    pub(crate) fn set_restart(&mut self, app: usize, restart: Option<GuestRestart>) -> Result<(), String> {
        let record = self
            .apps
            .get_mut(app)
            .ok_or_else(|| format!("there is no app {app}"))?;
        match (&mut record.restarts, restart) {
            (Some(restarts), Some(restart)) => restarts.set(restart),
            (restarts, restart) => *restarts = restart.map(Restarts::new),
        }
        Ok(())
    }

    /// Whether it matters what systemd says of an app.
    pub(crate) fn is_watched(&self, app: usize) -> bool {
        matches!(self.apps[app].state, State::Starting | State::Running)
    }

    /// Whether it is not known yet that an app runs.
    pub(crate) fn is_starting(&self, app: usize) -> bool {
        self.apps[app].state == State::Starting
    }

    /// Whether an app that is not there was stopped before its next run began.
    pub(crate) fn was_stopped(&self, app: usize) -> bool {
        let asked = self.stopping || self.apps[app].run.stop != Stop::No;
        asked && self.apps[app].last_end.is_some()
    }

    /// When an app's last run was active and when its process was started, as systemd counts.
    pub(crate) fn seen(&self, app: usize) -> (u64, u64) {
        self.apps[app].seen
    }

    /// When [`LifecycleInput::Due`] is to come at the latest.
    pub(crate) fn due(&self) -> Option<Instant> {
        let of_app = |app: &App| match app.state {
            State::Waiting { until, .. } => Some(until),
            State::Ended => None,
            _ => app.run.due(),
        };
        self.apps.iter().filter_map(of_app).chain(self.kill_at).min()
    }

    /// What is to be done about `input`, which happens now.
    pub(crate) fn on(&mut self, input: LifecycleInput, now: Instant) -> Vec<LifecycleAction> {
        match input {
            LifecycleInput::Running {
                app,
                uptime_ms,
                leaves,
                fault,
            } => {
                if leaves && self.is_watched(app) {
                    self.quiet(app);
                }
                self.started(app, uptime_ms, fault, now);
            }
            LifecycleInput::NotExecuted { app, status, text } if self.is_watched(app) => {
                let text = format!("app `{}` {text}", self.apps[app].terms.name);
                self.warn(text);
                self.end_as(app, ExitStatus::Code(status.into()));
            }
            LifecycleInput::Exited(exit) if self.is_watched(exit.app) => self.exited(exit, now),
            LifecycleInput::NeverRan { app, cause } if self.is_watched(app) => {
                let stopped = self.apps[app].run.stop != Stop::No;
                self.fail(app, if stopped { FailureCause::Stopped } else { cause });
            }
            LifecycleInput::Cancelled { app } => match self.apps[app].last_end {
                Some(status) if self.is_watched(app) => self.end_as(app, status),
                _ => {}
            },
            LifecycleInput::NotStarted { app, text } if self.is_starting(app) => self.not_started(app, text),
            LifecycleInput::Readiness { app, report } => {
                self.apps[app].run.readiness = Some(report);
                self.report_readiness(app);
            }
            LifecycleInput::Done { app, run, what, done } => {
                if self.apps[app].run.number == run && self.apps[app].state == State::Running {
                    self.done(app, what, &done, now);
                }
            }
            LifecycleInput::LastSent => self.unsent = self.unsent.saturating_sub(1),
            LifecycleInput::StartApp(app) => {
                if let Some(app) = self.apps.get_mut(app) {
                    app.waits = false;
                }
            }
            LifecycleInput::StopApp(app, grace) if app < self.apps.len() => self.stop_app(app, grace, now),
            LifecycleInput::Stop(grace) => self.stop(grace, now),
            LifecycleInput::Due => self.on_due(now),
            LifecycleInput::NotExecuted { .. }
            | LifecycleInput::Exited(_)
            | LifecycleInput::NeverRan { .. }
            | LifecycleInput::NotStarted { .. }
            | LifecycleInput::StopApp(..) => {}
        }
        self.settle(now)
    }

    /// What follows from how far the apps are.
    fn settle(&mut self, now: Instant) -> Vec<LifecycleAction> {
        self.start_held();
        self.stop_due(now);
        let ended = self.apps.iter().all(|app| app.state == State::Ended);
        let last = match self.held {
            true => self.stopping,
            false => !self.apps.is_empty(),
        };
        if ended && last && self.unsent == 0 && !std::mem::replace(&mut self.all_ended, ended) {
            self.send(GuestMessage::AllEnded);
        }
        std::mem::take(&mut self.actions)
    }

    fn report(&mut self, app: usize, report: AppReport) {
        self.send(GuestMessage::App(wire_index(app), report));
    }

    fn send(&mut self, message: GuestMessage) {
        self.actions.push(LifecycleAction::Send(message));
    }

    fn warn(&mut self, text: String) {
        self.send(GuestMessage::Warning { text });
    }

    /// Starts the apps that waited for others and need not any more, and ends those that would wait for ever.
    fn start_held(&mut self) {
        let mut changed = true;
        while std::mem::take(&mut changed) {
            for app in 0..self.apps.len() {
                if self.apps[app].state != State::Held || (self.apps[app].waits && !self.stopping) {
                    continue;
                }
                let standings: Vec<_> = self.apps.iter().map(|app| app.standing).collect();
                let gate = order::gate(&self.apps[app].terms.depends_on, &standings);
                changed |= gate != Gate::Closed;
                match gate {
                    Gate::Closed => {}
                    Gate::Open | Gate::Shut(_) if self.stopping => self.fail(app, FailureCause::Stopped),
                    Gate::Open => self.start(app),
                    Gate::Shut(other) => {
                        let other = self.apps.get(other);
                        let unit = other.map(|other| other.terms.unit.clone());
                        let cause = FailureCause::Dependency {
                            unit: unit.unwrap_or_default(),
                            result: other.and_then(|other| other.end.clone()).unwrap_or_default(),
                            log: Vec::new(),
                        };
                        self.fail(app, cause);
                    }
                }
            }
        }
    }

    fn start(&mut self, app: usize) {
        self.apps[app].state = State::Starting;
        self.actions.push(LifecycleAction::Start(app));
    }

    fn not_started(&mut self, app: usize, text: String) {
        match self.apps[app].last_end {
            Some(status) => {
                self.warn(text);
                self.end_as(app, status);
            }
            None => {
                let unit = self.apps[app].terms.unit.clone();
                let (result, log) = (text, Vec::new());
                self.fail(app, FailureCause::Unit { unit, result, log });
            }
        }
    }

    /// An app's program executes.
    fn started(&mut self, app: usize, uptime_ms: u64, fault: Option<FailureCause>, now: Instant) {
        if self.apps[app].state != State::Starting {
            return;
        }
        // An app whose mounts are not as they must be does not count as started, and does not continue.
        if let Some(cause) = fault {
            self.actions.push(LifecycleAction::Kill(app));
            return self.fail(app, cause);
        }
        let record = &mut self.apps[app];
        record.state = State::Running;
        record.standing.started |= !record.terms.reports_readiness;
        record.run.since = Some(now);
        // systemd has opened it for the app: from now on writing fails when the app no longer reads. One that may be
        // started again opens it once more.
        if record.restarts.is_none() {
            self.actions.push(LifecycleAction::LeaveStdin(app));
        }
        self.report(app, AppReport::Started { uptime_ms });
        match self.apps[app].terms.post_start.clone() {
            Some(handler) => self.check(app, What::PostStart, handler.check, None),
            None => self.begin_probes(app),
        }
        // It may have said so before systemd said that it runs.
        self.report_readiness(app);
    }

    fn check(&mut self, app: usize, what: What, check: GuestCheck, limit: Option<Duration>) {
        let run = self.apps[app].run.number;
        self.actions.push(LifecycleAction::Check {
            app,
            run,
            what,
            check,
            limit,
        });
    }

    fn begin_probes(&mut self, app: usize) {
        let App { terms, run, .. } = &mut self.apps[app];
        run.begun = true;
        run.schedule = (!terms.probes.is_empty()).then(|| ProbeSchedule::new(&terms.probes));
    }

    /// No probe is done any more in this run.
    fn quiet(&mut self, app: usize) {
        self.apps[app].run.schedule = None;
        self.actions.push(LifecycleAction::Abandon(app));
    }

    /// An app has ended: the end for good, unless it is started again.
    fn exited(&mut self, exit: AppExit, now: Instant) {
        let AppExit { app, status, .. } = exit;
        if let Some(uptime_ms) = exit.uptime_ms {
            self.started(app, uptime_ms, exit.fault, now);
        }
        if self.apps[app].state == State::Ended {
            return;
        }
        if let Some(text) = exit.last_words {
            self.report(app, AppReport::LastWords { text });
        }
        if let Some(within) = exit.process_out_of_memory {
            self.report(app, AppReport::ProcessOutOfMemory { within });
        }
        if let Some(within) = exit.out_of_memory {
            self.report(app, AppReport::OutOfMemory { within });
        }
        let stopping = self.stopping;
        let App { restarts, run, .. } = &mut self.apps[app];
        let restart = match restarts {
            Some(restarts) if !stopping && run.ending.is_none_or(|ending| ending.restarts) => {
                let ran = run.since.map(|since| now.saturating_duration_since(since));
                let failed = run.ending.is_some() || status != ExitStatus::Code(0);
                restarts.ended(failed, ran.unwrap_or_default())
            }
            _ => None,
        };
        let Some(restart) = restart else {
            return self.end_as(app, status);
        };
        let record = &mut self.apps[app];
        let until = now + restart.after;
        record.state = State::Waiting { until, status };
        record.last_end = Some(status);
        record.seen = exit.times;
        if record.terms.fresh_root {
            self.actions.push(LifecycleAction::RenewRoot(app));
        }
        self.end_run(app);
        self.report(
            app,
            AppReport::Restarting {
                status,
                in_ms: u32::try_from(restart.after.as_millis()).unwrap_or(u32::MAX),
                count: restart.count,
            },
        );
    }

    /// Another run begins, or none does any more.
    fn end_run(&mut self, app: usize) {
        let run = &mut self.apps[app].run;
        *run = AppRun {
            number: run.number.wrapping_add(1),
            ..AppRun::default()
        };
        self.actions.push(LifecycleAction::Abandon(app));
    }

    fn fail(&mut self, app: usize, cause: FailureCause) {
        let last = GuestMessage::App(wire_index(app), AppReport::Failed { cause });
        self.end(app, last, (Success::No, "it did not start".to_owned()));
    }

    /// Ends an app for good.
    fn end_as(&mut self, app: usize, status: ExitStatus) {
        let last = GuestMessage::App(wire_index(app), AppReport::Exited { status });
        self.end(app, last, in_words(status));
    }

    fn end(&mut self, app: usize, last: GuestMessage, (success, words): (Success, String)) {
        self.end_run(app);
        let record = &mut self.apps[app];
        record.state = State::Ended;
        (record.standing.ended, record.end) = (Some(success), Some(words));
        self.unsent = self.unsent.saturating_add(1);
        self.actions.push(LifecycleAction::End { app, last });
    }

    /// Reports whether a running app is ready, by its own message and by its probes, where that has changed.
    fn report_readiness(&mut self, app: usize) {
        let record = &mut self.apps[app];
        if record.state != State::Running || !record.terms.reports_readiness {
            return;
        }
        let ready = record.run.is_ready(&record.terms);
        if std::mem::replace(&mut record.run.ready, ready) == ready {
            return;
        }
        record.standing.started |= ready;
        let report = match ready {
            true => AppReport::Ready,
            false => AppReport::Unready,
        };
        self.report(app, report);
    }

    /// Something was done for an app that runs.
    fn done(&mut self, app: usize, what: What, done: &Done, now: Instant) {
        match what {
            What::Probe(probe) => self.probed(app, probe, done, now),
            What::PostStart if done.success => {
                self.begin_probes(app);
                self.report_readiness(app);
            }
            What::PostStart => {
                if let Some(handler) = self.apps[app].terms.post_start.clone() {
                    let reason = failure(&handler.name, &done.text);
                    self.end_because(app, reason, handler.on_failure, now);
                }
            }
            What::PreStop => {
                let Terms { name, pre_stop, .. } = &self.apps[app].terms;
                if let (false, Some(handler)) = (done.success, pre_stop) {
                    let text = format!("app `{name}`: {}", failure(&handler.name, &done.text));
                    self.warn(text);
                }
                self.ask_to_stop(app);
            }
        }
    }

    fn probed(&mut self, app: usize, probe: usize, done: &Done, now: Instant) {
        let App { run, standing, .. } = &mut self.apps[app];
        let ran = run.since.map(|since| now.saturating_duration_since(since));
        let Some(schedule) = &mut run.schedule else {
            return;
        };
        let ending = schedule.ended(probe, ran.unwrap_or_default(), done.success);
        let health = schedule.health();
        let name = schedule
            .probe(probe)
            .map(|probe| probe.name.clone())
            .unwrap_or_default();
        standing.healthy |= health == Health::Healthy;
        if health != run.health.unwrap_or(Health::Starting) {
            run.health = Some(health);
            let text = match done.success {
                true if done.text.is_empty() => format!("{name} succeeded"),
                true => format!("{name} succeeded: {}", done.text),
                false => failure(&name, &done.text),
            };
            self.report(app, AppReport::Health { health, text });
        }
        self.report_readiness(app);
        if ending.is_some() {
            self.end_because(app, failure(&name, &done.text), ending, now);
        }
    }

    /// Ends an app's run because of what was found.
    fn end_because(&mut self, app: usize, reason: String, ending: Option<GuestEnding>, now: Instant) {
        let is_ending = self.stopping || self.apps[app].run.ending.is_some();
        let Some(ending) = ending.filter(|_| !is_ending) else {
            return;
        };
        self.quiet(app);
        self.apps[app].run.ending = Some(ending);
        self.report(app, AppReport::Ending { reason });
        self.report_readiness(app);
        if ending.grace_ms == 0 {
            self.actions.push(LifecycleAction::Kill(app));
            return;
        }
        self.apps[app].run.kill_at = Some(now + Duration::from_millis(ending.grace_ms));
        self.begin_stop(app, now);
    }

    fn on_due(&mut self, now: Instant) {
        if self.kill_at.is_some_and(|at| at <= now) {
            self.kill_all(now);
        }
        for app in 0..self.apps.len() {
            match self.apps[app].state {
                State::Waiting { until, .. } if until <= now => self.start(app),
                State::Waiting { .. } | State::Ended => {}
                _ => self.app_due(app, now),
            }
        }
    }

    /// Does what is due in an app's run.
    fn app_due(&mut self, app: usize, now: Instant) {
        let time_is_up = self.apps[app].run.kill_at.is_some_and(|at| at <= now);
        if time_is_up && !self.ask_at_last(app, now) {
            // What its unit runs behind the program has its time, too.
            let App { terms, run, .. } = &mut self.apps[app];
            run.kill_at = terms.post_stop.map(|time| now + time);
            self.actions.push(LifecycleAction::Kill(app));
        }
        let run = &mut self.apps[app].run;
        let (Some(since), Some(schedule)) = (run.since, &mut run.schedule) else {
            return;
        };
        for probe in schedule.begin_due(now.saturating_duration_since(since)) {
            let GuestProbe {
                check, timeout_ms, ..
            } = self.apps[app].terms.probes[probe].clone();
            let limit = Duration::from_millis(timeout_ms);
            self.check(app, What::Probe(probe), check, Some(limit));
        }
    }
}

/// Whether an app has begun and not ended.
fn is_up(app: &App) -> bool {
    !matches!(app.state, State::Held | State::Ended)
}

/// Whether an end is a success, and what is said of it.
fn in_words(status: ExitStatus) -> (Success, String) {
    match status {
        ExitStatus::Code(0) => (Success::Yes, "it exited with status 0".to_owned()),
        ExitStatus::Code(code) => (Success::No, format!("it exited with status {code}")),
        ExitStatus::Signal { signal, .. } => (Success::No, format!("it was killed by signal {signal}")),
    }
}

/// What a failure is called: "liveness probe failed: exit status 1".
pub(crate) fn failure(name: &str, text: &str) -> String {
    format!("{name} failed: {text}")
}

/// An app's number as the wire has it; the host, which made the configuration, allows fewer apps than there are
/// numbers.
pub(crate) fn wire_index(app: usize) -> AppIndex {
    AppIndex::try_from(app).unwrap_or(AppIndex::MAX)
}

#[cfg(test)]
mod tests;
