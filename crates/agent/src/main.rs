//! The agent in the guest: one static program with three tasks.
//!
//! | called as | does |
//! |---|---|
//! | `/init`, as process 1 | loads the pod's kernel modules, then becomes systemd ([`init`]) |
//! | `serve`, a service | reports to the host and obeys it ([`serve`]) |
//! | `verify APP`, before each app | checks that the app's mounts are there ([`verify`]) |
//!
//! It decides nothing: what is mounted where and what runs how is in the units that the planner wrote.

use std::io::Write as _;
use std::process::ExitCode;

mod appstate;
mod config;
mod dbus;
mod diagnosis;
mod init;
mod kmsg;
mod modules;
mod mountinfo;
mod pipes;
mod port;
mod serve;
mod setup;
mod systemd;
mod verify;

/// sysexits(3): called wrongly.
const EX_USAGE: u8 = 64;

fn main() -> ExitCode {
    let started_ms = setup::uptime_ms();
    let args: Vec<String> =
        std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    if rustix::process::getpid().is_init() {
        return fail(&init::run());
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["serve"] => serve::run(started_ms).map_or_else(|error| fail_in_service(&error), |()| ExitCode::SUCCESS),
        ["verify", app] => verify::run(app).map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS),
        _ => {
            say("isopod-agent: usage: isopod-agent serve | isopod-agent verify APP");
            ExitCode::from(EX_USAGE)
        }
    }
}

/// Writes an error with its causes to standard error.
fn fail(error: &dyn std::error::Error) -> ExitCode {
    say(&format!("isopod-agent: {}", chain(error)));
    ExitCode::FAILURE
}

/// Writes a service's error where it is read: the kernel's log, which goes to the console. What systemd calls
/// `StandardError=kmsg` needs a journal, which the guest has not.
fn fail_in_service(error: &dyn std::error::Error) -> ExitCode {
    let line = format!("<3>isopod-agent: {}\n", chain(error));
    let _ = std::fs::write("/dev/kmsg", line);
    fail(error)
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Writes a line to standard error, which is the console for process 1 and the log for a service. There is nobody to
/// tell when that fails.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
