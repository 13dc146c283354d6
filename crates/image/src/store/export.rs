//! An image as an `oci-archive:` (image-spec, image-layout.md), as it came: its own manifest, config and layers, so
//! that every digest stays what it was.
//!
//! The layers of an image from a file are not kept. What its root filesystem holds is written as one layer then
//! ([`super::flatten`]), of which a config and a manifest are made: that is another image, with another ID, and the caller is
//! told so.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek as _, SeekFrom, Write};
use std::path::PathBuf;

use serde_json::json;
use tar::{Builder, EntryType, Header};

use super::flatten::{FlattenError, write_layer};
use super::{Image, LoadError, Store};
use crate::digest::{Digest, HashingReader};

/// The annotation that names an image in an index.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Why an image cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Its root filesystem cannot be written as a layer.
    #[error("cannot make a layer of the root filesystem of image `{id}`")]
    Flatten {
        /// The image.
        id: Digest,
        /// The cause.
        #[source]
        source: FlattenError,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A layer is missing or cannot be read.
    #[error("cannot read layer `{path}` of the image store")]
    Layer {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A layer is damaged.
    #[error("layer `{expected}` in the image store is damaged: it has digest `{actual}`")]
    Damaged {
        /// What it should have.
        expected: Digest,
        /// What it has.
        actual: Digest,
    },
    /// The archive cannot be written.
    #[error("cannot write the archive")]
    Write(#[from] io::Error),
}

impl ExportError {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Layer { .. } | Self::Damaged { .. } => Some("fetch the image again".to_owned()),
            Self::Load(error) => error.hint(),
            Self::Flatten { .. } | Self::Write(_) => None,
        }
    }
}

impl Store {
    /// Writes `image` to `out` as a tar file of an OCI image layout, and gives the ID that it has there: another one where the
    /// store does not have its layers.
    ///
    /// # Errors
    /// [`ExportError`]; what was written is no archive then.
    pub fn export(&self, image: &Image, out: impl Write) -> Result<Digest, ExportError> {
        let _store = self.share()?;
        let kept = self.manifest(image)?.filter(|_| !image.layers.is_empty());
        let (manifest, config, flat) = match kept {
            Some(manifest) => (manifest, self.config(image)?, None),
            None => {
                let flat = self.flatten(image)?;
                let config = flat_config(&self.config(image)?, flat.digest)?;
                (flat_manifest(&config, &flat)?, config, Some(flat))
            }
        };
        let mut tar = Builder::new(out);
        add(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        add(&mut tar, "index.json", &index(&self.tags(image)?, &manifest)?)?;
        for dir in ["blobs/", "blobs/sha256/"] {
            tar.append_data(&mut header(EntryType::Directory, 0o755, 0), dir, io::empty())?;
        }
        for document in [&manifest, &config] {
            add(&mut tar, &blob_name(Digest::of(document)), document)?;
        }
        if let Some(mut flat) = flat {
            let mut header = header(EntryType::Regular, 0o644, flat.bytes);
            flat.file.seek(SeekFrom::Start(0))?;
            tar.append_data(&mut header, blob_name(flat.digest), flat.file)?;
        } else {
            let mut layers = image.layers.clone();
            layers.sort_unstable();
            layers.dedup();
            for layer in layers {
                self.add_layer(&mut tar, layer)?;
            }
        }
        tar.finish()?;
        Ok(Digest::of(&config))
    }

    /// The image's root filesystem as a layer, in a file without a name.
    fn flatten(&self, image: &Image) -> Result<Flat, ExportError> {
        let failed = |source| ExportError::Flatten { id: image.id, source };
        let write = || -> Result<Flat, FlattenError> {
            let mut file = tempfile::tempfile_in(self.images_dir())?;
            let mut out = BufWriter::new(&mut file);
            write_layer(&image.rootfs, &mut out)?;
            out.flush()?;
            drop(out);
            let bytes = file.stream_position()?;
            file.seek(SeekFrom::Start(0))?;
            let digest = HashingReader::new(&mut file).finish()?;
            Ok(Flat { file, digest, bytes })
        };
        write().map_err(failed)
    }

    /// The tags of `image` under which it came by the same manifest.
    fn tags(&self, image: &Image) -> Result<Vec<String>, LoadError> {
        let names = self.names()?;
        let same = names
            .entries_of(image.id)
            .filter(|(_, named)| named.manifest.is_none() || named.manifest == image.manifest);
        let tags = same.map(|(name, _)| name).filter(|name| !name.contains('@'));
        Ok(tags.cloned().collect())
    }

    fn add_layer(&self, tar: &mut Builder<impl Write>, layer: Digest) -> Result<(), ExportError> {
        let path = self.blob_path(layer);
        let opened = std::fs::File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (size, file) = opened.map_err(|source| ExportError::Layer { path, source })?;
        let mut hashing = HashingReader::new(file);
        let mut header = header(EntryType::Regular, 0o644, size);
        tar.append_data(&mut header, blob_name(layer), hashing.by_ref().take(size))?;
        let actual = hashing.finish()?;
        match actual == layer {
            true => Ok(()),
            false => Err(ExportError::Damaged {
                expected: layer,
                actual,
            }),
        }
    }
}

/// A layer that was made of a root filesystem.
struct Flat {
    file: File,
    digest: Digest,
    bytes: u64,
}

/// The config of an image that has the one layer `layer` in place of all; the history of the others is none of it.
fn flat_config(config: &[u8], layer: Digest) -> io::Result<Vec<u8>> {
    let mut config: serde_json::Value = serde_json::from_slice(config)?;
    if let Some(fields) = config.as_object_mut() {
        fields.remove("history");
        let rootfs = json!({ "type": "layers", "diff_ids": [layer.to_string()] });
        fields.insert("rootfs".to_owned(), rootfs);
    }
    Ok(serde_json::to_vec(&config)?)
}

fn flat_manifest(config: &[u8], layer: &Flat) -> io::Result<Vec<u8>> {
    let document = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": Digest::of(config).to_string(),
            "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": layer.digest.to_string(),
            "size": layer.bytes,
        }],
    });
    Ok(serde_json::to_vec(&document)?)
}

fn blob_name(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// `index.json`, with the image once for each of its tags, or once without a name.
fn index(tags: &[String], manifest: &[u8]) -> Result<Vec<u8>, ExportError> {
    let document: serde_json::Value = serde_json::from_slice(manifest).map_err(io::Error::from)?;
    let media_type = document.get("mediaType").and_then(serde_json::Value::as_str);
    let entry = |name: Option<&String>| {
        let mut entry = json!({
            "mediaType": media_type.unwrap_or(OCI_MANIFEST),
            "digest": Digest::of(manifest).to_string(),
            "size": manifest.len(),
        });
        if let Some(name) = name {
            entry["annotations"] = json!({ REF_NAME: name });
        }
        entry
    };
    let manifests: Vec<_> = match tags.is_empty() {
        true => vec![entry(None)],
        false => tags.iter().map(|tag| entry(Some(tag))).collect(),
    };
    let index = json!({ "schemaVersion": 2, "manifests": manifests });
    Ok(serde_json::to_vec(&index).map_err(io::Error::from)?)
}

fn add(tar: &mut Builder<impl Write>, name: &str, content: &[u8]) -> io::Result<()> {
    let mut header = header(EntryType::Regular, 0o644, content.len() as u64);
    tar.append_data(&mut header, name, content)
}

/// A header without owner and time: the same image gives the same archive.
fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}
