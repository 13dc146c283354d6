//! A volume in an app: as it was asked for, and with its place.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use isopod_spec::{MountFlags, Submounts, VolumeName};

use crate::facts::SourceKind;

/// A mount of a volume in an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeMount {
    pub volume: VolumeName,
    /// The path asked for, cleaned.
    pub target: Arc<Path>,
    /// Where that is in the app's root: absolute, clean, below no link.
    pub place: Arc<Path>,
    /// A directory, or a file.
    pub kind: SourceKind,
    /// Whether the app may not write through it.
    pub read_only: bool,
    /// The path within the volume, links followed as far as they are known, relative; empty for the volume's root.
    pub sub_path: PathBuf,
    /// The same as it was asked for: the guest follows its links once more, as they are when it mounts.
    pub part: PathBuf,
    /// Whether what is mounted was there when it was looked for; otherwise `kind` is what the guest makes where nothing
    /// has come to be there.
    pub known: bool,
    /// Whether there was something at `place`.
    pub there: bool,
    /// Further restrictions.
    pub flags: MountFlags,
    /// Who asked for it.
    pub asked_by: AskedBy,
}

impl VolumeMount {
    /// Whether the guest's mount is read-only too. One whose submounts are as on the host is kept read-only by the host alone.
    #[must_use]
    pub fn read_only_in_guest(&self) -> bool {
        self.read_only && !self.keeps_submounts()
    }

    /// Whether it is read-only, and file systems mounted below it are as on the host.
    #[must_use]
    pub fn keeps_submounts(&self) -> bool {
        self.read_only && self.flags.submounts == Submounts::AsOnHost
    }
}

/// Who asked for a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedBy {
    /// The user, with `--mount` or a pod file.
    User,
    /// The image, and the pod has a volume of the mount point's name.
    MountPoint,
    /// The image, and the pod has no such volume.
    Implicit,
}

/// A mount before its place is known.
pub(crate) struct Wanted {
    pub(crate) volume: VolumeName,
    pub(crate) target: Arc<Path>,
    pub(crate) read_only: bool,
    pub(crate) sub_path: Option<PathBuf>,
    pub(crate) flags: MountFlags,
    pub(crate) asked_by: AskedBy,
    /// Whether it is mounted only when other apps have come so far, which may have made what it needs.
    pub(crate) late: bool,
}
