//! Why an app will never run: looks for the unit that failed, from the app's mounts on, then through all that its unit
//! requires. It mends nothing and tries nothing again.

use std::collections::{HashSet, VecDeque};
use std::path::Path;

use isopod_contract::config::{GuestApp, GuestMount};
use isopod_contract::layout::{ERROR_DIR, SYSCTL_ERRORS};
use isopod_contract::message::{FailureCause, MAX_LOG_LINES};

use crate::mounts::early;
use crate::mounts::mount_check;
use crate::mounts::mountinfo::Mount;
use crate::systemd::appstate::{Activity, step_name};
use crate::systemd::kmsg::{self, Subject};
use crate::systemd::{Manager, ManagerError, UnitState};

/// The most units that are asked about: a pod has some hundred, and more need not be gone through for one message.
const MAX_UNITS: usize = 256;

/// Finds why `app` never ran: `step` is systemd's exit code, where a process was forked, `mounts` what is mounted.
pub(crate) async fn cause<M: Manager>(
    manager: &M,
    app: &GuestApp,
    step: Option<i32>,
    mounts: &[Mount],
) -> Result<FailureCause, ManagerError> {
    if let Some(code) = step {
        let state = manager.unit(&app.unit).await?;
        return Ok(unit_failed(app, step_name(code), &state));
    }
    for mount in &app.mounts {
        let state = manager.unit(&mount.unit).await?;
        if state.active == Activity::Failed {
            let volume = match &mount.volume {
                Some(volume) => Some(volume.clone()),
                None => volume_behind(manager, app, &mount.unit).await?,
            };
            return Ok(mount_failed(app, &mount.unit, volume, state));
        }
    }
    if let Some((unit, state)) = failed_requirement(manager, &app.unit).await? {
        if !unit.ends_with(".mount") {
            let log = log(&unit, None, &state);
            return Ok(FailureCause::Dependency {
                unit,
                result: state.result,
                log,
            });
        }
        let volume = volume_behind(manager, app, &unit).await?;
        return Ok(mount_failed(app, &unit, volume, state));
    }
    let state = manager.unit(&app.unit).await?;
    if state.assert_failed
        && let Ok(failures) = std::fs::read_to_string(SYSCTL_ERRORS)
    {
        return Ok(FailureCause::Unit {
            unit: app.unit.clone(),
            result: "sysctl".to_owned(),
            log: failures.lines().take(MAX_LOG_LINES).map(str::to_owned).collect(),
        });
    }
    // systemd's check of the mounts, an assertion of the unit's, may be what failed.
    if state.assert_failed
        && let Some((mount, fault)) = mount_check::faults(app, mounts).next()
    {
        return Ok(not_mounted(mount, fault));
    }
    let result = match (state.load.as_str(), state.result.as_str()) {
        ("loaded", "success" | "") => "canceled".to_owned(),
        ("loaded", result) => result.to_owned(),
        (load, _) => load.to_owned(),
    };
    let result = match app.pre_start && state.active == Activity::Failed && !state.assert_failed {
        true => format!("its pre-start handler failed ({result})"),
        false => result,
    };
    Ok(unit_failed(app, result, &state))
}

fn unit_failed(app: &GuestApp, result: String, state: &UnitState) -> FailureCause {
    FailureCause::Unit {
        unit: app.unit.clone(),
        result,
        log: log(&app.unit, None, state),
    }
}

fn mount_failed(app: &GuestApp, unit: &str, volume: Option<String>, state: UnitState) -> FailureCause {
    let mount_point = app
        .mounts
        .iter()
        .find(|mount| mount.unit == unit)
        .map(|mount| mount.mount_point.as_str());
    let log = log(unit, mount_point, &state);
    FailureCause::Mount {
        unit: unit.to_owned(),
        volume,
        result: state.result,
        log,
    }
}

/// A mount that no unit has failed to make, and that is not as it must be; the agent may have said why at boot.
pub(crate) fn not_mounted(mount: &GuestMount, fault: String) -> FailureCause {
    let subject = Subject {
        unit: &mount.unit,
        mount_point: Some(&mount.mount_point),
        window_us: (0, u64::MAX),
    };
    let mut log = kmsg::about(&subject);
    // Process 1 stopped at the first of its mounts that failed, whichever that was.
    log.retain(|line| line.contains(&mount.mount_point) || line.contains(early::FAILED));
    log.insert(0, fault);
    log.truncate(MAX_LOG_LINES);
    FailureCause::Mount {
        unit: mount.unit.clone(),
        volume: mount.volume.clone(),
        result: "not mounted".to_owned(),
        log,
    }
}

/// What mount(8) said about the unit.
pub(crate) fn messages_of(unit: &str) -> Vec<String> {
    let messages = std::fs::read(Path::new(ERROR_DIR).join(unit)).unwrap_or_default();
    let messages = String::from_utf8_lossy(&messages);
    messages.lines().filter_map(kmsg::line).collect()
}

/// What mount(8) said about the unit, and what the kernel's log does.
fn log(unit: &str, mount_point: Option<&str>, state: &UnitState) -> Vec<String> {
    let mut lines = messages_of(unit);
    lines.extend(kmsg::about(&Subject {
        unit,
        mount_point,
        window_us: state.window_us,
    }));
    lines.truncate(MAX_LOG_LINES);
    lines
}

/// The volume that is missing because the mount `failed` is: that of the first mount which requires it itself. What
/// lies below a failed mount is missing, too, but is not the reason.
async fn volume_behind<M: Manager>(
    manager: &M,
    app: &GuestApp,
    failed: &str,
) -> Result<Option<String>, ManagerError> {
    let place = app
        .mounts
        .iter()
        .find(|mount| mount.unit == failed)
        .map(|mount| Path::new(&mount.mount_point));
    for mount in app.mounts.iter().filter(|mount| mount.volume.is_some()) {
        let below = place.is_some_and(|place| Path::new(&mount.mount_point).starts_with(place));
        if !below
            && manager
                .unit(&mount.unit)
                .await?
                .requires
                .iter()
                .any(|unit| unit == failed)
        {
            return Ok(mount.volume.clone());
        }
    }
    Ok(None)
}

/// The nearest unit that failed among what `unit` requires, directly or not.
async fn failed_requirement<M: Manager>(
    manager: &M,
    unit: &str,
) -> Result<Option<(String, UnitState)>, ManagerError> {
    let mut seen = HashSet::from([unit.to_owned()]);
    let mut queue = VecDeque::from([unit.to_owned()]);
    while let Some(name) = queue.pop_front() {
        let state = manager.unit(&name).await?;
        if state.active == Activity::Failed && name != unit {
            return Ok(Some((name, state)));
        }
        // What is active has all that it requires.
        if state.active == Activity::Active {
            continue;
        }
        for required in state.requires {
            if seen.len() < MAX_UNITS && seen.insert(required.clone()) {
                queue.push_back(required);
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
