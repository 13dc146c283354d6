//! The VM's disks: what is on which, and how large those are that apps write to.
//!
//! What apps write to their roots, to volumes of their own (docker's `-v PATH`, images' `VOLUME`) and to empty volumes on disk
//! without a size is on one disk of the pod, the *writable disk*: a sparse file in the pod's directory, which takes of the host what
//! is written and gives back what is removed. An empty volume on disk with a size has a disk of its own, which
//! is what bounds it.

use std::collections::HashSet;
use std::path::PathBuf;

use isopod_spec::{Medium, PodSpec, RootfsAccess, Volume, VolumeKind, VolumeName};

use crate::distribution::Need;
use crate::facts::HostFacts;
use crate::fault::Fault;
use crate::layout;

/// An empty volume that is kept in a file of the host: a sparse one with a file system of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskVolume {
    pub name: VolumeName,
    /// What can be written to it, in bytes.
    pub size_bytes: u64,
    /// The permission bits of its root.
    pub mode: u32,
    /// The owner of its root.
    pub uid: u32,
    /// The group of its root.
    pub gid: u32,
}

/// The guest's driver of disks.
pub(crate) const MODULE: &str = "virtio_blk";

/// The file system of the disks that apps write to.
pub(crate) const DISK_TYPE: &str = "ext4";

/// The size of the writable disk where nothing else is said, in bytes: as large as docker's device mapper made a container's
/// disk.
pub const DEFAULT_WRITABLE_BYTES: u64 = 10 << 30;

/// The smallest writable disk, in bytes: the guest's memory holds as much.
pub const LEAST_WRITABLE_BYTES: u64 = 64 << 20;

/// Why apps write to the guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoWritable {
    /// The programs that make file systems are missing.
    Mkfs,
    /// The host's disk is nearly full: so many bytes are left.
    Full(u64),
}

impl NoWritable {
    /// For whoever runs the pod.
    pub(crate) fn notice(self) -> String {
        let reason = match self {
            Self::Mkfs => "`mkfs.ext4` was not found (`e2fsprogs` has it)".to_owned(),
            Self::Full(free) => format!("the disk with the state directory has {} MiB left", free >> 20),
        };
        format!("what the apps write is kept in the VM's memory, until the pod stops: {reason}")
    }
}

/// How large the writable disk of a pod is here, in bytes: as asked, or as much as the host has left and at most
/// [`DEFAULT_WRITABLE_BYTES`], in a few sizes, since each is made once.
///
/// # Errors
/// [`NoWritable`] where there is none.
pub(crate) fn writable_bytes(spec: &PodSpec, host: &HostFacts) -> Result<u64, NoWritable> {
    if host.mkfs.is_none() {
        return Err(NoWritable::Mkfs);
    }
    if let Some(asked) = spec.storage_bytes {
        return Ok(asked);
    }
    let most = host.free_bytes.min(DEFAULT_WRITABLE_BYTES);
    let step = if most < 1 << 30 {
        LEAST_WRITABLE_BYTES
    } else {
        1 << 30
    };
    match most - most % step {
        0 => Err(NoWritable::Full(host.free_bytes)),
        bytes => Ok(bytes),
    }
}

/// Whether a volume of the pod is kept on the writable disk.
pub(crate) fn is_on_writable(volume: &Volume) -> bool {
    match &volume.kind {
        VolumeKind::Empty(empty) => empty.medium == Medium::Disk && empty.size_bytes.is_none(),
        _ => false,
    }
}

/// Whether something of the pod is written to the writable disk: an app's root, or one of `volumes` that is `used`.
pub(crate) fn needs_writable<'a>(
    spec: &PodSpec,
    mut volumes: impl Iterator<Item = &'a Volume>,
    used: &HashSet<&VolumeName>,
) -> bool {
    // Apps that come later write, too.
    let written = spec.held
        || spec
            .apps
            .iter()
            .any(|app| app.rootfs == RootfsAccess::Writable && !app.writes_through())
        || volumes.any(|volume| used.contains(&volume.name) && is_on_writable(volume));
    written && spec.storage_bytes != Some(0)
}

/// A disk of the VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The file, relative to the pod directory.
    pub file: PathBuf,
    /// Whether the guest can write to it.
    pub read_only: bool,
}

/// The VM's disks in their order: so many images, those of volumes, the writable one where there is one.
pub(crate) fn disks(images: usize, volumes: &[DiskVolume], writable_bytes: Option<u64>) -> Vec<Disk> {
    let read_only = |file| Disk {
        file,
        read_only: true,
    };
    let images = (0..images).map(|image| read_only(layout::host_image(image)));
    let volumes = volumes.iter().map(|volume| Disk {
        file: layout::host_disk(&volume.name),
        read_only: false,
    });
    let writable = writable_bytes.map(|_| Disk {
        file: layout::WRITABLE_FILE.into(),
        read_only: false,
    });
    images.chain(volumes).chain(writable).collect()
}

/// The empty volumes that are kept on disks of their own and that some app mounts.
pub(crate) fn disk_volumes<'a>(
    volumes: impl Iterator<Item = &'a Volume>,
    used: &HashSet<&VolumeName>,
) -> Vec<DiskVolume> {
    let of_volume = |volume: &Volume| match &volume.kind {
        VolumeKind::Empty(empty) if empty.medium == Medium::Disk => Some(DiskVolume {
            name: volume.name.clone(),
            size_bytes: empty.size_bytes?,
            mode: empty.mode.unwrap_or(0o755),
            uid: empty.uid.unwrap_or(0),
            gid: empty.gid.unwrap_or(0),
        }),
        _ => None,
    };
    volumes
        .filter(|volume| used.contains(&volume.name))
        .filter_map(of_volume)
        .collect()
}

/// What stands on this host against the disks that were asked for: those of `volumes` that are `used`, and one of a size.
pub(crate) fn disk_faults<'a>(
    spec: &PodSpec,
    host: &HostFacts,
    volumes: impl Iterator<Item = &'a Volume>,
    used: &HashSet<&VolumeName>,
) -> Vec<Fault> {
    let on_disk = |volume: &Volume| match &volume.kind {
        VolumeKind::Empty(empty) => empty.medium == Medium::Disk,
        _ => false,
    };
    let no_mkfs = host.mkfs.is_none();
    let wanted = volumes.filter(|volume| used.contains(&volume.name)).any(on_disk);
    let sized = (no_mkfs && spec.storage_bytes.is_some_and(|bytes| bytes > 0)).then(|| Fault::Host {
        what: "cannot give the pod a disk of that size (`--storage-opt`)".into(),
        reason: "`mkfs.ext4` was not found".into(),
        hint: host.distribution.install(Need::Ext4),
    });
    let full = match writable_bytes(spec, host) {
        Err(NoWritable::Full(free)) if wanted => Some(Fault::Host {
            what: "cannot keep volumes on disk".into(),
            reason: format!("the disk with the state directory has {} MiB left", free >> 20),
            hint: "make room, name another directory (`--dir`), or write `medium=memory`".into(),
        }),
        _ => None,
    };
    let missing = (no_mkfs && wanted).then(|| Fault::Host {
        what: "cannot keep volumes on disk".into(),
        reason: "`mkfs.ext4` and `debugfs` were not found".into(),
        hint: format!(
            "{}, or write `medium=memory`",
            host.distribution.install(Need::Ext4)
        ),
    });
    missing.into_iter().chain(full).chain(sized).collect()
}
