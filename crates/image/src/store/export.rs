//! Images as an `oci-archive:` (image-spec, image-layout.md), as they came: their own manifests, configs and layers, so
//! that every digest stays what it was. The archive is docker's too, as that of docker 25 and later is: its `manifest.json`
//! names the same files.
//!
//! The layers of an image from a file are not kept. What its root filesystem holds is written as one layer then
//! ([`super::flatten`]), of which a config and a manifest are made: that is another image, with another ID, and the caller is
//! informed of that.

use std::collections::BTreeSet;
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
pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Why an image cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Its root filesystem cannot be written as a layer.
    #[error("cannot make a layer of the root filesystem of image `{id}`")]
    Flatten {
        id: Digest,
        #[source]
        source: FlattenError,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A layer is missing or cannot be read.
    #[error("cannot read layer `{path}` of the image store")]
    Layer {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A layer is damaged.
    #[error("layer `{expected}` in the image store is damaged: it has digest `{actual}`")]
    Damaged {
        /// What it should have.
        expected: Digest,
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
        let ids = self.save(std::slice::from_ref(image), out)?;
        Ok(ids.first().copied().unwrap_or(image.id))
    }

    /// Writes `images` to `out` as one tar file, which is an OCI image layout and what `docker load` reads too; gives the IDs
    /// that they have there, as [`export`](Self::export).
    ///
    /// # Errors
    /// [`ExportError`]; what was written is no archive then.
    pub fn save(&self, images: &[Image], out: impl Write) -> Result<Vec<Digest>, ExportError> {
        let _store = self.share()?;
        let saved: Vec<Saved> = images
            .iter()
            .map(|image| self.saved(image))
            .collect::<Result<_, _>>()?;
        let mut tar = Builder::new(out);
        add(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        add(&mut tar, "index.json", &index(&saved)?)?;
        add(&mut tar, "manifest.json", &docker_manifest(&saved)?)?;
        for dir in ["blobs/", "blobs/sha256/"] {
            tar.append_data(&mut header(EntryType::Directory, 0o755, 0), dir, io::empty())?;
        }
        let ids = saved.iter().map(|saved| Digest::of(&saved.config)).collect();
        let mut written = BTreeSet::new();
        for document in saved.iter().flat_map(|saved| [&saved.manifest, &saved.config]) {
            if written.insert(Digest::of(document)) {
                add(&mut tar, &blob_name(Digest::of(document)), document)?;
            }
        }
        for saved in saved {
            if let Some(mut flat) = saved.flat {
                if written.insert(flat.digest) {
                    let mut header = header(EntryType::Regular, 0o644, flat.bytes);
                    flat.file.seek(SeekFrom::Start(0))?;
                    tar.append_data(&mut header, blob_name(flat.digest), flat.file)?;
                }
                continue;
            }
            let mut layers = saved.layers;
            layers.sort_unstable();
            for layer in layers {
                if written.insert(layer) {
                    self.add_layer(&mut tar, layer)?;
                }
            }
        }
        tar.finish()?;
        Ok(ids)
    }

    /// What an archive has of an image.
    fn saved(&self, image: &Image) -> Result<Saved, ExportError> {
        let tags = self.tags(image)?;
        let kept = self.manifest(image)?.filter(|_| !image.layers.is_empty());
        if let Some(manifest) = kept {
            return Ok(Saved {
                manifest,
                config: self.config(image)?,
                tags,
                layers: image.layers.clone(),
                flat: None,
            });
        }
        let flat = self.flatten(image)?;
        let config = flat_config(&self.config(image)?, flat.digest)?;
        Ok(Saved {
            manifest: flat_manifest(&config, &flat)?,
            config,
            tags,
            layers: vec![flat.digest],
            flat: Some(flat),
        })
    }

    /// The image's root filesystem as a layer, in a file without a name.
    pub(super) fn flatten(&self, image: &Image) -> Result<Flat, ExportError> {
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

/// What an archive has of an image.
struct Saved {
    manifest: Vec<u8>,
    config: Vec<u8>,
    tags: Vec<String>,
    /// Its layers, the lowest first.
    layers: Vec<Digest>,
    /// The only layer, where it was made of the root filesystem.
    flat: Option<Flat>,
}

/// A layer that was made of a root filesystem.
pub(super) struct Flat {
    pub(super) file: File,
    pub(super) digest: Digest,
    pub(super) bytes: u64,
}

/// The config of an image that has the one layer `layer` in place of all; the history of the others is none of it.
pub(super) fn flat_config(config: &[u8], layer: Digest) -> io::Result<Vec<u8>> {
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

/// `index.json`, with each image once for each of its tags, or once without a name.
fn index(saved: &[Saved]) -> Result<Vec<u8>, ExportError> {
    let mut manifests = Vec::new();
    for Saved { manifest, tags, .. } in saved {
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
        match tags.is_empty() {
            true => manifests.push(entry(None)),
            false => manifests.extend(tags.iter().map(|tag| entry(Some(tag)))),
        }
    }
    let index = json!({ "schemaVersion": 2, "manifests": manifests });
    Ok(serde_json::to_vec(&index).map_err(io::Error::from)?)
}

/// `manifest.json`, by which `docker load` finds the images of an archive.
fn docker_manifest(saved: &[Saved]) -> io::Result<Vec<u8>> {
    let entry = |saved: &Saved| {
        json!({
            "Config": blob_name(Digest::of(&saved.config)),
            "RepoTags": saved.tags,
            "Layers": saved.layers.iter().map(|layer| blob_name(*layer)).collect::<Vec<_>>(),
        })
    };
    Ok(serde_json::to_vec(&saved.iter().map(entry).collect::<Vec<_>>())?)
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
