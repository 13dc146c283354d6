//! The guest's mounts, in the order in which they can be made: what systemd mounts, and the apps' roots, which are there
//! before it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isopod_contract::config::{BIND, EarlyMount, NewDirectory};
use isopod_spec::{Medium, RootfsAccess, Volume, VolumeKind, VolumeName};

use crate::apps::{AppPlan, RootPlan, Writes};
use crate::facts::SourceKind;
use crate::guest::units::{Binds, MountUnit, Mounts};
use crate::layout;
use crate::path::{Lookup, Node};
use crate::systemd::unit_name;
use crate::vm::disks::{self, DISK_TYPE, DiskVolume};
use crate::vm::memory::Shares;
use crate::vm::sharing::{self, ShareLayout, SharedVolume, Sharing};
use crate::volumes::{VolumeMount, VolumeTable};

/// Where volumes are in the guest that came while the pod runs.
pub(crate) type Elsewhere = BTreeMap<VolumeName, PathBuf>;

/// Every mount unit of the guest: shares, sized volumes, and each app's volumes. `images` are the numbers of the images
/// that volumes are; those are mounted by the agent.
pub(crate) fn mounts(
    table: &VolumeTable,
    apps: &[AppPlan],
    sharing: Option<&Sharing>,
    disks: &[DiskVolume],
    images: &BTreeMap<VolumeName, usize>,
    shares: &Shares,
    elsewhere: &Elsewhere,
) -> Mounts {
    let users = users_of(apps);
    let mut mounts: Vec<MountUnit> = sharing
        .map(|sharing| share_mounts(sharing, apps, &users))
        .unwrap_or_default();
    mounts.extend(
        table
            .iter()
            .filter_map(|volume| memory_mount(table, volume, shares, &users)),
    );
    mounts.extend(disks.iter().map(|disk| disk_mount(disk, &users)));
    let shared: HashSet<&VolumeName> = sharing.iter().flat_map(|s| &s.volumes).map(|v| &v.name).collect();
    let above: HashMap<Arc<Path>, Arc<str>> = mounts
        .iter()
        .map(|mount| (Arc::clone(&mount.place), mount.name().into()))
        .collect();
    let volume = |name: &VolumeName| {
        let root: Arc<Path> = if let Some(place) = elsewhere.get(name) {
            place.as_path().into()
        } else if shared.contains(name) {
            layout::shared_volume(name).into()
        } else if let Some(image) = images.get(name) {
            layout::image_mount(*image).into()
        } else if table.get(name).is_some_and(disks::is_on_writable) {
            layout::writable_volume(name).into()
        } else {
            layout::empty_volume(name).into()
        };
        let after = nearest(&above, &root).cloned().into_iter().collect();
        Brought { root, after }
    };
    // What all mounts of a volume have in common, kept once.
    let mut brought: HashMap<VolumeName, Brought> = HashMap::new();
    let mut binds = Binds::default();
    for app in apps {
        let service = Arc::from([Arc::from(app.unit.as_str())]);
        // Places are unique in the guest, and a mount's parent is the nearest place above it.
        let mut placed: HashMap<Arc<Path>, bool> = HashMap::with_capacity(app.mounts.len());
        let working = innermost(app);
        for mount in app.mounts.iter() {
            let of_volume = brought
                .entry(mount.volume.clone())
                .or_insert_with(|| volume(&mount.volume));
            let place = layout::app_place(&app.name, &mount.place);
            let mut bind = binds.mount(Arc::clone(&of_volume.root), place, mount, &service);
            if let Some(content) = table.content(&mount.volume) {
                lay_over(&mut bind, &app.root, content);
            }
            if let Some((_, dir)) = working.as_ref().filter(|(of, _)| *of == &*mount.place) {
                bind.work.working_dir = Some(Arc::clone(dir));
            }
            let ancestors = bind.place.ancestors();
            let parent = ancestors.filter_map(|above| placed.get_key_value(above)).next();
            // Where nothing is and no plan can make it, systemd makes a directory.
            let file_in_volume = mount.kind == SourceKind::File && parent.is_some();
            bind.work.replaces = !mount.there && (!mount.known || file_in_volume);
            bind.late = !app.lifecycle.depends_on.is_empty()
                && (may_change(table, mount) || parent.is_some_and(|(_, late)| *late || !mount.there));
            bind.after = match parent {
                Some((parent, _)) => {
                    let parent = unit_name::for_path(parent, ".mount").into();
                    of_volume.after.iter().cloned().chain([parent]).collect()
                }
                None => Arc::clone(&of_volume.after),
            };
            placed.insert(Arc::clone(&bind.place), bind.late);
            mounts.push(bind);
        }
    }
    Mounts::new(mounts)
}

