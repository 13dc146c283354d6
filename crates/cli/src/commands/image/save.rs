//! `isopod image save`.

use std::path::PathBuf;
use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_spec::Architecture;

use super::fetch::platform;
use super::{Images, export};
use crate::failure::Failure;

const NOTES: &str = "\
The archive is an OCI image layout, which `docker load` and `podman load` read, too.

Examples:
  isopod save -o images.tar web:1 db:1
  isopod save web:1 | docker load
";

/// Write images to an archive, for `load` here and elsewhere
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct ImageSave {
    /// The images: names, IDs or their beginnings
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// The file, which is replaced [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// No effect: an archive may always have several images
    #[arg(short, long)]
    multi_image_archive: bool,
    /// The archive's form; there is only oci-archive
    #[arg(long, value_name = "FORMAT", value_parser = ["oci-archive"])]
    format: Option<String>,
    /// No effect: nothing is printed
    #[arg(short, long)]
    quiet: bool,
    /// Only where it is of this platform, linux/amd64 or linux/arm64
    #[arg(long, value_name = "PLATFORM", value_parser = platform)]
    platform: Option<Architecture>,
}

impl ImageSave {
    /// Writes them.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let images = Images::open(settings)?;
        let mut found = Vec::new();
        for word in &self.images {
            found.push((word.as_str(), images.find_of(word, self.platform)?));
        }
        export::write(&found, self.output.as_deref(), settings)
    }
}
