//! What is done for apps besides their programs: probes and handlers, each as a task of its own. Nothing here costs an app
//! that has neither a task or a message.

use std::sync::Arc;
use std::time::Duration;

use isopod_contract::config::{GuestApp, GuestCheck, GuestNetwork};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::apps::check::{self, Done};
use crate::apps::lifecycle::{LifecycleInput, What};
use crate::apps::paused::Paused;
use crate::exec::enter::Job;
use crate::host::questions;
use crate::systemd::{Manager, UnitProcess};

/// The most probes that run at a time.
const MAX_AT_ONCE: usize = 8;

/// What is done for all apps.
pub(super) struct Checks {
    done: mpsc::UnboundedSender<LifecycleInput>,
    ended: mpsc::UnboundedReceiver<LifecycleInput>,
    permits: Arc<Semaphore>,
    paused: Paused,
    apps: Vec<OfApp>,
}

/// What is done for an app.
#[derive(Default)]
struct OfApp {
    tasks: JoinSet<()>,
    /// How its unit runs in this run, once that was asked.
    process: Option<(u32, UnitProcess)>,
}

/// Something that is to be done for an app.
pub(super) struct Undertaking {
    pub(super) app: usize,
    /// In which of the app's lives.
    pub(super) run: u32,
    pub(super) what: What,
    pub(super) check: GuestCheck,
    pub(super) limit: Option<Duration>,
}

impl Checks {
    pub(super) fn new(paused: Paused) -> Self {
        let (done, ended) = mpsc::unbounded_channel();
        Self {
            done,
            ended,
            permits: Arc::new(Semaphore::new(MAX_AT_ONCE)),
            paused,
            apps: Vec::new(),
        }
    }

    /// There is one more app.
    pub(super) fn add(&mut self) {
        self.apps.push(OfApp::default());
    }

    /// The next that is done: an [`LifecycleInput::Done`]. May be cancelled.
    pub(super) async fn next(&mut self) -> Option<LifecycleInput> {
        let done = self.ended.recv().await?;
        if let LifecycleInput::Done { app, .. } = done {
            while self.apps[app].tasks.try_join_next().is_some() {}
        }
        Some(done)
    }

    /// Ends whatever is being done for an app.
    pub(super) fn abandon(&mut self, app: usize) {
        self.apps[app].tasks.abort_all();
    }

    /// Begins something as a task.
    pub(super) async fn undertake(
        &mut self,
        manager: &impl Manager,
        config: &GuestApp,
        network: Option<&GuestNetwork>,
        undertaking: Undertaking,
    ) {
        let Undertaking {
            app,
            run,
            what,
            check,
            limit,
        } = undertaking;
        let job = match &check {
            GuestCheck::Exec { argv } => Some(self.job(manager, config, (app, run), argv).await),
            _ => None,
        };
        let own = network.and_then(GuestNetwork::ipv4);
        // Handlers are few, and not to wait for probes that hang.
        let permits = matches!(what, What::Probe(_)).then(|| Arc::clone(&self.permits));
        let report = self.done.clone();
        let paused = self.paused.clone();
        let index = u16::try_from(app).unwrap_or(u16::MAX);
        self.apps[app].tasks.spawn(async move {
            let _permit = match permits {
                Some(permits) => permits.acquire_owned().await.ok(),
                None => None,
            };
            let attempt = || async {
                match (job.clone().transpose(), limit) {
                    (Err(text), _) => Done::failed(text),
                    (Ok(job), None) => check::run(check.clone(), job, own).await,
                    (Ok(job), Some(limit)) => timeout(limit, check::run(check.clone(), job, own))
                        .await
                        .unwrap_or_else(|_| Done::too_long(limit)),
                }
            };
            let done = loop {
                paused.until(index, false).await;
                tokio::select! {
                    done = attempt() => break done,
                    // What an app that is held does not answer says nothing: it is asked again.
                    () = paused.until(index, true), if matches!(what, What::Probe(_)) => {}
                }
            };
            let _ = report.send(LifecycleInput::Done { app, run, what, done });
        });
    }

    /// What `enter` is to do for a command in an app that runs.
    async fn job(
        &mut self,
        manager: &impl Manager,
        config: &GuestApp,
        (app, run): (usize, u32),
        argv: &[String],
    ) -> Result<Job, String> {
        let known = self.apps[app].process.take().filter(|(of, _)| *of == run);
        let process = match known {
            Some((_, process)) => process,
            None => questions::process(manager, config).await?,
        };
        self.apps[app].process = Some((run, process.clone()));
        questions::job_for(config, process, argv.to_vec())
    }
}
