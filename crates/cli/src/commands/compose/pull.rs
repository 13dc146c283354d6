//! `isopod compose pull`.

use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_spec::ImageSource;

use crate::commands::image::fetch;
use crate::compose_file::{Extent, ProjectArgs};
use crate::failure::Failure;

/// Fetch the images of a project's services
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(super) struct ComposePull {
    /// The services, with those that they depend on [default: all]
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

impl ComposePull {
    /// Fetches them, and prints their IDs.
    ///
    /// # Errors
    /// A [`Failure`] for each that cannot be had.
    pub(super) fn execute(&self, project: &ProjectArgs, settings: &Settings) -> Result<ExitCode, Failure> {
        let project = project.read(Extent::ToStart(&self.services), settings)?;
        let references = project.pod.apps.iter().filter_map(|app| match app.image() {
            Some(ImageSource::Reference(reference)) => Some(reference.clone()),
            _ => None,
        });
        fetch::always(&references.collect::<Vec<_>>(), settings)
    }
}
