//! `isopod compose config`.

use std::process::ExitCode;

use isopod_runtime::Settings;

use crate::compose_file::{Extent, ProjectArgs, own_volumes};
use crate::failure::Failure;
use crate::output;

/// Check a compose file, and print it with its variables replaced
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(super) struct Config {
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
    /// Print the names of the services only
    #[arg(long, conflicts_with = "quiet")]
    services: bool,
    /// Print the named volumes that are the project's own only
    #[arg(long, conflicts_with_all = ["quiet", "services"])]
    volumes: bool,
}

impl Config {
    /// Prints it.
    ///
    /// # Errors
    /// A [`Failure`] with all that is wrong with the file.
    pub(super) fn execute(&self, project: &ProjectArgs, settings: &Settings) -> Result<ExitCode, Failure> {
        let project = project.read(Extent::ToStart(&[]), settings)?;
        let lines = |names: Vec<String>| names.into_iter().map(|name| name + "\n").collect::<String>();
        match (self.quiet, self.services, self.volumes) {
            (true, ..) => {}
            (_, true, _) => output::data(&lines(
                project.services.into_iter().map(|(name, _)| name).collect(),
            )),
            (.., true) => output::data(&lines(own_volumes(&project))),
            _ => output::data(&project.config),
        }
        Ok(ExitCode::SUCCESS)
    }
}
