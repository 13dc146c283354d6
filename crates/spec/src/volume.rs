//! Volumes, and where apps mount them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::VolumeName;
use crate::files::{FilesVolume, ImageVolume};

/// A mount of a volume in an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub volume: VolumeName,
    /// The path in the app's root filesystem, as it was written.
    pub target: PathBuf,
    /// Read-only, writable, or not said.
    pub read_only: Option<bool>,
    /// A path within the volume to mount in place of its root, relative.
    #[serde(with = "crate::raw_path::option", default)]
    pub sub_path: Option<PathBuf>,
    /// Further restrictions of this mount.
    pub flags: MountFlags,
    /// Whose its files are.
    #[serde(default)]
    pub owners: Owners,
}

/// Whose the files of a mounted host volume are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owners {
    /// As the host has them.
    #[default]
    Kept,
    /// The user and group that the app runs as: at each start all files of the source are given to them (podman's `U`).
    App,
}

/// Per-mount restrictions (mount(8)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Hash)]
pub struct MountFlags {
    /// Set-user-id bits have no effect.
    pub nosuid: bool,
    /// Device files cannot be opened.
    pub nodev: bool,
    /// Programs cannot be executed.
    pub noexec: bool,
    /// What file systems mounted below a read-only mount of a host volume are.
    #[serde(default)]
    pub submounts: Submounts,
}

/// What file systems mounted below a read-only mount of a host volume are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Hash)]
#[serde(rename_all = "kebab-case")]
pub enum Submounts {
    /// Read-only, as it is.
    #[default]
    ReadOnly,
    /// As they are on the host. The guest has one mount where the host has several, so the host keeps the volume itself read-only,
    /// for all of its mounts.
    AsOnHost,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub name: VolumeName,
    pub kind: VolumeKind,
    /// Where set, it overrides what mounts and mount points say (appc `readOnly`).
    pub read_only: Option<bool>,
}

/// What a volume is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeKind {
    /// A directory or file of the host.
    Host(HostVolume),
    /// A directory in the guest that begins empty and ends with the pod.
    Empty(EmptyVolume),
    /// Literal files, read-only.
    Files(FilesVolume),
    /// An image's root filesystem, read-only.
    Image(ImageVolume),
}

/// A volume that is a directory or file of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostVolume {
    /// The path on the host, or a volume's name ([`SourceRule::Named`]). Relative ones (`-v ./src:/src`) are relative to the caller's working directory.
    #[serde(with = "crate::raw_path")]
    pub source: PathBuf,
    /// Whether file systems mounted below the source are part of it (appc `recursive`; `true` where not said).
    pub recursive: bool,
    /// Whether mounts that the host makes below the source later appear in the volume.
    pub propagation: Propagation,
    /// What the source must be.
    pub must_be: SourceRule,
}

/// What a host volume's source must be, and what becomes of one that is not there (Kubernetes' `hostPath.type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceRule {
    /// It must be there.
    #[default]
    Any,
    /// A directory or file; where nothing is there a directory is made, with mode `0755`.
    AnyOrCreate,
    /// A directory that is there.
    Directory,
    /// A directory; one that is missing is made, with mode `0755`.
    DirectoryOrCreate,
    /// A regular file that is there.
    File,
    /// A regular file; one that is missing is made, empty and with mode `0644`, in a directory that is there.
    FileOrCreate,
    /// A directory of isopod's own that outlives its pods; one that is missing is made, with mode `0777`.
    Kept,
    /// The same, of which the source is the name (`-v NAME:TARGET`, docker's named volume). An empty one begins as the image of the
    /// first app that mounts it has the directory, as with docker, unless `nocopy` is asked for.
    Named {
        /// Whether it does.
        copies: bool,
    },
}

impl SourceRule {
    /// Whether it is a directory of isopod's own that outlives its pods.
    #[must_use]
    pub fn is_kept(self) -> bool {
        matches!(self, Self::Kept | Self::Named { .. })
    }
}

/// Bind propagation of a host volume (mount_namespaces(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Propagation {
    /// Later mounts of the host do not appear.
    #[default]
    Private,
    /// Later mounts of the host appear, none of the guest's goes back.
    Rslave,
}

/// A volume that begins empty. Kubernetes' `emptyDir` is one of mode `0777`, and where the pod has an `fsGroup` one of
/// mode `2777` and that group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmptyVolume {
    /// The permission bits of its root, `0o755` where not said (appc).
    pub mode: Option<u32>,
    /// The owner of its root, 0 where not said.
    pub uid: Option<u32>,
    /// The group of its root, 0 where not said.
    pub gid: Option<u32>,
    /// The most it may hold, in bytes.
    pub size_bytes: Option<u64>,
    /// Where it is kept.
    pub medium: Medium,
}

/// Where an empty volume is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Medium {
    /// In the guest's memory.
    #[default]
    Memory,
    /// In a file of the host that is removed with the pod.
    Disk,
}
