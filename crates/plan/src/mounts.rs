//! The guest's mounts, in the order in which they can be made: what systemd mounts, and the apps' roots, which are there
//! before it.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use isopod_protocol::config::EarlyMount;
use isopod_spec::{Medium, RootfsAccess, Volume, VolumeKind, VolumeName};

use crate::machine::{self, DiskVolume, SharedVolume, Sharing};
use crate::plan::AppPlan;
use crate::profile::{Profile, ShareLayout};
use crate::units::MountUnit;
use crate::volumes::VolumeTable;
use crate::{layout, path};

/// Every mount unit of the guest: shares, sized volumes, and each app's volumes.
pub(crate) fn mounts(
    table: &VolumeTable,
    profile: &Profile,
    apps: &[AppPlan],
    sharing: Option<&Sharing>,
    disks: &[DiskVolume],
) -> Vec<MountUnit> {
    let users = users_of(apps);
    let mut mounts: Vec<MountUnit> = sharing
        .map(|sharing| share_mounts(sharing, apps, &users))
        .unwrap_or_default();
    mounts.extend(table.iter().filter_map(|volume| sized_mount(volume, &users)));
    mounts.extend(disks.iter().map(|disk| disk_mount(disk, &users)));
    // Places are unique in the guest, and a mount's parent is the nearest place above it.
    let mut units: HashMap<PathBuf, String> =
        mounts.iter().map(|m| (m.place.clone(), m.name.clone())).collect();
    let shared: HashSet<&VolumeName> = sharing.iter().flat_map(|s| &s.volumes).map(|v| &v.name).collect();
    for app in apps {
        for mount in &app.mounts {
            let root = if shared.contains(&mount.volume) {
                layout::shared_volume(&mount.volume)
            } else {
                layout::empty_volume(&mount.volume)
            };
            let place = path::below(&layout::app_root(&app.name), &mount.place);
            let parents = [nearest(&units, &root), nearest(&units, &place)];
            let mut bind = MountUnit::bind(mount.within(root), place, mount, profile, &app.unit);
            bind.after = parents.into_iter().flatten().collect();
            units.insert(bind.place.clone(), bind.name.clone());
            mounts.push(bind);
        }
    }
    mounts
}

/// The unit of the nearest place at or above `path`.
fn nearest(units: &HashMap<PathBuf, String>, path: &Path) -> Option<String> {
    path.ancestors().find_map(|place| units.get(place)).cloned()
}

/// The mounts of the shares themselves.
fn share_mounts(sharing: &Sharing, apps: &[AppPlan], users: &Users) -> Vec<MountUnit> {
    let users = |volume: &VolumeName| users.get(volume).cloned().unwrap_or_default();
    let fs_type = sharing.transport.fs_type();
    let options = machine::share_options(&sharing.transport, false);
    match sharing.layout {
        ShareLayout::OnePerPod => {
            let mut mount = MountUnit::new(layout::SHARE_TAG, layout::SHARE_DIR, fs_type);
            mount.options = options;
            mount.options.push("private".into());
            let shared: HashSet<String> = sharing
                .volumes
                .iter()
                .flat_map(|volume| users(&volume.name))
                .collect();
            mount.required_by = apps
                .iter()
                .map(|app| app.unit.clone())
                .filter(|unit| shared.contains(unit))
                .collect();
            vec![mount]
        }
        ShareLayout::OnePerVolume => {
            let of_volume = |volume: &SharedVolume| {
                let mut mount = MountUnit::new(volume.tag(), layout::shared_volume(&volume.name), fs_type);
                mount.options.clone_from(&options);
                mount.options.push("private".into());
                mount.read_only = volume.read_only;
                if volume.read_only {
                    mount.options.push("ro".into());
                }
                mount.required_by = users(&volume.name);
                mount.volume = Some(volume.name.clone());
                mount
            };
            sharing.volumes.iter().map(of_volume).collect()
        }
    }
}

/// The services that mount each volume, in the order of declaration.
type Users = HashMap<VolumeName, Vec<String>>;

fn users_of(apps: &[AppPlan]) -> Users {
    let mut users = Users::new();
    for app in apps {
        for mount in &app.mounts {
            let of_volume = users.entry(mount.volume.clone()).or_default();
            if of_volume.last() != Some(&app.unit) {
                of_volume.push(app.unit.clone());
            }
        }
    }
    users
}

/// The tmpfs that bounds an empty volume with a size.
fn sized_mount(volume: &Volume, users: &Users) -> Option<MountUnit> {
    let VolumeKind::Empty(empty) = &volume.kind else {
        return None;
    };
    let size = empty.size_bytes.filter(|_| empty.medium == Medium::Memory)?;
    let mut mount = MountUnit::new("tmpfs", layout::empty_volume(&volume.name), "tmpfs");
    let (mode, uid, gid) = (
        empty.mode.unwrap_or(0o755),
        empty.uid.unwrap_or(0),
        empty.gid.unwrap_or(0),
    );
    mount.options = vec![
        format!("size={size}"),
        format!("mode={mode:o}"),
        format!("uid={uid}"),
        format!("gid={gid}"),
    ];
    mount.required_by = users.get(&volume.name).cloned().unwrap_or_default();
    mount.volume = Some(volume.name.clone());
    Some(mount)
}

/// The file system of a volume on disk.
fn disk_mount(disk: &DiskVolume, users: &Users) -> MountUnit {
    let mut mount = MountUnit::new(
        layout::disk_link(&disk.name),
        layout::empty_volume(&disk.name),
        "ext4",
    );
    mount.options = vec!["private".into()];
    mount.required_by = users.get(&disk.name).cloned().unwrap_or_default();
    mount.volume = Some(disk.name.clone());
    mount
}

/// The images, and every app's root: its image, and above it a layer that takes its writes.
pub(crate) fn early_mounts(apps: &[AppPlan], images: usize) -> Vec<EarlyMount> {
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let image = |i| EarlyMount {
        source: text(layout::disk_device(i)),
        mount_point: text(layout::image_mount(i)),
        fs_type: "erofs".into(),
        options: String::new(),
        read_only: true,
    };
    let root = |app: &AppPlan| {
        let own = layout::app_dir(&app.name);
        let (lower, upper, work) = (
            layout::image_mount(app.image),
            own.join("upper"),
            own.join("work"),
        );
        EarlyMount {
            source: "overlay".into(),
            mount_point: text(layout::app_root(&app.name)),
            fs_type: "overlay".into(),
            options: format!(
                "lowerdir={},upperdir={},workdir={}",
                text(lower),
                text(upper),
                text(work)
            ),
            read_only: app.rootfs == RootfsAccess::ReadOnly,
        }
    };
    (0..images).map(image).chain(apps.iter().map(root)).collect()
}
