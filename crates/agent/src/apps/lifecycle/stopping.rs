//! How apps are asked to stop, in their order, and killed when their time is up.

use std::time::Duration;

use isopod_contract::config::GuestEnding;
use isopod_contract::message::FailureCause;
use tokio::time::Instant;

use super::record::{App, State, Stop};
use super::{Lifecycle, LifecycleAction, What, is_up};

/// What an app has between its stop signal and its kill at least, where others used its grace up
/// (Kubernetes, `pkg/kubelet/kuberuntime/kuberuntime_container.go`: `minimumGracePeriodInSeconds`).
pub(super) const LAST_MOMENT: Duration = Duration::from_secs(2);

impl Lifecycle {
    /// All apps are to stop: none is started any more, and those that wait for it have ended.
    pub(super) fn stop(&mut self, grace: Duration, now: Instant) {
        let kill_at = now + grace;
        self.kill_at = Some(self.kill_at.map_or(kill_at, |earlier| earlier.min(kill_at)));
        self.at_once |= grace.is_zero();
        self.stopping = true;
        for app in 0..self.apps.len() {
            if let State::Waiting { status, .. } = self.apps[app].state {
                self.end_as(app, status);
            }
        }
    }

    /// One app is to stop, and not to start again.
    pub(super) fn stop_app(&mut self, app: usize, grace: Duration, now: Instant) {
        match self.apps[app].state {
            State::Held => self.fail(app, FailureCause::Stopped),
            State::Waiting { status, .. } => self.end_as(app, status),
            State::Ended => {}
            State::Starting | State::Running => {
                let kill_at = now + grace;
                let run = &mut self.apps[app].run;
                run.ending = Some(GuestEnding {
                    grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX),
                    restarts: false,
                });
                run.kill_at = Some(run.kill_at.map_or(kill_at, |earlier| earlier.min(kill_at)));
                self.report_readiness(app);
                if grace.is_zero() {
                    self.quiet(app);
                    self.apps[app].run.stop = Stop::Asked;
                    self.actions.push(LifecycleAction::Kill(app));
                } else {
                    self.begin_stop(app, now);
                }
            }
        }
    }

    /// Begins to stop the apps whose turn it is, where all are to stop: each when those that depend on it have ended.
    pub(super) fn stop_due(&mut self, now: Instant) {
        if !self.stopping {
            return;
        }
        for at in 0..self.stop_order.len() {
            let app = self.stop_order[at];
            let depends = |other: &App| {
                let others = &other.terms.depends_on;
                is_up(other) && others.iter().any(|other| usize::from(other.app) == app)
            };
            let is_due = is_up(&self.apps[app]) && self.apps[app].run.stop == Stop::No;
            if is_due && !self.apps.iter().any(depends) {
                self.begin_stop(app, now);
            }
        }
    }

    pub(super) fn begin_stop(&mut self, app: usize, now: Instant) {
        if self.apps[app].run.stop != Stop::No {
            return;
        }
        self.quiet(app);
        let runs = self.apps[app].state == State::Running;
        let in_time = self.kill_at.is_none_or(|at| at > now);
        match self.apps[app].terms.pre_stop.clone() {
            Some(handler) if runs && in_time => {
                self.apps[app].run.stop = Stop::Before;
                self.check(app, What::PreStop, handler.check, None);
            }
            _ => self.ask_to_stop(app),
        }
    }

    /// The time is up for an app that could not be asked to stop, since its `preStop` handler, or what depends on it, took
    /// all of it: asks it now, with a last moment before it is killed. Whether it was so.
    pub(super) fn ask_at_last(&mut self, app: usize, now: Instant) -> bool {
        if self.apps[app].run.stop == Stop::Asked || self.apps[app].state != State::Running {
            return false;
        }
        self.quiet(app);
        self.apps[app].run.kill_at = Some(now + LAST_MOMENT);
        self.ask_to_stop(app);
        true
    }

    pub(super) fn ask_to_stop(&mut self, app: usize) {
        self.apps[app].run.stop = Stop::Asked;
        self.actions.push(LifecycleAction::Stop(app));
    }

    /// Kills what is left of the apps; what their units run behind the programs has its time, too.
    pub(super) fn kill_all(&mut self, now: Instant) {
        let mut longest = None;
        for app in 0..self.apps.len() {
            if !is_up(&self.apps[app]) || (!self.at_once && self.ask_at_last(app, now)) {
                continue;
            }
            longest = longest.max(self.apps[app].terms.post_stop);
            self.actions.push(LifecycleAction::Kill(app));
        }
        self.kill_at = longest.map(|time| now + time);
    }
}
