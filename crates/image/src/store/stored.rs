//! Reads one image of the store, checking that it is whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Image;
use crate::config::{ConfigError, ImageConfig};
use crate::digest::Digest;

/// The root filesystem in an image's directory.
pub(crate) const ROOTFS: &str = "rootfs.erofs";
/// The config in an image's directory.
pub(crate) const CONFIG: &str = "config.json";
/// The manifest in the directory of an image that an earlier version of Isopod wrote.
pub(super) const MANIFEST: &str = "manifest.json";
/// The [`Record`] in an image's directory.
const RECORD: &str = "image.json";
/// The version of `image.json`.
const VERSION: u32 = 1;

/// Why a part of the store cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error("cannot read `{path}` of the image store")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("invalid file `{path}` in the image store")]
    Document {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    /// A file was written by another version of Isopod.
    #[error(
        "file `{path}` in the image store has version {version}, this version of isopod reads version {known}"
    )]
    Version {
        path: PathBuf,
        version: u32,
        /// The one version that can be read.
        known: u32,
    },
    /// A file was damaged.
    #[error("damaged file `{path}` in the image store: {reason}")]
    Damaged {
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The config of an image cannot be used.
    #[error("invalid config `{path}` in the image store")]
    Config {
        path: PathBuf,
        #[source]
        source: ConfigError,
    },
}

impl LoadError {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Damaged { .. } | Self::Document { .. } => Some("import the image again".to_owned()),
            _ => None,
        }
    }

    /// Whether a new import mends it.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::Document { .. } | Self::Config { .. } => true,
            Self::File { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Version { .. } => false,
        }
    }
}

/// `image.json`: what neither the config nor the root filesystem say.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Record {
    version: u32,
    manifest: Option<Digest>,
    rootfs_bytes: u64,
    rootfs: Digest,
    /// The blobs that the store keeps of it.
    layers: Vec<Digest>,
}

impl Record {
    /// The record of an image with this manifest, this root filesystem (its digest and its size in bytes) and these
    /// layers in the store.
    pub(crate) fn new(
        manifest: Option<Digest>,
        (rootfs, rootfs_bytes): (Digest, u64),
        layers: Vec<Digest>,
    ) -> Self {
        Self {
            version: VERSION,
            manifest,
            rootfs_bytes,
            rootfs,
            layers,
        }
    }

    /// The name and text of the file.
    pub(crate) fn to_file(&self) -> io::Result<(&'static str, Vec<u8>)> {
        Ok((RECORD, serde_json::to_vec(self)?))
    }
}

/// Parses a versioned document, looking at the version first.
pub(super) fn parse<T: DeserializeOwned>(path: &Path, text: &[u8], known: u32) -> Result<T, LoadError> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let invalid = |source| LoadError::Document {
        path: path.to_owned(),
        source,
    };
    let Version { version } = serde_json::from_slice(text).map_err(invalid)?;
    if version != known {
        return Err(LoadError::Version {
            path: path.to_owned(),
            version,
            known,
        });
    }
    serde_json::from_slice(text).map_err(invalid)
}

/// The manifest of the image in `dir`, and the layers that the store keeps of it.
pub(super) fn origin(dir: &Path) -> Result<(Option<Digest>, Vec<Digest>), LoadError> {
    let path = dir.join(RECORD);
    let text = fs::read(&path).map_err(|source| LoadError::File {
        path: path.clone(),
        source,
    })?;
    let record = parse::<Record>(&path, &text, VERSION)?;
    Ok((record.manifest, record.layers))
}

/// Reads the image `id` in `dir`.
pub(super) fn load(dir: &Path, id: Digest, names: Vec<String>) -> Result<Image, LoadError> {
    let read = |name: &str| {
        let path = dir.join(name);
        match fs::read(&path) {
            Ok(text) => Ok((path, text)),
            Err(source) => Err(LoadError::File { path, source }),
        }
    };
    let (path, text) = read(RECORD)?;
    let record: Record = parse(&path, &text, VERSION)?;
    let (path, text) = read(CONFIG)?;
    if Digest::of(&text) != id {
        return Err(LoadError::Damaged {
            path,
            reason: "its digest is not the image's ID",
        });
    }
    let config = ImageConfig::read(&text).map_err(|source| LoadError::Config { path, source })?;
    let rootfs = dir.join(ROOTFS);
    let bytes = match fs::metadata(&rootfs) {
        Ok(metadata) => metadata.len(),
        Err(source) => return Err(LoadError::File { path: rootfs, source }),
    };
    if bytes != record.rootfs_bytes {
        return Err(LoadError::Damaged {
            path: rootfs,
            reason: "its size is not what `image.json` says",
        });
    }
    Ok(Image {
        id,
        manifest: record.manifest,
        names,
        config: config.run,
        rootfs,
        rootfs_bytes: bytes,
        rootfs_digest: record.rootfs,
        layers: record.layers,
        architecture: config.architecture,
        os: config.os,
        created: config.created,
    })
}
