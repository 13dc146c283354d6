//! `become`: what the unit of an app executes in place of a program whose variables have names that systemd passes on to
//! nobody. It is in the app's world already, as the app's user and bound by all that the app is; it gives the variables
//! their names back and becomes the program, under the same process number.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use isopod_protocol::environment;
use isopod_protocol::exec::{STATUS_NOT_EXECUTABLE, STATUS_NOT_FOUND};

use crate::say;

/// Becomes `program`, called `name`; comes back only when that failed, with what a shell would exit with.
pub(crate) fn run(program: &str, name: &str, args: &[&str]) -> ExitCode {
    let variables = std::env::vars_os().map(|(name, value)| environment::unpack(name, value));
    let error = Command::new(program)
        .arg0(name)
        .args(args)
        .env_clear()
        .envs(variables.collect::<Vec<_>>())
        .exec();
    say(&format!("isopod-agent: cannot execute `{program}`: {error}"));
    let missing = error.kind() == io::ErrorKind::NotFound && !std::fs::exists(program).unwrap_or(true);
    ExitCode::from(if missing {
        STATUS_NOT_FOUND
    } else {
        STATUS_NOT_EXECUTABLE
    })
}
