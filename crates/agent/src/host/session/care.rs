//! What a session does for an app that runs, of its own accord: probes it, runs its `postStart` handler, ends it when
//! either fails, and asks it to stop behind its `preStop` handler. What to do and how often the planner says, what the
//! results mean [`Checkup`](crate::apps::probe_schedule::Checkup).
//!
//! ```text
//!   started ──> postStart ──> probes ──> ill, and that ends it ──┐
//!                  └───────── failed ────────────────────────────┤
//!   the pod is to stop, and what depends on it has ended ────────┴──> preStop ──> systemd stops it ──> (the grace) killed
//!                                                                          └─ the grace is over: 2 s more ─┘
//! ```
//!
//! Nothing here costs an app that has neither probes nor handlers a task or a message.

use std::sync::Arc;
use std::time::Duration;

use isopod_contract::config::{GuestApp, GuestCheck, GuestEnding, GuestProbe};
use isopod_contract::message::{ExitStatus, GuestMessage, Health};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::{SIGKILL, Session, SessionError, wire_index};
use crate::apps::check::{self, Done};
use crate::apps::order::dependents_first;
use crate::apps::probe_schedule::Checkup;
use crate::exec::enter::Job;
use crate::host::app::Told;
use crate::host::streams;
use crate::systemd::{Manager, UnitProcess, Whom};

/// The most probes that run at a time.
const MAX_AT_ONCE: usize = 8;

/// What an app has between its stop signal and its kill at least, where others used its grace up
/// (Kubernetes, `pkg/kubelet/kuberuntime/kuberuntime_container.go`: `minimumGracePeriodInSeconds`).
const LAST_MOMENT: Duration = Duration::from_secs(2);

/// Something that was done for an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    PostStart,
    Probe(usize),
    PreStop,
}

/// The end of it.
pub(super) struct Finished {
    app: usize,
    /// In which of the app's lives.
    life: u32,
    what: What,
    done: Done,
}

/// What is done for all apps.
pub(super) struct Checks {
    finished: mpsc::UnboundedSender<Finished>,
    pub(super) ended: mpsc::UnboundedReceiver<Finished>,
    permits: Arc<Semaphore>,
}

impl Checks {
    pub(super) fn new() -> Self {
        let (finished, ended) = mpsc::unbounded_channel();
        Self {
            finished,
            ended,
            permits: Arc::new(Semaphore::new(MAX_AT_ONCE)),
        }
    }
}

/// How far an app's stop is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stop {
    #[default]
    No,
    /// Its `preStop` handler runs.
    Before,
    Asked,
}

/// What is done for an app in its present life.
#[derive(Default)]
pub(in crate::host) struct Care {
    life: u32,
    /// How its unit runs, once that was asked.
    process: Option<UnitProcess>,
    /// Whether its `postStart` handler is done.
    begun: bool,
    checkup: Option<Checkup>,
    /// What the host was told of its health.
    told: Option<Health>,
    /// How the agent ends it, where it does.
    ending: Option<GuestEnding>,
    kill_at: Option<Instant>,
    stop: Stop,
    /// What runs for it; it ends with this.
    tasks: JoinSet<()>,
}

impl Care {
    /// Another life begins, or none does any more.
    pub(in crate::host) fn end(&mut self) {
        *self = Self {
            life: self.life + 1,
            ..Self::default()
        };
    }

    /// No probe is done any more in this life.
    fn quiet(&mut self) {
        self.checkup = None;
        self.tasks.abort_all();
    }

    /// Whether all that the app's readiness depends on here says so.
    pub(super) fn is_ready(&self, config: &GuestApp) -> bool {
        let well = self.checkup.as_ref().is_some_and(Checkup::is_ready);
        let begun = config.post_start.is_none() || self.begun;
        begun && self.ending.is_none() && (config.probes.is_empty() || well)
    }

    /// Whether the app's end is a failure whatever its status; `None`: the agent did not end it.
    pub(super) fn ended_by_agent(&self) -> Option<GuestEnding> {
        self.ending
    }

    /// When something is due, in a life that began at `since`.
    fn next(&self, since: Option<Instant>) -> Option<Instant> {
        let probe = self.checkup.as_ref().and_then(Checkup::next);
        let probe = probe.and_then(|due| since?.checked_add(due));
        probe.into_iter().chain(self.kill_at).min()
    }
}

impl<M: Manager> Session<M> {
    /// When something is due for an app that runs.
    pub(super) fn next_care(&self) -> Option<Instant> {
        let apps = self.apps.iter();
        apps.filter_map(|app| app.care.next(app.running_since)).min()
    }

    /// An app's program executes.
    pub(super) async fn begin_care(&mut self, app: usize) {
        match self.config.apps[app].post_start.clone() {
            Some(handler) => self.undertake(app, What::PostStart, handler.check, None).await,
            None => self.begin_checkup(app),
        }
    }