/// Whether what is mounted may be made, or become something else, by the apps that come before.
fn may_change(table: &VolumeTable, mount: &VolumeMount) -> bool {
    let kind = table.get(&mount.volume).map(|volume| &volume.kind);
    let given = matches!(kind, Some(VolumeKind::Files(_) | VolumeKind::Image(_)));
    !mount.part.as_os_str().is_empty() && !given
}

/// Makes of the mount of an empty volume one that begins with what `root` has at `content`.
fn lay_over(mount: &mut MountUnit, root: &RootPlan, content: &Path) {
    let upper = std::mem::replace(&mut mount.what, root.place().into());
    mount.fs_type = "overlay";
    let options = mount.options.iter().filter(|option| *option != "bind");
    mount.options = options.cloned().collect();
    mount.work.upper = Some(upper);
    mount.work.part = content.strip_prefix("/").ok().map(Into::into);
}

/// The mount that the app's working directory is in, where it may have to be made there, with its path from that mount's
/// root.
fn innermost(app: &AppPlan) -> Option<(&Path, Arc<Path>)> {
    let dir = &app.process.working_dir;
    let mounts = app.mounts.iter().filter(|mount| dir.starts_with(&mount.place));
    let mount = mounts.max_by_key(|mount| mount.place.components().count())?;
    let inner = dir.strip_prefix(&mount.place).ok()?;
    let made = !mount.read_only && mount.kind == SourceKind::Directory && !inner.as_os_str().is_empty();
    made.then(|| (&*mount.place, Path::new("/").join(inner).into()))
}

/// A volume in the guest, before any app's mount of it.
struct Brought {
    /// Where it is.
    root: Arc<Path>,
    /// The mount that brings it, if any.
    after: Arc<[Arc<str>]>,
}

/// The unit of the nearest place at or above `path`.
fn nearest<'a>(units: &'a HashMap<Arc<Path>, Arc<str>>, path: &Path) -> Option<&'a Arc<str>> {
    path.ancestors().find_map(|place| units.get(place))
}

/// The mounts of the shares themselves.
fn share_mounts(sharing: &Sharing, apps: &[AppPlan], users: &Users) -> Vec<MountUnit> {
    let users = |volume: &VolumeName| users.get(volume).cloned().unwrap_or_default();
    let options = sharing::share_options(&sharing.transport);
    let words = |more: &[&str]| -> Arc<[String]> {
        let more = more.iter().map(|word| (*word).to_owned());
        options.iter().cloned().chain(more).collect()
    };
    let fs_type = sharing.transport.fs_type();
    match sharing.layout {
        ShareLayout::OnePerPod => {
            let mut mount = MountUnit::new(
                Path::new(layout::SHARE_TAG),
                Path::new(layout::SHARE_DIR),
                fs_type,
            );
            mount.options = words(&["private"]);
            let shared: HashSet<Arc<str>> = sharing
                .volumes
                .iter()
                .flat_map(|volume| users(&volume.name))
                .collect();
            mount.required_by = apps
                .iter()
                .map(|app| Arc::from(app.unit.as_str()))
                .filter(|unit| shared.contains(unit))
                .collect();
            vec![mount]
        }
        ShareLayout::OnePerVolume => {
            let of_volume = |volume: &SharedVolume| {
                let place = layout::shared_volume(&volume.name);
                let mut mount = MountUnit::new(Path::new(&volume.tag()), place, fs_type);
                mount.read_only = volume.read_only;
                mount.options = if volume.read_only {
                    words(&["private", "ro"])
                } else {
                    words(&["private"])
                };
                mount.required_by = users(&volume.name).into();
                mount.volume = Some(volume.name.clone());
                mount
            };
            sharing.volumes.iter().map(of_volume).collect()
        }
    }
}

