//! `isopod image list`.

use std::process::ExitCode;
use std::time::SystemTime;

use isopod_image::Image;
use isopod_runtime::Settings;
use serde_json::{Value, json};

use super::filter::{ImageFilter, image_filter};
use super::{Images, document, size};
use crate::as_docker::{self, Layout, layout};
use crate::failure::Failure;
use crate::output::{self};
use crate::show::pretty;
use crate::table::table;
use crate::time::time;

/// List the images in the store
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(visible_alias = "ls")]
pub(crate) struct ImageList {
    /// Only those of this name: NAME, whatever the tag, or NAME:TAG
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Print IDs only
    #[arg(short, long, conflicts_with = "format")]
    quiet: bool,
    /// Show the digests of manifests, too
    #[arg(long, conflicts_with = "quiet")]
    digests: bool,
    /// Only these: reference=PATTERN, dangling=true|false, before=IMAGE, since=IMAGE or label=NAME[=VALUE]
    #[arg(short, long = "filter", value_name = "KEY=VALUE", value_parser = image_filter)]
    filters: Vec<ImageFilter>,
    /// No effect: all images are always listed
    #[arg(short, long)]
    all: bool,
    /// No effect: IDs are always whole with `--quiet` and in JSON
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
        let mut found = images.filtered(images.store.list()?, &self.filters)?;
        if let Some(name) = &self.name {
            found.retain(|image| image.names.iter().any(|known| is_named(known, name)));
        }
        output::data(&match &self.format {
            _ if self.quiet => found.iter().map(|image| format!("{}\n", image.id)).collect(),
            Layout::Text if self.digests => lines_with_digests(&found),
            Layout::Text => lines(&found),
            Layout::Json => {
                let images: Vec<Value> = found.iter().map(document).collect();
                pretty(&json!({ "version": 1, "images": images }))
            }
            layout => as_docker::rows(layout, &rows(&found, SystemTime::now()))?,
        });
        Ok(ExitCode::SUCCESS)
    }
}

/// Whether a name is the one that is asked for: with docker's registry and tag, or without them.
pub(crate) fn is_named(known: &str, asked: &str) -> bool {
    let short = ["docker.io/library/", "docker.io/"];
    let short = short.iter().find_map(|begin| known.strip_prefix(begin));
    let same = |known: &str| {
        known == asked
            || known
                .strip_prefix(asked)
                .is_some_and(|rest| rest.starts_with(':') && !rest.contains('/'))
    };
    same(known) || short.is_some_and(same)
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
    let rows: Vec<[String; 4]> = images.iter().map(line).collect();
    table(["IMAGE ID", "SIZE", "BUILT", "NAMES"], &rows)
}

fn lines_with_digests(images: &[Image]) -> String {
    let row = |image: &Image| {
        let [id, size, built, names] = line(image);
        let digest = image.manifest.map(|digest| digest.to_string());
        [
            id,
            digest.unwrap_or_else(|| "<none>".to_owned()),
            size,
            built,
            names,
        ]
    };
    let rows: Vec<[String; 5]> = images.iter().map(row).collect();
    table(["IMAGE ID", "DIGEST", "SIZE", "BUILT", "NAMES"], &rows)
}

fn line(image: &Image) -> [String; 4] {
    let created = image.created.as_deref().unwrap_or_default();
    [
        image.id.hex()[..12].to_owned(),
        size(image.rootfs_bytes),
        created.chars().take(10).collect(),
        image.names.join(", "),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::tests::command;
    use crate::commands::{OtherCommand, image};

    #[test]
    fn an_image_is_found_by_its_short_name() {
        let full = "docker.io/library/alpine:3";
        assert!(is_named(full, "alpine") && is_named(full, "alpine:3") && is_named(full, full));
        assert!(!is_named(full, "alp") && !is_named(full, "alpine:4"));
        assert!(is_named("host:5000/a:1", "host:5000/a") && !is_named("host:5000/a:1", "host"));
    }

    #[test]
    fn how_they_are_printed() {
        let OtherCommand::Image(image::ImageCommand::List(list)) = command("image list --format json") else {
            panic!()
        };
        assert_eq!((list.quiet, list.format), (false, Layout::Json));
    }
}
