//! What the agent becomes for an app: the file that its unit and the commands in it are executed by.

use std::path::{Path, PathBuf};

use isopod_contract::launch::{GuestIdentity, GuestLaunch, GuestPaths, GuestProcess, PidNamespace};
use isopod_spec::Readiness;

use crate::apps::lifecycle::AppLifecycle;
use crate::apps::limits::Limits;
use crate::apps::process::{self, Process};
use crate::apps::users::Identity;
use crate::layout;

/// What is executed of an app that runs `process` and lives so. `cgroups`: whether it finds its own in `/sys`.
pub(crate) fn launch(process: &Process, lifecycle: &AppLifecycle, cgroups: bool) -> GuestLaunch {
    let mut env = process.env.clone();
    if lifecycle.readiness == Readiness::Notify {
        env.insert("NOTIFY_SOCKET".to_owned(), layout::NOTIFY_SOCKET.to_owned());
    }
    let identity = identity(&process.identity);
    GuestLaunch {
        main: process.argv.clone(),
        pre_start: process.pre_start.clone().unwrap_or_default(),
        post_stop: process.post_stop.clone().unwrap_or_default(),
        handlers: match process.handlers_as_root {
            true => GuestIdentity::default(),
            false => identity.clone(),
        },
        env,
        process: guest_process(&process.working_dir, identity, process, &process.limits),
        terminal: process.tty,
        processes: process.processes,
        privileged: process.privileged,
        paths: process.kernel_paths.as_ref().map(|paths| {
            let texts = |paths: &[PathBuf]| {
                paths
                    .iter()
                    .map(|path| path.to_string_lossy().into_owned())
                    .collect()
            };
            GuestPaths {
                masked: texts(&paths.masked),
                read_only: texts(&paths.read_only),
            }
        }),
        cgroups: cgroups && process.processes != PidNamespace::Vm,
    }
}

fn identity(identity: &Identity) -> GuestIdentity {
    GuestIdentity {
        uid: identity.uid,
        gid: identity.gid,
        groups: identity.supplementary_gids.clone(),
    }
}

fn guest_process(
    working_dir: &Path,
    identity: GuestIdentity,
    process: &Process,
    limits: &Limits,
) -> GuestProcess {
    GuestProcess {
        identity,
        // It was read from text.
        working_dir: working_dir.to_string_lossy().into_owned(),
        capabilities: process::capability_bits(&process.capabilities),
        no_new_privileges: limits.no_new_privileges,
        rlimits: limits.guest_rlimits(),
        syscalls: limits.program(),
    }
}