/// The services that mount each volume, in the order of declaration.
type Users = HashMap<VolumeName, Vec<Arc<str>>>;

fn users_of(apps: &[AppPlan]) -> Users {
    let mut users = Users::new();
    for app in apps {
        let unit: Arc<str> = app.unit.as_str().into();
        for mount in app.mounts.iter() {
            let of_volume: &mut Vec<Arc<str>> = users.entry(mount.volume.clone()).or_default();
            if of_volume.last() != Some(&unit) {
                of_volume.push(Arc::clone(&unit));
            }
        }
    }
    users
}

/// The tmpfs that a volume in memory is.
fn memory_mount(table: &VolumeTable, volume: &Volume, shares: &Shares, users: &Users) -> Option<MountUnit> {
    let VolumeKind::Empty(empty) = &volume.kind else {
        return None;
    };
    let users = users
        .get(&volume.name)
        .filter(|_| empty.medium == Medium::Memory)?;
    let size = match empty.size_bytes {
        Some(bytes) => shares.of_size(bytes),
        None => shares.unsized_bytes,
    };
    let mut mount = MountUnit::new(Path::new("tmpfs"), layout::empty_volume(&volume.name), "tmpfs");
    let (mode, uid, gid) = match table.content(&volume.name) {
        // Of what is seen the overlay's root has mode and owner.
        Some(_) => (0o700, 0, 0),
        None => (
            empty.mode.unwrap_or(0o755),
            empty.uid.unwrap_or(0),
            empty.gid.unwrap_or(0),
        ),
    };
    mount.options = Arc::new([
        format!("size={size}"),
        format!("mode={mode:o}"),
        format!("uid={uid}"),
        format!("gid={gid}"),
    ]);
    mount.required_by = users.clone().into();
    mount.volume = Some(volume.name.clone());
    Some(mount)
}

/// The file system of a volume on disk.
fn disk_mount(disk: &DiskVolume, users: &Users) -> MountUnit {
    let mut mount = MountUnit::new(
        layout::disk_link(&disk.name),
        layout::empty_volume(&disk.name),
        DISK_TYPE,
    );
    mount.options = Arc::new(["private".into(), "discard".into()]);
    mount.required_by = users.get(&disk.name).cloned().unwrap_or_default().into();
    mount.volume = Some(disk.name.clone());
    mount
}

/// What the writable disk is mounted with, beside what its file system says itself: what apps remove is given back to the
/// host, tables that are zeros anyway are not written, and one that cannot be written correctly is not written any more
/// (ext4(5)).
const WRITABLE_OPTIONS: &str = "discard,noinit_itable,errors=remount-ro";

/// The writable disk of a pod: its device, and what is kept on it.
pub(crate) struct Writable<'a> {
    /// Where it is in the guest.
    pub device: PathBuf,
    /// The volumes of the pod.
    pub table: &'a VolumeTable,
    /// The images of the apps, in their order.
    pub images: Vec<Option<&'a dyn Lookup>>,
}

