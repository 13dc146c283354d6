//! The lives of an app: when it is started where others come first, and what is done when it has ended and its policy
//! starts it anew.
//!
//! ```text
//!   held ── the others have come so far ──> starting ──> running
//!     └── one of them never will ──> ended
//!
//!   running ── ended, by the policy ──> waiting ── the delay has passed ──> starting ──> running
//!                                          └── a stop ──> ended
//! ```

use std::path::Path;

use isopod_contract::in_one_line;
use isopod_contract::message::{ExitStatus, FailureCause, GuestMessage};
use tokio::time::Instant;

use super::{Session, SessionError, wire_index};
use crate::apps::last_words;
use crate::apps::notify::Word;
use crate::apps::order::{self, Gate};
use crate::host::app::Told;
use crate::systemd::Manager;
use crate::systemd::appstate::ServiceState;

impl<M: Manager> Session<M> {
    /// Starts the apps that waited for others and need not any more, and ends those that would wait for ever.
    pub(super) async fn start_held(&mut self) {
        let mut changed = true;
        while std::mem::take(&mut changed) {
            for app in 0..self.apps.len() {
                if self.apps[app].told != Told::Held {
                    continue;
                }
                let standings: Vec<_> = self.apps.iter().map(|app| app.standing).collect();
                let gate = order::gate(&self.config.apps[app].depends_on, &standings);
                changed |= gate != Gate::Closed;
                match gate {
                    Gate::Closed => {}
                    Gate::Open | Gate::Shut(_) if self.stopping => self.fail(app, FailureCause::Stopped),
                    Gate::Open => self.start_first(app).await,
                    Gate::Shut(other) => self.fail_for(app, other),
                }
            }
        }
    }

    async fn start_first(&mut self, app: usize) {
        self.apps[app].told = Told::Nothing;
        if let Err(error) = self.manager.start(&self.config.apps[app].unit).await {
            self.never_started(app, in_one_line(&error));
        }
    }

    /// Ends an app that cannot start because of another.
    fn fail_for(&mut self, app: usize, other: usize) {
        let config = self.config.apps.get(other);
        let cause = FailureCause::Dependency {
            unit: config.map(|config| config.unit.clone()).unwrap_or_default(),
            result: self
                .apps
                .get(other)
                .and_then(|app| app.end.clone())
                .unwrap_or_default(),
            log: Vec::new(),
        };
        self.fail(app, cause);
    }

    fn never_started(&mut self, app: usize, result: String) {
        let unit = self.config.apps[app].unit.clone();
        let log = Vec::new();
        self.fail(app, FailureCause::Unit { unit, result, log });
    }

    fn fail(&mut self, app: usize, cause: FailureCause) {
        let last = GuestMessage::Failed {
            app: wire_index(app),
            cause,
        };
        self.later.push(self.apps[app].end(last));
    }

    /// When the next app is to be started anew.
    pub(super) fn next_restart(&self) -> Option<Instant> {
        let waiting = self.apps.iter().filter_map(|app| match app.told {
            Told::Waiting { until, .. } => Some(until),
            _ => None,
        });
        waiting.min()
    }

    /// Starts the apps anew whose delay has passed.
    pub(super) async fn restart_due(&mut self) -> Result<(), SessionError> {
        let now = Instant::now();
        for app in 0..self.apps.len() {
            let Told::Waiting { until, status } = self.apps[app].told else {
                continue;
            };
            if until > now {
                continue;
            }
            self.apps[app].told = Told::Nothing;
            if let Err(error) = self.manager.start(&self.config.apps[app].unit).await {
                let text = in_one_line(&error);
                self.say(&GuestMessage::Warning { text }).await?;
                self.end_as(app, status);
            }
        }
        Ok(())
    }

    /// An app has ended: reports it, and the end for good unless it is started anew.
    pub(super) async fn ended(
        &mut self,
        app: usize,
        status: ExitStatus,
        state: &ServiceState,
    ) -> Result<(), SessionError> {
        let stopping = self.stopping;
        if let Some(text) = last_words::take(Path::new(&self.config.apps[app].last_words)) {
            let app = wire_index(app);
            self.say(&GuestMessage::LastWords { app, text }).await?;
        }
        if let Some(within) = self.out_of_memory(app, status, state.killed_pid).await? {
            let app = wire_index(app);
            self.say(&GuestMessage::OutOfMemory { app, within }).await?;
        }
        let record = &mut self.apps[app];
        let by_agent = record.care.ended_by_agent();
        let restart = match &mut record.restarts {
            Some(restarts) if !stopping && by_agent.is_none_or(|ending| ending.restarts) => {
                let ran = record.running_since.map(|since| since.elapsed());
                let failed = by_agent.is_some() || status != ExitStatus::Code(0);
                restarts.ended(failed, ran.unwrap_or_default())
            }
            _ => None,
        };
        let Some(restart) = restart else {
            self.end_as(app, status);
            return Ok(());
        };
        record.told = Told::Waiting {
            until: Instant::now() + restart.after,
            status,
        };
        record.last_end = Some(status);
        record.running_since = None;
        record.word = None;
        record.care.end();
        record.ready = false;
        record.seen = (state.active_enter_us, state.exec_main_start_us);
        let in_ms = u32::try_from(restart.after.as_millis()).unwrap_or(u32::MAX);
        self.say(&GuestMessage::Restarting {
            app: wire_index(app),
            status,
            in_ms,
            count: restart.count,
        })
        .await
    }

    /// Tells the host whether an app that runs is ready, by its own word and by what is found of it, where that is new.
    pub(super) async fn tell_readiness(&mut self, app: usize) -> Result<(), SessionError> {
        let record = &mut self.apps[app];
        let config = &self.config.apps[app];
        if record.told != Told::Started || !config.tells_readiness() {
            return Ok(());
        }
        let said = config.notify.is_none() || record.word == Some(Word::Ready);
        let ready = said && record.care.is_ready(config);
        if std::mem::replace(&mut record.ready, ready) == ready {
            return Ok(());
        }
        record.standing.started |= ready;
        let app = wire_index(app);
        let message = match ready {
            true => GuestMessage::AppReady { app },
            false => GuestMessage::AppUnready { app },
        };
        self.say(&message).await
    }

    /// No app is started any more: those that wait for it have ended.
    pub(super) fn stop_restarts(&mut self) {
        self.stopping = true;
        for app in 0..self.apps.len() {
            if let Told::Waiting { status, .. } = self.apps[app].told {
                self.end_as(app, status);
            }
        }
    }

    /// Ends an app for good.
    pub(super) fn end_as(&mut self, app: usize, status: ExitStatus) {
        let last = GuestMessage::Exited {
            app: wire_index(app),
            status,
        };
        self.later.push(self.apps[app].end(last));
    }
}

/// What systemd says of a unit's present life: times of an earlier one count as none.
pub(super) fn present(state: ServiceState, seen: (u64, u64)) -> ServiceState {
    let new = |time, seen| if time == seen { 0 } else { time };
    ServiceState {
        active_enter_us: new(state.active_enter_us, seen.0),
        exec_main_start_us: new(state.exec_main_start_us, seen.1),
        ..state
    }
}
