//! The lives of an app one after another: what is done when it has ended and its policy starts it anew.
//!
//! ```text
//!   running ── ended, by the policy ──> waiting ── the delay has passed ──> starting ──> running
//!                                          └── a stop ──> ended
//! ```

use isopod_protocol::message::{ExitStatus, GuestMessage};
use tokio::time::Instant;

use super::{Session, SessionError, wire_index};
use crate::appstate::ServiceState;
use crate::chain;
use crate::serve::app::Told;
use crate::systemd::Manager;

impl<M: Manager> Session<M> {
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
                let text = chain(&error);
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
        let record = &mut self.apps[app];
        let restart = match &mut record.restarts {
            Some(restarts) if !stopping => {
                let ran = record.running_since.map(|since| since.elapsed());
                restarts.ended(status, ran.unwrap_or_default())
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
