//! `isopod image`: what is in the store.

use std::fmt::Write as _;
use std::process::ExitCode;

use isopod_image::{Image, Store};
use isopod_runtime::Settings;
use isopod_spec::PullPolicy;

use crate::args::{ImportArgs, ListArgs, ListFormat};
use crate::output::{self, Report};

/// Reads an image into the store and prints its ID.
///
/// # Errors
/// A [`Report`] with the reason.
pub(crate) fn import(args: &ImportArgs, settings: &Settings) -> Result<ExitCode, Report> {
    let store = open(settings)?;
    let image = store
        .obtain(&args.reference, PullPolicy::Missing)
        .map_err(|e| Report::new(&e).hint(e.hint()))?;
    if let Some(name) = &args.name {
        store.set_name(name, &image).map_err(|e| Report::new(&e))?;
    }
    output::data(&format!("{}\n", image.id));
    Ok(ExitCode::SUCCESS)
}

/// Prints the images of the store.
///
/// # Errors
/// A [`Report`] with the reason.
pub(crate) fn list(args: &ListArgs, settings: &Settings) -> Result<ExitCode, Report> {
    let images = open(settings)?.list().map_err(|e| Report::new(&e))?;
    output::data(&match args.format {
        ListFormat::Text => table(&images),
        ListFormat::Json => json(&images),
    });
    Ok(ExitCode::SUCCESS)
}

fn open(settings: &Settings) -> Result<Store, Report> {
    Store::open(&settings.state_dir)
        .map_err(|e| Report::new(&e).hint(Some("keep the state elsewhere: `--dir DIR`".into())))
}

fn size_bytes(image: &Image) -> u64 {
    std::fs::metadata(&image.rootfs).map_or(0, |metadata| metadata.len())
}

fn table(images: &[Image]) -> String {
    let mut text = format!("{:<14} {:>10}  NAMES\n", "IMAGE ID", "SIZE");
    for image in images {
        let id: String = image.id.hex().chars().take(12).collect();
        let size = size_bytes(image) as f64 / f64::from(1 << 20);
        let _ = writeln!(text, "{id:<14} {size:>6.1} MiB  {}", image.names.join(", "));
    }
    text
}

fn json(images: &[Image]) -> String {
    let list: Vec<serde_json::Value> = images
        .iter()
        .map(|image| {
            serde_json::json!({
                "id": image.id.to_string(),
                "names": image.names,
                "sizeBytes": size_bytes(image),
            })
        })
        .collect();
    format!("{:#}\n", serde_json::json!({ "version": 1, "images": list }))
}
