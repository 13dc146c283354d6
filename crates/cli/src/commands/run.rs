//! `isopod run`.

use std::path::Path;
use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::pods::Claim;

use crate::args::{RunArgs, RunMode};
use crate::failure::Failure;
use crate::output::{self};
use crate::pods::pods;
use crate::relay::Connection;
use crate::{background, foreground, id_files, preparation};

/// Runs the pods; in the foreground, the exit status is that of the first app to fail.
///
/// # Errors
/// A [`Failure`] when they could not be run to their end.
pub(crate) fn run(args: &RunArgs, settings: &Settings) -> Result<ExitCode, Failure> {
    let begun = std::time::Instant::now();
    let claims = preparation::pods(args, args.keep(), settings)?;
    match args.mode {
        RunMode::Foreground => {
            if let Some(file) = &args.pidfile {
                id_files::write_pid(file, std::process::id(), settings)?;
            }
            let connection = Connection {
                outputs: args.outputs,
                keys: &args.detach_keys,
                sig_proxy: args.sig_proxy,
            };
            foreground::run(claims, &connection, begun.elapsed(), settings)
        }
        RunMode::Detached => start(claims, args.pidfile.as_deref(), settings),
    }
}

/// Starts each pod in the background, also when another did not start, and prints its UUID.
fn start(claims: Vec<Claim>, pidfile: Option<&Path>, settings: &Settings) -> Result<ExitCode, Failure> {
    let pods = pods(settings)?;
    let mut status = ExitCode::SUCCESS;
    for claim in claims {
        let uuid = claim.uuid().to_owned();
        let failures = match background::start(claim, settings) {
            Ok(failures) => failures,
            Err(report) => {
                status = output::fail(&report);
                continue;
            }
        };
        if let Some(failures) = failures {
            output::notice(&failures);
            status = ExitCode::from(crate::FAILURE);
        }
        output::data(&format!("{uuid}\n"));
        let supervisor = || pods.entry(&uuid)?.status?.supervisor;
        if let (Some(file), Some(supervisor)) = (pidfile, supervisor()) {
            id_files::write_pid(file, supervisor.pid, settings)?;
        }
    }
    Ok(status)
}
