//! Which volume is mounted where: from the pod's volumes, its apps' mounts and their images' mount points to one list
//! of mounts for each app, links followed, parents before children.
//!
//! This decides what is mounted; `units` writes how.

pub mod hotplug;
pub(crate) mod kernel_places;
mod place;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isopod_protocol::MAX_APPS;
use isopod_spec::name::MAX_VOLUME_NAME_BYTES;
use isopod_spec::{
    App, AppName, EmptyVolume, FilesVolume, ImplicitVolumes, Medium, MountFlags, MountPoint, PodSpec, Volume,
    VolumeKind, VolumeName,
};

use crate::facts::SourceKind;
use crate::fault::Fault;
use crate::path::{self, Lookup, Node, NodeKind, Tree};
use crate::profile::{Profile, Unbound};

pub(crate) use place::Placing;
pub use place::View;

/// A mount of a volume in an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeMount {
    /// The volume.
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
    pub origin: Origin,
}

/// Who asked for a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The user.
    Mount,
    /// The image, and the pod has a volume of the mount point's name.
    MountPoint,
    /// The image, and the pod has no such volume.
    Implicit,
}

/// What an app's root will be made of, as far as it can be looked at before the guest runs.
#[derive(Clone, Copy)]
pub struct Roots<'a> {
    /// The app's image, if one is known.
    pub image: Option<&'a dyn Lookup>,
    /// The host volumes.
    pub sources: &'a BTreeMap<VolumeName, Source<'a>>,
    /// How mounts are made.
    pub profile: &'a Profile,
    /// systemd's version in the guest.
    pub systemd_version: u32,
}

/// A host volume's source.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// What it is.
    pub kind: SourceKind,
    /// What it holds.
    pub tree: &'a dyn Lookup,
}

/// A mount before its place is known.
pub(crate) struct Wanted {
    pub(crate) volume: VolumeName,
    pub(crate) target: Arc<Path>,
    pub(crate) read_only: bool,
    pub(crate) sub_path: Option<PathBuf>,
    pub(crate) flags: MountFlags,
    pub(crate) origin: Origin,
    /// Whether it is mounted only when other apps have come so far, which may have made what it needs.
    pub(crate) late: bool,
}

/// The volumes of the pod, and those that its apps' mount points bring.
pub struct VolumeTable {
    declared: BTreeMap<VolumeName, Volume>,
    implicit: BTreeMap<VolumeName, Volume>,
    /// The directory of its app's image that an implicit volume begins with.
    contents: BTreeMap<VolumeName, PathBuf>,
}

impl VolumeTable {
    /// The pod's own volumes. Of two with one name the first counts; [`check_names`] reports the other. Those whose content
    /// came with the pod are read-only for all.
    #[must_use]
    pub fn new(spec: &PodSpec) -> Self {
        Self::of(&spec.volumes)
    }

