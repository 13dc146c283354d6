//! `isopod image list`.

use std::process::ExitCode;

use isopod_image::Image;
use isopod_runtime::Settings;
use serde_json::{Value, json};

use super::{Images, document, size};
use crate::args::Format;
use crate::failure::Failure;
use crate::output::{self};
use crate::show::pretty;
use crate::table::table;

/// List the images in the store
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(visible_alias = "ls")]
pub(crate) struct List {
    /// Print IDs only
    #[arg(short, long, conflicts_with = "format")]
    quiet: bool,
    /// How to print them
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

impl List {
    /// Prints them.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let images = Images::open(settings)?;
        let images = images.store.list()?;
        output::data(&match (self.quiet, self.format) {
            (true, _) => images.iter().map(|image| format!("{}\n", image.id)).collect(),
            (false, Format::Text) => lines(&images),
            (false, Format::Json) => {
                let images: Vec<Value> = images.iter().map(document).collect();
                pretty(&json!({ "version": 1, "images": images }))
            }
        });
        Ok(ExitCode::SUCCESS)
    }
}

fn lines(images: &[Image]) -> String {
    let rows: Vec<[String; 4]> = images
        .iter()
        .map(|image| {
            let created = image.created.as_deref().unwrap_or_default();
            [
                image.id.hex()[..12].to_owned(),
                size(image.rootfs_bytes),
                created.chars().take(10).collect(),
                image.names.join(", "),
            ]
        })
        .collect();
    table(["IMAGE ID", "SIZE", "BUILT", "NAMES"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::tests::command;
    use crate::commands::{Command, image};

    #[test]
    fn how_they_are_printed() {
        let Command::Image(image::Command::List(list)) = command("image list --format json") else {
            panic!()
        };
        assert_eq!((list.quiet, list.format), (false, Format::Json));
    }
}
