//! `isopod image list`.

use std::process::ExitCode;
use std::time::SystemTime;

use isopod_image::Image;
use isopod_runtime::Settings;
use serde_json::{Value, json};

use super::{Images, document, size};
use crate::args::{Layout, layout};
use crate::as_docker;
use crate::failure::Failure;
use crate::output::{self};
use crate::show::pretty;
use crate::table::table;
use crate::time::time;

/// List the images in the store
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(visible_alias = "ls")]
pub(crate) struct ImageList {
    /// Print IDs only
    #[arg(short, long, conflicts_with = "format")]
    quiet: bool,
    /// As it always is: no image is left out
    #[arg(short, long)]
    all: bool,
    /// As it always is: IDs are whole with `--quiet` and in JSON
    #[arg(long)]
    no_trunc: bool,
    /// How to print them: text, json, or a Go template over docker's fields, with `table` before it under their names
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = layout)]
    format: Layout,
}

impl ImageList {
    /// Prints them.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let images = Images::open(settings)?;
        let images = images.store.list()?;
        output::data(&match &self.format {
            _ if self.quiet => images.iter().map(|image| format!("{}\n", image.id)).collect(),
            Layout::Text => lines(&images),
            Layout::Json => {
                let images: Vec<Value> = images.iter().map(document).collect();
                pretty(&json!({ "version": 1, "images": images }))
            }
            layout => as_docker::rows(layout, &rows(&images, SystemTime::now()))?,
        });
        Ok(ExitCode::SUCCESS)
    }
}

/// The images with docker's fields, one row for each name.
fn rows(images: &[Image], now: SystemTime) -> Vec<Value> {
    let of = |image: &Image| {
        let created = image
            .created
            .as_deref()
            .and_then(|created| time("created", created).ok());
        let names: Vec<Option<&str>> = match image.names.is_empty() {
            true => vec![None],
            false => image.names.iter().map(|name| Some(name.as_str())).collect(),
        };
        let row = |name| as_docker::image_row(image, name, created, now);
        names.into_iter().map(row).collect::<Vec<_>>()
    };
    images.iter().flat_map(of).collect()
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
    use crate::commands::{OtherCommand, image};

    #[test]
    fn how_they_are_printed() {
        let OtherCommand::Image(image::ImageCommand::List(list)) = command("image list --format json") else {
            panic!()
        };
        assert_eq!((list.quiet, list.format), (false, Layout::Json));
    }
}
