//! `isopod image import`.

use std::process::ExitCode;

use clap::builder::{NonEmptyStringValueParser, OsStringValueParser, TypedValueParser as _};
use isopod_runtime::Settings;
use isopod_spec::{ImageReference, PullPolicy};

use super::{Images, REFERENCES, reference};
use crate::failure::Failure;
use crate::output::{self};

/// Read an image into the store, and print its ID
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(after_help = REFERENCES)]
pub(crate) struct ImageImport {
    /// Where it is
    #[arg(value_name = "REFERENCE", value_parser = OsStringValueParser::new().try_map(reference))]
    reference: ImageReference,
    /// The image's name in the store, beside the one it brings
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    name: Option<String>,
}

impl ImageImport {
    /// Imports it.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let images = Images::open(settings)?;
        let image = images.obtain(&self.reference, PullPolicy::Always)?;
        if let Some(name) = &self.name {
            images.store.set_name(name, &image)?;
        }
        output::data(&format!("{}\n", image.id));
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use crate::command_line::tests::command;
    use crate::commands::{OtherCommand, image};

    #[test]
    fn a_reference_and_a_name() {
        let OtherCommand::Image(image::ImageCommand::Import(import)) =
            command("image import oci:/a:1 --name web")
        else {
            panic!()
        };
        assert_eq!(
            (import.reference.to_string(), import.name.as_deref()),
            ("oci:/a:1".to_owned(), Some("web"))
        );
        let OtherCommand::Image(image::ImageCommand::Import(import)) = command("image import -- oci:a")
        else {
            panic!()
        };
        assert_eq!(import.name, None);
    }
}
