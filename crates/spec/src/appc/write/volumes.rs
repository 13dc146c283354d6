//! Volumes, and their mounts in apps.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::check::clean;
use crate::tree::Fields;
use crate::unsaid::Unsaids;
use crate::words::shown;
use crate::{
    App, EmptyVolume, HostVolume, Medium, Mount, MountFlags, PodSpec, Propagation, SourceRule, Volume,
    VolumeKind, VolumeName,
};

/// Which volumes are written, and whether each is read-only as a whole; of those that are not, a mount point may be.
pub(super) struct Access(BTreeMap<VolumeName, Option<bool>>);

impl Access {
    /// The volumes of `pod` that a manifest can have.
    pub(super) fn of(pod: &PodSpec) -> Self {
        let of_volume = |volume: &Volume| {
            let is_said = matches!(volume.kind, VolumeKind::Host(_) | VolumeKind::Empty(_));
            let mounts = pod.apps.iter().flat_map(|app| &app.mounts);
            let mut mounts = mounts.filter(|mount| mount.volume == volume.name).peekable();
            let of_mounts = mounts.peek().is_some() && mounts.all(|mount| mount.read_only == Some(true));
            let read_only = volume.read_only.or(of_mounts.then_some(true));
            is_said.then(|| (volume.name.clone(), read_only))
        };
        Self(pod.volumes.iter().filter_map(of_volume).collect())
    }

    /// Whether a mount must be made read-only by a mount point of its own.
    pub(super) fn by_mount_point(&self, mount: &Mount) -> bool {
        mount.read_only == Some(true) && self.0.get(&mount.volume) == Some(&None)
    }
}

/// The volumes of `pod`.
pub(super) fn write(pod: &PodSpec, access: &Access, unsaids: &Unsaids) -> Vec<Fields> {
    let one = |volume: &Volume| {
        let named = Fields::new().with("name", volume.name.as_str());
        let subject = format!("volume `{}`", volume.name);
        let unsaid = |what: &str| {
            let why = "its volumes are directories and files of the host's, or empty";
            unsaids.add(format!("{subject}: {what}"), why);
            None
        };
        let fields = match &volume.kind {
            VolumeKind::Host(host) => host_volume(named, &subject, host, unsaids),
            VolumeKind::Empty(empty) => empty_volume(named, &subject, empty, unsaids),
            VolumeKind::Files(_) => return unsaid("its files"),
            VolumeKind::Image(_) => return unsaid("being an image"),
        };
        let read_only = access.0.get(&volume.name).copied().flatten();
        Some(fields.with_some("readOnly", read_only))
    };
    pod.volumes.iter().filter_map(one).collect()
}

fn host_volume(named: Fields, subject: &str, host: &HostVolume, unsaids: &Unsaids) -> Fields {
    let source = host.source.to_str().filter(|source| source.starts_with('/'));
    if source.is_none() {
        unsaids.add_needed(
            format!("{subject}: its path `{}`", shown(&host.source)),
            "a `source` is absolute and UTF-8",
            "give the directory another path, such as that of a link to it",
        );
    }
    if host.propagation == Propagation::Rslave {
        let what = format!("{subject}: showing what the host mounts in it later");
        unsaids.add(what, "it has no field for it");
    }
    let rule = match host.must_be {
        // What is kept was made when the pod was prepared.
        SourceRule::Any | SourceRule::Kept => None,
        SourceRule::Directory => Some("that its path must be a directory"),
        SourceRule::File => Some("that its path must be a file"),
        SourceRule::DirectoryOrCreate => Some("that a missing directory is made"),
        SourceRule::FileOrCreate => Some("that a missing file is made"),
    };
    if let Some(rule) = rule {
        unsaids.add(
            format!("{subject}: {rule}"),
            "a `source` must be there, whatever it is",
        );
    }
    named
        .with("kind", "host")
        .with_some("source", source)
        .with_some("recursive", (!host.recursive).then_some(false))
}

fn empty_volume(named: Fields, subject: &str, empty: &EmptyVolume, unsaids: &Unsaids) -> Fields {
    let in_memory = "an empty volume is in the machine's memory, as large as that";
    if empty.size_bytes.is_some() {
        unsaids.add(format!("{subject}: its size"), in_memory);
    }
    if empty.medium == Medium::Disk {
        unsaids.add(format!("{subject}: being on disk"), in_memory);
    }
    named
        .with("kind", "empty")
        .with_some("mode", empty.mode.map(|mode| format!("{mode:04o}")))
        .with_some("uid", empty.uid)
        .with_some("gid", empty.gid)
}

/// The mounts of `app`; those of volumes that are not written are left out with these.
pub(super) fn mounts(app: &App, access: &Access, unsaids: &Unsaids) -> Vec<Fields> {
    let one = |mount: &Mount| {
        if !access.0.contains_key(&mount.volume) {
            return None;
        }
        let subject = format!("app `{}`: its mount at `{}`", app.name, shown(&mount.target));
        if mount.sub_path.is_some() {
            let why = "it mounts whole volumes; a volume of that path can be one of its own";
            unsaids.add_needed(
                format!("{subject}: a part of the volume"),
                why,
                "make a volume of that path",
            );
            return None;
        }
        if mount.flags != MountFlags::default() {
            let what = format!("{subject}: `nosuid`, `nodev` or `noexec`");
            unsaids.add(what, "a mount is read-only or not, and nothing else");
        }
        if access.by_mount_point(mount) && app.run_config.is_none() {
            let why = "the whole volume is, or a mount point of an `app` section";
            unsaids.add_needed(
                format!("{subject}: being read-only"),
                why,
                "let all mounts of the volume be read-only",
            );
        }
        let target: PathBuf = clean(&mount.target);
        if target.to_str().is_none() {
            unsaids.add_needed(subject, "it takes UTF-8 only", "mount it at another path");
        }
        let path = target.to_str()?;
        Some(
            Fields::new()
                .with("volume", mount.volume.as_str())
                .with("path", path),
        )
    };
    app.mounts.iter().filter_map(one).collect()
}
