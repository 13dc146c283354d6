//! What is recorded of a pod's volumes: those that it was prepared with ([`PodRecord`](super::files::PodRecord)), and those
//! that were attached while it runs ([`Status`](super::files::Status)), which last until it stops.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use isopod_plan::facts::{FileId, Owner, SourceKind};
use isopod_plan::vm::file_server::Ownership;
use isopod_plan::vm::sharing::{SharedVolume, Sharing, Transport};
use isopod_plan::volumes::{AskedBy, VolumeMount};
use isopod_spec::{
    AppName, EmptyVolume, HostVolume, MountFlags, Propagation, SourceRule, Submounts, Volume, VolumeKind,
    VolumeName,
};
use serde::{Deserialize, Serialize};

use super::os_text::OsText;

/// How a pod's host volumes reach its guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShareRecord {
    /// There is no device for any.
    #[serde(rename = "none")]
    None,
    /// Each has a device of its own.
    #[serde(rename = "devices")]
    Devices,
    /// All are bound below one directory, served by virtiofsd.
    #[serde(rename = "virtiofs")]
    Virtiofs,
    /// The same, served by QEMU.
    #[serde(rename = "9p")]
    NineP,
}

impl ShareRecord {
    pub(crate) fn of(sharing: Option<&Sharing>) -> Self {
        match sharing {
            None => Self::None,
            Some(sharing) if !sharing.is_bound() => Self::Devices,
            Some(sharing) => match sharing.transport {
                Transport::Virtiofs(_) => Self::Virtiofs,
                Transport::NineP => Self::NineP,
            },
        }
    }
}

/// Whose files those of a pod's host volumes are in its guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OwnerRecord {
    /// Their own, by number.
    ByNumber,
    /// This user's and group's, who writes as the caller, as everybody does.
    AllAsCaller(u32, u32),
    /// By number in a user namespace where the caller is this user and group.
    Mapped(u32, u32),
    /// The guest's root's, who alone writes as the caller.
    RootAsCaller,
}

impl OwnerRecord {
    pub(crate) fn of(ownership: Ownership) -> Self {
        match ownership {
            Ownership::ByNumber => Self::ByNumber,
            Ownership::AllAsCaller(Owner { uid, gid }) => Self::AllAsCaller(uid, gid),
            Ownership::Mapped(Owner { uid, gid }) => Self::Mapped(uid, gid),
            Ownership::RootAsCaller(_) => Self::RootAsCaller,
        }
    }

    pub(crate) fn ownership(self) -> Ownership {
        match self {
            Self::ByNumber => Ownership::ByNumber,
            Self::AllAsCaller(uid, gid) => Ownership::AllAsCaller(Owner { uid, gid }),
            Self::Mapped(uid, gid) => Ownership::Mapped(Owner { uid, gid }),
            Self::RootAsCaller => Ownership::RootAsCaller("it was so when the pod was prepared"),
        }
    }
}

/// A volume of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct VolumeRecord {
    pub name: VolumeName,
    pub kind: VolumeType,
    /// What of the host's it is, where it is.
    pub host: Option<SourceRecord>,
    /// The number of its image's file, where it is an image's content.
    pub image_number: Option<usize>,
}

/// What a volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeType {
    /// A directory or file of the host.
    Host,
    /// A directory of the pod's own, empty at the start.
    Empty,
    /// Files that came with the pod.
    Files,
    /// An image's content.
    Image,
}

impl VolumeType {
    /// That of `volume`.
    pub(crate) fn of(volume: &Volume) -> Self {
        match volume.kind {
            VolumeKind::Host(_) => Self::Host,
            VolumeKind::Empty(_) => Self::Empty,
            VolumeKind::Files(_) => Self::Files,
            VolumeKind::Image(_) => Self::Image,
        }
    }

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Empty => "empty",
            Self::Files => "files",
            Self::Image => "image",
        }
    }
}

