//! `isopod list`.

use std::process::ExitCode;

use isopod_runtime::Settings;

use super::ps::Listing;
use crate::failure::Failure;

/// Show all pods
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    listing: Listing,
}

impl List {
    /// Prints them.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        self.listing.print(true, None, settings)
    }
}
