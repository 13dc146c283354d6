//! `isopod compose stop`.

use std::process::ExitCode;
use std::time::Duration;

use isopod_runtime::Settings;

use super::pod_of;
use crate::args::seconds;
use crate::compose_file::{Extent, ProjectArgs};
use crate::ending::stop;
use crate::failure::Failure;
use crate::output;
use crate::pods::pods;

/// Stop the services of a project, and keep its pod
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(super) struct ComposeStop {
    /// How long the services have to stop [default: as the file says]
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
}

impl ComposeStop {
    /// Does it, and prints the project's name.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(super) fn execute(&self, project: &ProjectArgs, settings: &Settings) -> Result<ExitCode, Failure> {
        let project = project.read(Extent::Whole, settings)?;
        let pod = pod_of(&project, settings)?;
        stop(&pods(settings)?, pod, self.timeout)?;
        output::data(&format!("{}\n", project.name.as_str()));
        Ok(ExitCode::SUCCESS)
    }
}
