//! `isopod image inspect`.

use std::process::ExitCode;

use isopod_image::{Digest, Image};
use isopod_runtime::Settings;
use isopod_spec::Architecture;
use serde_json::{Value, json};

use super::fetch::platform;
use super::{Images, document as summary, users};
use crate::as_docker::{self, Layout, document};
use crate::failure::Failure;
use crate::output::{self, Report};
use crate::show::JSON_VERSION;

/// Print everything about images, as JSON
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct ImageInspect {
    /// The images: names, IDs or their beginnings
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Print each by a Go template; `json` is the default
    #[arg(short, long, value_name = "FORMAT", value_parser = document)]
    format: Option<Layout>,
    /// Only where it is of this platform, linux/amd64 or linux/arm64
    #[arg(long, value_name = "PLATFORM", value_parser = platform)]
    platform: Option<Architecture>,
}

impl ImageInspect {
    /// Prints it.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let images = Images::open(settings)?;
        let documents = self.images.iter().map(|word| {
            images.find_of(word, self.platform)?;
            images.document(word)
        });
        let documents: Vec<Value> = documents.collect::<Result<_, Report>>()?;
        output::data(&as_docker::inspection(&documents, self.format.as_ref())?);
        Ok(ExitCode::SUCCESS)
    }
}

/// All that is known of one image, with docker's fields.
///
/// # Errors
/// A [`Report`] where there is none.
pub(crate) fn document_of(word: &str, settings: &Settings) -> Result<Value, Report> {
    Images::open(settings)?.document(word)
}

/// How the image with that ID is run, as its config says it, where the store has it.
pub(crate) fn run_config_of(id: &str, settings: &Settings) -> Option<Value> {
    let images = Images::open(settings).ok()?;
    let image = images.store.find(Some(id), None).ok()?;
    let config: Value = serde_json::from_slice(&images.store.config(&image).ok()?).ok()?;
    Some(config["config"].clone())
}

impl Images<'_> {
    /// What isopod itself knows of an image.
    fn own(&self, word: &str) -> Result<Value, Report> {
        let image = self.find(word)?;
        let config = self.store.config(&image)?;
        let layer = |layer: &Digest| {
            let size = self.store.layer_bytes(*layer);
            json!({ "digest": layer.to_string(), "sizeBytes": size })
        };
        let mut document = summary(&image);
        document["rootfs"] = json!({
            "path": image.rootfs,
            "digest": image.rootfs_digest.to_string(),
        });
        document["layers"] = image.layers.iter().map(layer).collect();
        document["pods"] = users(&self.pods()?, image.id)
            .map(|pod| Value::from(pod.uuid.clone()))
            .collect();
        document["config"] = serde_json::from_slice(&config)?;
        Ok(document)
    }

    /// All that is known of an image, with docker's fields.
    fn document(&self, word: &str) -> Result<Value, Report> {
        let mut document = self.as_docker(word)?;
        document["Isopod"] = self.own(word)?;
        document["Isopod"]["version"] = JSON_VERSION.into();
        Ok(document)
    }

    /// An image with docker's fields.
    fn as_docker(&self, word: &str) -> Result<Value, Report> {
        let image = self.find(word)?;
        let config: Value = serde_json::from_slice(&self.store.config(&image)?)?;
        Ok(json!({
            "Id": image.id.to_string(),
            "RepoTags": image.names,
            "RepoDigests": digests(&image),
            "Created": image.created,
            "Architecture": image.architecture,
            "Os": image.os,
            "Size": image.rootfs_bytes,
            "Author": config["author"],
            "Config": config["config"],
            "RootFS": { "Type": "layers", "Layers": config["rootfs"]["diff_ids"] },
        }))
    }
}

/// Its names with the digest of its manifest in the place of their tags.
fn digests(image: &Image) -> Vec<String> {
    let Some(manifest) = image.manifest else {
        return Vec::new();
    };
    let bare = |name: &String| match name.rsplit_once(':') {
        Some((bare, tag)) if !tag.contains('/') => bare.to_owned(),
        _ => name.clone(),
    };
    let mut names: Vec<String> = image.names.iter().map(bare).collect();
    names.sort();
    names.dedup();
    names.iter().map(|name| format!("{name}@{manifest}")).collect()
}
