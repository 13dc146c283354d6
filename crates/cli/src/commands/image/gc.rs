//! `isopod image gc`.

use std::process::ExitCode;

use isopod_runtime::Settings;

use super::{Images, size, users};
use crate::failure::Failure;
use crate::output::{self};

/// Remove the images that have no name and no pod, and what is left of downloads
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(visible_alias = "prune")]
pub(crate) struct ImageGc {
    /// Remove images with a name, too, where no pod uses them
    #[arg(short, long)]
    pub(in crate::commands) all: bool,
    /// No effect: isopod never asks
    #[arg(short, long)]
    pub(in crate::commands) force: bool,
}

impl ImageGc {
    /// Removes them.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let images = Images::open(settings)?;
        let pods = images.pods()?;
        let is_used = |id| users(&pods, id).next().is_some();
        let collected = images.store.collect(self.all, is_used)?;
        output::data(
            &collected
                .images
                .iter()
                .map(|id| format!("removed {id}\n"))
                .collect::<String>(),
        );
        if collected.bytes > 0 {
            output::notice(&format!("{} freed", size(collected.bytes)));
        }
        Ok(ExitCode::SUCCESS)
    }
}