/// What of the host's a volume is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SourceRecord {
    /// The path, links followed.
    pub source: OsText,
    /// Whether it is a file.
    pub file: bool,
    /// Which file it was when the pod was prepared or the volume attached: device and inode.
    pub id: Option<(u64, u64)>,
    /// Whether the host lets nobody write through it.
    pub read_only: bool,
    /// Whether that is so for file systems mounted below it, too.
    pub submounts: Submounts,
    /// Whether file systems mounted below it are part of it.
    pub recursive: bool,
    /// Whether later mounts of the host appear.
    pub propagation: Propagation,
    /// To whom its files are given before it is shared (`U`): user and group.
    #[serde(default)]
    pub given_to: Option<(u32, u32)>,
}

impl SourceRecord {
    pub(crate) fn of(shared: &SharedVolume) -> Self {
        Self {
            source: shared.source.as_os_str().into(),
            file: shared.kind == SourceKind::File,
            id: shared.id.map(|id| (id.device, id.inode)),
            read_only: shared.read_only,
            submounts: shared.submounts,
            recursive: shared.recursive,
            propagation: shared.propagation,
            given_to: shared.given_to.map(|owner| (owner.uid, owner.gid)),
        }
    }

    /// The path, links followed.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        OsString::from(self.source.clone()).into()
    }

    /// A directory, or a file.
    #[must_use]
    pub fn kind(&self) -> SourceKind {
        kind(self.file)
    }
}

impl VolumeRecord {
    /// As planning knows it.
    pub(crate) fn volume(&self) -> Volume {
        let kind = match &self.host {
            None => VolumeKind::Empty(EmptyVolume::default()),
            Some(host) => VolumeKind::Host(HostVolume {
                source: host.path(),
                recursive: host.recursive,
                propagation: host.propagation,
                must_be: SourceRule::Any,
            }),
        };
        Volume {
            name: self.name.clone(),
            kind,
            read_only: None,
        }
    }

    /// As the file server's process is to bind it.
    pub(crate) fn shared(&self) -> Option<SharedVolume> {
        let host = self.host.as_ref()?;
        Some(SharedVolume {
            name: self.name.clone(),
            source: host.path(),
            kind: host.kind(),
            id: host.id.map(|(device, inode)| FileId { device, inode }),
            read_only: host.read_only,
            submounts: host.submounts,
            recursive: host.recursive,
            propagation: host.propagation,
            given_to: host.given_to.map(|(uid, gid)| Owner { uid, gid }),
        })
    }
}

fn kind(file: bool) -> SourceKind {
    match file {
        true => SourceKind::File,
        false => SourceKind::Directory,
    }
}

/// A volume in an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MountRecord {
    pub volume: VolumeName,
    /// Where the app sees it, as it was asked for.
    pub target: String,
    /// Where that is, links followed. systemd reads UTF-8 only, so it is.
    pub place: String,
    /// Whether a file is mounted.
    pub file: bool,
    /// The path within the volume, empty for its root.
    pub sub_path: String,
    /// Whether the app may not write to it.
    pub read_only: bool,
}

impl MountRecord {
    pub(crate) fn of(mount: &VolumeMount) -> Self {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        Self {
            volume: mount.volume.clone(),
            target: text(&mount.target),
            place: text(&mount.place),
            file: mount.kind == SourceKind::File,
            sub_path: text(&mount.sub_path),
            read_only: mount.read_only,
        }
    }

    /// As planning knows it; its flags are of no account for others.
    pub(crate) fn mount(&self) -> VolumeMount {
        VolumeMount {
            volume: self.volume.clone(),
            target: Path::new(&self.target).into(),
            place: Path::new(&self.place).into(),
            kind: kind(self.file),
            read_only: self.read_only,
            sub_path: (&self.sub_path).into(),
            part: (&self.sub_path).into(),
            known: true,
            there: true,
            flags: MountFlags::default(),
            asked_by: AskedBy::User,
        }
    }
}

/// A volume that was attached while the pod runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AttachedRecord {
    /// The number of the change that brought it: its name below the share is made of it.
    pub serial: u32,
    pub volume: VolumeRecord,
    /// Where it is.
    pub mounts: Vec<AttachedMountRecord>,
}

/// Where such a volume is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AttachedMountRecord {
    pub app: AppName,
    pub mount: MountRecord,
}
