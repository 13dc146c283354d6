//! `isopod volume rm`.

use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::named_volume::RemoveError;

use super::named::{names, refused, remove};
use crate::failure::Failure;
use crate::output::{self};
use crate::pods::pods;

/// Remove named volumes with all that is in them; one that a pod uses is kept
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(visible_alias = "remove")]
pub(crate) struct VolumeRm {
    /// The named volumes
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// A volume that does not exist is not an error
    #[arg(short, long)]
    force: bool,
}

impl VolumeRm {
    /// Removes each, and prints its name.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let known = names(settings)?;
        let pods = pods(settings)?;
        let mut reports = Vec::new();
        for name in &self.names {
            // The names that are there are safe to make paths of.
            let removed = match known.contains(name) {
                true => remove(name, &pods, settings),
                false => Err(RemoveError::Missing),
            };
            match removed {
                Err(RemoveError::Missing) if self.force => {}
                Ok(()) => output::data(&format!("{name}\n")),
                Err(error) => reports.push(refused(name, &error)),
            }
        }
        Failure::unless_empty(reports)?;
        Ok(ExitCode::SUCCESS)
    }
}
