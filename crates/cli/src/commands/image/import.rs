//! `isopod image import`: an image by its reference, or the files of an archive, of which one is made.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::builder::{NonEmptyStringValueParser, OsStringValueParser, TypedValueParser as _};
use isopod_image::{Image, Store};
use isopod_runtime::Settings;
use isopod_runtime::logs::stamp;
use isopod_spec::{Architecture, ImageReference, PullPolicy};
use serde_json::json;

use super::{Images, REFERENCES, load, reference};
use crate::commands::commit;
use crate::failure::Failure;
use crate::image_change::{self, ConfigChange};
use crate::output::{self, Report};

/// Read an image into the store, or make one of the files of a tar archive, and print its ID
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(after_help = REFERENCES)]
pub(crate) struct ImageImport {
    /// Where it is: a reference with its transport; or a tar file with the files of an image, compressed or not, `-` for
    /// standard input
    #[arg(value_name = "REFERENCE|FILE|-", value_parser = OsStringValueParser::new().try_map(source))]
    source: ImportSource,
    /// The image's name; an image that has this name loses it
    #[arg(value_name = "NAME[:TAG]", value_parser = commit::name)]
    stored: Option<String>,
    /// The image's name in the store, to the letter, besides its own
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    name: Option<String>,
    /// How an image of files is run, as a Dockerfile's CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR
    #[arg(short, long = "change", value_name = "INSTRUCTION", value_parser = ConfigChange::parse)]
    changes: Vec<ConfigChange>,
    /// What an image of files is
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// What an image of files runs on, linux/amd64 or linux/arm64 [default: the host's own]
    #[arg(long, value_name = "PLATFORM", value_parser = platform)]
    platform: Option<Architecture>,
    /// Print the ID alone, without the progress of downloads
    #[arg(short, long)]
    quiet: bool,
}

/// Where an image, or its files, come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ImportSource {
    Image(ImageReference),
    /// A tar archive of files.
    Files(PathBuf),
    /// Such an archive on standard input.
    StandardInput,
}

impl ImageImport {
    /// Imports it.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let mut own = settings.clone();
        if self.quiet {
            own.registries = own.registries.without_progress();
        }
        let settings = &own;
        let images = Images::open(settings)?;
        let image = match &self.source {
            ImportSource::Image(reference) => {
                if !self.changes.is_empty() || self.message.is_some() || self.platform.is_some() {
                    return Err(Report::text(format!("`{reference}` is already an image"))
                        .hint(Some(
                            "`--change`, `--message` and `--platform` are for the files of an archive: leave them out, and run \
                             the image with other settings"
                                .into(),
                        ))
                        .into());
                }
                let image = images.obtain(reference, PullPolicy::Always)?;
                if let Some(name) = &self.stored {
                    images.store.set_name(name, &image)?;
                }
                image
            }
            ImportSource::StandardInput => {
                self.of_files(images.store, File::open(load::spool(settings)?)?, "-".as_ref())?
            }
            ImportSource::Files(path) => {
                let file = open(path, settings)?;
                self.of_files(images.store, file, path)?
            }
        };
        if let Some(name) = &self.name {
            Store::open(&settings.state_dir)?.set_name(name, &image)?;
        }
        output::data(&format!("{}\n", image.id));
        Ok(ExitCode::SUCCESS)
    }
}

impl ImageImport {
    fn of_files(&self, store: Store, archive: File, path: &Path) -> Result<Image, Failure> {
        let store = match self.platform {
            Some(architecture) => store.for_architecture(architecture),
            None => store,
        };
        let comment = match &self.message {
            Some(message) => message.clone(),
            None => format!("Imported from {}", path.display()),
        };
        let step = json!({ "created": stamp(SystemTime::now()), "comment": comment });
        let names: Vec<String> = self.stored.iter().cloned().collect();
        let change = |config: &mut _| image_change::apply(config, &self.changes);
        Ok(store.import_files(archive, path, &names, step, change)?)
    }
}

/// Opens the archive. What is not a file, a pipe of the shell's, is read into one first.
fn open(path: &Path, settings: &Settings) -> Result<File, Report> {
    let failed = |error: io::Error| {
        let shown = path.display();
        let hint = match error.kind() {
            io::ErrorKind::NotFound => Some(format!("`isopod pull {shown}` fetches an image of that name")),
            io::ErrorKind::IsADirectory => Some(format!(
                "`tar -C {shown} -c . | isopod import -` makes an image of its files; `oci:{shown}` is that of an image layout"
            )),
            _ => None,
        };
        Report::text(format!("cannot read archive `{}`", path.display()))
            .because(error.to_string())
            .hint(hint)
    };
    let mut file = File::open(settings.working_dir.join(path)).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    if metadata.is_file() {
        return Ok(file);
    }
    let mut spooled = tempfile::tempfile_in(&settings.state_dir).map_err(failed)?;
    io::copy(&mut file, &mut spooled).map_err(failed)?;
    Ok(spooled)
}

/// What a transport stands before is an image; anything else is a file, as with docker.
fn source(text: OsString) -> Result<ImportSource, String> {
    let word = text.to_string_lossy();
    if text == "-" {
        return Ok(ImportSource::StandardInput);
    }
    if word.starts_with("http://") || word.starts_with("https://") {
        return Err(format!("fetch it first: `curl -fL {word} | isopod import -`"));
    }
    if ImageReference::names_transport(&word) {
        return reference(text).map(ImportSource::Image);
    }
    match word.is_empty() {
        true => Err("it is empty".to_owned()),
        false => Ok(ImportSource::Files(text.into())),
    }
}

fn platform(text: &str) -> Result<Architecture, String> {
    let architecture = Architecture::of_platform(text);
    architecture.ok_or_else(|| "a VM runs images of linux/amd64 or linux/arm64".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::tests::command;
    use crate::commands::{OtherCommand, image};

    fn import(line: &str) -> ImageImport {
        match command(line) {
            OtherCommand::Image(image::ImageCommand::Import(import)) => import,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn images_have_transports_and_files_have_none() {
        let image = import("image import oci:/a:1 --name web");
        assert_eq!(image.name.as_deref(), Some("web"));
        assert!(matches!(image.source, ImportSource::Image(found) if found.to_string() == "oci:/a:1"));
        let image = import("image import -- oci:a");
        assert_eq!((image.name, image.stored), (None, None));
        let files = import("import -c CMD=[\"sh\"] -m text rootfs.tgz mine");
        assert_eq!(files.source, ImportSource::Files("rootfs.tgz".into()));
        assert_eq!(files.stored.as_deref(), Some("mine:latest"));
        assert_eq!((files.changes.len(), files.message.as_deref()), (1, Some("text")));
        let input = import("import --platform linux/arm64 - mine:2");
        assert_eq!(
            (input.source, input.platform),
            (ImportSource::StandardInput, Some(Architecture::Arm64))
        );
        let fetched = source("https://example.com/a.tar".into());
        assert!(fetched.unwrap_err().contains("curl"));
    }
}
