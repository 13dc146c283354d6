//! Process 1, for the few milliseconds before systemd is: loads the modules without which there is no way to the host, mounts
//! what apps will see of the kernel, then executes systemd in its own place with the arguments and environment that the kernel
//! gave. It knows nothing of the pod, which comes later ([`arrival`](crate::arrival)).
//!
//! With `isopod.probe` on the kernel's command line it says that the VM works and restarts it, which ends a
//! QEMU that was started with `-no-reboot`. Everything here is synchronous: under emulation each millisecond counts.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use isopod_contract::in_one_line;
use isopod_contract::layout::{
    BOOT_TIMES, MODULES, SYSTEMD, TEMPLATE, TEMPLATE_MODULES, UNIT_DIR, VM_MODULES,
};
use rustix::system::{RebootCommand, reboot};

use crate::boot::memory::MemoryError;
use crate::boot::{memory, modules, setup};
use crate::mounts::early;
use crate::mounts::kernel_fs::{self, KernelFsError};
use crate::report::{fail, log};

/// What systemd believes it runs in (<https://systemd.io/CONTAINER_INTERFACE>): it leaves to who started it what the
/// VM needs and what this guest has no use for (modules, security policies, the clock, bpf and pstore file systems),
/// and the mounts as private as they are.
const CONTAINER: &str = "isopod";

/// How many times in a second systemd reads its mounts again. At five, its default, the sixth mount of a pod that arrives has every app
/// with a volume wait for the rest of the second: no job of a mount unit begins meanwhile, not even of one that is active.
/// It is no more because each reading costs as much as there are mounts.
const MOUNT_EVENTS: &str = "50";

/// The word on the kernel's command line that asks for a sign of life and nothing else.
const PROBE: &str = "isopod.probe";

/// The sign of life.
const PROBE_ANSWER: &str = "isopod-probe ok\n";

/// Why process 1 could not become systemd.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    KernelFs(#[from] KernelFsError),
    #[error("cannot execute `{SYSTEMD}`")]
    Exec(#[source] io::Error),
    #[error("cannot restart the VM")]
    Restart(#[source] io::Error),
}

/// Does process 1's work. What keeps it from that is the last that the console shows: the VM restarts, which ends
/// QEMU. Where even that fails, the kernel panics.
pub(crate) fn run() -> ExitCode {
    let error = match become_systemd() {
        Ok(never) => match never {},
        Err(error) => error,
    };
    let exit = fail(&error);
    let _ = restart();
    exit
}

fn become_systemd() -> Result<Infallible, InitError> {
    let begun_ms = setup::uptime_ms();
    for error in early::mount_api() {
        log(&in_one_line(&error));
    }
    if setup::is_on_command_line(PROBE) {
        return answer_probe();
    }
    let of_template = TEMPLATE_MODULES
        .into_iter()
        .filter(|_| setup::is_on_command_line(TEMPLATE));
    let wanted = VM_MODULES.into_iter().chain(of_template);
    for error in modules::load(Path::new(MODULES), wanted, &mut BTreeSet::new()) {
        log(&in_one_line(&error));
    }
    memory::prepare()?;
    kernel_fs::prepare()?;
    let _ = std::fs::write(BOOT_TIMES, format!("{begun_ms} {}", setup::uptime_ms()));
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_else(|| SYSTEMD.into());
    Err(InitError::Exec(
        Command::new(SYSTEMD)
            .arg0(name)
            .args(args)
            .env("SYSTEMD_UNIT_PATH", UNIT_DIR)
            .env("container", CONTAINER)
            .env("SYSTEMD_DEFAULT_MOUNT_RATE_LIMIT_BURST", MOUNT_EVENTS)
            .exec(),
    ))
}

/// When process 1 began and became systemd, in milliseconds of uptime.
pub(crate) fn times() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string(BOOT_TIMES).ok()?;
    let (begun, ended) = text.split_once(' ')?;
    Some((begun.parse().ok()?, ended.parse().ok()?))
}

fn answer_probe() -> Result<Infallible, InitError> {
    let mut console = io::stdout();
    let _ = console
        .write_all(PROBE_ANSWER.as_bytes())
        .and_then(|()| console.flush());
    restart()
}

fn restart() -> Result<Infallible, InitError> {
    reboot(RebootCommand::Restart).map_err(|errno| InitError::Restart(errno.into()))?;
    // The call does not come back when it succeeds.
    Err(InitError::Restart(io::ErrorKind::Other.into()))
}
