//! `isopod image gc`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use isopod_image::Digest;
use isopod_runtime::Settings;

use super::filter::built;
use super::{Images, size, users};
use crate::failure::Failure;
use crate::output::{self, Report};
use crate::prune_filter::{PruneFilter, goes, prune_filter};

/// Remove the images that have no name and no pod, and what is left of downloads
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(visible_alias = "prune")]
pub(crate) struct ImageGc {
    /// Remove images with a name, too, where no pod uses them
    #[arg(short, long)]
    pub(in crate::commands) all: bool,
    /// Only these: until=TIME (built before), label=NAME[=VALUE] or label!=NAME[=VALUE]; all must match
    #[arg(long = "filter", value_name = "KEY=VALUE", value_parser = prune_filter)]
    pub(in crate::commands) filters: Vec<PruneFilter>,
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
        let spared = self.spared(&images)?;
        let stays = |id| spared.contains(&id) || users(&pods, id).next().is_some();
        let collected = images.store.collect(self.all, stays)?;
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

impl ImageGc {
    /// The images that a filter leaves alone.
    fn spared(&self, images: &Images<'_>) -> Result<BTreeSet<Digest>, Report> {
        let mut spared = BTreeSet::new();
        for image in images.store.list()?.iter().filter(|_| !self.filters.is_empty()) {
            if !goes(&self.filters, built(image), &images.labels(image)?)? {
                spared.insert(image.id);
            }
        }
        Ok(spared)
    }
}
