//! The agent in the guest: one static program with a few tasks.
//!
//! | called as | does |
//! |---|---|
//! | `/init`, as process 1 | loads the kernel modules of the way to the host, then becomes systemd ([`init`]) |
//! | `serve`, a service | waits for the host; then brings what comes ([`arrival`]), reports and carries out requests ([`serve`]) |
//! | `become`, of an app's unit | begins the app's own processes, becomes who the app is and then its program ([`becoming`]) |
//! | `share-processes` | makes the processes that apps share ([`pod`]) |
//! | `enter` | joins a running app: becomes a command there, packs or unpacks an archive ([`enter`]) |
//! | `/bin/mount`, `/bin/umount` | what systemd calls for a mount unit ([`mount`]) |
//! | `/sbin/modprobe` | what the kernel calls for a module, in pods that may ask for more ([`modules`]) |
//!
//! It decides nothing: what is mounted where and what runs how is in the units that the planner wrote.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use isopod_contract::in_one_line;
use isopod_contract::launch::Part;

use crate::apps::becoming;
use crate::boot::{init, modules, setup};
use crate::exec::enter;
use crate::host::serve;
use crate::mounts::mount;
use crate::process::processes::pod;
use crate::report::{fail, fail_in_service, log, print};

mod apps;
mod arrival;
mod boot;
mod device;
mod exec;
mod host;
mod mounts;
mod process;
mod report;
mod systemd;

/// sysexits(3): called wrongly.
const EX_USAGE: u8 = 64;

fn main() -> ExitCode {
    let started_ms = setup::uptime_ms();
    let args: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let called = std::env::args_os().next().unwrap_or_default();
    match Path::new(&called).file_name().and_then(OsStr::to_str) {
        Some("init") if rustix::process::getpid().is_init() => return init::run(),
        Some("mount") => {
            return mount::mount(&args).map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS);
        }
        Some("umount") => {
            return mount::unmount(&args).map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS);
        }
        Some("modprobe") => {
            let errors = modules::modprobe(&args);
            errors.iter().for_each(|error| log(&in_one_line(error)));
            return ExitCode::from(u8::from(!errors.is_empty()));
        }
        _ => {}
    }
    match args[..] {
        ["serve"] => {
            serve::run(started_ms).map_or_else(|error| fail_in_service(&error), |()| ExitCode::SUCCESS)
        }
        ["enter"] => enter::run(),
        [pod::MAKE] => pod::make().map_or_else(|error| fail_in_service(&error), |()| ExitCode::SUCCESS),
        ["become", part] if let Some(part) = Part::of(part) => becoming::run(part),
        _ => {
            print("isopod-agent: usage: isopod-agent serve");
            ExitCode::from(EX_USAGE)
        }
    }
}
