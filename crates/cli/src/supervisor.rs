//! The supervisor of a pod as a process of its own, which takes the pod's lock over.
//!
//! ```text
//! isopod run -d ── spawns ──> isopod internal-supervise UUID
//!      │                        standard input: the pod's directory, whose lock came along
//!      │ <── how it began ────  standard output: a pipe, closed when that is reported
//!      └ ends                   standard error: supervisor.log in the pod's directory, of a bounded size
//! ```
//!
//! Where standard output is a socket, the command is connected with the app's terminal ([`relay`](crate::relay)).

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use isopod_plan::layout;
use isopod_runtime::Settings;
use isopod_runtime::pods::Claim;

use crate::output::Report;

/// Reported when every app has started.
pub(crate) const STARTED: &str = "started\n";

/// The supervisor of a pod, to be executed: it takes the lock over, and reports to `stdout` how the pod began.
///
/// # Errors
/// A [`Report`] when there can be none.
pub(crate) fn command(claim: &mut Claim, settings: &Settings, stdout: Stdio) -> Result<Command, Report> {
    claim.begin()?;
    let log = claim.path().join(layout::SUPERVISOR_LOG);
    let mut options = File::options();
    // Its bound is the supervisor's to keep, which writes to the same file by another descriptor.
    let options = options.append(true).create(true).mode(0o600);
    let log = options.open(&log).and_then(|log| log.set_len(0).map(|()| log));
    let log = log.map_err(|e| failed("create its log", &e))?;
    let lock = claim.handle().map_err(|e| failed("give it the lock", &e))?;
    let mut command = settings
        .own_command()
        .map_err(|e| failed("give it the search path", &e))?;
    command
        .args(["internal-supervise", claim.uuid()])
        .stdin(Stdio::from(lock))
        .stdout(stdout)
        .stderr(log)
        .process_group(0);
    Ok(command)
}

/// Why there is no supervisor.
pub(crate) fn failed(what: &str, error: &dyn std::error::Error) -> Report {
    Report::text(format!(
        "cannot start the pod's supervisor: cannot {what}: {error}"
    ))
}
