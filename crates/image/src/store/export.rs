//! An image as an `oci-archive:` (image-spec, image-layout.md), as it came: its own manifest, config and layers, so
//! that every digest stays what it was.
//!
//! Only an image whose layers the store keeps can be exported; layers are not made up from its root filesystem, since
//! that would be another image.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use serde_json::json;
use tar::{Builder, EntryType, Header};

use super::{Image, LoadError, Store};
use crate::digest::{Digest, HashingReader};

/// The annotation that names an image in an index.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Why an image cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store does not have its layers.
    #[error(
        "cannot export image `{0}`: its layers are not kept, since it came from a file, or was there already when it was fetched by this name"
    )]
    NoLayers(Digest),
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
            Self::NoLayers(_) => Some(
                "copy it from where it is: `skopeo copy docker://NAME oci-archive:FILE`, or `oci:DIR`"
                    .to_owned(),
            ),
            Self::Layer { .. } | Self::Damaged { .. } => Some("fetch the image again".to_owned()),
            Self::Load(error) => error.hint(),
            Self::Write(_) => None,
        }
    }
}

impl Store {
    /// Writes `image` to `out` as a tar file of an OCI image layout.
    ///
    /// # Errors
    /// [`ExportError`]; what was written is no archive then.
    pub fn export(&self, image: &Image, out: impl Write) -> Result<(), ExportError> {
        let _store = self.share()?;
        let manifest = self.manifest(image)?;
        let Some(manifest) = manifest.filter(|_| !image.layers.is_empty()) else {
            return Err(ExportError::NoLayers(image.id));
        };
        let mut tar = Builder::new(out);
        add(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        add(&mut tar, "index.json", &index(&self.tags(image)?, &manifest)?)?;
        for dir in ["blobs/", "blobs/sha256/"] {
            tar.append_data(&mut header(EntryType::Directory, 0o755, 0), dir, io::empty())?;
        }
        for document in [&manifest, &self.config(image)?] {
            add(&mut tar, &blob_name(Digest::of(document)), document)?;
        }
        let mut layers = image.layers.clone();
        layers.sort_unstable();
        layers.dedup();
        for layer in layers {
            self.add_layer(&mut tar, layer)?;
        }
        tar.finish()?;
        Ok(())
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
