//! Volumes whose content the pod's author gives: literal files, or another image.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ImageSource;

/// The most that the files of one volume hold together, in bytes: what Kubernetes allows a ConfigMap or a Secret.
pub const MAX_FILES_BYTES: usize = 1 << 20;

/// A volume of literal files (Kubernetes' `configMap`, `secret`, `downwardAPI`, `projected`): every mount of it is
/// read-only. Its directories are root's, or [`Self::gid`]'s, with mode `0755`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesVolume {
    /// The files. No two have one path, and no path leads through another.
    pub files: Vec<VolumeFile>,
    /// The group of all of them (Kubernetes' `fsGroup`); `None`: 0. Their owner is root.
    pub gid: Option<u32>,
}

/// A file of a [`FilesVolume`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeFile {
    /// Where it is in the volume: relative, of names alone.
    pub path: PathBuf,
    /// What it holds.
    pub content: FileContent,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner, root where not said.
    pub uid: Option<u32>,
}

/// What a file holds. It may be a secret: it shows its length alone.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileContent(pub Vec<u8>);

impl fmt::Debug for FileContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// A volume that is an image's root filesystem (Kubernetes' `image`): every mount of it is read-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageVolume {
    /// The image.
    pub image: ImageSource,
}
