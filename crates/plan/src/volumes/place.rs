//! Where a mount really is: targets resolved inside the app's root, through links of the image and of the volumes
//! that are mounted above them, so that no mount ever lands elsewhere.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use isopod_spec::{App, AppName, Submounts, VolumeKind, VolumeName};

use crate::facts::SourceKind;
use crate::fault::{Fault, TargetFault};
use crate::layout;
use crate::path::{self, Node, NodeKind, Resolved};
use crate::systemd::{unit, unit_name};
use crate::volumes::kernel_places;
use crate::volumes::roots::{Roots, Rules, View};
use crate::volumes::table::VolumeTable;
use crate::volumes::volume_mount::{VolumeMount, Wanted};

/// How often mounts may change each other's order before the search for a stable one ends.
const MAX_ROUNDS: usize = 8;

/// Finds every mount's place, parents first.
///
/// A link may lead one target below another, so the order is found in rounds: place all in the order that is known,
/// sort by the depth of the places, and again until the order stays.
pub(super) fn place(
    app: &App,
    wanted: Vec<Wanted>,
    table: &VolumeTable,
    roots: &Roots<'_>,
    faults: &mut Vec<Fault>,
) -> Vec<VolumeMount> {
    let mut mounts = Vec::with_capacity(wanted.len());
    for want in wanted {
        match unplaced(&app.name, want, table, roots) {
            Ok(mount) => mounts.push(mount),
            Err(fault) => faults.push(fault),
        }
    }
    mounts.sort_by_cached_key(|m| m.target.components().count());
    for _ in 0..MAX_ROUNDS {
        let before: Vec<Arc<Path>> = mounts.iter().map(|m| m.target.clone()).collect();
        mounts = resolve_all(app, mounts, table, roots, faults);
        if !faults.is_empty() {
            return mounts;
        }
        mounts.sort_by_cached_key(|m| m.place.components().count());
        if mounts.iter().map(|m| &m.target).eq(&before) {
            return mounts;
        }
    }
    faults.extend(
        mounts
            .first()
            .map(|m| target_fault(&app.name, m, TargetFault::Unstable)),
    );
    mounts
}

/// A mount that is taken for at its target.
fn unplaced(
    app: &AppName,
    want: Wanted,
    table: &VolumeTable,
    roots: &Roots<'_>,
) -> Result<VolumeMount, Fault> {
    let mut flags = want.flags;
    if !matches!(
        table.get(&want.volume).map(|volume| &volume.kind),
        Some(VolumeKind::Host(_))
    ) {
        flags.submounts = Submounts::ReadOnly;
    }
    match within_volume(&want, table, roots) {
        Ok(Within { kind, path, known }) => Ok(VolumeMount {
            place: Arc::clone(&want.target),
            volume: want.volume,
            target: want.target,
            kind,
            read_only: want.read_only,
            part: match path.as_os_str().is_empty() {
                true => PathBuf::new(),
                false => path::clean(&want.sub_path.unwrap_or_default())
                    .strip_prefix("/")
                    .map(Path::to_owned)
                    .unwrap_or_default(),
            },
            sub_path: path,
            known,
            there: true,
            flags,
            asked_by: want.asked_by,
        }),
        Err(reason) => Err(Fault::SubPath {
            app: app.clone(),
            volume: want.volume,
            sub_path: want.sub_path.unwrap_or_default(),
            reason,
        }),
    }
}

/// Finds the places of further mounts of an app whose others are in place.
pub(crate) struct Placing<'a> {
    pub(crate) app: &'a AppName,
    pub(crate) table: &'a VolumeTable,
    /// What the app's root is made of.
    pub(crate) roots: Roots<'a>,
}

