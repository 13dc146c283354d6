//! What comes to a session and what leaves it: apps of an arrival with their streams, and those that are removed; and their
//! roots, which are recreated for a further run.

use isopod_contract::arrival::{ArrivalTimes, Departure};
use isopod_contract::config::{GuestApp, Identity};
use isopod_contract::in_one_line;
use isopod_contract::message::GuestMessage;
use tokio::time::Instant;

use super::{Session, SessionError};
use crate::apps::lifecycle::{LifecycleInput, wire_index};
use crate::apps::pipes::{self, AppPipes};
use crate::arrival::{self, Arrived, Purpose};
use crate::boot::setup;
use crate::host::app::AppStreams;
use crate::mounts::fresh_root::Renewal;
use crate::systemd::Manager;

impl<M: Manager> Session<M> {
    /// Makes the VM another one.
    pub(super) async fn identify(&mut self, identity: Identity) -> Result<Result<(), String>, SessionError> {
        let warnings = match arrival::identify_anew(&identity) {
            Ok(warnings) => warnings,
            Err(error) => return Ok(Err(in_one_line(&error))),
        };
        self.lifecycle.hold(identity.held);
        self.pod.identity = identity;
        self.warn_of(warnings).await?;
        Ok(Ok(()))
    }

    /// Lets what has come begin; when systemd was asked to.
    pub(super) async fn arrive(&mut self, arrived: Arrived) -> Result<ArrivalTimes, SessionError> {
        let Arrived {
            arrival,
            purpose,
            mut warnings,
            times,
        } = arrived;
        let first = self.pod.apps.len();
        if let Some(identity) = arrival.identity {
            self.lifecycle.hold(identity.held);
            self.pod.identity = identity;
        }
        self.pod.early_mounts.extend(arrival.early_mounts);
        self.pod.mounts_ahead.extend(arrival.mounts_ahead);
        self.pod.shares.extend(arrival.shares);
        self.pod.disks.extend(arrival.disks);
        for (app, number) in arrival.apps.iter().zip(first..) {
            let (pipes, errors) = pipes::open(app);
            warnings.extend(errors.iter().map(|error| in_one_line(error)));
            self.connect(app, number, pipes).await?;
            self.manager.watch(&app.unit);
        }
        self.warn_of(warnings).await?;
        let actions = self.lifecycle.add(&arrival.apps, Instant::now());
        self.pod.apps.extend(arrival.apps);
        if purpose == Purpose::Run
            && !self.lifecycle.is_stopping()
            && let Err(error) = self.manager.start(&arrival.unit).await
        {
            let text = in_one_line(&error);
            for app in first..self.pod.apps.len() {
                let text = text.clone();
                self.feed(LifecycleInput::NotStarted { app, text }).await?;
            }
        }
        let asked_ms = setup::uptime_ms();
        self.perform(actions).await?;
        // Those may have started, or even ended, already.
        for app in first..self.pod.apps.len() {
            self.look_at(app).await?;
        }
        Ok(ArrivalTimes { asked_ms, ..times })
    }

    /// Leaves out the numbers before `first` that were those of an arrival which failed.
    pub(super) fn skip_to(&mut self, first: usize) {
        while self.pod.apps.len() < first {
            self.pod.apps.push(GuestApp::default());
            self.apps.push(AppStreams::none());
            self.checks.add();
            self.lifecycle.skip();
        }
    }

    /// Opens an app's streams to the host.
    pub(super) async fn connect(
        &mut self,
        app: &GuestApp,
        number: usize,
        pipes: AppPipes,
    ) -> Result<(), SessionError> {
        let number = wire_index(number);
        let streams = AppStreams::begin(&self.opener, number, app, pipes, &self.reports).await;
        self.apps.push(streams.map_err(SessionError::Open)?);
        self.checks.add();
        Ok(())
    }

    /// Forgets an app that has ended, and lets systemd do so.
    pub(super) async fn forget(&mut self, departure: &Departure) -> Result<(), String> {
        let number = usize::from(departure.app);
        let Some(app) = self.pod.apps.get_mut(number) else {
            return Err(format!("there is no app {number}"));
        };
        if !self.lifecycle.has_ended(number) {
            return Err("the app has not ended".to_owned());
        }
        let gone = GuestApp {
            name: std::mem::take(&mut app.name),
            ..GuestApp::default()
        };
        self.manager.forget(&app.unit);
        *app = gone;
        self.lifecycle.forget(number);
        for unit in &departure.units {
            // What is not there any more is as it should be.
            let _ = self.manager.stop(unit).await;
            let _ = self.manager.reset_failed(unit).await;
        }
        let goes = |place: &str| departure.mount_points.iter().any(|gone| place == gone);
        self.pod.early_mounts.retain(|mount| !goes(&mount.mount_point));
        self.pod.mounts_ahead.retain(|mount| !goes(&mount.mount_point));
        Ok(())
    }

    /// Begins to make an app's root again.
    pub(super) fn renew_root(&mut self, app: usize) {
        if let Some(root) = &self.pod.apps[app].fresh_root {
            let renewal = Renewal::of(root, &self.pod.early_mounts, &self.pod.mounts_ahead);
            self.renewals
                .insert(app, tokio::task::spawn_blocking(move || renewal.make()));
        }
    }

    /// Waits until that is done, which the delay before a restart is long enough for but where the app wrote very many files.
    /// The next life begins all the same.
    pub(super) async fn await_renewal(&mut self, app: usize) -> Result<(), SessionError> {
        let text = match self.renewals.remove(&app) {
            None => return Ok(()),
            Some(renewal) => match renewal.await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => in_one_line(&error),
                Err(panic) => panic.to_string(),
            },
        };
        self.send(&GuestMessage::Warning { text }).await
    }
}
