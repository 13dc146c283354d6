//! How pods end: stopped in order, killed, removed. Several commands do it.

use std::time::{Duration, Instant};

use isopod_runtime::control::{self, Request};
use isopod_runtime::pods::state::{PodState, Verb};
use isopod_runtime::pods::{ClaimError, PodEntry, Pods};

use crate::output::Report;
use crate::pods::{Until, ask, ask_within, check_live, wait};

/// How long a supervisor that was to kill its pod may take before it is killed itself.
const FORCE_AFTER: Duration = Duration::from_secs(10);

/// Stops a pod in order and waits for its end. One that does not run is stopped already.
///
/// # Errors
/// A [`Report`] when it does not end.
pub(crate) fn stop(pods: &Pods, pod: PodEntry, time: Option<Duration>) -> Result<(), Report> {
    if pod.state == PodState::Exited {
        return Ok(());
    }
    check_live(&pod)?;
    let grace_ms = time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    if let Err(error) = ask(&pod, &Request::Stop { grace_ms }) {
        // It may have ended meanwhile.
        let live = pods.entry(&pod.uuid).is_some_and(|pod| pod.state.is_live());
        return if live { Err(error.into()) } else { Ok(()) };
    }
    wait(pods, pod, Until::Exited).map(drop)
}

/// Kills a pod's apps, and its supervisor where that does not end; its VM ends with it.
///
/// # Errors
/// A [`Report`] when it does not end.
pub(crate) fn force_stop(pods: &Pods, pod: PodEntry) -> Result<(), Report> {
    if pod.state == PodState::Exited {
        return Ok(());
    }
    check_live(&pod)?;
    let begun = Instant::now();
    let order = Request::Stop { grace_ms: Some(0) };
    let asked = ask_within(&pod, &order, FORCE_AFTER).is_ok();
    let patience = if asked { FORCE_AFTER } else { Duration::ZERO };
    while pods.entry(&pod.uuid).is_some_and(|pod| pod.state.is_live()) {
        if begun.elapsed() > patience {
            kill_supervisor(&pod)?;
            return wait(pods, pod, Until::Exited).map(drop);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Kills the process that listens on the pod's socket.
fn kill_supervisor(pod: &PodEntry) -> Result<(), Report> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let found = runtime.block_on(control::supervisor(&pod.path));
    let pid = found?;
    let pid = pid.and_then(rustix::process::Pid::from_raw);
    let pid =
        pid.ok_or_else(|| Report::text(format!("cannot find the supervisor of pod `{}`", pod.label())))?;
    let handle = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty());
    handle
        .and_then(|handle| rustix::process::pidfd_send_signal(handle, rustix::process::Signal::KILL))
        .map_err(|e| {
            Report::text(format!(
                "cannot kill the supervisor of pod `{}`: {e}",
                pod.label()
            ))
        })
}

/// Stops a pod where it runs, and removes it.
///
/// # Errors
/// A [`Report`] when it is still there.
pub(crate) fn stop_and_remove(pods: &Pods, pod: PodEntry, time: Option<Duration>) -> Result<(), Report> {
    let uuid = pod.uuid.clone();
    if pod.state.is_live() {
        stop(pods, pod.clone(), time)?;
    }
    match pods.entry(&uuid) {
        Some(pod) => remove(pods, pod, false),
        // It was to be removed when it ended.
        None => Ok(()),
    }
}

/// Removes a pod; one that runs is killed before, where that is wished.
///
/// # Errors
/// A [`Report`] when it is still there.
pub(crate) fn remove(pods: &Pods, pod: PodEntry, force: bool) -> Result<(), Report> {
    let uuid = pod.uuid.clone();
    if pod.state.is_live() && force {
        force_stop(pods, pod)?;
        // One that was to be removed when it ended may be gone.
        if pods.entry(&uuid).is_none() {
            return Ok(());
        }
    }
    let claim = pods.claim(&uuid, Verb::Remove).map_err(|error| match error {
        ClaimError::State { .. } => {
            Report::of(&error).hint(Some("stop it first, or remove it with `--force`".into()))
        }
        error => error.into(),
    })?;
    Ok(claim.remove()?)
}
