//! `isopod image inspect`.

use std::process::ExitCode;

use isopod_image::Digest;
use isopod_runtime::Settings;
use serde_json::{Value, json};

use super::{Images, document as summary, users};
use crate::args::{Layout, document};
use crate::commands::inspect::print;
use crate::failure::Failure;
use crate::output::{self, Report};
use crate::show::pretty;

/// Print all that is known of images, as JSON
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct ImageInspect {
    /// The images: names, IDs or their beginnings
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Print each by a Go template over docker's fields, or `json` for those
    #[arg(short, long, value_name = "FORMAT", value_parser = document)]
    format: Option<Layout>,
}

impl ImageInspect {
    /// Prints it.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let images = Images::open(settings)?;
        if let Some(layout) = &self.format {
            for word in &self.images {
                output::data(&print(&images.as_docker(word)?, Some(layout))?);
            }
            return Ok(ExitCode::SUCCESS);
        }
        let documents = self.images.iter().map(|word| images.own(word));
        let documents: Vec<Value> = documents.collect::<Result<_, Report>>()?;
        output::data(&pretty(&json!({ "version": 1, "images": documents })));
        Ok(ExitCode::SUCCESS)
    }
}

/// All that is known of one image, or what docker says of it.
///
/// # Errors
/// A [`Report`] where there is none.
pub(crate) fn inspected(word: &str, layout: Option<&Layout>, settings: &Settings) -> Result<String, Report> {
    let images = Images::open(settings)?;
    let document = match layout {
        None => images.own(word)?,
        Some(_) => images.as_docker(word)?,
    };
    print(&document, layout)
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

    /// An image with docker's fields.
    fn as_docker(&self, word: &str) -> Result<Value, Report> {
        let image = self.find(word)?;
        let config: Value = serde_json::from_slice(&self.store.config(&image)?)?;
        Ok(json!({
            "Id": image.id.to_string(),
            "RepoTags": image.names,
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
