//! The planner: from what was asked for and what is known to what will happen. No file, clock or environment is read.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use isopod_protocol::config::{CONFIG_VERSION, EarlyMount, GuestApp, GuestConfig, GuestMount};
use isopod_spec::{AppName, HostVolume, Medium, PodSpec, RootfsAccess, Volume, VolumeKind, VolumeName};

use crate::decide::{self, Decided};
use crate::facts::{Facts, HostUser, SourceKind};
use crate::fault::{Fault, PlanError};
use crate::guest_tree::{Entry, EntryKind, GuestTree};
use crate::machine::{self, Disk, DiskVolume, SharedVolume, Sharing, Transport, VirtiofsdCommand};
use crate::path::{self, Lookup, Node, NodeKind};
use crate::process::Process;
use crate::profile::{Profile, ShareLayout};
use crate::qemu::Qemu;
use crate::units::{self, AppUnit, MountUnit};
use crate::volumes::{Source, VolumeMount, VolumeTable};
use crate::{layout, unit, unit_name};

/// Directories that every app's root has, made where its image has none: systemd mounts or expects them.
pub const ROOT_DIRECTORIES: [&str; 5] = ["/dev", "/proc", "/run", "/run/systemd/incoming", "/sys"];

/// What will happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPlan {
    /// The apps, in the order of declaration.
    pub apps: Vec<AppPlan>,
    /// The volumes: the pod's by name, then those that images brought.
    pub volumes: Vec<Volume>,
    /// How the host volumes reach the guest; `None` where there are none.
    pub sharing: Option<Sharing>,
    /// The images, each attached once: file number N is the guest's disk number N.
    pub images: Vec<ImagePlan>,
    /// The volumes that are kept on disk: the disks that follow the images.
    pub disk_volumes: Vec<DiskVolume>,
    /// The mounts that are there before systemd: images and roots.
    pub early_mounts: Vec<EarlyMount>,
    /// The mounts that systemd makes in the guest.
    pub mounts: Vec<MountUnit>,
    /// The pod's own part of the guest.
    pub guest: GuestTree,
    /// The machine.
    pub qemu: Qemu,
    /// virtiofsd, where it is needed.
    pub virtiofsd: Option<VirtiofsdCommand>,
    /// What the user should know: nothing here keeps the pod from running.
    pub notices: Vec<String>,
}

/// An app, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppPlan {
    /// Its name.
    pub name: AppName,
    /// The unit that runs it.
    pub unit: String,
    /// The number of its image.
    pub image: usize,
    /// What it executes.
    pub process: Process,
    /// Its mounts, parents first.
    pub mounts: Vec<VolumeMount>,
    /// Whether it may write to its root.
    pub rootfs: RootfsAccess,
    /// Whether its standard input is the caller's.
    pub stdin: bool,
}

/// An image, attached as a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePlan {
    /// Its ID.
    pub id: String,
    /// Its root filesystem's file in the store.
    pub rootfs: PathBuf,
}

/// Plans the pod in Isopod's own way.
///
/// # Errors
/// [`PlanError`] with every fault found.
pub fn plan(spec: &PodSpec, facts: &Facts) -> Result<PodPlan, PlanError> {
    let mut notices = Vec::new();
    let sources: BTreeMap<VolumeName, Source<'_>> = facts
        .sources
        .iter()
        .map(|(name, source)| {
            (
                name.clone(),
                Source {
                    kind: source.kind,
                    tree: &source.tree as &dyn Lookup,
                },
            )
        })
        .collect();
    let images: Vec<Option<&dyn Lookup>> = facts
        .apps
        .iter()
        .map(|app| app.image.as_ref().map(|image| &image.tree as &dyn Lookup))
        .collect();
    let profile = Profile::DEFAULT;
    let decided = decide::decide(spec, facts, &images, &sources, &profile, &mut notices);
    let (decided, table) = decided.map_err(|faults| PlanError { faults })?;
    Planner {
        spec,
        facts,
        decided: &decided,
        table: &table,
        profile,
    }
    .plan(notices)
    .map_err(|faults| PlanError { faults })
}

