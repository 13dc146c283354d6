//! `isopod run`: plans, prepares and runs a pod in the foreground.

use std::process::ExitCode;

use isopod_plan::{Fault, PlanError, PodPlan};
use isopod_runtime::Settings;
use isopod_runtime::gather::{self, GatherError, GatherFault, Gathered};
use isopod_runtime::prepare;
use isopod_runtime::run::{self, AppEnd, Foreground, Outcome, Timings};
use isopod_vm::agent::{ExitStatus, FailureCause};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::args::RunArgs;
use crate::manifest::{self, Asked};
use crate::output::{self, Report};
use crate::supervisor;

/// Runs the pod; the exit status is that of its first app to fail.
///
/// # Errors
/// A [`Report`] when it could not be run to its end.
pub(crate) fn run(args: &RunArgs, settings: &Settings) -> Result<ExitCode, Report> {
    let begun = std::time::Instant::now();
    let pod = match manifest::pod(&args.source) {
        Ok(pod) => pod,
        Err(status) => return Ok(status),
    };
    let (gathered, plan) = match gather_and_plan(&pod, settings) {
        Ok(both) => both,
        Err(status) => return Ok(status),
    };
    plan.notices.iter().for_each(|notice| output::note(notice));
    let dir = prepare::prepare(
        &plan,
        &gathered.guest,
        gathered.facts.host.mkfs.as_deref(),
        settings,
    )
    .map_err(|e| Report::new(&e).hint(e.hint()))?;
    let prepared = begun.elapsed();
    // One thread: the machine's processes die with the thread that started them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Report::new(&e))?;
    let result = runtime.block_on(async {
        let foreground = foreground(args).map_err(|e| Report::new(&e))?;
        let result = run::run(&plan, &dir, &gathered.qemu, settings, foreground).await;
        result.map_err(|e| Report::new(&e).hint(e.hint()))
    });
    // A read of the terminal cannot be cancelled, and must not be waited for.
    runtime.shutdown_background();
    drop(dir);
    let outcome = result?;
    log_timings(prepared, &outcome.timings);
    Ok(report(&outcome))
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

fn foreground(args: &RunArgs) -> std::io::Result<Foreground> {
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
    Ok(Foreground {
        stdin: Box::new(tokio::io::stdin()),
        stdout: Box::new(tokio::io::stdout()),
        stderr: Box::new(tokio::io::stderr()),
        stop,
        grace: args.stop_timeout,
        boot_deadline: args.boot_timeout,
        milestones: supervisor::milestones(),
    })
}

/// Says which apps did not start or were killed, and gives the pod's exit status.
fn report(outcome: &Outcome) -> ExitCode {
    for (app, end) in &outcome.apps {
        match end {
            AppEnd::Failed(cause) => {
                output::fail(&failure(app.as_str(), cause));
            }
            AppEnd::Exited(ExitStatus::Signal { signal, .. }) => {
                tracing::info!("app `{app}` was ended by signal {signal}");
            }
            AppEnd::Exited(ExitStatus::Code(code)) => tracing::info!("app `{app}` exited with status {code}"),
        }
    }
    for share in &outcome.unsynced {
        output::note(&format!(
            "the guest could not write a share back to the host: {share}"
        ));
    }
    ExitCode::from(outcome.exit_status())
}

fn failure(app: &str, cause: &FailureCause) -> Report {
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
