//! `isopod system prune`.

use std::process::ExitCode;
use std::time::Duration;

use isopod_runtime::Settings;

use crate::commands::gc::Gc;
use crate::commands::image::gc::ImageGc;
use crate::failure::Failure;

/// Remove exited pods, images that have no name and no pod, and guest images that no pod uses; named volumes are kept
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct SystemPrune {
    /// And images that have a name, but no pod
    #[arg(short, long)]
    all: bool,
    /// As it always is: volumes without a name are removed with their pods
    #[arg(long)]
    volumes: bool,
    /// As it always is: nothing is asked
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
            force: true,
        }
        .execute(settings)?;
        let images = ImageGc {
            all: self.all,
            force: true,
        };
        images.execute(settings)
    }
}
