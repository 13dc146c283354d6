//! Pods in the background: their supervisor is a process of its own.

use std::io::Read as _;
use std::process::Stdio;

use isopod_runtime::Settings;
use isopod_runtime::pods::state::Verb;
use isopod_runtime::pods::{Claim, PodEntry, Pods};

use crate::output::{self, Report};
use crate::supervisor::{self, STARTED, failed};

/// Starts a pod in the background, and waits until its apps have started. What the supervisor reports of those that did not
/// is given, as it is printed.
///
/// # Errors
/// A [`Report`] when there is no supervisor.
pub(crate) fn start(mut claim: Claim, settings: &Settings) -> Result<Option<String>, Report> {
    let spawned = supervisor::command(&mut claim, settings, Stdio::piped())?.spawn();
    let mut child = spawned.map_err(|e| failed("execute it", &e))?;
    // From here on the lock is the supervisor's alone.
    drop(claim);
    let mut reported = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        let _ = stdout.read_to_string(&mut reported);
    }
    match reported.strip_prefix(STARTED) {
        Some("") => Ok(None),
        _ if reported.is_empty() => Err(Report::text("the pod's supervisor ended before the pod ran")),
        failures => Ok(Some(failures.unwrap_or(&reported).trim_end().to_owned())),
    }
}

/// Starts a pod that is there already in the background, and prints why apps of it did not start.
///
/// # Errors
/// A [`Report`] when not every app has started.
pub(crate) fn restart(pods: &Pods, pod: &PodEntry, settings: &Settings) -> Result<(), Report> {
    let claim = pods.claim(&pod.uuid, Verb::Start)?;
    let Some(failures) = start(claim, settings)? else {
        return Ok(());
    };
    output::notice(&failures);
    Err(
        Report::text(format!("pod `{}` did not start properly", pod.label())).hint(Some(format!(
            "`isopod status {}` and `isopod logs` show more",
            pod.label()
        ))),
    )
}
