//! `isopod image export`.

use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use isopod_image::Image;
use isopod_runtime::Settings;

use super::Images;
use crate::failure::Failure;
use crate::output::{self, Report};

/// Write an image to a file, as an oci-archive: with its own digests, or as one layer if its layers are not kept
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct ImageExport {
    /// The image: a name, an ID or its beginning
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The file, which is replaced; `-` is standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl ImageExport {
    /// Writes it.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let images = Images::open(settings)?;
        let image = images.find(&self.image)?;
        let images = [(self.image.as_str(), image)];
        write(&images, Some(&self.file), settings)
    }
}

/// Writes images, each with the word by which it was asked for, as one archive; to standard output without a file, or for `-`.
///
/// # Errors
/// A [`Failure`] with the reason.
pub(super) fn write(
    wanted: &[(&str, Image)],
    file: Option<&Path>,
    settings: &Settings,
) -> Result<ExitCode, Failure> {
    let images = Images::open(settings)?;
    let all: Vec<Image> = wanted.iter().map(|(_, image)| image.clone()).collect();
    let save = |out: &mut dyn Write| -> Result<(), Report> {
        let ids = images.store.save(&all, out)?;
        for ((word, _), id) in wanted.iter().zip(ids).filter(|((_, image), id)| image.id != *id) {
            output::notice(&format!(
                "the layers of image `{word}` are not kept, since it came from a file, or was there already when it was fetched \
                 by this name: \
                 it is written as one layer, as image `{id}`"
            ));
        }
        Ok(())
    };
    let Some(file) = file.filter(|file| *file != Path::new("-")) else {
        let mut out = io::stdout().lock();
        if out.is_terminal() {
            return Err(
                Report::text("standard output is a terminal, and an archive is not text")
                    .hint(Some("name a file, or send standard output to one".into()))
                    .into(),
            );
        }
        save(&mut out)?;
        return Ok(ExitCode::SUCCESS);
    };
    let failed = |e: io::Error| Report::text(format!("cannot write `{}`: {e}", file.display()));
    let new = Unfinished(with_ending(file, ".isopod-new"));
    let mut out = File::create(&new.0).map_err(failed)?;
    save(&mut out)?;
    out.sync_all().map_err(failed)?;
    fs::rename(&new.0, file).map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// A file that goes unless it got its final name.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