impl Placing<'_> {
    /// One more mount, given those that are `placed`, and what is there now: where nothing is, the caller says whether
    /// it can be made.
    ///
    /// # Errors
    /// The [`Fault`] of this mount.
    pub(crate) fn add(
        &self,
        want: Wanted,
        placed: &HashMap<Arc<Path>, VolumeMount>,
    ) -> Result<(VolumeMount, Option<Node>), Fault> {
        let mut mount = unplaced(self.app, want, self.table, &self.roots)?;
        let view = View {
            roots: self.roots,
            mounts: placed,
        };
        let found = place_of(self.app, &mount, &view);
        let found = found.map_err(|reason| target_fault(self.app, &mount, reason))?;
        if let Some(first) = placed.get(found.path.as_path()) {
            return Err(Fault::DoubledTarget {
                app: self.app.clone(),
                first: first.volume.clone(),
                second: mount.volume,
                target: found.path,
            });
        }
        if let Some(parent) = view
            .mount_at(&found.path)
            .filter(|above| above.kind == SourceKind::File)
        {
            let reason = path::ResolveError::NotADirectory(parent.place.to_path_buf()).into();
            return Err(target_fault(self.app, &mount, reason));
        }
        mount.place = found.path.into();
        mount.there = found.node.is_some();
        Ok((mount, found.node))
    }
}

fn target_fault(app: &AppName, mount: &VolumeMount, reason: TargetFault) -> Fault {
    Fault::Target {
        app: app.clone(),
        volume: mount.volume.clone(),
        target: mount.target.to_path_buf(),
        reason,
    }
}

/// One round: each mount's place, given those before it.
fn resolve_all(
    app: &App,
    mounts: Vec<VolumeMount>,
    table: &VolumeTable,
    roots: &Roots<'_>,
    faults: &mut Vec<Fault>,
) -> Vec<VolumeMount> {
    let mut placed: HashMap<Arc<Path>, VolumeMount> = HashMap::with_capacity(mounts.len());
    let mut order = Vec::with_capacity(mounts.len());
    for mut mount in mounts {
        let view = View {
            roots: *roots,
            mounts: &placed,
        };
        let found = match resolve_one(&app.name, &mount, table, &view) {
            Ok(found) => found,
            Err(reason) => {
                faults.push(target_fault(&app.name, &mount, reason));
                continue;
            }
        };
        if let Some(first) = placed.get(found.path.as_path()) {
            faults.push(Fault::DoubledTarget {
                app: app.name.clone(),
                first: first.volume.clone(),
                second: mount.volume,
                target: found.path,
            });
            continue;
        }
        // Mostly the two are one, and kept once.
        mount.place = if *found.path == *mount.target {
            Arc::clone(&mount.target)
        } else {
            found.path.into()
        };
        mount.there = found.node.is_some();
        order.push(Arc::clone(&mount.place));
        placed.insert(Arc::clone(&mount.place), mount);
    }
    order.iter().filter_map(|place| placed.remove(place)).collect()
}

/// The place of one mount, given those in `view`, if it can be mounted there.
fn resolve_one(
    app: &AppName,
    mount: &VolumeMount,
    table: &VolumeTable,
    view: &View<'_>,
) -> Result<Resolved, TargetFault> {
    let found = place_of(app, mount, view)?;
    if found.node.is_none() && view.roots.rules == Rules::Isopod {
        check_creatable(&found, table, view)?;
    }
    Ok(found)
}

/// The place of one mount, given those in `view`, whether or not something is there.
fn place_of(app: &AppName, mount: &VolumeMount, view: &View<'_>) -> Result<Resolved, TargetFault> {
    // Links can only come from what can be looked at: where nothing can, a target is its own place.
    let found = if view.roots.image.is_none() && view.roots.sources.is_empty() {
        Resolved {
            path: mount.target.to_path_buf(),
            node: None,
        }
    } else {
        path::resolve(view, &mount.target)?
    };
    let place = &found.path;
    let rules = view.roots.rules;
    if rules == Rules::Isopod && place == Path::new("/") {
        return Err(TargetFault::Reserved("the app's root filesystem"));
    }
    let guest_path = if rules == Rules::Isopod {
        if view.mount_at(place).is_none()
            && let Some(reason) = kernel_places::reserved(place)
        {
            return Err(TargetFault::Reserved(reason));
        }
        layout::app_place(app, place)
    } else {
        path::below(&layout::app_root(app), place)
    };
    unit::path_value(&guest_path)?;
    let systemd = view.roots.systemd_version;
    if systemd < unit_name::HASHED_NAMES_SINCE && unit_name::is_hashed(&guest_path, ".mount") {
        return Err(TargetFault::NameNotHashed(systemd));
    }
    if let Some(node) = found.node.as_ref().filter(|_| mount.known) {
        check_kinds(mount.kind, &node.kind)?;
    }
    Ok(found)
}