impl Writable<'_> {
    fn mount(&self, apps: &[AppPlan]) -> EarlyMount {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let directory = |path: &Path, mode, uid, gid| NewDirectory {
            path: text(path),
            mode,
            uid,
            gid,
            emptied: false,
        };
        let own = |path: &Path| directory(path, 0o700, 0, 0);
        let mut directories = vec![
            own(layout::WRITABLE_APPS.as_ref()),
            own(layout::WRITABLE_VOLUMES.as_ref()),
        ];
        for (app, image) in apps.iter().zip(&self.images) {
            if app.writes != Writes::OnDisk {
                continue;
            }
            let root = image.and_then(|image| image.node(Path::new("/")));
            let (mode, uid, gid) = root.map_or((0o755, 0, 0), |Node { mode, uid, gid, .. }| (mode, uid, gid));
            let emptied = app.has_fresh_roots();
            directories.extend([
                own(&layout::writable_app(&app.name)),
                NewDirectory {
                    emptied,
                    ..directory(&app.upper(), mode, uid, gid)
                },
                NewDirectory {
                    emptied,
                    ..own(&app.work())
                },
            ]);
        }
        let volumes = self.table.iter().filter(|volume| disks::is_on_writable(volume));
        directories.extend(volumes.filter_map(|volume| {
            let (VolumeKind::Empty(empty), path) = (&volume.kind, layout::writable_volume(&volume.name))
            else {
                return None;
            };
            Some(match self.table.content(&volume.name) {
                // Of what is seen the overlay's root has mode and owner.
                Some(_) => own(&path),
                None => directory(
                    &path,
                    empty.mode.unwrap_or(0o755),
                    empty.uid.unwrap_or(0),
                    empty.gid.unwrap_or(0),
                ),
            })
        }));
        EarlyMount {
            source: text(&self.device),
            mount_point: layout::WRITABLE.into(),
            fs_type: DISK_TYPE.into(),
            options: WRITABLE_OPTIONS.into(),
            read_only: false,
            directories,
            laid: None,
        }
    }
}

/// The mount of image number `index`, on a disk.
pub(crate) fn image_mount(index: usize) -> EarlyMount {
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    EarlyMount {
        source: text(layout::image_device(index)),
        mount_point: text(layout::image_mount(index)),
        fs_type: "erofs".into(),
        options: String::new(),
        read_only: true,
        directories: Vec::new(),
        laid: None,
    }
}

/// The share, as a mount that is there before any unit.
fn share_mount(sharing: &Sharing) -> EarlyMount {
    EarlyMount {
        source: layout::SHARE_TAG.into(),
        mount_point: layout::SHARE_DIR.into(),
        fs_type: sharing.transport.fs_type().into(),
        options: sharing::share_options(&sharing.transport).join(","),
        read_only: false,
        directories: Vec::new(),
        laid: None,
    }
}

/// The images, the writable disk, the share where a root is on it, and every app's root: its image or its directory, and above it a
/// layer that takes its writes.
pub(crate) fn early_mounts(
    apps: &[AppPlan],
    images: usize,
    writable: Option<&Writable<'_>>,
    sharing: Option<&Sharing>,
) -> Vec<EarlyMount> {
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let root = |app: &AppPlan| {
        let image = text(app.root.place());
        if app.writes == Writes::Through {
            return EarlyMount {
                source: image,
                mount_point: text(layout::app_root(&app.name)),
                fs_type: BIND.into(),
                options: String::new(),
                read_only: false,
                directories: Vec::new(),
                laid: Some(text(app.seed())),
            };
        }
        // A share within the share is there once somebody has gone through it, and overlayfs goes to it only (autofs(5)).
        let lowest = match app.root {
            RootPlan::Image(_) => image,
            RootPlan::Directory { .. } => format!("{image}/."),
        };
        let lower = match app.has_seed() {
            true => format!("{}:{lowest}", text(app.seed())),
            false => lowest,
        };
        EarlyMount {
            source: "overlay".into(),
            mount_point: text(layout::app_root(&app.name)),
            fs_type: "overlay".into(),
            options: format!(
                "lowerdir={lower},upperdir={},workdir={}",
                text(app.upper()),
                text(app.work())
            ),
            read_only: app.rootfs == RootfsAccess::ReadOnly,
            directories: Vec::new(),
            laid: None,
        }
    };
    let disk = writable.map(|writable| writable.mount(apps));
    let images = (0..images).map(image_mount);
    let share = sharing
        .filter(|sharing| !sharing.roots.is_empty())
        .map(share_mount);
    let roots = apps.iter().map(root);
    images.chain(disk).chain(share).chain(roots).collect()
}
