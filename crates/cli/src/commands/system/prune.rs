//! `isopod system prune`.

use std::process::ExitCode;
use std::time::Duration;

use isopod_runtime::Settings;

use crate::commands::gc::Gc;
use crate::commands::image::gc::ImageGc;
use crate::failure::Failure;
use crate::prune_filter::{PruneFilter, prune_filter};

/// Remove exited pods, images that have no name and no pod, and guest images that no pod uses; named volumes are kept
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct SystemPrune {
    /// Remove images with a name, too, where no pod uses them
    #[arg(short, long)]
    all: bool,
    /// No effect: volumes without a name are always removed with their pods
    #[arg(long)]
    volumes: bool,
    /// Of pods and images only these: until=TIME (made before), label=NAME[=VALUE] or label!=NAME[=VALUE]; all must
    /// match
    #[arg(long = "filter", value_name = "KEY=VALUE", value_parser = prune_filter)]
    filters: Vec<PruneFilter>,
    /// No effect: isopod never asks
    #[arg(short, long)]
    force: bool,
}

impl SystemPrune {
    /// Removes them, and prints what went.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let _ = Gc {
            grace: Duration::ZERO,
            filters: self.filters.clone(),
            force: true,
        }
        .execute(settings)?;
        let images = ImageGc {
            all: self.all,
            filters: self.filters.clone(),
            force: true,
        };
        images.execute(settings)
    }
}
