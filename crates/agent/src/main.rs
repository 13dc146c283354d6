//! The agent in the guest: one static program with a few tasks.
//!
//! | called as | does |
//! |---|---|
//! | `/init`, as process 1 | unpacks the pod's files, loads its kernel modules, mounts the apps' roots, sets up the network, then becomes systemd ([`init`]) |
//! | `serve`, a service | reports to the host and obeys it ([`serve`]) |
//! | `become`, of an app's unit | becomes who the app is and then its program ([`becoming`]) |
//! | `enter` | joins a running app: becomes a command there, packs or unpacks an archive ([`enter`]) |
//! | `/bin/mount`, `/bin/umount` | what systemd calls for a mount unit ([`mount`]) |
//! | `/sbin/modprobe` | what the kernel calls for a module, in pods that may ask for more ([`modules`]) |
//!
//! It decides nothing: what is mounted where and what runs how is in the units that the planner wrote.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use isopod_protocol::launch::Part;

use crate::apps::becoming;
use crate::boot::{init, modules, setup};
use crate::exec::enter;
use crate::host::serve;
use crate::mounts::mount;

mod apps;
mod boot;
mod config;
mod exec;
mod host;
mod mounts;
mod systemd;

/// sysexits(3): called wrongly.
const EX_USAGE: u8 = 64;

fn main() -> ExitCode {
    let started_ms = setup::uptime_ms();
    let args: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    if rustix::process::getpid().is_init() {
        return init::run();
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let called = std::env::args_os().next().unwrap_or_default();
    match Path::new(&called).file_name().and_then(OsStr::to_str) {
        Some("mount") => {
            return mount::mount(&args).map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS);
        }
        Some("umount") => {
            return mount::unmount(&args).map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS);
        }
        Some("modprobe") => {
            let errors = modules::modprobe(&args);
            errors.iter().for_each(|error| log(&chain(error)));
            return ExitCode::from(u8::from(!errors.is_empty()));
        }
        _ => {}
    }
    match args[..] {
        ["serve"] => {
            serve::run(started_ms).map_or_else(|error| fail_in_service(&error), |()| ExitCode::SUCCESS)
        }
        ["enter"] => enter::run(),
        ["become", part] if let Some(part) = Part::of(part) => becoming::run(part),
        _ => {
            say("isopod-agent: usage: isopod-agent serve");
            ExitCode::from(EX_USAGE)
        }
    }
}

/// Writes an error with its causes to standard error.
fn fail(error: &dyn std::error::Error) -> ExitCode {
    say(&format!("isopod-agent: {}", chain(error)));
    ExitCode::FAILURE
}

/// Writes an error with its causes to the kernel's log.
fn fail_in_service(error: &dyn std::error::Error) -> ExitCode {
    log(&chain(error));
    ExitCode::FAILURE
}

/// Writes a line to the kernel's log, which goes to the console and is where a diagnosis looks. What systemd calls
/// `StandardError=kmsg` needs a journal, which the guest has not.
fn log(line: &str) {
    let line = format!("isopod-agent: {line}");
    if std::fs::write("/dev/kmsg", format!("<3>{line}\n")).is_err() {
        say(&line);
    }
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
