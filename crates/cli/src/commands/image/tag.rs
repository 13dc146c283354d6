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
    /// The name; an image that has this name loses it
    #[arg(value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    name: String,
}

/// The name with the tag that docker gives it where it has none; another kind of name is as it is.
fn tagged(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    match last.contains([':', '@']) || name.contains('@') {
        true => name.to_owned(),
        false => format!("{name}:latest"),
    }
}

impl ImageTag {
    /// Names it.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let images = Images::open(settings)?;
        let image = images.find(&self.image)?;
        images.store.set_name(&tagged(&self.name), &image)?;
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_tag_has_dockers() {
        for (name, full) in [
            ("web", "web:latest"),
            ("host:5000/web", "host:5000/web:latest"),
            ("web:2", "web:2"),
            ("web@sha256:1", "web@sha256:1"),
        ] {
            assert_eq!(tagged(name), full);
        }
    }
}
