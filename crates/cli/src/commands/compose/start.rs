//! `isopod compose start`.

use std::process::ExitCode;

use isopod_runtime::Settings;

use super::pod_of;
use crate::background;
use crate::compose_file::{Extent, ProjectArgs};
use crate::failure::Failure;
use crate::output;
use crate::pods::pods;

/// Start a project that was stopped
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(super) struct ComposeStart {}

impl ComposeStart {
    /// Does it, and prints the project's name.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(super) fn execute(&self, project: &ProjectArgs, settings: &Settings) -> Result<ExitCode, Failure> {
        let project = project.read(Extent::Whole, settings)?;
        let pod = pod_of(&project, settings)?;
        background::restart(&pods(settings)?, &pod, settings)?;
        output::data(&format!("{}\n", project.name.as_str()));
        Ok(ExitCode::SUCCESS)
    }
}
