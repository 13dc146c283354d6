//! `isopod compose logs`.

use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_spec::AppName;

use super::{app_of, pod_of};
use crate::commands::logs;
use crate::compose_file::{Extent, ProjectArgs};
use crate::failure::Failure;

/// Show what the services of a project wrote
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(super) struct ComposeLogs {
    /// The services [default: all]
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    #[command(flatten)]
    wanted: logs::Wanted,
}

impl ComposeLogs {
    /// Prints it.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(super) fn execute(&self, project: &ProjectArgs, settings: &Settings) -> Result<ExitCode, Failure> {
        let project = project.read(Extent::Whole, settings)?;
        let apps = self.services.iter().map(|service| app_of(&project, service));
        let apps: Vec<AppName> = apps.collect::<Result<_, _>>()?;
        let pod = pod_of(&project, settings)?;
        logs::show(&pod.uuid, &apps, &self.wanted, settings)
    }
}
