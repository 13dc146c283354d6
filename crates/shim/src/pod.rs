//! The pod of a sandbox: begun, asked, and at its end removed. This process is its supervisor.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use isopod_contract::in_one_line;
use isopod_contract::message::HostStream;
use isopod_plan::{Fault, PodPlan};
use isopod_runtime::Settings;
use isopod_runtime::app::{self, AddError};
use isopod_runtime::control::{self, ControlError, Request};
use isopod_runtime::gather::{self, Gathered};
use isopod_runtime::identify;
use isopod_runtime::pods::files::{Keep, Stdin};
use isopod_runtime::pods::state::Verb;
use isopod_runtime::pods::{Claim, Pods};
use isopod_runtime::prepare::{self, PrepareOptions};
use isopod_runtime::run::{self, Caller, Watcher};
use isopod_spec::PodSpec;
use isopod_vm::agent::FIRST_ANSWER;
use tokio::sync::{Mutex, mpsc, watch};

/// Where a container's directory says which pod is its sandbox's.
const FILE: &str = "isopod-pod";

/// How long a guest may take to come up.
const BOOT_WITHIN: Duration = Duration::from_secs(120);

/// How often an app is planned again, since something came or went at the same time.
const ATTEMPTS: usize = 16;

/// Where a pod is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its VM boots.
    Starting,
    /// Apps may come.
    Up,
    /// It has ended, for this reason where it was not asked to.
    Ended(Option<String>),
}

/// A pod that was begun.
#[derive(Debug)]
pub(crate) struct Pod {
    uuid: String,
    path: PathBuf,
    phase: watch::Receiver<Phase>,
    stop: mpsc::UnboundedSender<()>,
    /// Held while an app comes: it is planned on what runs.
    comes: Mutex<()>,
}

/// What a pod's supervision reports of its phase.
pub(crate) type Phases = Arc<watch::Sender<Phase>>;

