//! A new image: of one that is there, with a layer more and with another config, or of the files of an archive alone.
//!
//! The store keeps the layers of such an image, so that it is saved as what it is: those of its base and the new one. Of a
//! base whose own layers are not kept there is one layer, what its root filesystem holds ([`super::flatten`]).

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use isopod_spec::Architecture;
use serde_json::{Value, json};

use super::export::{Flat, OCI_MANIFEST, flat_config};
use super::{ExportError, Image, LoadError, Store};
use crate::digest::{Digest, HashingReader};
use crate::section::Section;
use crate::source::{Source, SourceError, plain};
use crate::store::import::{ImportError, IncomingImage};

const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// How much of a layer is copied at once.
const COPY_BYTES: usize = 1 << 20;

/// Why no image was made.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The base cannot be read.
    #[error("cannot read the image that the new one begins with")]
    Base(#[source] ExportError),
    /// The archive cannot be decompressed.
    #[error(transparent)]
    Archive(#[from] SourceError),
    /// The layer cannot be read.
    #[error("cannot read the new layer")]
    Layer(#[source] io::Error),
    /// The documents cannot be written.
    #[error("cannot write the new image's config")]
    Document(#[from] serde_json::Error),
    /// It cannot be kept in the store.
    #[error(transparent)]
    Import(#[from] ImportError),
}

impl CommitError {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Base(error) => error.hint(),
            Self::Import(error) => error.hint(),
            Self::Archive(error) => error.hint(),
            Self::Layer(_) | Self::Document(_) => None,
        }
    }
}

impl From<LoadError> for CommitError {
    fn from(error: LoadError) -> Self {
        Self::Base(error.into())
    }
}

/// What an image begins with: the layers of its base, with their descriptors, and its config.
struct Base {
    processor: Architecture,
    layers: Vec<(Digest, u64, Section)>,
    descriptors: Vec<Value>,
    config: Value,
}

impl Store {
    /// Makes an image of `base` and the tar file `layer` above it (image-spec, layer.md), keeps it and gives it these names.
    /// `change` changes the config's `config`; `step` is what the config's history has of it (image-spec, config.md,
    /// `history`), whose `created` is the image's too.
    ///
    /// # Errors
    /// [`CommitError`]; nothing but layers is left in the store then, which `gc` removes.
    pub fn commit(
        &self,
        base: &Image,
        layer: File,
        names: &[String],
        step: Value,
        change: impl FnOnce(&mut Value),
    ) -> Result<Image, CommitError> {
        let _store = self.share_to_write()?;
        let layer = Section::of(layer).map_err(CommitError::Layer)?;
        self.with_layer(self.base(base)?, layer, names, step, change)
    }

    /// Makes an image of the files of a tar file, which may be compressed (gzip, zstd, xz), keeps it and gives it these names.
    /// `path` is what errors call it; `step` and `change` as for [`Self::commit`]. The image is for the store's processor.
    ///
    /// # Errors
    /// [`CommitError`]; nothing but the layer is left in the store then, which `gc` removes.
    pub fn import_files(
        &self,
        archive: File,
        path: &Path,
        names: &[String],
        step: Value,
        change: impl FnOnce(&mut Value),
    ) -> Result<Image, CommitError> {
        let _store = self.share_to_write()?;
        let archive = Section::of(archive).map_err(CommitError::Layer)?;
        let layer = plain(archive, path, &self.limits, &self.images_dir())?;
        let processor = self.limits.architecture;
        let nothing = Base {
            processor,
            layers: Vec::new(),
            descriptors: Vec::new(),
            config: json!({
                "architecture": processor.name(),
                "os": "linux",
                "rootfs": { "type": "layers", "diff_ids": [] },
            }),
        };
        self.with_layer(nothing, layer, names, step, change)
    }

    /// Others import meanwhile, and nobody removes what is unused.
    fn share_to_write(&self) -> Result<File, ImportError> {
        self.share().map_err(|source| ImportError::Store {
            path: self.lock_path("store"),
            source,
        })
    }

    fn with_layer(
        &self,
        base: Base,
        layer: Section,
        names: &[String],
        step: Value,
        change: impl FnOnce(&mut Value),
    ) -> Result<Image, CommitError> {
        let Base {
            processor,
            mut layers,
            mut descriptors,
            mut config,
        } = base;
        let digest = HashingReader::new(layer.clone())
            .finish()
            .map_err(CommitError::Layer)?;
        let bytes = layer.len();
        layers.push((digest, bytes, self.keep_blob(digest, layer)?));
        descriptors.push(descriptor(OCI_LAYER, digest, bytes));

        config["created"] = step["created"].clone();
        push(&mut config["rootfs"]["diff_ids"], digest.to_string().into());
        push(&mut config["history"], step);
        if !config["config"].is_object() {
            config["config"] = json!({});
        }
        change(&mut config["config"]);
        let config = serde_json::to_vec(&config)?;
        let id = Digest::of(&config);
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(OCI_CONFIG, id, config.len() as u64),
            "layers": descriptors,
        }))?;

        let manifest = (Digest::of(&manifest), manifest);
        let coming = IncomingImage {
            id,
            names: names.to_vec(),
            manifest: Some(manifest.clone()),
            layers: layers
                .iter()
                .map(|(digest, bytes, _)| (*digest, *bytes))
                .collect(),
        };
        let digests = layers.iter().map(|(digest, ..)| *digest).collect();
        let image = self.keep(coming, || {
            let blobs = layers.into_iter().map(|(digest, _, blob)| (blob, Some(digest)));
            let source = Source::new(Some(manifest), config, processor, blobs.collect(), Vec::new())?;
            self.write_image(source, digests)
        })?;
        Ok(image)
    }

    fn base(&self, image: &Image) -> Result<Base, CommitError> {
        let config = self.config(image)?;
        let kept = self.manifest(image)?.filter(|_| !image.layers.is_empty());
        if let Some(manifest) = kept {
            let manifest: Value = serde_json::from_slice(&manifest)?;
            let descriptors = manifest["layers"].as_array().cloned().unwrap_or_default();
            let blob = |layer: &Digest| {
                let bytes = self.layer_bytes(*layer)?;
                Some((*layer, bytes, self.blob(*layer, bytes)?))
            };
            let layers: Option<Vec<_>> = image.layers.iter().map(blob).collect();
            // As an image from a file, where one is gone.
            if let Some(layers) = layers.filter(|layers| layers.len() == descriptors.len()) {
                let config = serde_json::from_slice(&config)?;
                return Ok(Base {
                    processor: image.processor(),
                    layers,
                    descriptors,
                    config,
                });
            }
        }
        let Flat { file, digest, bytes } = self.flatten(image).map_err(CommitError::Base)?;
        let flat = Section::of(file).map_err(CommitError::Layer)?;
        let mut config: Value =
            serde_json::from_slice(&flat_config(&config, digest).map_err(CommitError::Layer)?)?;
        push(
            &mut config["history"],
            json!({
                "created": image.created,
                "created_by": format!("the root filesystem of {}", image.id),
            }),
        );
        Ok(Base {
            processor: image.processor(),
            layers: vec![(digest, bytes, self.keep_blob(digest, flat)?)],
            descriptors: vec![descriptor(OCI_LAYER, digest, bytes)],
            config,
        })
    }

    /// Keeps a layer, unless it is kept already.
    fn keep_blob(&self, digest: Digest, from: Section) -> Result<Section, ImportError> {
        let failed = |path: PathBuf, source| ImportError::Store { path, source };
        let path = self.blob_path(digest);
        let bytes = from.len();
        self.blob_or(digest, bytes, failed, |file| {
            let mut write = || {
                file.set_len(0)?;
                io::copy(&mut BufReader::with_capacity(COPY_BYTES, from.clone()), file)?;
                file.sync_all()
            };
            write().map_err(|source| failed(path, source))
        })
    }
}

fn descriptor(media_type: &str, digest: Digest, bytes: u64) -> Value {
    json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes })
}

/// Adds to a list, which is made where there is none.
fn push(list: &mut Value, value: Value) {
    match list {
        Value::Array(list) => list.push(value),
        list => *list = vec![value].into(),
    }
}
