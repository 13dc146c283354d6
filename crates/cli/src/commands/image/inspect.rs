//! `isopod image inspect`.

use std::process::ExitCode;

use isopod_image::Digest;
use isopod_runtime::Settings;
use serde_json::{Value, json};

use super::{Images, document, users};
use crate::failure::Failure;
use crate::output::{self};
use crate::show::pretty;

/// Print all that is known of images, as JSON
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Inspect {
    /// The images: names, IDs or their beginnings
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Inspect {
    /// Prints it.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let images = Images::open(settings)?;
        let pods = images.pods()?;
        let mut documents = Vec::new();
        for word in &self.images {
            let image = images.find(word)?;
            let config = images.store.config(&image)?;
            let layer = |layer: &Digest| {
                let size = images.store.layer_bytes(*layer);
                json!({ "digest": layer.to_string(), "sizeBytes": size })
            };
            let mut document = document(&image);
            document["rootfs"] = json!({
                "path": image.rootfs,
                "digest": image.rootfs_digest.to_string(),
            });
            document["layers"] = image.layers.iter().map(layer).collect();
            document["pods"] = users(&pods, image.id)
                .map(|pod| Value::from(pod.uuid.clone()))
                .collect();
            document["config"] = serde_json::from_slice(&config)?;
            documents.push(document);
        }
        output::data(&pretty(&json!({ "version": 1, "images": documents })));
        Ok(ExitCode::SUCCESS)
    }
}
