//! `isopod prepare`.

use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::pods::files::Keep;

use crate::args::RunArgs;
use crate::failure::Failure;
use crate::output::{self};
use crate::preparation;

/// Prepares the pods and prints their UUIDs.
///
/// # Errors
/// A [`Failure`] when it could not be.
pub(crate) fn prepare(args: &RunArgs, settings: &Settings) -> Result<ExitCode, Failure> {
    let keep = match args.remove {
        true => Keep::UntilRun,
        false => Keep::UntilRemoved,
    };
    for claim in preparation::pods(args, keep, settings)? {
        output::data(&format!("{}\n", claim.uuid()));
    }
    Ok(ExitCode::SUCCESS)
}
