//! `isopod run` and `isopod prepare`: from arguments to a pod that is there, and on to its end.

use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use isopod_plan::{Fault, PlanError, PodPlan};
use isopod_runtime::Settings;
use isopod_runtime::gather::{self, GatherError, GatherFault, Gathered};
use isopod_runtime::pods::files::{Keep, Stdin};
use isopod_runtime::pods::{Claim, Pods};
use isopod_runtime::prepare::{self, Wishes};
use isopod_runtime::run::{self, AppEnd, Caller, Outcome, Timings};
use isopod_vm::agent::{ExitStatus, FailureCause, MemoryBound};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::args::{Ground, RunArgs};
use crate::detach;
use crate::manifest::{self, Asked};
use crate::output::{self, Report};
use crate::supervisor;

/// Runs the pod; in the foreground, the exit status is that of its first app to fail.
///
/// # Errors
/// A [`Report`] when it could not be run to its end.
pub(crate) fn run(args: &RunArgs, settings: &Settings) -> Result<ExitCode, Report> {
    let begun = std::time::Instant::now();
    let keep = match (args.ground, args.remove) {
        (Ground::Back, false) => Keep::UntilRemoved,
        _ => Keep::UntilEnded,
    };
    let claim = match make(args, keep, settings)? {
        Ok(claim) => claim,
        Err(status) => return Ok(status),
    };
    match args.ground {
        Ground::Fore => foreground(claim, begun.elapsed(), settings),
        Ground::Back => {
            let uuid = claim.uuid().to_owned();
            let status = detach::start(claim, settings)?;
            output::data(&format!("{uuid}\n"));
            Ok(status)
        }
    }
}

/// Prepares the pod and prints its UUID.
///
/// # Errors
/// A [`Report`] when it could not be.
pub(crate) fn prepare(args: &RunArgs, settings: &Settings) -> Result<ExitCode, Report> {
    Ok(match make(args, Keep::UntilRemoved, settings)? {
        Ok(claim) => {
            output::data(&format!("{}\n", claim.uuid()));
            ExitCode::SUCCESS
        }
        Err(status) => status,
    })
}

/// A prepared pod, or the exit status when everything was told already.
fn make(args: &RunArgs, keep: Keep, settings: &Settings) -> Result<Result<Claim, ExitCode>, Report> {
    let mut pod = match manifest::pod(args, &manifest::Purpose::Preparation, settings) {
        Ok(pod) => pod,
        Err(status) => return Ok(Err(status)),
    };
    if let Some(name) = &args.name {
        pod.spec.name = Some(name.clone());
    }
    let (gathered, plan) = match gather_and_plan(&pod, settings) {
        Ok(both) => both,
        Err(status) => return Ok(Err(status)),
    };
    if args.stdin == Stdin::Attached && plan.apps.len() != 1 {
        return Err(Report::text(
            "`--interactive` is for a pod of one app: several would read the same input",
        )
        .hint(Some("leave it out, or run that app in a pod of its own".into())));
    }
    plan.notices.iter().for_each(|notice| output::note(notice));
    let pods = Pods::open(&settings.state_dir).map_err(|e| Report::new(&e).hint(e.hint()))?;
    let wishes = Wishes {
        uuid: pod.uuid.clone(),
        name: pod.spec.name.clone(),
        keep,
        stdin: args.stdin,
        boot_timeout: args.boot_timeout,
        silent_kill: args.silent_kill,
    };
    // It is read from elsewhere, later.
    let mut asked = pod.spec.clone();
    asked.map_host_paths(|path| absolute(path, settings));
    let claim = prepare::prepare(&pods, &asked, &plan, &gathered, &wishes);
    claim.map(Ok).map_err(|e| Report::new(&e).hint(e.hint()))
}

/// A path that is the same from anywhere: without `..`, which only the file system can tell.
fn absolute(path: &Path, settings: &Settings) -> PathBuf {
    let path = settings.working_dir.join(path);
    let up = path.components().any(|part| part == Component::ParentDir);
    let real = up.then(|| path.canonicalize().ok()).flatten();
    real.unwrap_or_else(|| path.components().collect())
}

/// Runs a pod with the caller's standard streams, to its end; it is removed then, where that was wished.
///
/// # Errors
/// A [`Report`] when it could not be run to its end.
pub(crate) fn foreground(
    claim: Claim,
    prepared: std::time::Duration,
    settings: &Settings,
) -> Result<ExitCode, Report> {
    let caller = |stop, signals| Caller {
        stdin: Some(Box::new(tokio::io::stdin())),
        output: Some([Box::new(tokio::io::stdout()), Box::new(tokio::io::stderr())]),
        stop,
        signals,
        milestones: Some(supervisor::milestones()),
        started: None,
    };
    let outcome = supervise(claim, settings, caller)?;
    log_timings(prepared, &outcome.timings);
    Ok(report(&outcome))
}

