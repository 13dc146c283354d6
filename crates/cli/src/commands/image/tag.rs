//! `isopod image tag`.

use std::process::ExitCode;

use clap::builder::NonEmptyStringValueParser;
use isopod_runtime::Settings;

use super::Images;
use crate::failure::Failure;

/// Give an image a name
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct ImageTag {
    /// The image: a name, an ID or its beginning
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The name; an image that has it loses it
    #[arg(value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    name: String,
}

impl ImageTag {
    /// Names it.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let images = Images::open(settings)?;
        let image = images.find(&self.image)?;
        images.store.set_name(&self.name, &image)?;
        Ok(ExitCode::SUCCESS)
    }
}
