//! Roots that are directories of the host (`--rootfs`): how each is shared with the VM, and what stands against it.
//!
//! Such a directory is bound below the pod's share as a volume is, under a name that no volume has. Where the app writes
//! through, that is its root: mount points that are missing are made in the directory itself, as podman does. Otherwise it is the
//! lowest layer of an overlay, as an image is, and the host lets nobody write to it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use isopod_spec::{App, PodSpec, Propagation, RootWrites, SourceRule, Submounts, VolumeKind, VolumeName};

use crate::apps::process::Process;
use crate::apps::{RootPlan, Writes};
use crate::facts::{Facts, FileId, Owner, RootOrigin, SourceKind};
use crate::fault::Fault;
use crate::layout;
use crate::vm::file_server::Ownership;
use crate::vm::sharing::SharedVolume;

/// What each app's root is shared as, in the order of the apps; `None` for an image.
pub(crate) fn shared(spec: &PodSpec, facts: &Facts) -> Vec<Option<SharedVolume>> {
    let mut taken: BTreeSet<VolumeName> = spec.volumes.iter().map(|volume| volume.name.clone()).collect();
    let apps = spec.apps.iter().zip(&facts.apps);
    apps.map(|(app, facts)| {
        let origin = facts.root.as_ref().map(|root| &root.origin);
        let Some(RootOrigin::Directory { path, id, .. }) = origin else {
            return None;
        };
        let name = free_name(app, &taken)?;
        taken.insert(name.clone());
        Some(SharedVolume {
            name,
            source: path.clone(),
            kind: SourceKind::Directory,
            id: Some(*id),
            read_only: !app.writes_through(),
            submounts: Submounts::ReadOnly,
            // What is mounted in it is part of it, as with podman.
            recursive: true,
            propagation: Propagation::Private,
            given_to: None,
        })
    })
    .collect()
}

/// A name for an app's root below the share that nothing else has.
fn free_name(app: &App, taken: &BTreeSet<VolumeName>) -> Option<VolumeName> {
    let numbered = (2..).map(|number| format!("rootfs{number}-{}", app.name));
    let names = std::iter::once(format!("rootfs-{}", app.name)).chain(numbered);
    // Implicit volumes are named after their images' mount points, `volume-...`.
    names
        .map_while(|name| VolumeName::nearest(&name))
        .find(|name| !taken.contains(name))
}

/// What an app's root is made of, where it is a directory shared as `shared`.
pub(crate) fn of_directory(app: &App, id: FileId, shared: &SharedVolume) -> RootPlan {
    RootPlan::Directory {
        source: shared.source.clone(),
        id,
        place: layout::shared_volume(&shared.name),
        writes: app
            .directory()
            .map_or(RootWrites::Layer, |directory| directory.writes),
    }
}

/// Where an app's writes to its root are kept, in a pod that has a writable disk or none.
pub(crate) fn writes(app: &App, has_disk: bool) -> Writes {
    match app.rootfs {
        _ if app.writes_through() => Writes::Through,
        isopod_spec::RootfsAccess::Writable if has_disk => Writes::OnDisk,
        _ => Writes::InMemory,
    }
}

/// What stands against the roots of the pod.
pub(crate) fn faults(spec: &PodSpec, facts: &Facts) -> Vec<Fault> {
    let apps = spec.apps.iter().zip(&facts.apps);
    apps.filter_map(|(app, facts)| {
        let origin = facts.root.as_ref().map(|root| &root.origin);
        let Some(RootOrigin::Directory { path, .. }) = origin else {
            return None;
        };
        let reason = if path.parent().is_none() {
            "its root would be the host's own root, `/`; name a directory that holds a root filesystem for it"
                .to_owned()
        } else if path.to_str().is_none() {
            format!(
                "its root `{}` is not UTF-8, which the guest needs",
                path.display()
            )
        } else {
            return None;
        };
        let app = app.name.clone();
        Some(Fault::App { app, reason })
    })
    .collect()
}

/// What the user should know of an app whose root is a directory.
pub(crate) fn notices(spec: &PodSpec, app: &App, process: &Process, ownership: Ownership) -> Vec<String> {
    if app.directory().is_none() {
        return Vec::new();
    }
    let uid = process.identity.uid;
    let foreign = match ownership {
        _ if uid == 0 || !app.writes_through() => None,
        Ownership::ByNumber | Ownership::Mapped(_) => None,
        Ownership::AllAsCaller(Owner { uid: owner, .. }) => (owner != uid).then(|| {
            format!(
                "app `{}` runs as user {uid}, and all files in its root belong to user {owner}, new ones too: it \
                 can write only where the mode allows others (`--rootfs DIR:O` keeps owners)",
                app.name
            )
        }),
        Ownership::RootAsCaller(reason) => Some(format!(
            "app `{}` runs as user {uid}, but without root on the host only user 0 can write to its root: {reason}",
            app.name
        )),
    };
    let begins = app.mounts.iter().filter(|mount| {
        let mut volumes = spec.volumes.iter().filter(|volume| volume.name == mount.volume);
        volumes.any(|volume| match &volume.kind {
            VolumeKind::Host(host) => host.must_be == SourceRule::Named { copies: true },
            _ => false,
        })
    });
    let empty = begins.map(|mount| {
        format!(
            "app `{}`: volume `{}` is not filled with what its root has at `{}`: a new named volume is filled from images only",
            app.name,
            mount.volume,
            mount.target.display()
        )
    });
    foreign.into_iter().chain(empty).collect()
}

/// Where that root is in the guest when it came while the pod runs.
pub(crate) fn move_to(root: &mut RootPlan, at: PathBuf) {
    if let RootPlan::Directory { place, .. } = root {
        *place = at;
    }
}