    fn begin_checkup(&mut self, app: usize) {
        let care = &mut self.apps[app].care;
        care.begun = true;
        let probes = &self.config.apps[app].probes;
        care.checkup = (!probes.is_empty()).then(|| Checkup::new(probes));
    }

    /// The app's program has ended, though its unit has not.
    pub(super) fn leave_alone(&mut self, app: usize) {
        self.apps[app].care.quiet();
    }

    /// Does what is due.
    pub(super) async fn care(&mut self) -> Result<(), SessionError> {
        let now = Instant::now();
        for app in 0..self.apps.len() {
            let time_is_up = self.apps[app].care.kill_at.is_some_and(|at| at <= now);
            if time_is_up && !self.ask_at_last(app).await? {
                // What its unit runs behind the program has its time, too.
                let post_stop = self.config.apps[app].post_stop_ms;
                self.apps[app].care.kill_at = post_stop.map(|ms| now + Duration::from_millis(ms));
                self.kill_app(app).await?;
            }
            let Some(since) = self.apps[app].running_since else {
                continue;
            };
            let Some(checkup) = &mut self.apps[app].care.checkup else {
                continue;
            };
            for probe in checkup.begin_due(now.saturating_duration_since(since)) {
                let GuestProbe {
                    check, timeout_ms, ..
                } = self.config.apps[app].probes[probe].clone();
                let limit = Duration::from_millis(timeout_ms);
                self.undertake(app, What::Probe(probe), check, Some(limit)).await;
            }
        }
        Ok(())
    }

    pub(super) async fn kill_app(&mut self, app: usize) -> Result<(), SessionError> {
        let killed = self.manager.kill(&self.config.apps[app].unit, Whom::All, SIGKILL);
        let killed = killed.await;
        self.warn(killed).await
    }

    /// Begins something as a task.
    async fn undertake(&mut self, app: usize, what: What, check: GuestCheck, limit: Option<Duration>) {
        let job = match &check {
            GuestCheck::Exec { argv } => Some(self.job(app, argv).await),
            _ => None,
        };
        let own = self.config.network.as_ref().map(|network| network.address);
        let care = &mut self.apps[app].care;
        let (life, finished) = (care.life, self.checks.finished.clone());
        // Handlers are few, and not to wait for probes that hang.
        let permits = matches!(what, What::Probe(_)).then(|| Arc::clone(&self.checks.permits));
        care.tasks.spawn(async move {
            let _permit = match permits {
                Some(permits) => permits.acquire_owned().await.ok(),
                None => None,
            };
            let done = match (job.transpose(), limit) {
                (Err(text), _) => Done::failed(text),
                (Ok(job), None) => check::run(check, job, own).await,
                (Ok(job), Some(limit)) => timeout(limit, check::run(check, job, own))
                    .await
                    .unwrap_or_else(|_| Done::too_long(limit)),
            };
            let _ = finished.send(Finished {
                app,
                life,
                what,
                done,
            });
        });
    }

    /// What `enter` is to do for a command in an app that runs.
    async fn job(&mut self, app: usize, argv: &[String]) -> Result<Job, String> {
        let config = &self.config.apps[app];
        let process = match self.apps[app].care.process.clone() {
            Some(process) => process,
            None => streams::process(&self.manager, config).await?,
        };
        self.apps[app].care.process = Some(process.clone());
        streams::job_for(config, process, argv.to_vec())
    }

    /// Something has been done.
    pub(super) async fn finished(&mut self, finished: Finished) -> Result<(), SessionError> {
        let Finished {
            app,
            life,
            what,
            done,
        } = finished;
        let record = &mut self.apps[app];
        while record.care.tasks.try_join_next().is_some() {}
        if record.care.life != life || record.told != Told::Started {
            return Ok(());
        }
        match what {
            What::Probe(probe) => self.probed(app, probe, done).await,
            What::PostStart if done.success => {
                self.begin_checkup(app);
                self.tell_readiness(app).await
            }
            What::PostStart => match self.config.apps[app].post_start.clone() {
                Some(handler) => {
                    let reason = failure(&handler.name, &done.text);
                    self.end_life(app, reason, handler.on_failure).await
                }
                None => Ok(()),
            },
            What::PreStop => {
                if let (false, Some(handler)) = (done.success, &self.config.apps[app].pre_stop) {
                    let name = &self.config.apps[app].name;
                    let text = format!("app `{name}`: {}", failure(&handler.name, &done.text));
                    self.say(&GuestMessage::Warning { text }).await?;
                }
                self.ask_to_stop(app).await
            }
        }
    }

