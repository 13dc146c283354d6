//! `isopod image fetch`.

use std::process::ExitCode;

use clap::ValueEnum;
use clap::builder::{OsStringValueParser, TypedValueParser as _};
use isopod_runtime::Settings;
use isopod_spec::{Architecture, ImageReference, PullPolicy};

use super::{Images, REFERENCES, reference};
use crate::failure::Failure;
use crate::output::{self};

/// Fetch images from registries, and print their IDs
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(visible_alias = "pull", after_help = REFERENCES)]
pub(crate) struct ImageFetch {
    /// The images
    #[arg(required = true, value_name = "REFERENCE", value_parser = OsStringValueParser::new().try_map(reference))]
    references: Vec<ImageReference>,
    /// When to ask the registry: always, missing (if the store has none) or newer (always, but the store's image is
    /// used if the registry does not answer)
    /// [default: always]
    #[arg(
        long,
        value_name = "POLICY",
        default_value = "always",
        hide_default_value = true
    )]
    pull: Pull,
    /// The platform of the images, linux/amd64 or linux/arm64 [default: the host's]
    #[arg(long, value_name = "PLATFORM", value_parser = platform)]
    platform: Option<Architecture>,
    /// The same by the processor alone, amd64 or arm64
    #[arg(long, value_name = "ARCH", value_parser = arch, conflicts_with = "platform")]
    arch: Option<Architecture>,
    /// linux alone
    #[arg(long, value_name = "OS", value_parser = ["linux"])]
    os: Option<String>,
    /// Print the IDs alone, without the progress of downloads
    #[arg(short, long)]
    quiet: bool,
}

fn arch(text: &str) -> Result<Architecture, String> {
    platform(&format!("linux/{text}"))
}

pub(super) fn platform(text: &str) -> Result<Architecture, String> {
    Architecture::of_platform(text).ok_or_else(|| "a VM runs images of linux/amd64 or linux/arm64".to_owned())
}

impl ImageFetch {
    /// Fetches them, also when another could not be fetched.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let platform = self.platform.or(self.arch).unwrap_or(Architecture::HOST);
        let mut settings = settings.clone();
        if self.quiet {
            settings.registries = settings.registries.without_progress();
        }
        fetch(&self.references, self.pull.into(), platform, &settings)
    }
}

/// Fetches images, also those that the store has.
///
/// # Errors
/// A [`Failure`] for each that cannot be had.
pub(crate) fn always(references: &[ImageReference], settings: &Settings) -> Result<ExitCode, Failure> {
    fetch(references, PullPolicy::Always, Architecture::HOST, settings)
}

fn fetch(
    references: &[ImageReference],
    pull: PullPolicy,
    platform: Architecture,
    settings: &Settings,
) -> Result<ExitCode, Failure> {
    let mut images = Images::open(settings)?;
    images.store = images.store.for_architecture(platform);
    let mut reports = Vec::new();
    for reference in references {
        match images.obtain(reference, pull) {
            Ok(image) => output::data(&format!("{}\n", image.id)),
            Err(report) => reports.push(report),
        }
    }
    Failure::unless_empty(reports)?;
    Ok(ExitCode::SUCCESS)
}

/// When `image fetch` asks a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pull {
    /// For what the store lacks.
    Missing,
    Always,
    /// Always, if it answers.
    Newer,
}

impl From<Pull> for PullPolicy {
    fn from(pull: Pull) -> Self {
        match pull {
            Pull::Missing => Self::Missing,
            Pull::Always => Self::Always,
            Pull::Newer => Self::Newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::tests::command;
    use crate::commands::{OtherCommand, image};

    #[test]
    fn names_of_registries_are_asked_always() {
        let OtherCommand::Image(image::ImageCommand::Fetch(fetch)) =
            command("image pull --platform linux/arm64/v8 alpine docker://quay.io/x:1")
        else {
            panic!()
        };
        assert_eq!(fetch.platform, Some(Architecture::Arm64));
        let references: Vec<String> = fetch.references.iter().map(ToString::to_string).collect();
        assert_eq!(
            (references, fetch.pull.into()),
            (vec!["alpine".into(), "quay.io/x:1".into()], PullPolicy::Always)
        );
    }
}
