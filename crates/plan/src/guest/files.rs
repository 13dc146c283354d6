//! The pod's part of the guest, from what is decided: units, mount points, empty volumes, users, and the agent's
//! configuration.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isopod_spec::{FilesVolume, PodLimits, Readiness, VolumeKind, VolumeName};

use crate::apps::{AppPlan, Writes, limits};
use crate::facts::{Facts, SourceKind};
use crate::fault::Fault;
use crate::guest::config::ArrivalText;
use crate::guest::entry::{Content, Entry, EntryKind};
use crate::guest::tree::GuestTree;
use crate::guest::units::{self, AppUnit, MountUnit, Mounts, World};
use crate::layout;
use crate::path::{self, Lookup};
use crate::systemd::unit;
use crate::vm::disks;
use crate::volumes::{VolumeMount, VolumeTable, kernel_places};

pub(crate) fn guest_tree(
    table: &VolumeTable,
    facts: &Facts,
    apps: &[AppPlan],
    bound: PodLimits,
    mounts: &Arc<Mounts>,
    coming: ArrivalText,
) -> Result<GuestTree, Vec<Fault>> {
    let mut tree = GuestTree::default();
    let waits = coming.arrival.apps.iter().any(|app| app.waits);
    units::write_target(&mut tree, &coming.arrival.unit, apps, waits);
    let kept = apps
        .iter()
        .filter_map(|app| app.process.limits.resources.memory_request_bytes);
    units::write_slice(
        &mut tree,
        limits::slice_settings(bound),
        kept.reduce(u64::saturating_add),
        apps.iter().map(|app| app.unit.as_str()),
    );
    let identity = coming.arrival.identity.iter();
    let sysctls = identity
        .flat_map(|identity| &identity.sysctls)
        .any(|sysctl| sysctl.required);
    for mount in &coming.arrival.early_mounts {
        tree.directory(Path::new(&mount.mount_point), 0o755);
    }
    for volume in table.iter() {
        match &volume.kind {
            // What is mounted there has its mode and owner.
            VolumeKind::Empty(_) if disks::is_on_writable(volume) => {}
            VolumeKind::Empty(_) => tree.directory(&layout::empty_volume(&volume.name), 0o755),
            VolumeKind::Files(files) => add_files(&mut tree, &volume.name, files),
            VolumeKind::Host(_) | VolumeKind::Image(_) => {}
        }
    }
    for (app, facts) in apps.iter().zip(&facts.apps) {
        add_mount_points(
            table,
            &mut tree,
            app,
            facts.root.as_ref().map(|root| &root.tree as &dyn Lookup),
        );
    }
    for mount in mounts.iter() {
        mount.check().map_err(|reason| unwritable(mount, &reason))?;
    }
    tree.add_mounts(mounts);
    for (app, selected) in apps.iter().zip(&coming.mounts) {
        let unit = AppUnit {
            name: app.name.clone(),
            process: app.process.clone(),
            stdin: app.stdin,
            lifecycle: app.lifecycle.clone(),
            last_words: app.last_words.clone(),
            sysctls,
            world: World::of(app),
            mounts: selected.clone(),
        };
        let app = app.name.clone();
        unit.add(&mut tree).map_err(|e| {
            vec![Fault::App {
                app,
                reason: e.to_string(),
            }]
        })?;
    }
    tree.deferred(Path::new(layout::ARRIVAL), coming, 0o600);
    Ok(tree)
}

