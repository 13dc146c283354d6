//! This process as the supervisor of pods, and how it words what became of them.

use futures::future::join_all;
use isopod_runtime::Settings;
use isopod_runtime::pods::Claim;
use isopod_runtime::pods::files::{Keep, PodRecord};
use isopod_runtime::run::{self, AppEnd, Caller, Outcome};
use isopod_spec::AppName;
use isopod_vm::agent::{FailureCause, MemoryBound};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::output::Report;

/// Supervises pods side by side to their ends, and removes each where that was wished. `callers` is called once there is a
/// runtime, and what it gives once for each pod.
///
/// # Errors
/// A [`Report`] when none could be begun.
pub(crate) fn supervise<C: FnMut(&PodRecord, Stops, Signals) -> Caller>(
    mut claims: Vec<Claim>,
    settings: &Settings,
    callers: impl FnOnce() -> C,
) -> Result<Vec<Result<Outcome, Report>>, Report> {
    let mut records = Vec::new();
    for claim in &mut claims {
        records.push(claim.record()?);
        claim.begin()?;
    }
    // One thread: the VM's processes die with the thread that started them.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let results: Result<Vec<Result<Outcome, Report>>, Report> = runtime.block_on(async {
        let mut next = callers();
        let mut runs = Vec::new();
        for (claim, record) in claims.iter().zip(&records) {
            let caller = next(record, stops()?, forwarded()?);
            runs.push(async move { Ok(run::run(claim, record, settings, caller).await?) });
        }
        Ok(join_all(runs).await)
    });
    // A read of the terminal cannot be cancelled, and must not be waited for.
    runtime.shutdown_background();
    for (claim, record) in claims.into_iter().zip(&records) {
        if record.keep != Keep::UntilRemoved
            && let Err(error) = claim.remove()
        {
            tracing::warn!("{}", Report::of(&error).line());
        }
    }
    results
}

/// What asks for a stop.
type Stops = mpsc::UnboundedReceiver<()>;

/// The signals that the apps get.
type Signals = mpsc::UnboundedReceiver<u8>;

/// A message for each signal that asks for a stop.
fn stops() -> std::io::Result<Stops> {
    let (sender, stop) = mpsc::unbounded_channel();
    for kind in [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ] {
        let mut signals = signal(kind)?;
        let sender = sender.clone();
        tokio::spawn(async move { while signals.recv().await.is_some() && sender.send(()).is_ok() {} });
    }
    Ok(stop)
}

/// The signals that the apps get (signal(7)): those of docker's `--sig-proxy` that do not ask for a stop here.
fn forwarded() -> std::io::Result<Signals> {
    let (sender, forwarded) = mpsc::unbounded_channel();
    for (kind, number) in [
        (SignalKind::quit(), 3),
        (SignalKind::user_defined1(), 10),
        (SignalKind::user_defined2(), 12),
    ] {
        let mut signals = signal(kind)?;
        let sender = sender.clone();
        tokio::spawn(async move { while signals.recv().await.is_some() && sender.send(number).is_ok() {} });
    }
    Ok(forwarded)
}

/// What the user should know of how the pod ended.
pub(crate) fn remarks(outcome: &Outcome) -> Vec<String> {
    let killed = |((app, _), within): (&(AppName, AppEnd), &Option<MemoryBound>)| {
        let why = match within.as_ref()? {
            MemoryBound::Guest => "there was no memory left for it; `--vm-memory` gives the VM more",
            MemoryBound::App => "it needed more memory than its limit; `--memory` gives it more",
        };
        Some(format!("app `{app}` was killed: {why}"))
    };
    let unsynced =
        |share: &String| format!("the guest could not write a file system back to the host: {share}");
    let killed = outcome.apps.iter().zip(&outcome.out_of_memory).filter_map(killed);
    killed.chain(outcome.unsynced.iter().map(unsynced)).collect()
}

/// Why an app did not start.
pub(crate) fn failure(app: &str, cause: &FailureCause) -> Report {
    let (what, result, log) = match cause {
        FailureCause::Mount {
            unit,
            volume: Some(volume),
            result,
            log,
        } => (
            format!("app `{app}` did not start: volume `{volume}` was not mounted (`{unit}`)"),
            result,
            log,
        ),
        FailureCause::Mount {
            unit,
            volume: None,
            result,
            log,
        } => (
            format!("app `{app}` did not start: a part of its root filesystem was not mounted (`{unit}`)"),
            result,
            log,
        ),
        FailureCause::Dependency { unit, result, log } => (
            format!("app `{app}` did not start: `{unit}`, which it needs, failed"),
            result,
            log,
        ),
        FailureCause::Unit { unit, result, log } => (
            format!("app `{app}` did not start: `{unit}` failed before its program ran"),
            result,
            log,
        ),
        FailureCause::Stopped => {
            return Report::text(format!(
                "app `{app}` did not start: the pod was stopped while it waited for others"
            ));
        }
    };
    let lines: String = log.iter().map(|line| format!("\n    {line}")).collect();
    Report::text(format!("{what}: {result}{lines}"))
}