    /// Warns when what the unit of an app has run after its program has failed.
    pub(super) async fn tell_post_stop(&mut self, app: usize) -> Result<(), SessionError> {
        let config = &self.config.apps[app];
        let end = self.manager.post_stop(&config.unit).await;
        let why = match end.map_err(SessionError::Systemd)? {
            None | Some(ExitStatus::Code(0)) => return Ok(()),
            Some(ExitStatus::Code(code)) => format!("exit status {code}"),
            Some(ExitStatus::Signal { signal, .. }) => format!("killed by signal {signal}"),
        };
        let text = format!("app `{}`: {}", config.name, failure("post-stop handler", &why));
        self.say(&GuestMessage::Warning { text }).await
    }

    async fn probed(&mut self, app: usize, probe: usize, done: Done) -> Result<(), SessionError> {
        let record = &mut self.apps[app];
        let ran = record
            .running_since
            .map(|since| since.elapsed())
            .unwrap_or_default();
        let Some(checkup) = &mut record.care.checkup else {
            return Ok(());
        };
        let ending = checkup.ended(probe, ran, done.success);
        let health = checkup.health();
        let name = checkup
            .probe(probe)
            .map(|probe| probe.name.clone())
            .unwrap_or_default();
        record.standing.healthy |= health == Health::Healthy;
        if health != record.care.told.unwrap_or(Health::Starting) {
            record.care.told = Some(health);
            let text = match done.success {
                true if done.text.is_empty() => format!("{name} succeeded"),
                true => format!("{name} succeeded: {}", done.text),
                false => failure(&name, &done.text),
            };
            let app = wire_index(app);
            self.say(&GuestMessage::Health { app, health, text }).await?;
        }
        self.tell_readiness(app).await?;
        match ending {
            Some(ending) => self.end_life(app, failure(&name, &done.text), Some(ending)).await,
            None => Ok(()),
        }
    }

    /// Ends an app's life because of what was found.
    async fn end_life(
        &mut self,
        app: usize,
        reason: String,
        ending: Option<GuestEnding>,
    ) -> Result<(), SessionError> {
        let care = &mut self.apps[app].care;
        let Some(ending) = ending.filter(|_| !self.stopping && care.ending.is_none()) else {
            return Ok(());
        };
        care.quiet();
        care.ending = Some(ending);
        self.say(&GuestMessage::Ending {
            app: wire_index(app),
            reason,
        })
        .await?;
        self.tell_readiness(app).await?;
        if ending.grace_ms == 0 {
            return self.kill_app(app).await;
        }
        self.apps[app].care.kill_at = Some(Instant::now() + Duration::from_millis(ending.grace_ms));
        self.begin_stop(app).await
    }

    /// Begins to stop the apps whose turn it is, where all are to stop: each when those that depend on it have ended.
    pub(super) async fn stop_due(&mut self) -> Result<(), SessionError> {
        if !self.stopping {
            return Ok(());
        }
        for app in dependents_first(&self.config.apps) {
            let depends = |other: usize| {
                let others = &self.config.apps[other].depends_on;
                self.is_up(other) && others.iter().any(|other| usize::from(other.app) == app)
            };
            let is_due = self.is_up(app) && self.apps[app].care.stop == Stop::No;
            if is_due && !(0..self.apps.len()).any(depends) {
                self.begin_stop(app).await?;
            }
        }
        Ok(())
    }

    /// Whether an app has begun and not ended.
    pub(super) fn is_up(&self, app: usize) -> bool {
        !matches!(self.apps[app].told, Told::Held | Told::Ended)
    }

    async fn begin_stop(&mut self, app: usize) -> Result<(), SessionError> {
        let record = &mut self.apps[app];
        if record.care.stop != Stop::No {
            return Ok(());
        }
        record.care.quiet();
        let runs = record.told == Told::Started;
        let in_time = self.kill_at.is_none_or(|at| at > Instant::now());
        match self.config.apps[app].pre_stop.clone().filter(|_| runs && in_time) {
            Some(handler) => {
                self.apps[app].care.stop = Stop::Before;
                self.undertake(app, What::PreStop, handler.check, None).await;
                Ok(())
            }
            None => self.ask_to_stop(app).await,
        }
    }

    /// The time is up for an app that could not be asked to stop, since its `preStop` handler, or what depends on it, took
    /// all of it: asks it now, with a last moment before it is killed. Whether it was so.
    pub(super) async fn ask_at_last(&mut self, app: usize) -> Result<bool, SessionError> {
        let record = &mut self.apps[app];
        if record.care.stop == Stop::Asked || record.told != Told::Started {
            return Ok(false);
        }
        record.care.quiet();
        record.care.kill_at = Some(Instant::now() + LAST_MOMENT);
        self.ask_to_stop(app).await?;
        Ok(true)
    }

    async fn ask_to_stop(&mut self, app: usize) -> Result<(), SessionError> {
        self.apps[app].care.stop = Stop::Asked;
        let asked = self.manager.stop(&self.config.apps[app].unit).await;
        self.warn(asked).await
    }
}

/// What a failure is called: "liveness probe failed: exit status 1".
fn failure(name: &str, text: &str) -> String {
    format!("{name} failed: {text}")
}
