//! `isopod plan`: shows what `isopod run` would do.

use std::process::ExitCode;

use isopod_runtime::Settings;

use crate::args::PlanArgs;
use crate::output::Report;

/// Prints the plan.
///
/// # Errors
/// A [`Report`] with the reason.
pub(crate) fn plan(_args: &PlanArgs, _settings: &Settings) -> Result<ExitCode, Report> {
    Err(Report::text("`isopod plan` cannot be had yet"))
}
