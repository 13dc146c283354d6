//! `isopod image cat-manifest`.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use isopod_runtime::Settings;

use super::Images;
use crate::failure::Failure;
use crate::output::{self, Report};

/// Print an image's manifest; for an archive of `docker save`, one that is made from its layers
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct ImageCatManifest {
    /// The image: a name, an ID or its beginning
    #[arg(value_name = "IMAGE")]
    image: String,
}

impl ImageCatManifest {
    /// Prints it.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let images = Images::open(settings)?;
        let image = images.find(&self.image)?;
        let manifest = images.store.manifest(&image)?;
        let manifest = manifest.ok_or_else(|| {
            Report::text(format!("image `{}` came without a manifest", self.image)).hint(Some(
                "`isopod image inspect` shows its config; `isopod image export` makes a manifest".into(),
            ))
        })?;
        let mut text = String::from_utf8_lossy(&manifest).into_owned();
        if !io::stdout().is_terminal() {
            output::document(&text);
            return Ok(ExitCode::SUCCESS);
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
        output::data(&text);
        Ok(ExitCode::SUCCESS)
    }
}