/// An error, in one line with its causes.
pub(crate) fn words(error: &(dyn std::error::Error + 'static)) -> String {
    in_one_line(error)
}

/// The same, and behind it what to do about it: a kubelet shows both in its events.
fn hinted(error: &(dyn std::error::Error + 'static), hint: Option<String>) -> String {
    match hint {
        Some(hint) => format!("{}; {hint}", words(error)),
        None => words(error),
    }
}

impl Pod {
    /// Begins the pod. `watcher` says that it is up by `phases`, and `ended` is called when it is gone.
    ///
    /// # Errors
    /// Why it cannot be begun, in a line.
    pub(crate) async fn begin(
        spec: PodSpec,
        bundle: &Path,
        settings: &Arc<Settings>,
        watcher: Arc<dyn Watcher>,
        phases: Phases,
        ended: impl FnOnce() + Send + 'static,
    ) -> Result<Self, String> {
        let prepared = {
            let (settings, bundle) = (settings.clone(), bundle.to_owned());
            tokio::task::spawn_blocking(move || prepare(&spec, &bundle, &settings)).await
        };
        let mut claim = prepared.map_err(|error| words(&error))??;
        let record = claim.record().map_err(|error| hinted(&error, error.hint()))?;
        claim.begin().map_err(|error| hinted(&error, error.hint()))?;
        let (stop, stops) = mpsc::unbounded_channel();
        // Nobody sends the pod signals: each container has its own.
        let (_, signals) = mpsc::unbounded_channel();
        let phase = phases.subscribe();
        let (uuid, path) = (claim.uuid().to_owned(), claim.path().to_owned());
        let settings = settings.clone();
        tokio::spawn(async move {
            let caller = Caller {
                stdin: None,
                output: None,
                stop: stops,
                signals,
                milestones: None,
                started: None,
                watcher: Some(watcher),
            };
            let result = run::run(&claim, &record, &settings, caller).await;
            let reason = result.err().map(|error| hinted(&error, error.hint()));
            if let Some(reason) = &reason {
                tracing::warn!("the VM of the sandbox has ended: {reason}");
            }
            let removed = tokio::task::spawn_blocking(move || claim.remove()).await;
            if let Ok(Err(error)) = removed {
                tracing::warn!("{}", words(&error));
            }
            ended();
            phases.send_replace(Phase::Ended(reason));
        });
        Ok(Self {
            uuid,
            path,
            phase,
            stop,
            comes: Mutex::new(()),
        })
    }

    /// Waits until apps may come.
    ///
    /// # Errors
    /// Why none may, in a line.
    pub(crate) async fn up(&self) -> Result<(), String> {
        let mut phase = self.phase.clone();
        let reached = phase.wait_for(|phase| *phase != Phase::Starting).await;
        match reached.as_deref() {
            Ok(Phase::Up) => Ok(()),
            Ok(Phase::Ended(Some(reason))) => Err(reason.clone()),
            _ => Err("the sandbox has ended".to_owned()),
        }
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Ended(_))
    }

    /// Asks it to stop, and once more at once where `kill` says so. Does not wait.
    pub(crate) fn stop(&self, kill: bool) {
        let _ = self.stop.send(());
        if kill {
            let _ = self.stop.send(());
        }
    }

    /// Waits until it is gone.
    pub(crate) async fn gone(&self) {
        let _ = self
            .phase
            .clone()
            .wait_for(|phase| matches!(phase, Phase::Ended(_)))
            .await;
    }

    /// Brings the one app of `wanted`, which waits to be started where `waits` says so; its number.
    ///
    /// # Errors
    /// Why it cannot come, in a line.
    pub(crate) async fn add(
        &self,
        wanted: &PodSpec,
        waits: bool,
        settings: &Arc<Settings>,
    ) -> Result<u16, String> {
        let _alone = self.comes.lock().await;
        let begun = Instant::now();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let planned = {
                let (uuid, wanted, settings) = (self.uuid.clone(), wanted.clone(), settings.clone());
                let plan = move || plan(&uuid, &wanted, waits, &settings);
                tokio::task::spawn_blocking(plan)
                    .await
                    .map_err(|error| words(&error))??
            };
            let number = u16::try_from(planned.add.first).map_err(|error| words(&error))?;
            planned
                .notices
                .iter()
                .for_each(|notice| tracing::info!("{notice}"));
            let planned_in = begun.elapsed();
            match control::add_app(&self.path, &planned.add, &planned.files).await {
                Ok(()) => {
                    let (planned, came) = (planned_in.as_millis(), begun.elapsed().as_millis());
                    tracing::debug!("app {number} was planned after {planned} ms, and came after {came} ms");
                    return Ok(number);
                }
                // Something came or went at the same time: planned again, on what is now.
                Err(ControlError::Outdated) if attempt < ATTEMPTS => {}
                Err(error) => return Err(hinted(&error, error.hint())),
            }
        }
    }

    /// Lets it be the pod of another sandbox; `false`, and nothing has changed, where its VM is not such a one.
    ///
    /// # Errors
    /// Why it cannot be, in a line; it is of no use then.
    pub(crate) async fn become_another(
        &self,
        wanted: PodSpec,
        bundle: &Path,
        settings: &Arc<Settings>,
    ) -> Result<bool, String> {
        let written = {
            let (uuid, bundle, settings) = (self.uuid.clone(), bundle.to_owned(), settings.clone());
            tokio::task::spawn_blocking(move || {
                let (gathered, plan) = plan_pod(&wanted, &settings)?;
                let pods = Pods::open(&settings.state_dir).map_err(|error| hinted(&error, error.hint()))?;
                note(&bundle, &uuid)?;
                identify::record(&pods, &uuid, &wanted, &plan, &gathered, &OPTIONS)
                    .map_err(|error| hinted(&error, error.hint()))
            })
            .await
        };
        let Some(identified) = written.map_err(|error| words(&error))?? else {
            return Ok(false);
        };
        let became = identify::become_it(&self.path, identified).await;
        became
            .map(|()| true)
            .map_err(|error| hinted(&error, error.hint()))
    }

    /// Asks the supervision something.
    ///
    /// # Errors
    /// Why it cannot be, in a line.
    pub(crate) async fn ask(&self, request: &Request) -> Result<(), String> {
        control::ask(&self.path, request)
            .await
            .map_err(|error| hinted(&error, error.hint()))
    }

    /// Whether the guest's agent does not answer within the time that it has for any stream. What fails sooner is refused, not silent.
    pub(crate) async fn is_silent(&self) -> bool {
        let asked = Instant::now();
        control::open(&self.path, HostStream::Stats).await.is_err() && asked.elapsed() >= FIRST_ANSWER
    }

    /// The pod's directory, through which its agent is reached.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn plan(uuid: &str, wanted: &PodSpec, waits: bool, settings: &Settings) -> Result<app::PlannedApp, String> {
    let pods = Pods::open(&settings.state_dir).map_err(|error| hinted(&error, error.hint()))?;
    let entry = pods.entry(uuid).ok_or("the sandbox has ended")?;
    app::plan(&entry, wanted, waits, settings).map_err(|error| match error {
        AddError::Plan(error) => faults(error.faults.iter().map(in_runcs_words)),
        AddError::Gather(error) => faults(error.faults.iter().map(|fault| hinted(fault, fault.hint()))),
        error => words(&error),
    })
}