/// A directory can only be mounted on a directory, anything else only on what is not a directory (mount(2), ENOTDIR).
fn check_kinds(mounted: SourceKind, there: &NodeKind) -> Result<(), TargetFault> {
    match (mounted, there) {
        (SourceKind::Directory, NodeKind::Directory) => Ok(()),
        (SourceKind::File, NodeKind::File | NodeKind::Other) => Ok(()),
        (SourceKind::Directory, _) => Err(TargetFault::KindDiffers {
            there: "file",
            mounted: "directory",
        }),
        (SourceKind::File, _) => Err(TargetFault::KindDiffers {
            there: "directory",
            mounted: "file",
        }),
    }
}

/// A mount point that does not exist yet is made where that can be done: in the app's own layer and in volumes of files by
/// the plan, in a volume that the app may write to by the guest.
fn check_creatable(found: &Resolved, table: &VolumeTable, view: &View<'_>) -> Result<(), TargetFault> {
    let Some(parent) = view.mount_at(&found.path) else {
        return Ok(());
    };
    if parent.kind == SourceKind::File {
        return Err(path::ResolveError::NotADirectory(parent.place.to_path_buf()).into());
    }
    if parent.read_only && !table.is_seeded(&parent.volume) {
        return Err(TargetFault::MissingInReadOnly(parent.volume.clone()));
    }
    Ok(())
}

/// What a mount brings.
struct Within {
    kind: SourceKind,
    /// Where in the volume, relative.
    path: PathBuf,
    /// Whether it is there.
    known: bool,
}

/// What a mount brings: the volume's root, or a path within it with its links followed and never outside of it.
fn within_volume(want: &Wanted, table: &VolumeTable, roots: &Roots<'_>) -> Result<Within, TargetFault> {
    let source = roots.sources.get(&want.volume);
    let kind = source.map_or(SourceKind::Directory, |source| source.kind);
    let within = |kind, path, known| Ok(Within { kind, path, known });
    let Some(sub_path) = &want.sub_path else {
        return within(kind, PathBuf::new(), true);
    };
    let climbs = |c| !matches!(c, Component::Normal(_) | Component::CurDir);
    if sub_path.components().any(climbs) {
        return Err(TargetFault::Climbs);
    }
    let whole = path::clean(sub_path);
    let inner = |path: &Path| path.strip_prefix("/").map(Path::to_owned).unwrap_or_default();
    if whole == Path::new("/") {
        return within(kind, PathBuf::new(), true);
    }
    if kind == SourceKind::File {
        return Err(TargetFault::BelowFile);
    }
    let guest_path = path::below(&layout::shared_volume(&want.volume), &whole);
    unit::path_value(&guest_path)?;
    let Some(source) = source else {
        return within(SourceKind::Directory, inner(&whole), false);
    };
    let found = path::resolve(source.tree, &whole)?;
    match found.node.map(|node| node.kind) {
        Some(NodeKind::Directory) => within(SourceKind::Directory, inner(&found.path), true),
        Some(NodeKind::File) => within(SourceKind::File, inner(&found.path), true),
        Some(_) => Err(TargetFault::NotShareable),
        // Where others come first, it may be there by then.
        None if (want.read_only && !want.late) || writes_nowhere(&want.volume, table) => {
            Err(TargetFault::MissingInReadOnly(want.volume.clone()))
        }
        None => within(SourceKind::Directory, inner(&found.path), false),
    }
}

fn writes_nowhere(volume: &VolumeName, table: &VolumeTable) -> bool {
    table.get(volume).and_then(|v| v.read_only).unwrap_or(false)
}
