//! Pods in the foreground: their standard streams are the caller's, and all of them have one supervisor, which is this
//! process.

use std::process::ExitCode;
use std::time::Duration;

use isopod_runtime::Settings;
use isopod_runtime::pods::Claim;
use isopod_runtime::pods::files::{PodRecord, Stdin};
use isopod_runtime::run::{AppEnd, Caller, Outcome, Timings};
use isopod_vm::agent::{ExitStatus, FailureCause};

use crate::failure::Failure;
use crate::output::{self, Report};
use crate::relay::{self, Connection};
use crate::service_manager;
use crate::supervision::{failure, remarks, supervise};

/// Runs pods with the caller's standard streams, to their ends; each is removed then, where that was wished.
///
/// # Errors
/// A [`Failure`] when none could be run to its end.
pub(crate) fn run(
    mut claims: Vec<Claim>,
    connection: &Connection<'_>,
    prepared: Duration,
    settings: &Settings,
) -> Result<ExitCode, Failure> {
    if let [claim] = &mut claims[..] {
        let record = claim.record()?;
        if relay::is_for(&record, connection)
            && let Some(claim) = claims.pop()
        {
            return relay::run(claim, connection, settings);
        }
    } else if !connection.sig_proxy {
        claims.into_iter().for_each(|claim| drop(claim.remove()));
        return Err(
            Report::text("`--sig-proxy=false` is for one pod, and the files have several")
                .hint(Some("leave it out".into()))
                .into(),
        );
    }
    let (count, outputs) = (claims.len(), connection.outputs);
    let mut results = supervise(claims, settings, || {
        let milestones = service_manager::milestones(count);
        move |record: &PodRecord, stop, signals| Caller {
            // Several would read the same input.
            stdin: (count == 1 && record.stdin == Stdin::Attached).then(|| Box::new(tokio::io::stdin()) as _),
            output: Some([
                match outputs.stdout {
                    true => Box::new(tokio::io::stdout()) as _,
                    false => Box::new(tokio::io::sink()) as _,
                },
                match outputs.stderr {
                    true => Box::new(tokio::io::stderr()) as _,
                    false => Box::new(tokio::io::sink()) as _,
                },
            ]),
            stop,
            signals,
            milestones: Some(milestones.clone()),
            started: None,
            watcher: None,
        }
    })?;
    if let (1, Some(result)) = (results.len(), results.pop()) {
        let outcome = result?;
        log_timings(prepared, &outcome.timings);
        return Ok(report(&outcome));
    }
    let mut status = ExitCode::SUCCESS;
    for result in results {
        let own = match result {
            Ok(outcome) => report(&outcome),
            Err(report) => output::fail(&report),
        };
        if status == ExitCode::SUCCESS {
            status = own;
        }
    }
    Ok(status)
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
                tracing::info!("app `{app}` was killed by signal {signal}");
            }
            AppEnd::Exited(ExitStatus::Code(code)) => tracing::info!("app `{app}` exited with status {code}"),
        }
    }
    if let Some(error) = &outcome.unwritten {
        output::fail(
            &Report::text("cannot write the apps' output; the pod was stopped").because(error.to_string()),
        );
    }
    remarks(outcome).iter().for_each(|remark| output::note(remark));
    ExitCode::from(outcome.exit_status())
}

/// One line for benchmarks: milliseconds by phase.
fn log_timings(prepared: Duration, timings: &Timings) {
    let (boot, arrival) = (&timings.boot, &timings.arrival);
    tracing::debug!(
        "timings: prepare_ms={} ready_ms={} ended_ms={} synced_ms={} gone_ms={} guest_init_ms={} \
         guest_systemd_begun_ms={} guest_agent_ms={} guest_systemd_ms={} guest_connected_ms={} guest_arrival_ms={} \
         guest_unpacked_ms={} guest_mounted_ms={} guest_asked_ms={} guest_first_app_ms={}",
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
        arrival.begun_ms,
        arrival.unpacked_ms,
        arrival.mounted_ms,
        arrival.asked_ms,
        timings.first_app_ms,
    );
}
