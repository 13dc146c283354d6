//! The VM's disks, and the empty volumes that are kept on some of them.

use std::collections::HashSet;
use std::path::PathBuf;

use isopod_spec::{Medium, Volume, VolumeKind, VolumeName};

use crate::fault::Fault;
use crate::layout;

/// An empty volume that is kept in a file of the host: a sparse one with a file system of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskVolume {
    /// Its name.
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

/// The size of a volume on disk that has none, in bytes: as large as docker's device mapper made a container's disk.
pub const DEFAULT_DISK_BYTES: u64 = 10 << 30;

/// A disk of the VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The file, relative to the pod directory.
    pub file: PathBuf,
    /// Whether the guest can write to it.
    pub read_only: bool,
}

/// The VM's disks in their order: the guest overlay, so many images, those of volumes.
pub(crate) fn disks(images: usize, volumes: &[DiskVolume]) -> Vec<Disk> {
    let read_only = |file| Disk {
        file,
        read_only: true,
    };
    let overlay = std::iter::once(read_only(layout::GUEST_OVERLAY.into()));
    let images = (0..images).map(|image| read_only(layout::host_image(image)));
    let volumes = volumes.iter().map(|volume| Disk {
        file: layout::host_disk(&volume.name),
        read_only: false,
    });
    overlay.chain(images).chain(volumes).collect()
}

/// The empty volumes that are kept on disk and that some app mounts.
pub(crate) fn disk_volumes<'a>(
    volumes: impl Iterator<Item = &'a Volume>,
    used: &HashSet<&VolumeName>,
) -> Vec<DiskVolume> {
    let of_volume = |volume: &Volume| match &volume.kind {
        VolumeKind::Empty(empty) if empty.medium == Medium::Disk => Some(DiskVolume {
            name: volume.name.clone(),
            size_bytes: empty.size_bytes.unwrap_or(DEFAULT_DISK_BYTES),
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

/// What stands against volumes on disk on this host.
pub(crate) fn disk_faults(disks: &[DiskVolume], mkfs: bool) -> Vec<Fault> {
    let missing = (!mkfs && !disks.is_empty()).then(|| Fault::Host {
        what: "cannot keep volumes on disk".into(),
        reason: "`mkfs.ext4` and `debugfs` were not found".into(),
        hint: "install `e2fsprogs`, or say `medium=memory`".into(),
    });
    missing.into_iter().collect()
}