/// The inputs of the second half, in which nothing is looked up any more.
struct Planner<'a> {
    spec: &'a PodSpec,
    facts: &'a Facts,
    decided: &'a [Decided],
    table: &'a VolumeTable,
    profile: Profile,
}

impl Planner<'_> {
    fn plan(&self, mut notices: Vec<String>) -> Result<PodPlan, Vec<Fault>> {
        let used: HashSet<&VolumeName> = self
            .decided
            .iter()
            .flat_map(|d| &d.mounts)
            .map(|m| &m.volume)
            .collect();
        let disk_volumes = disk_volumes(self.table.iter(), &used);
        let mut faults = disk_faults(&disk_volumes, self.facts.host.mkfs.is_some());
        let shared = self.shared_volumes(&mut notices);
        let sharing = machine::sharing(
            &self.spec.machine,
            &self.facts.host,
            shared,
            &self.profile,
            &mut notices,
        );
        let sharing = sharing.map_err(|found| faults.extend(found)).unwrap_or_default();
        let accel = machine::accelerator(&self.spec.machine, &self.facts.host.kvm, &mut notices);
        let (accel, sharing) = match accel {
            Ok(accel) if faults.is_empty() => (accel, sharing),
            Ok(_) => return Err(faults),
            Err(fault) => {
                faults.push(fault);
                return Err(faults);
            }
        };
        let (apps, images) = self.apps();
        let mounts = self.mounts(&apps, sharing.as_ref(), &disk_volumes);
        let early_mounts = early_mounts(&apps, images.len());
        let images_disks = (0..images.len()).map(|i| Disk {
            file: layout::host_image(i),
            read_only: true,
        });
        let volume_disks = disk_volumes.iter().map(|disk| Disk {
            file: layout::host_disk(&disk.name),
            read_only: false,
        });
        let disks: Vec<Disk> = images_disks.chain(volume_disks).collect();
        let qemu = machine::qemu(
            &self.spec.machine,
            accel,
            &self.facts.host,
            sharing.as_ref(),
            &disks,
        );
        let qemu = qemu.map_err(|fault| vec![fault])?;
        let config = guest_config(&apps, &early_mounts, &mounts, sharing.as_ref());
        let mut guest = self.guest_tree(&apps, &mounts, &config)?;
        for (i, disk) in disk_volumes.iter().enumerate() {
            guest.symlink(
                &layout::disk_link(&disk.name),
                layout::disk_device(images.len() + i),
            );
        }
        let virtiofsd = sharing.as_ref().and_then(|sharing| match &sharing.transport {
            Transport::Virtiofs(daemon) => Some(VirtiofsdCommand {
                daemon: daemon.clone(),
                user: self.facts.host.user,
            }),
            Transport::NineP => None,
        });
        let volumes = self.table.iter().cloned().collect();
        Ok(PodPlan {
            apps,
            volumes,
            sharing,
            images,
            disk_volumes,
            early_mounts,
            mounts,
            guest,
            qemu,
            virtiofsd,
            notices,
        })
    }

    /// The host volumes that some app mounts. One that nobody writes to is read-only on the host already.
    fn shared_volumes(&self, notices: &mut Vec<String>) -> Vec<SharedVolume> {
        let mut users: BTreeMap<&VolumeName, (bool, BTreeSet<&AppName>)> = BTreeMap::new();
        for (app, decided) in self.spec.apps.iter().zip(self.decided) {
            for mount in &decided.mounts {
                let (written, read_only_apps) = users.entry(&mount.volume).or_default();
                if mount.read_only {
                    read_only_apps.insert(&app.name);
                } else {
                    *written = true;
                }
            }
        }
        let mut shared = Vec::new();
        for volume in self.table.iter() {
            let Some((written, read_only_apps)) = users.get(&volume.name) else {
                notices.push(format!("volume `{}` is mounted by no app", volume.name));
                continue;
            };
            let VolumeKind::Host(host) = &volume.kind else {
                continue;
            };
            for app in read_only_apps.iter().filter(|_| *written) {
                notices.push(format!(
                    "volume `{}` is read-only for app `{app}` by the guest alone, since another mount of it is writable",
                    volume.name
                ));
            }
            shared.push(self.shared_volume(volume, host, !written));
        }
        if let HostUser::Ordinary { .. } = self.facts.host.user {
            self.note_foreign_users(&shared, notices);
        }
        shared
    }

    fn shared_volume(&self, volume: &Volume, host: &HostVolume, read_only: bool) -> SharedVolume {
        let facts = self.facts.sources.get(&volume.name);
        let source = facts.map_or_else(|| host.source.clone(), |facts| facts.path.clone());
        let kind = facts.map_or(SourceKind::Directory, |facts| facts.kind);
        SharedVolume::new(&volume.name, host, source, kind, read_only)
    }

    /// An ordinary user is one user to the host: what an app as another user creates in a host volume fails there.
    fn note_foreign_users(&self, shared: &[SharedVolume], notices: &mut Vec<String>) {
        for (app, decided) in self.spec.apps.iter().zip(self.decided) {
            let uid = decided.process.identity.uid;
            let writes = |m: &&VolumeMount| !m.read_only && shared.iter().any(|v| v.name == m.volume);
            if let (true, Some(mount)) = (uid != 0, decided.mounts.iter().find(writes)) {
                notices.push(format!(
                    "app `{}` runs as user {uid}, and without root only the guest's root can write as you: \
                     writing to volume `{}` may fail (`--user 0` can)",
                    app.name, mount.volume
                ));
            }
        }
    }

    fn apps(&self) -> (Vec<AppPlan>, Vec<ImagePlan>) {
        let mut images: Vec<ImagePlan> = Vec::new();
        let mut apps = Vec::new();
        let stdin = self.spec.apps.len() == 1;
        for ((app, facts), decided) in self.spec.apps.iter().zip(&self.facts.apps).zip(self.decided) {
            let Some(facts) = &facts.image else { continue };
            let known = images.iter().position(|image| image.rootfs == facts.rootfs);
            let image = known.unwrap_or_else(|| {
                images.push(ImagePlan {
                    id: facts.id.clone(),
                    rootfs: facts.rootfs.clone(),
                });
                images.len() - 1
            });
            apps.push(AppPlan {
                name: app.name.clone(),
                unit: format!("{}.service", app.name),
                image,
                process: decided.process.clone(),
                mounts: decided.mounts.clone(),
                rootfs: app.rootfs,
                stdin,
            });
        }
        (apps, images)
    }

    /// Every mount unit of the guest: shares, sized volumes, and each app's volumes.
    fn mounts(&self, apps: &[AppPlan], sharing: Option<&Sharing>, disks: &[DiskVolume]) -> Vec<MountUnit> {
        let mut mounts: Vec<MountUnit> = sharing
            .map(|sharing| share_mounts(sharing, apps))
            .unwrap_or_default();
        mounts.extend(self.table.iter().filter_map(|volume| sized_mount(volume, apps)));
        mounts.extend(disks.iter().map(|disk| disk_mount(disk, apps)));
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
                let mut bind = MountUnit::bind(mount.within(root), place, mount, &self.profile, &app.unit);
                bind.after = parents.into_iter().flatten().collect();
                units.insert(bind.place.clone(), bind.name.clone());
                mounts.push(bind);
            }
        }
        mounts
    }

    fn guest_tree(
        &self,
        apps: &[AppPlan],
        mounts: &[MountUnit],
        config: &GuestConfig,
    ) -> Result<GuestTree, Vec<Fault>> {
        let mut tree = GuestTree::default();
        units::write_common(&mut tree);
        for mount in &config.early_mounts {
            tree.directory(Path::new(&mount.mount_point), 0o755);
        }
        for volume in self.table.iter() {
            add_empty_volume(&mut tree, volume);
        }
        for (app, facts) in apps.iter().zip(&self.facts.apps) {
            self.add_mount_points(
                &mut tree,
                app,
                facts.image.as_ref().map(|image| &image.tree as &dyn Lookup),
            );
        }
        write_user_database(&mut tree, apps);
        for mount in mounts {
            mount
                .write(&self.profile, &mut tree)
                .map_err(|reason| unwritable(mount, &reason))?;
        }
        for app in apps {
            let unit = AppUnit {
                name: &app.name,
                process: &app.process,
                stdin: app.stdin,
                rootfs: app.rootfs,
                mounts: mounts
                    .iter()
                    .filter(|m| m.required_by.contains(&app.unit))
                    .collect(),
            };
            let app = app.name.clone();
            unit.write(&mut tree).map_err(|e| {
                vec![Fault::App {
                    app,
                    reason: e.to_string(),
                }]
            })?;
        }
        let json = serde_json::to_string_pretty(config).unwrap_or_default();
        tree.file(Path::new(layout::POD_CONFIG), json + "\n", 0o600);
        Ok(tree)
    }

    /// Makes the mount points, the root directories and the working directory that `app`'s image lacks: in the layer
    /// that takes the app's writes, or in the empty volume that they lie in.
    fn add_mount_points(&self, tree: &mut GuestTree, app: &AppPlan, image: Option<&dyn Lookup>) {
        let upper = layout::app_dir(&app.name).join("upper");
        tree.directory(&layout::app_dir(&app.name).join("work"), 0o700);
        tree.directory(&upper, 0o755);
        if let Some(image) = image {
            copy_attributes(tree, &upper, Path::new("/"), image);
        }
        let fixed = ROOT_DIRECTORIES
            .iter()
            .map(|dir| (PathBuf::from(dir), SourceKind::Directory));
        let start = std::iter::once((self.working_place(app, image), SourceKind::Directory));
        let places = app.mounts.iter().map(|m| (m.place.clone(), m.kind));
        let by_place: HashMap<&Path, &VolumeMount> =
            app.mounts.iter().map(|m| (m.place.as_path(), m)).collect();
        for (place, kind) in fixed.chain(start).chain(places) {
            let parent = place
                .ancestors()
                .skip(1)
                .find_map(|above| by_place.get(above).copied());
            match parent {
                None => add_place(tree, &upper, &place, kind, image),
                Some(parent) if self.table.is_seeded(&parent.volume) => {
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
        for mount in app.mounts.iter().filter(|m| self.table.is_seeded(&m.volume)) {
            let inner = Path::new("/").join(&mount.sub_path);
            add_place(
                tree,
                &layout::empty_volume(&mount.volume),
                &inner,
                mount.kind,
                None,
            );
        }
    }

    /// Where the working directory really is, as far as the image can tell.
    fn working_place(&self, app: &AppPlan, image: Option<&dyn Lookup>) -> PathBuf {
        let dir = &app.process.working_dir;
        match image.map(|image| path::resolve(image, dir)) {
            Some(Ok(found)) => found.path,
            _ => PathBuf::from("/"),
        }
    }
}

/// The unit of the nearest place at or above `path`.
fn nearest(units: &HashMap<PathBuf, String>, path: &Path) -> Option<String> {
    path.ancestors().find_map(|place| units.get(place)).cloned()
}

/// The empty volumes that are kept on disk and that some app mounts.
fn disk_volumes<'a>(
    volumes: impl Iterator<Item = &'a Volume>,
    used: &HashSet<&VolumeName>,
) -> Vec<DiskVolume> {
    let of_volume = |volume: &Volume| match &volume.kind {
        VolumeKind::Empty(empty) if empty.medium == Medium::Disk => Some(DiskVolume {
            name: volume.name.clone(),
            size_bytes: empty.size_bytes.unwrap_or(machine::DEFAULT_DISK_BYTES),
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
fn disk_faults(disks: &[DiskVolume], mkfs: bool) -> Vec<Fault> {
    let small = disks
        .iter()
        .filter(|disk| disk.size_bytes < machine::MIN_DISK_BYTES)
        .map(|disk| Fault::Volume {
            volume: disk.name.clone(),
            reason: format!(
                "{} bytes are too few for a file system; 8m is the least on disk",
                disk.size_bytes
            ),
        });
    let missing = (!mkfs && !disks.is_empty()).then(|| Fault::Host {
        what: "cannot keep volumes on disk".into(),
        reason: "`mkfs.ext4` and `debugfs` were not found".into(),
        hint: "install `e2fsprogs`, or say `medium=memory`".into(),
    });
    small.chain(missing).collect()
}

/// The file system of a volume on disk.
fn disk_mount(disk: &DiskVolume, apps: &[AppPlan]) -> MountUnit {
    let mut mount = MountUnit::new(
        layout::disk_link(&disk.name),
        layout::empty_volume(&disk.name),
        "ext4",
    );
    mount.options = vec!["private".into()];
    let uses = |app: &&AppPlan| app.mounts.iter().any(|m| m.volume == disk.name);
    mount.required_by = apps.iter().filter(uses).map(|app| app.unit.clone()).collect();
    mount.volume = Some(disk.name.clone());
    mount
}

/// The mounts of the shares themselves.
fn share_mounts(sharing: &Sharing, apps: &[AppPlan]) -> Vec<MountUnit> {
    let users = users_of(apps);
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
fn users_of(apps: &[AppPlan]) -> HashMap<VolumeName, Vec<String>> {
    let mut users: HashMap<VolumeName, Vec<String>> = HashMap::new();
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
fn sized_mount(volume: &Volume, apps: &[AppPlan]) -> Option<MountUnit> {
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
    let uses = |app: &&AppPlan| app.mounts.iter().any(|m| m.volume == volume.name);
    mount.required_by = apps.iter().filter(uses).map(|app| app.unit.clone()).collect();
    mount.volume = Some(volume.name.clone());
    Some(mount)
}

/// The images, and every app's root: its image, and above it a layer that takes its writes.
fn early_mounts(apps: &[AppPlan], images: usize) -> Vec<EarlyMount> {
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

fn add_empty_volume(tree: &mut GuestTree, volume: &Volume) {
    if let VolumeKind::Empty(empty) = &volume.kind {
        let entry = Entry {
            kind: EntryKind::Directory,
            mode: empty.mode.unwrap_or(0o755),
            uid: empty.uid.unwrap_or(0),
            gid: empty.gid.unwrap_or(0),
        };
        tree.insert(&layout::empty_volume(&volume.name), entry);
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
                .for_each(|image| copy_attributes(tree, root, dir, image));
        } else if dir == place && kind == SourceKind::File {
            tree.file(&at, "", 0o644);
        } else {
            tree.directory(&at, 0o755);
        }
    }
}

fn copy_attributes(tree: &mut GuestTree, root: &Path, dir: &Path, image: &dyn Lookup) {
    if let Some(Node {
        kind: NodeKind::Directory,
        mode,
        uid,
        gid,
    }) = image.node(dir)
    {
        tree.insert(
            &path::below(root, dir),
            Entry {
                kind: EntryKind::Directory,
                mode,
                uid,
                gid,
            },
        );
    }
}

/// The guest's `/etc/passwd` and `/etc/group`: systemd takes no number that they do not know (systemd.exec(5),
/// `User=`).
fn write_user_database(tree: &mut GuestTree, apps: &[AppPlan]) {
    let mut users = BTreeSet::from([(0, 0), (65534, 65534)]);
    let mut groups = BTreeSet::from([0, 65534]);
    for identity in apps.iter().map(|app| &app.process.identity) {
        if users.iter().all(|(uid, _)| *uid != identity.uid) {
            users.insert((identity.uid, identity.gid));
        }
        groups.insert(identity.gid);
        groups.extend(&identity.supplementary_gids);
    }
    let name = |id: u32| match id {
        0 => "root".to_owned(),
        65534 => "nobody".to_owned(),
        id => format!("id{id}"),
    };
    let passwd: String = users
        .iter()
        .map(|(uid, gid)| format!("{}:x:{uid}:{gid}::/:/bin/false\n", name(*uid)))
        .collect();
    let group: String = groups
        .iter()
        .map(|gid| format!("{}:x:{gid}:\n", name(*gid)))
        .collect();
    tree.file(Path::new("/etc/passwd"), passwd, 0o644);
    tree.file(Path::new("/etc/group"), group, 0o644);
}

fn unwritable(mount: &MountUnit, reason: &unit::Unwritable) -> Vec<Fault> {
    vec![Fault::Host {
        what: format!("cannot write the unit that mounts `{}`", mount.place.display()),
        reason: reason.to_string(),
        hint: "name another path".into(),
    }]
}

/// The agent's configuration.
fn guest_config(
    apps: &[AppPlan],
    early_mounts: &[EarlyMount],
    mounts: &[MountUnit],
    sharing: Option<&Sharing>,
) -> GuestConfig {
    let mut modules: Vec<String> = ["virtio_pci", "virtio_console", "virtio_blk", "erofs", "overlay"]
        .map(str::to_owned)
        .to_vec();
    match sharing.map(|sharing| &sharing.transport) {
        Some(Transport::Virtiofs(_)) => modules.push("virtiofs".into()),
        Some(Transport::NineP) => modules.extend(["9pnet_virtio".into(), "9p".into()]),
        None => {}
    }
    if mounts.iter().any(|mount| mount.fs_type == "ext4") {
        modules.push("ext4".into());
    }
    let fs_type = sharing.map(|sharing| sharing.transport.fs_type());
    let shared: HashSet<&VolumeName> = sharing.iter().flat_map(|s| &s.volumes).map(|v| &v.name).collect();
    let mut of_app: HashMap<&str, Vec<GuestMount>> = HashMap::new();
    for mount in mounts {
        for unit in &mount.required_by {
            of_app
                .entry(unit)
                .or_default()
                .push(guest_mount(mount, fs_type, &shared));
        }
    }
    let is_share = |m: &&MountUnit| Some(m.fs_type.as_str()) == fs_type;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let app = |app: &AppPlan| {
        let own = layout::app_dir(&app.name);
        GuestApp {
            name: app.name.to_string(),
            unit: app.unit.clone(),
            stdin: app.stdin.then(|| text(&own.join("stdin"))),
            stdout: text(&own.join("stdout")),
            stderr: text(&own.join("stderr")),
            executable: text(&path::below(
                &layout::app_root(&app.name),
                &app.process.executable,
            )),
            mounts: early_mounts
                .iter()
                .filter(|m| Path::new(&m.mount_point) == layout::app_root(&app.name))
                .map(guest_root)
                .chain(of_app.get(app.unit.as_str()).cloned().unwrap_or_default())
                .collect(),
        }
    };
    GuestConfig {
        version: CONFIG_VERSION,
        hostname: apps.first().map(|app| app.name.to_string()).unwrap_or_default(),
        modules,
        early_mounts: early_mounts.to_vec(),
        shares: mounts.iter().filter(is_share).map(|m| text(&m.place)).collect(),
        apps: apps.iter().map(app).collect(),
    }
}

fn guest_root(mount: &EarlyMount) -> GuestMount {
    GuestMount {
        unit: unit_name::for_path(Path::new(&mount.mount_point), ".mount"),
        mount_point: mount.mount_point.clone(),
        volume: None,
        fs_type: Some(mount.fs_type.clone()),
        read_only: mount.read_only,
    }
}

fn guest_mount(mount: &MountUnit, share_type: Option<&str>, shared: &HashSet<&VolumeName>) -> GuestMount {
    let bind = mount.options.first().is_some_and(|o| o == "bind");
    let on_host = mount
        .volume
        .as_ref()
        .is_some_and(|volume| shared.contains(volume));
    let fs_type = match (bind, on_host) {
        (false, _) => Some(mount.fs_type.clone()),
        (true, true) => share_type.map(str::to_owned),
        (true, false) => None,
    };
    GuestMount {
        unit: mount.name.clone(),
        mount_point: mount.place.to_string_lossy().into_owned(),
        volume: mount.volume.as_ref().map(ToString::to_string),
        fs_type,
        read_only: mount.read_only,
    }
}