/// Makes the mount points, the root directories and the working directory that `app`'s image lacks: in the layer
/// that takes the app's writes, or in the volume of files that they lie in.
fn add_mount_points(table: &VolumeTable, tree: &mut GuestTree, app: &AppPlan, image: Option<&dyn Lookup>) {
    let seed = app.seed();
    let layers = match app.writes {
        Writes::InMemory => vec![app.upper(), seed.clone()],
        // The agent makes the others when the disk is there.
        Writes::OnDisk | Writes::Through => vec![seed.clone()],
    };
    if app.writes == Writes::InMemory {
        tree.directory(&app.work(), 0o700);
    }
    for layer in &layers {
        tree.directory(layer, 0o755);
        if let Some(image) = image {
            tree.copy_attributes(layer, Path::new("/"), image);
        }
    }
    let fixed = layout::ROOT_DIRECTORIES
        .iter()
        .map(|dir| (PathBuf::from(dir), SourceKind::Directory));
    let notify = (app.lifecycle.readiness == Readiness::Notify)
        .then(|| (PathBuf::from(layout::NOTIFY_SOCKET), SourceKind::File));
    // In `/dev` systemd makes it, which does so on a root that can be written to only.
    let words = app.last_words.iter().filter(|path| !path.starts_with("/dev"));
    let words = words.map(|path| (path.clone(), SourceKind::File));
    let start = std::iter::once((working_place(app, image), SourceKind::Directory));
    let places = app.mounts.iter().map(|m| (m.place.to_path_buf(), m.kind));
    let by_place: HashMap<&Path, &VolumeMount> = app.mounts.iter().map(|m| (&*m.place, m)).collect();
    for (place, kind) in fixed.chain(notify).chain(words).chain(start).chain(places) {
        let parent = place
            .ancestors()
            .skip(1)
            .find_map(|above| by_place.get(above).copied());
        match parent {
            None if kernel_places::contains(&place) && at_kernel(&place, tree, app, kind) => {}
            None => add_place(tree, &seed, &place, kind, image),
            Some(parent) if table.is_seeded(&parent.volume) => {
                let root = layout::empty_volume(&parent.volume).join(&parent.sub_path);
                let inner = place
                    .strip_prefix(&parent.place)
                    .map(|p| Path::new("/").join(p))
                    .unwrap_or_default();
                add_place(tree, &root, &inner, kind, None);
            }
            Some(_) => {}
        }
    }
}

/// Makes the mount point `place` where what the app sees of the kernel is prepared; `false` for a root directory.
fn at_kernel(place: &Path, tree: &mut GuestTree, app: &AppPlan, kind: SourceKind) -> bool {
    let is_mount = app.mounts.iter().any(|mount| *mount.place == *place);
    if let Ok(inner) = place.strip_prefix("/dev")
        && is_mount
    {
        add_place(
            tree,
            &layout::app_dev(&app.name),
            &Path::new("/").join(inner),
            kind,
            None,
        );
    } else if is_mount {
        tree.directory(&layout::app_sys(&app.name), 0o755);
    }
    is_mount
}

/// Where the working directory really is, as far as the image shows.
fn working_place(app: &AppPlan, image: Option<&dyn Lookup>) -> PathBuf {
    let dir = &app.process.working_dir;
    match image.map(|image| path::resolve(image, dir)) {
        Some(Ok(found)) => found.path,
        _ => PathBuf::from("/"),
    }
}

/// Lays a volume's files out. They ride in the pod's own part of the guest, which nobody else on the host can read.
fn add_files(tree: &mut GuestTree, name: &VolumeName, files: &FilesVolume) {
    let root = layout::empty_volume(name);
    let gid = files.gid.unwrap_or(0);
    let directory = || Entry {
        kind: EntryKind::Directory,
        mode: 0o755,
        uid: 0,
        gid,
    };
    tree.insert(&root, directory());
    for file in &files.files {
        let path = root.join(&file.path);
        let above = path.ancestors().skip(1).take_while(|dir| *dir != root);
        for dir in above.collect::<Vec<_>>().into_iter().rev() {
            tree.insert(dir, directory());
        }
        let entry = Entry {
            kind: EntryKind::File(Content::Bytes(file.content.0.clone())),
            mode: file.mode,
            uid: file.uid.unwrap_or(0),
            gid,
        };
        tree.insert(&path, entry);
    }
}

/// Makes `place` below `root`, where the image does not have it. A directory that the image has and something is made
/// in is repeated with its mode and owner, for the upper one's are what overlayfs shows.
fn add_place(tree: &mut GuestTree, root: &Path, place: &Path, kind: SourceKind, image: Option<&dyn Lookup>) {
    if image.is_some_and(|image| image.node(place).is_some()) {
        return;
    }
    for dir in path::ancestors_down(place) {
        let at = path::below(root, dir);
        if tree.entries.contains_key(&at) {
            continue;
        }
        if image.is_some_and(|image| image.node(dir).is_some()) {
            image
                .into_iter()
                .for_each(|image| tree.copy_attributes(root, dir, image));
        } else if dir == place && kind == SourceKind::File {
            tree.file(&at, "", 0o644);
        } else {
            tree.directory(&at, 0o755);
        }
    }
}

fn unwritable(mount: &MountUnit, reason: &unit::Unwritable) -> Vec<Fault> {
    vec![Fault::Host {
        what: format!("cannot write the unit that mounts `{}`", mount.place.display()),
        reason: reason.to_string(),
        hint: "name another path".into(),
    }]
}
