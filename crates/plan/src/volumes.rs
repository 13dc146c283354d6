//! Which volume is mounted where: from the pod's volumes, its apps' mounts and their images' mount points to one list
//! of mounts for each app, links followed, parents before children.
//!
//! This decides what is mounted; `units` writes how.

pub(crate) mod kernel_places;
mod place;
mod roots;
mod table;
mod volume_mount;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use isopod_contract::MAX_APPS;
use isopod_spec::check;
use isopod_spec::{
    App, FilesVolume, ImplicitVolumes, MountFlags, MountPoint, PodSpec, Volume, VolumeKind, VolumeName,
};

use crate::fault::Fault;
use crate::path::{self, Node, NodeKind, Tree};

pub(crate) use place::Placing;
pub use roots::{Roots, Rules, Source, View};
pub use table::VolumeTable;
pub(crate) use volume_mount::Wanted;
pub use volume_mount::{AskedBy, VolumeMount};

/// Checks that no two apps and no two volumes have one name, and that there is an app.
#[must_use]
pub fn check_names(spec: &PodSpec) -> Vec<Fault> {
    let mut faults = Vec::new();
    if spec.apps.is_empty() && !spec.held {
        faults.push(Fault::NoApps);
    }
    if spec.apps.len() > MAX_APPS {
        faults.push(Fault::TooManyApps(spec.apps.len()));
    }
    faults.extend(check::names(spec).into_iter().map(Fault::Pod));
    let files = spec.volumes.iter().filter_map(|volume| match &volume.kind {
        VolumeKind::Files(files) => Some((&volume.name, files.fault()?)),
        _ => None,
    });
    faults.extend(files.map(|(volume, reason)| Fault::Volume {
        volume: volume.clone(),
        reason,
    }));
    faults
}

/// What the pod's volumes of files hold, for looking into them.
#[must_use]
pub(crate) fn given_trees(spec: &PodSpec) -> BTreeMap<VolumeName, Tree> {
    let of_volume = |volume: &Volume| match &volume.kind {
        VolumeKind::Files(files) => Some((volume.name.clone(), tree_of(files))),
        _ => None,
    };
    spec.volumes.iter().filter_map(of_volume).collect()
}

fn tree_of(files: &FilesVolume) -> Tree {
    let gid = files.gid.unwrap_or(0);
    let directory = Node {
        kind: NodeKind::Directory,
        mode: 0o755,
        uid: 0,
        gid,
    };
    let mut tree = Tree::default();
    for file in &files.files {
        let path = Path::new("/").join(&file.path);
        for above in path.ancestors().skip(1) {
            tree.0
                .entry(above.to_owned())
                .or_insert_with(|| directory.clone());
        }
        let node = Node {
            kind: NodeKind::File,
            mode: file.mode,
            uid: file.uid.unwrap_or(0),
            gid,
        };
        tree.0.insert(path, node);
    }
    tree
}

/// The mounts of one app, parents first. Implicit volumes are added to `table`.
///
/// # Errors
/// Every [`Fault`] of its mounts.
pub fn mounts_of(
    app: &App,
    mount_points: &[MountPoint],
    implicit: ImplicitVolumes,
    table: &mut VolumeTable,
    roots: &Roots<'_>,
) -> Result<Vec<VolumeMount>, Vec<Fault>> {
    let mut faults = Vec::new();
    let points: HashMap<PathBuf, &MountPoint> = mount_points
        .iter()
        .rev()
        .map(|point| (path::clean(&point.path), point))
        .collect();
    let mut wanted = explicit(app, &points, table, &mut faults);
    anonymous(app, table, roots, &mut wanted);
    from_image(
        app,
        mount_points,
        implicit,
        table,
        roots,
        &mut wanted,
        &mut faults,
    );
    let mounts = place::place(app, wanted, table, roots, &mut faults);
    if faults.is_empty() {
        Ok(mounts)
    } else {
        Err(faults)
    }
}

/// The mounts that the user named. One at a path of an image's mount point takes its read-only where it says none
/// itself; a volume's own `readOnly` overrides both (appc spec, "Pod Manifest Schema", `volumes`).
fn explicit(
    app: &App,
    points: &HashMap<PathBuf, &MountPoint>,
    table: &VolumeTable,
    faults: &mut Vec<Fault>,
) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut taken: HashMap<PathBuf, VolumeName> = HashMap::new();
    let app_is_first = app.depends_on.is_empty();
    for mount in &app.mounts {
        let (app, second) = (app.name.clone(), mount.volume.clone());
        let target = path::clean(&mount.target);
        let Some(volume) = table.get(&mount.volume) else {
            faults.push(Fault::MissingVolume {
                app,
                volume: second,
                target,
            });
            continue;
        };
        if let Some(first) = taken.insert(target.clone(), second.clone()) {
            faults.push(Fault::DoubledTarget {
                app,
                first,
                second,
                target,
            });
            continue;
        }
        let point = points.get(&target).map(|point| point.read_only);
        wanted.push(Wanted {
            volume: second,
            read_only: volume.read_only.or(mount.read_only).or(point).unwrap_or(false),
            target: target.into(),
            sub_path: mount.sub_path.clone(),
            flags: mount.flags,
            asked_by: AskedBy::User,
            late: !app_is_first,
        });
    }
    wanted
}

/// The volumes of its own that the user asked for.
fn anonymous(app: &App, table: &mut VolumeTable, roots: &Roots<'_>, wanted: &mut Vec<Wanted>) {
    for path in &app.anonymous {
        let target = path::clean(path);
        let Some(name) = VolumeName::nearest(&format!("volume-{}", path.display())) else {
            continue;
        };
        let point = MountPoint {
            name,
            path: target.clone(),
            read_only: false,
        };
        let found = roots.image.and_then(|image| path::resolve(image, &target).ok());
        wanted.push(Wanted {
            volume: table.add_implicit(&app.name, &point, found),
            target: target.into(),
            read_only: false,
            sub_path: None,
            flags: MountFlags::default(),
            asked_by: AskedBy::User,
            late: !app.depends_on.is_empty(),
        });
    }
}

/// The mounts that the image's mount points bring, where no explicit mount has their path.
fn from_image(
    app: &App,
    mount_points: &[MountPoint],
    implicit: ImplicitVolumes,
    table: &mut VolumeTable,
    roots: &Roots<'_>,
    wanted: &mut Vec<Wanted>,
    faults: &mut Vec<Fault>,
) {
    let explicit = app.mounts.iter().map(|mount| &mount.target);
    let mut taken: HashSet<PathBuf> = explicit
        .chain(&app.anonymous)
        .map(|path| path::clean(path))
        .collect();
    for point in mount_points {
        let target = path::clean(&point.path);
        if !taken.insert(target.clone()) {
            continue;
        }
        let (volume, asked_by) = if table.is_declared(&point.name) {
            (point.name.clone(), AskedBy::MountPoint)
        } else if implicit == ImplicitVolumes::Create {
            let found = roots.image.and_then(|image| path::resolve(image, &target).ok());
            (table.add_implicit(&app.name, point, found), AskedBy::Implicit)
        } else {
            let (app, mount_point) = (app.name.clone(), point.name.clone());
            faults.push(Fault::UnboundMountPoint {
                app,
                mount_point,
                target,
            });
            continue;
        };
        let read_only = table
            .get(&volume)
            .and_then(|v| v.read_only)
            .unwrap_or(point.read_only);
        wanted.push(Wanted {
            volume,
            target: target.into(),
            read_only,
            sub_path: None,
            flags: MountFlags::default(),
            asked_by,
            late: !app.depends_on.is_empty(),
        });
    }
}