/// A fault; of a program that is not there in the words of runc that engines look for, which distinguish 127 and 126 by them.
fn in_runcs_words(fault: &Fault) -> String {
    match fault {
        Fault::CommandNotFound { program, .. } => {
            format!(
                "exec: \"{}\": executable file not found in $PATH: {fault}",
                program.escape_debug()
            )
        }
        Fault::CommandNotExecutable { path, .. } => {
            format!("exec: \"{}\": permission denied: {fault}", path.display())
        }
        fault => hinted(fault, fault.hint()),
    }
}

fn faults(faults: impl Iterator<Item = String>) -> String {
    faults.collect::<Vec<_>>().join("; ")
}

/// How the pod of a sandbox lives.
const OPTIONS: PrepareOptions = PrepareOptions {
    uuid: None,
    name: None,
    keep: Keep::UntilEnded,
    stdin: Stdin::Empty,
    boot_timeout: BOOT_WITHIN,
    silent_kill: None,
};

/// Gathers and plans the pod of a sandbox.
fn plan_pod(spec: &PodSpec, settings: &Settings) -> Result<(Gathered, PodPlan), String> {
    let gathered = gather::gather(spec, settings)
        .map_err(|error| faults(error.faults.iter().map(|fault| hinted(fault, fault.hint()))))?;
    let plan = isopod_plan::plan(spec, &gathered.facts)
        .map_err(|error| faults(error.faults.iter().map(in_runcs_words)))?;
    plan.notices.iter().for_each(|notice| tracing::info!("{notice}"));
    Ok((gathered, plan))
}

/// Gathers, plans and prepares the pod, and notes in the container's directory which it is.
fn prepare(spec: &PodSpec, bundle: &Path, settings: &Settings) -> Result<Claim, String> {
    let (gathered, plan) = plan_pod(spec, settings)?;
    let pods = Pods::open(&settings.state_dir).map_err(|error| hinted(&error, error.hint()))?;
    // Of a spare that died while it was taken.
    clean(bundle, settings);
    let claim = prepare::prepare(&pods, spec, &plan, &gathered, &OPTIONS)
        .map_err(|error| hinted(&error, error.hint()))?;
    match note(bundle, claim.uuid()) {
        Ok(()) => Ok(claim),
        Err(error) => {
            let _ = claim.remove();
            Err(error)
        }
    }
}

/// Notes in the container's directory which pod is its sandbox's.
fn note(bundle: &Path, uuid: &str) -> Result<(), String> {
    std::fs::write(bundle.join(FILE), uuid)
        .map_err(|error| format!("cannot write to `{}`: {error}", bundle.display()))
}

/// Lets the container's directory `to` say which pod is its sandbox's, in place of `from`.
pub(crate) fn note_in(to: &Path, from: &Path) -> std::io::Result<()> {
    std::fs::copy(from.join(FILE), to.join(FILE))?;
    std::fs::remove_file(from.join(FILE))
}

/// Removes the pod of a sandbox whose shim was killed, if it had one.
pub(crate) fn clean(bundle: &Path, settings: &Settings) {
    let Ok(uuid) = std::fs::read_to_string(bundle.join(FILE)) else {
        return;
    };
    let removed = Pods::open(&settings.state_dir)
        .map_err(|error| words(&error))
        .and_then(|pods| {
            pods.claim(uuid.trim(), Verb::Remove)
                .map_err(|error| words(&error))
        })
        .and_then(|claim| claim.remove().map_err(|error| words(&error)));
    if let Err(error) = removed {
        tracing::debug!("pod `{}` is not removed: {error}", uuid.trim());
    }
}