/// Supervises a pod to its end, and removes it where that was wished.
///
/// # Errors
/// A [`Report`] when it could not be run to its end.
pub(crate) fn supervise(
    mut claim: Claim,
    settings: &Settings,
    caller: impl FnOnce(mpsc::UnboundedReceiver<()>, mpsc::UnboundedReceiver<u8>) -> Caller,
) -> Result<Outcome, Report> {
    let record = claim.record().map_err(|e| Report::new(&e).hint(e.hint()))?;
    claim.begin().map_err(|e| Report::new(&e).hint(e.hint()))?;
    // One thread: the machine's processes die with the thread that started them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Report::new(&e))?;
    let result = runtime.block_on(async {
        let failed = |e: std::io::Error| Report::new(&e);
        let caller = caller(stops().map_err(failed)?, forwarded().map_err(failed)?);
        let result = run::run(&claim, &record, settings, caller).await;
        result.map_err(|e| Report::new(&e).hint(e.hint()))
    });
    // A read of the terminal cannot be cancelled, and must not be waited for.
    runtime.shutdown_background();
    if record.keep == Keep::UntilEnded
        && let Err(error) = claim.remove()
    {
        tracing::warn!("{}", Report::new(&error).line());
    }
    result
}

/// Gathers the facts and plans; what stands against it is printed, all of it.
///
/// # Errors
/// The exit status, when everything was told already.
pub(crate) fn gather_and_plan(pod: &Asked, settings: &Settings) -> Result<(Gathered, PodPlan), ExitCode> {
    let gathered = gather::gather(&pod.spec, settings).map_err(|error| report_faults(pod, &error))?;
    let plan = isopod_plan::plan(&pod.spec, &gathered.facts).map_err(|error| refuse(pod, &error))?;
    Ok((gathered, plan))
}

/// Prints everything that stands against running a pod.
pub(crate) fn report_faults(pod: &Asked, GatherError { faults }: &GatherError) -> ExitCode {
    let report =
        |fault: &GatherFault| pod.locate(Report::new(fault).hint(fault.hint()), fault.part().as_ref());
    output::fail_all(&faults.iter().map(report).collect::<Vec<_>>())
}

/// Prints every fault of a pod that cannot be planned.
pub(crate) fn refuse(pod: &Asked, PlanError { faults }: &PlanError) -> ExitCode {
    let report = |fault: &Fault| {
        let report = Report::new(fault)
            .hint(fault.hint())
            .exit_status(fault.exit_status());
        pod.locate(report, fault.part().as_ref())
    };
    output::fail_all(&faults.iter().map(report).collect::<Vec<_>>())
}

/// A message for each signal that asks for a stop.
fn stops() -> std::io::Result<mpsc::UnboundedReceiver<()>> {
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
fn forwarded() -> std::io::Result<mpsc::UnboundedReceiver<u8>> {
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

/// Says which apps did not start or were killed, and gives the pod's exit status.
fn report(outcome: &Outcome) -> ExitCode {
    for (app, end) in &outcome.apps {
        match end {
            AppEnd::Failed(FailureCause::Stopped) => {
                tracing::info!("app `{app}` did not start: the pod was stopped while it waited for others");
            }
            AppEnd::Failed(cause) => {
                output::fail(&failure(app.as_str(), cause));
            }
            AppEnd::Exited(ExitStatus::Signal { signal, .. }) => {
                tracing::info!("app `{app}` was ended by signal {signal}");
            }
            AppEnd::Exited(ExitStatus::Code(code)) => tracing::info!("app `{app}` exited with status {code}"),
        }
    }
    for ((app, _), within) in outcome.apps.iter().zip(&outcome.out_of_memory) {
        let Some(within) = within else { continue };
        let why = match within {
            MemoryBound::Guest => "there was no memory left for it; `--memory` gives the machine more",
            MemoryBound::App => {
                "it needed more memory than it may have; `--memory` after its image gives it more"
            }
        };
        output::note(&format!("app `{app}` was killed: {why}"));
    }
    if let Some(error) = &outcome.unwritten {
        output::fail(
            &Report::text("cannot write what the apps wrote; the pod was stopped").because(error.to_string()),
        );
    }
    for share in &outcome.unsynced {
        output::note(&format!(
            "the guest could not write a share back to the host: {share}"
        ));
    }
    ExitCode::from(outcome.exit_status())
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

/// One line for benchmarks: milliseconds by phase.
fn log_timings(prepared: std::time::Duration, timings: &Timings) {
    let boot = &timings.boot;
    tracing::debug!(
        "timings: prepare_ms={} ready_ms={} ended_ms={} synced_ms={} gone_ms={} guest_init_ms={} \
         guest_systemd_begun_ms={} guest_agent_ms={} guest_systemd_ms={} guest_connected_ms={} guest_first_app_ms={}",
        prepared.as_millis(),
        timings.ready.as_millis(),
        timings.ended.as_millis(),
        timings.synced.as_millis(),
        timings.gone.as_millis(),
        boot.init_ms,
        boot.systemd_begun_ms,
        boot.agent_started_ms,
        boot.systemd_ms,
        boot.connected_ms,
        timings.first_app_ms,
    );
}
