//! `isopod compose down`.

use std::process::ExitCode;
use std::time::Duration;

use isopod_runtime::Settings;
use isopod_runtime::named_volume::RemoveError;

use crate::args::seconds;
use crate::commands::volume::named;
use crate::compose_file::{Extent, ProjectArgs};
use crate::ending::stop_and_remove;
use crate::failure::Failure;
use crate::output;
use crate::pods::{self, pods};

/// Stop the services of a project, and remove its pod
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(super) struct Down {
    /// Remove the project's own named volumes, too, with all that is in them
    #[arg(short, long)]
    volumes: bool,
    /// How long the services have to stop [default: as the file says]
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// No effect: a project is one pod
    #[arg(long)]
    remove_orphans: bool,
}

impl Down {
    /// Stops and removes it, and prints the project's name and those of its volumes.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(super) fn execute(&self, project: &ProjectArgs, settings: &Settings) -> Result<ExitCode, Failure> {
        let project = project.read(Extent::Whole, settings)?;
        let all = pods(settings)?;
        match pods::named(&all, &project.name)? {
            Some(pod) => {
                stop_and_remove(&all, pod, self.timeout)?;
                output::data(&format!("{}\n", project.name.as_str()));
            }
            None => output::note(&format!("project `{}` is not up", project.name.as_str())),
        }
        let mut reports = Vec::new();
        for name in project.volumes.iter().filter(|_| self.volumes) {
            match named::remove(name, &all, settings) {
                Ok(()) => output::data(&format!("{name}\n")),
                Err(RemoveError::Missing) => {}
                Err(error) => reports.push(named::refused(name, &error)),
            }
        }
        Failure::unless_empty(reports)?;
        Ok(ExitCode::SUCCESS)
    }
}