    /// Those volumes. Of two with one name the first counts.
    pub(crate) fn of<'a>(volumes: impl IntoIterator<Item = &'a Volume>) -> Self {
        let mut declared = BTreeMap::new();
        for volume in volumes {
            let given = matches!(volume.kind, VolumeKind::Files(_) | VolumeKind::Image(_));
            declared.entry(volume.name.clone()).or_insert_with(|| Volume {
                read_only: if given { Some(true) } else { volume.read_only },
                ..volume.clone()
            });
        }
        Self {
            declared,
            implicit: BTreeMap::new(),
            contents: BTreeMap::new(),
        }
    }

    /// The volume of that name.
    #[must_use]
    pub fn get(&self, name: &VolumeName) -> Option<&Volume> {
        self.declared.get(name).or_else(|| self.implicit.get(name))
    }

    /// All volumes: the declared ones by name, then the implicit ones.
    pub fn iter(&self) -> impl Iterator<Item = &Volume> {
        self.declared.values().chain(self.implicit.values())
    }

    /// Whether the volume is one of files, which the plan lays out before the guest runs.
    #[must_use]
    pub fn is_seeded(&self, name: &VolumeName) -> bool {
        self.get(name)
            .is_some_and(|volume| matches!(volume.kind, VolumeKind::Files(_)))
    }

    /// The directory of its app's image with whose content the volume begins, if it does.
    #[must_use]
    pub fn content(&self, name: &VolumeName) -> Option<&Path> {
        self.contents.get(name).map(PathBuf::as_path)
    }

    /// How many volumes are in memory without a size of their own.
    pub(crate) fn unbounded(&self) -> usize {
        let is = |volume: &&Volume| match &volume.kind {
            VolumeKind::Empty(empty) => empty.medium == Medium::Memory && empty.size_bytes.is_none(),
            _ => false,
        };
        self.iter().filter(is).count()
    }

    /// A volume for a mount point that has none, the app's own. It begins as the image has the directory: with its mode,
    /// owner and content, so that a program finds what it was built to find, as with docker and rkt.
    fn add_implicit(
        &mut self,
        app: &AppName,
        mount_point: &MountPoint,
        found: Option<path::Resolved>,
    ) -> VolumeName {
        let base = format!("{app}-{}", mount_point.name);
        let name = (0..)
            .filter_map(|n: u32| {
                let suffix = if n == 0 { String::new() } else { format!("-{n}") };
                let keep = base.len().min(MAX_VOLUME_NAME_BYTES - suffix.len());
                VolumeName::nearest(&format!("{}{suffix}", &base[..keep]))
            })
            .find(|name| self.get(name).is_none())
            .unwrap_or_else(|| mount_point.name.clone());
        let found = found.filter(|found| found.node.as_ref().is_some_and(is_directory));
        let node = found.as_ref().and_then(|found| found.node.as_ref());
        let kind = VolumeKind::Empty(EmptyVolume {
            mode: node.map(|n| n.mode),
            uid: node.map(|n| n.uid),
            gid: node.map(|n| n.gid),
            ..EmptyVolume::default()
        });
        if let Some(found) = found {
            self.contents.insert(name.clone(), found.path);
        }
        self.implicit.insert(
            name.clone(),
            Volume {
                name: name.clone(),
                kind,
                read_only: None,
            },
        );
        name
    }
}

fn is_directory(node: &Node) -> bool {
    node.kind == NodeKind::Directory
}

/// Checks that no two apps and no two volumes have one name, and that there is an app.
#[must_use]
pub fn check_names(spec: &PodSpec) -> Vec<Fault> {
    let mut faults = Vec::new();
    if spec.apps.is_empty() {
        faults.push(Fault::NoApps);
    }
    if spec.apps.len() > MAX_APPS {
        faults.push(Fault::TooManyApps(spec.apps.len()));
    }
    let mut apps = BTreeSet::new();
    faults.extend(
        spec.apps
            .iter()
            .filter(|a| !apps.insert(&a.name))
            .map(|a| Fault::DoubledApp(a.name.clone())),
    );
    let mut volumes = BTreeSet::new();
    let doubled = spec.volumes.iter().filter(|v| !volumes.insert(&v.name));
    faults.extend(doubled.map(|v| Fault::DoubledVolume(v.name.clone())));
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
    let implicit = implicit == ImplicitVolumes::Create && roots.profile.unbound == Unbound::Implicit;
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
            origin: Origin::Mount,
            late: !app_is_first,
        });
    }
    wanted
}

/// The mounts that the image's mount points bring, where no explicit mount has their path.
fn from_image(
    app: &App,
    mount_points: &[MountPoint],
    implicit: bool,
    table: &mut VolumeTable,
    roots: &Roots<'_>,
    wanted: &mut Vec<Wanted>,
    faults: &mut Vec<Fault>,
) {
    let mut taken: HashSet<PathBuf> = app.mounts.iter().map(|m| path::clean(&m.target)).collect();
    for point in mount_points {
        let target = path::clean(&point.path);
        if !taken.insert(target.clone()) {
            continue;
        }
        let (volume, origin) = if table.declared.contains_key(&point.name) {
            (point.name.clone(), Origin::MountPoint)
        } else if implicit {
            let found = roots.image.and_then(|image| path::resolve(image, &target).ok());
            (table.add_implicit(&app.name, point, found), Origin::Implicit)
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
            origin,
            late: !app.depends_on.is_empty(),
        });
    }
}
