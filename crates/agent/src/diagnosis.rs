//! Why an app will never run: looks for the unit that failed, from the app's mounts on, then through all that its unit
//! requires. It mends nothing and tries nothing again.

use std::collections::{HashSet, VecDeque};
use std::path::Path;

use isopod_protocol::config::GuestApp;
use isopod_protocol::message::FailureCause;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::appstate::{Active, step_name};
use crate::kmsg::{self, Subject};
use crate::systemd::{Manager, ManagerError, UnitState};

/// The most units that are asked about: a pod has some hundred, and more need not be gone through for one message.
const MAX_UNITS: usize = 256;

/// A shell's word for a program that is not there, and for one that cannot be executed (POSIX, "Exit Status for
/// Commands").
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;
const EXIT_EXEC: i32 = 203;

/// Finds why `app` never ran; `step` is systemd's exit code, where a process was forked.
pub(crate) async fn cause<M: Manager>(
    manager: &M,
    app: &GuestApp,
    step: Option<i32>,
) -> Result<FailureCause, ManagerError> {
    if let Some(code) = step {
        let state = manager.unit(&app.unit).await?;
        return Ok(unit_failed(app, step_name(code), &state));
    }
    for mount in &app.mounts {
        let state = manager.unit(&mount.unit).await?;
        if state.active == Active::Failed {
            return Ok(mount_failed(app, &mount.unit, mount.volume.clone(), state));
        }
    }
    if let Some((unit, state)) = failed_requirement(manager, &app.unit).await? {
        if !unit.ends_with(".mount") {
            let log = log(&unit, None, &state);
            return Ok(FailureCause::Dependency { unit, result: state.result, log });
        }
        let volume = missing_volume(manager, app).await?;
        return Ok(mount_failed(app, &unit, volume, state));
    }
    let state = manager.unit(&app.unit).await?;
    let result = match (state.load.as_str(), state.result.as_str()) {
        ("loaded", "success" | "") => "canceled".to_owned(),
        ("loaded", result) => result.to_owned(),
        (load, _) => load.to_owned(),
    };
    Ok(unit_failed(app, result, &state))
}

fn unit_failed(app: &GuestApp, result: String, state: &UnitState) -> FailureCause {
    FailureCause::Unit { unit: app.unit.clone(), result, log: log(&app.unit, None, state) }
}

fn mount_failed(app: &GuestApp, unit: &str, volume: Option<String>, state: UnitState) -> FailureCause {
    let mount_point = app.mounts.iter().find(|mount| mount.unit == unit).map(|mount| mount.mount_point.as_str());
    let log = log(unit, mount_point, &state);
    FailureCause::Mount { unit: unit.to_owned(), volume, result: state.result, log }
}

fn log(unit: &str, mount_point: Option<&str>, state: &UnitState) -> Vec<String> {
    kmsg::about(&Subject { unit, mount_point, window_us: state.window_us })
}

/// The volume of the first of the app's mounts that is not there.
async fn missing_volume<M: Manager>(manager: &M, app: &GuestApp) -> Result<Option<String>, ManagerError> {
    for mount in app.mounts.iter().filter(|mount| mount.volume.is_some()) {
        if manager.unit(&mount.unit).await?.active != Active::Active {
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
        if state.active == Active::Failed && name != unit {
            return Ok(Some((name, state)));
        }
        // What is active has all that it requires.
        if state.active == Active::Active {
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

/// The exit code of a program that systemd could not execute, in a shell's terms.
pub(crate) fn exec_failure(app: &GuestApp) -> i32 {
    let program = Path::new(&app.executable);
    // An absolute symlink in the image leads from the app's root, not from the guest's.
    let roots = app.mounts.iter().map(|mount| Path::new(&mount.mount_point));
    let root = roots.filter(|at| program.starts_with(at)).min_by_key(|at| at.as_os_str().len());
    let root = root.unwrap_or(Path::new("/"));
    let Ok(inside) = program.strip_prefix(root) else { return NOT_FOUND };
    match mode_in_root(root, inside) {
        Err(_) => NOT_FOUND,
        Ok(mode) if mode & 0o170_000 == 0o100_000 && mode & 0o111 != 0 => EXIT_EXEC,
        Ok(_) => NOT_EXECUTABLE,
    }
}

fn mode_in_root(root: &Path, inside: &Path) -> rustix::io::Result<u32> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags | OFlags::DIRECTORY, Mode::empty())?;
    let file = rustix::fs::openat2(&root, inside, flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
    rustix::fs::fstat(&file).map(|stat| stat.st_mode)
}

#[cfg(test)]
mod tests;
