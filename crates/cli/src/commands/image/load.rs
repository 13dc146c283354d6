//! `isopod image load`.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use isopod_image::source::SourceError;
use isopod_image::{Image, ImportError};
use isopod_runtime::Settings;
use isopod_spec::{Architecture, ImageReference, LocalReference, PullPolicy, Transport};

use super::Images;
use super::fetch::platform;
use crate::failure::Failure;
use crate::output::{self, Report};

/// Read all images of an archive that `save` wrote, isopod's, docker's or podman's
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct ImageLoad {
    /// The file [default: standard input]
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
    /// The platform of the images, linux/amd64 or linux/arm64 [default: the host's]
    #[arg(long, value_name = "PLATFORM", value_parser = platform)]
    platform: Option<Architecture>,
}

impl ImageLoad {
    /// Reads them, and prints their names.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let mut images = Images::open(settings)?;
        if let Some(platform) = self.platform {
            images.store = images.store.for_architecture(platform);
        }
        let spooled;
        let file = match &self.input {
            Some(file) if file != Path::new("-") => settings.working_dir.join(file),
            _ => {
                spooled = spool(settings)?;
                spooled.path().to_owned()
            }
        };
        for image in read(&images, &file)? {
            let name = image
                .names
                .first()
                .cloned()
                .unwrap_or_else(|| image.id.to_string());
            if !self.quiet {
                output::data(&format!("Loaded image: {name}\n"));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Standard input in a file of the state directory, since an archive is not read in order.
pub(super) fn spool(settings: &Settings) -> Result<tempfile::NamedTempFile, Report> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(
            Report::text("standard input is a terminal, and an archive does not come from one")
                .hint(Some("name a file: `isopod load -i FILE`".into())),
        );
    }
    let failed = |error: io::Error| Report::text("cannot keep standard input").because(error.to_string());
    let mut file = tempfile::NamedTempFile::new_in(&settings.state_dir).map_err(failed)?;
    io::copy(&mut stdin.lock(), file.as_file_mut() as &mut File).map_err(failed)?;
    Ok(file)
}

/// All images of an archive: docker's, or one of an OCI image layout.
fn read(images: &Images<'_>, file: &Path) -> Result<Vec<Image>, Report> {
    match read_as(images, file, Transport::DockerArchive) {
        Err(ImportError::Source(SourceError::NoMember { member, .. })) if member == "manifest.json" => {
            Ok(read_as(images, file, Transport::OciArchive)?)
        }
        read => Ok(read?),
    }
}

fn read_as(images: &Images<'_>, file: &Path, transport: Transport) -> Result<Vec<Image>, ImportError> {
    let one = |name: Option<&String>| {
        let reference = ImageReference::Local(LocalReference {
            transport,
            path: file.to_owned(),
            name: name.cloned(),
        });
        let registries = &images.settings.registries;
        images
            .store
            .obtain(&reference, PullPolicy::Always, registries)
            .map(|(image, _)| image)
    };
    match one(None) {
        Ok(image) => Ok(vec![image]),
        Err(ImportError::Source(SourceError::Ambiguous { names, .. })) => {
            names.iter().map(|name| one(Some(name))).collect()
        }
        Err(error) => Err(error),
    }
}
