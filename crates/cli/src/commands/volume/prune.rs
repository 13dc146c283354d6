//! `isopod volume prune`.

use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::named_volume::RemoveError;

use super::named::{VolumeFilter, filtered, names, refused, remove, volume_filter};
use crate::failure::Failure;
use crate::output::{self};
use crate::pods::pods;

/// Remove the named volumes that no pod uses, with all that is in them
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct VolumePrune {
    /// All of them: anonymous volumes, which docker removes without this flag, are removed with their pods
    #[arg(short, long, required = true)]
    all: bool,
    /// Only these: label=NAME[=VALUE], label!=NAME[=VALUE] or name=TEXT
    #[arg(long = "filter", value_name = "KEY=VALUE", value_parser = volume_filter)]
    filters: Vec<VolumeFilter>,
    /// No effect: isopod never asks
    #[arg(short, long)]
    force: bool,
}

impl VolumePrune {
    /// Removes them, and prints their names.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let pods = pods(settings)?;
        let mut reports = Vec::new();
        for name in filtered(names(settings)?, &self.filters, settings)? {
            match remove(&name, &pods, settings) {
                Ok(()) => output::data(&format!("{name}\n")),
                Err(RemoveError::Used(_) | RemoveError::Missing) => {}
                Err(error) => reports.push(refused(&name, &error)),
            }
        }
        Failure::unless_empty(reports)?;
        Ok(ExitCode::SUCCESS)
    }
}
