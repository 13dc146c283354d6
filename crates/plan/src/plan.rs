//! The planner: from what was asked for and what is known to what will happen. No file, clock or environment is read.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::iter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use isopod_protocol::config::EarlyMount;
use isopod_spec::{
    App, AppName, Dependency, DependencyCondition, FailurePolicy, HostVolume, Medium, PodLimits, PodSpec,
    PortForward, Propagation, Readiness, RootfsAccess, Volume, VolumeKind, VolumeName,
};

use crate::apps::lifecycle::Life;
use crate::apps::process::Process;
use crate::apps::{last_words, limits};
use crate::decide::{self, Decided};
use crate::facts::{Facts, MountNames, Sizes, SourceKind};
use crate::fault::{Fault, PlanError};
use crate::guest::config::PodConfig;
use crate::guest::network_names::Names;
use crate::guest::tree::GuestTree;
use crate::guest::units::Mounts;
use crate::guest::{files, mounts, sysctl};
use crate::path::Lookup;
use crate::profile::Profile;
use crate::vm::confinement::{self, Confinement, QemuUser};
use crate::vm::file_server::{self, Owner, Ownership, VirtiofsdCommand};
use crate::vm::hardware::{self, Attached, Disk, DiskVolume, SharedVolume, Sharing, Transport};
use crate::vm::memory::Shares;
use crate::vm::network;
use crate::vm::network::UserNetwork;
use crate::vm::qemu::Qemu;
use crate::volumes::{Source, VolumeMount, VolumeTable};
use crate::{layout, notices};

/// Directories that every app's root has, made where its image has none: systemd mounts or expects them.
pub const ROOT_DIRECTORIES: [&str; 5] = ["/dev", "/proc", "/run", "/run/systemd/incoming", "/sys"];

/// What will happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPlan {
    /// The apps, in the order of declaration.
    pub apps: Vec<AppPlan>,
    /// The volumes: the pod's by name, then those that images brought.
    pub volumes: Vec<Volume>,
    /// The guest's host name.
    pub hostname: String,
    /// The network; `None`: the loopback interface alone.
    pub network: Option<UserNetwork>,
    /// How the host volumes reach the guest; `None` where there are none.
    pub sharing: Option<Sharing>,
    /// The images, each attached once: file number N is the guest's disk number N.
    pub images: Vec<ImagePlan>,
    /// The numbers of the images that volumes are, of those that some app mounts.
    pub volume_images: BTreeMap<VolumeName, usize>,
    /// The volumes that are kept on disk: the disks that follow the images.
    pub disk_volumes: Vec<DiskVolume>,
    /// The mounts that are there before systemd: images and roots.
    pub early_mounts: Vec<EarlyMount>,
    /// The mount units of the guest.
    pub mounts: Arc<Mounts>,
    /// The pod's own part of the guest.
    pub guest: GuestTree,
    /// The kernel modules that follow the pod's files: an archive, where an app may ask for them.
    pub more_modules: Option<PathBuf>,
    /// The machine.
    pub qemu: Qemu,
    /// virtiofsd, where it is needed.
    pub virtiofsd: Option<VirtiofsdCommand>,
    /// What one app's failure means for the others.
    pub on_failure: FailurePolicy,
    /// What the apps may take together.
    pub limits: PodLimits,
    /// How long the apps have to stop.
    pub stop_timeout: Duration,
    /// How long the pod may run; `None`: as long as it likes.
    pub deadline: Option<Duration>,
    /// What both see of the host.
    pub confinement: Confinement,
    /// As whom QEMU runs.
    pub qemu_user: QemuUser,
    /// Whose files those of host volumes are.
    pub ownership: Ownership,
    /// What the user should know: nothing here keeps the pod from running.
    pub notices: Vec<String>,
    /// What helps whoever looks at the plan, and is no matter for most pods: running one does not say it.
    pub hints: Vec<String>,
}

impl PodPlan {
    /// The host's ports that lead into the pod.
    #[must_use]
    pub fn ports(&self) -> &[PortForward] {
        self.network.as_ref().map_or(&[], |network| &network.ports)
    }
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
    pub mounts: Arc<[VolumeMount]>,
    /// Whether it may write to its root.
    pub rootfs: RootfsAccess,
    /// Whether its standard input is the caller's.
    pub stdin: bool,
    /// How it lives.
    pub life: Life,
    /// Where its file for last words is bound; `None`: it is in its `/dev`.
    pub last_words: Option<PathBuf>,
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
    let source = |kind, tree| Source { kind, tree };
    let of_host = facts.sources.iter().map(|(name, facts)| {
        let tree = &facts.tree as &dyn Lookup;
        (name.clone(), source(facts.kind, tree))
    });
    let of_images = facts.volume_images.iter().map(|(name, facts)| {
        let tree = &facts.tree as &dyn Lookup;
        (name.clone(), source(SourceKind::Directory, tree))
    });
    let sources: BTreeMap<VolumeName, Source<'_>> = of_host.chain(of_images).collect();
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
            .flat_map(|d| d.mounts.iter())
            .map(|m| &m.volume)
            .collect();
        let disk_volumes = disk_volumes(self.table.iter(), &used);
        let mut faults = disk_faults(&disk_volumes, self.facts.host.mkfs.is_some());
        faults.extend(self.notify_faults());
        for (app, facts) in self.spec.apps.iter().zip(&self.facts.apps) {
            let image = facts.image.as_ref().map(|image| &image.tree as &dyn Lookup);
            let fault = last_words::fault(app, image).map(|reason| (app.name.clone(), reason));
            faults.extend(fault.map(|(app, reason)| Fault::App { app, reason }));
        }
        let sysctls = sysctl::sysctls(self.spec)
            .map_err(|found| faults.extend(found))
            .unwrap_or_default();
        for (app, decided) in self.spec.apps.iter().zip(self.decided) {
            let limits = &decided.process.limits;
            faults.extend(limits::machine_fault(self.spec, app, limits));
            notices.extend(limits::beyond(&self.spec.machine, app, limits));
        }
        faults.extend(self.health_faults());
        faults.extend(self.device_faults());
        let shares = self.shares();
        notices.extend(notices::beyond_memory(&shares, self.spec.machine.memory_mib));
        let shared = self.shared_volumes(&mut notices);
        let sharing = hardware::sharing(
            &self.spec.machine,
            &self.facts.host,
            shared,
            &self.profile,
            &mut notices,
        );
        let sharing = sharing.map_err(|found| faults.extend(found)).unwrap_or_default();
        let ownership = sharing.as_ref().map_or(Ownership::ByNumber, |sharing| {
            let users = self.users_of_volumes(sharing);
            let ownership = file_server::ownership(&self.facts.host, sharing, &users);
            self.note_foreign_users(sharing, ownership, &mut notices);
            ownership
        });
        let network = network::network(self.spec, &self.facts.host);
        let network = network.map_err(|found| faults.extend(found)).unwrap_or_default();
        let accel = hardware::accelerator(&self.spec.machine, &self.facts.host.kvm, &mut notices);
        let (accel, sharing) = match accel {
            Ok(accel) if faults.is_empty() => (accel, sharing),
            Ok(_) => return Err(faults),
            Err(fault) => {
                faults.push(fault);
                return Err(faults);
            }
        };
        let (apps, mut images) = self.apps();
        let volume_images = self.volume_images(&used, &mut images);
        let mounts = mounts::mounts(
            self.table,
            &self.profile,
            &apps,
            sharing.as_ref(),
            &disk_volumes,
            &volume_images,
            &shares,
        );
        let mounts = Arc::new(mounts);
        let early_mounts = mounts::early_mounts(&apps, images.len());
        let pod_files = Disk {
            file: layout::POD_FILES.into(),
            read_only: true,
        };
        let images_disks = (0..images.len()).map(|i| Disk {
            file: layout::host_image(i),
            read_only: true,
        });
        let volume_disks = disk_volumes.iter().map(|disk| Disk {
            file: layout::host_disk(&disk.name),
            read_only: false,
        });
        let disks: Vec<Disk> = iter::once(pod_files)
            .chain(images_disks)
            .chain(volume_disks)
            .collect();
        let qemu = hardware::qemu(
            &self.spec.machine,
            accel,
            &self.facts.host,
            &Attached {
                sharing: sharing.as_ref(),
                disks: &disks,
                network: network.as_ref(),
            },
        );
        let qemu = qemu.map_err(|fault| vec![fault])?;
        let hostname = network::hostname(self.spec);
        let config = files::guest_config(
            &hostname,
            network.as_ref(),
            &apps,
            &early_mounts,
            &mounts,
            sharing.as_ref(),
            &sysctls,
            shares.guest,
        );
        let config = PodConfig::new(config, &apps, &mounts, sharing.as_ref());
        let mut guest = files::guest_tree(self.table, self.facts, &apps, self.spec.limits, &mounts, config)?;
        for (i, disk) in disk_volumes.iter().enumerate() {
            guest.symlink(
                &layout::disk_link(&disk.name),
                layout::volume_device(images.len(), i),
            );
        }
        let names = Names {
            hostname: &hostname,
            network: network.is_some(),
            search_domains: &self.facts.host.search_domains,
            aliases: &self.spec.host_aliases,
            resolver: self.spec.resolver.as_ref(),
            apps: &apps,
        };
        for (app, facts) in apps.iter().zip(&self.facts.apps) {
            let image = facts.image.as_ref();
            notices.extend(image.and_then(|image| names.write(&mut guest, app, image)));
        }
        let asks = apps.iter().any(|app| app.process.may_load());
        let more_modules = asks.then(|| self.facts.host.guest.more_modules.clone());
        let virtiofsd = sharing.as_ref().and_then(|sharing| match &sharing.transport {
            Transport::Virtiofs(daemon) => Some(VirtiofsdCommand {
                daemon: daemon.clone(),
                user: self.facts.host.user,
                ownership,
                mounts: self.mount_names(&sharing.volumes),
            }),
            Transport::NineP => None,
        });
        let few_files = |virtiofsd| file_server::few_open_files(&self.facts.host, virtiofsd);
        let hints = virtiofsd.iter().filter_map(few_files).collect();
        if virtiofsd.is_some() {
            notices.extend(self.untold_sizes(sharing.as_ref()));
        }
        let volumes = self.table.iter().cloned().collect();
        let confinement = confinement::confinement(&self.facts.host.namespaces, &mut notices);
        let qemu_user = confinement::qemu_user(&self.facts.host, confinement, &qemu, &mut notices);
        Ok(PodPlan {
            apps,
            volumes,
            hostname,
            network,
            sharing,
            images,
            volume_images,
            disk_volumes,
            early_mounts,
            mounts,
            guest,
            more_modules,
            qemu,
            virtiofsd,
            on_failure: self.spec.on_failure,
            limits: self.spec.limits,
            stop_timeout: self.spec.stop_timeout,
            deadline: self.spec.deadline,
            confinement,
            qemu_user,
            ownership,
            notices,
            hints,
        })
    }

    /// What the volumes in memory get of it.
    fn shares(&self) -> Shares {
        let sizes = self.table.iter().filter_map(|volume| match &volume.kind {
            VolumeKind::Empty(empty) if empty.medium == Medium::Memory => empty.size_bytes,
            _ => None,
        });
        Shares::new(self.spec.machine.memory_mib, sizes, self.table.unbounded())
    }

    /// What the guest's kernel does not have.
    fn device_faults(&self) -> Vec<Fault> {
        let apps = self.spec.apps.iter();
        let devices = apps.flat_map(|app| app.overrides.devices.iter().map(move |device| (app, device)));
        let guest = &self.facts.host.guest;
        let missing = devices.filter(|(_, device)| !guest.modules.contains(device.module()));
        let fault = |(app, device): (&App, &isopod_spec::Device)| Fault::App {
            app: app.name.clone(),
            reason: format!(
                "the kernel {} has no `{}`: it has no module `{}`",
                guest.release,
                device.path(),
                device.module()
            ),
        };
        missing.map(fault).collect()
    }

    /// Nothing finds an app healthy that has neither probes nor a health check.
    fn health_faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for app in &self.spec.apps {
            let healthy = |d: &&Dependency| d.condition == DependencyCondition::Healthy;
            for dependency in app.depends_on.iter().filter(healthy) {
                let mut others = self.spec.apps.iter().zip(self.decided);
                let other = others.find(|(other, _)| other.name == dependency.app);
                if other.is_some_and(|(_, decided)| !decided.care.has_probes()) {
                    faults.push(Fault::App {
                        app: app.name.clone(),
                        reason: format!(
                            "it waits until app `{}` is healthy, which has neither probes nor a health check",
                            dependency.app
                        ),
                    });
                }
            }
        }
        faults
    }

    /// An app's notification socket is bound below `/run`: a host volume there would get a file for it.
    fn notify_faults(&self) -> Vec<Fault> {
        let apps = self.spec.apps.iter().zip(self.decided);
        let notifying = apps.filter(|(app, _)| app.readiness == Readiness::Notify);
        let fault = |(app, decided): (&App, &Decided)| {
            let covers = |m: &&VolumeMount| Path::new(layout::NOTIFY_SOCKET).starts_with(&m.place);
            let mount = decided.mounts.iter().rfind(covers)?;
            let volume = self.table.get(&mount.volume);
            let made = match volume.map(|volume| &volume.kind) {
                Some(VolumeKind::Empty(_)) => !mount.read_only,
                Some(VolumeKind::Files(_)) => true,
                _ => false,
            };
            (!made).then(|| Fault::App {
                app: app.name.clone(),
                reason: format!(
                    "`--notify` needs `{}`, and volume `{}` at `{}` hides it",
                    layout::NOTIFY_SOCKET,
                    mount.volume,
                    mount.place.display()
                ),
            })
        };
        notifying.filter_map(fault).collect()
    }

    /// The host volumes that some app mounts. One that nobody writes to is read-only on the host already.
    fn shared_volumes(&self, notices: &mut Vec<String>) -> Vec<SharedVolume> {
        let mut users: BTreeMap<&VolumeName, (bool, BTreeSet<&AppName>)> = BTreeMap::new();
        for (app, decided) in self.spec.apps.iter().zip(self.decided) {
            for mount in decided.mounts.iter() {
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
                notices.push(notices::weak_read_only(&volume.name, app));
            }
            shared.push(self.shared_volume(volume, host, !written));
        }
        shared
    }

    fn shared_volume(&self, volume: &Volume, host: &HostVolume, read_only: bool) -> SharedVolume {
        let facts = self.facts.sources.get(&volume.name);
        let source = facts.map_or_else(|| host.source.clone(), |facts| facts.path.clone());
        let kind = facts.map_or(SourceKind::Directory, |facts| facts.kind);
        SharedVolume {
            id: facts.and_then(|facts| facts.id),
            ..SharedVolume::new(&volume.name, host, source, kind, read_only)
        }
    }

    /// The users of the apps that mount host volumes; where none does, those of all.
    fn users_of_volumes(&self, sharing: &Sharing) -> Vec<Owner> {
        let shared = |m: &VolumeMount| sharing.volumes.iter().any(|v| v.name == m.volume);
        let mounting = |decided: &&Decided| sharing.volumes.is_empty() || decided.mounts.iter().any(shared);
        let user = |decided: &Decided| Owner {
            uid: decided.process.identity.uid,
            gid: decided.process.identity.gid,
        };
        self.decided.iter().filter(mounting).map(user).collect()
    }

    /// An ordinary user is one user to the host: what that means for the apps that are other users in the guest.
    fn note_foreign_users(&self, sharing: &Sharing, ownership: Ownership, notices: &mut Vec<String>) {
        for (app, decided) in self.spec.apps.iter().zip(self.decided) {
            let uid = decided.process.identity.uid;
            let shared = |m: &&VolumeMount| sharing.volumes.iter().any(|v| v.name == m.volume);
            let written = decided
                .mounts
                .iter()
                .filter(shared)
                .find(|mount| !mount.read_only);
            notices.extend(
                written.and_then(|mount| notices::foreign_user(&mount.volume, &app.name, uid, ownership)),
            );
        }
    }

    /// Whether virtiofsd can read the paths of all that is, or may later be, mounted at and below its volumes.
    fn mount_names(&self, shared: &[SharedVolume]) -> MountNames {
        let plain = |volume: &SharedVolume| {
            let facts = self.facts.sources.get(&volume.name);
            let found = facts.map_or(MountNames::Any, |facts| facts.mounts);
            // mountinfo has the path of what is bound, too, and the program reads it as a text.
            volume.source.to_str().is_some()
                && volume.propagation == Propagation::Private
                && (!volume.recursive || found == MountNames::Plain)
        };
        match shared.iter().all(plain) {
            true => MountNames::Plain,
            false => MountNames::Any,
        }
    }

    /// The volumes whose files virtiofs shows as empty.
    fn untold_sizes(&self, sharing: Option<&Sharing>) -> Vec<String> {
        let shared = sharing.iter().flat_map(|sharing| &sharing.volumes);
        let untold = shared.filter(|volume| {
            let facts = self.facts.sources.get(&volume.name);
            facts.is_some_and(|facts| facts.sizes == Sizes::Untold)
        });
        untold.map(|volume| notices::untold_sizes(&volume.name)).collect()
    }

    /// The numbers of the images that volumes are; those that no app runs are added to `images`.
    fn volume_images(
        &self,
        used: &HashSet<&VolumeName>,
        images: &mut Vec<ImagePlan>,
    ) -> BTreeMap<VolumeName, usize> {
        let mounted = self
            .facts
            .volume_images
            .iter()
            .filter(|(name, _)| used.contains(name));
        mounted
            .map(|(name, facts)| (name.clone(), image_number(images, &facts.id, &facts.rootfs)))
            .collect()
    }

    fn apps(&self) -> (Vec<AppPlan>, Vec<ImagePlan>) {
        let mut images: Vec<ImagePlan> = Vec::new();
        let mut apps = Vec::new();
        let stdin = self.spec.apps.len() == 1;
        for ((app, facts), decided) in self.spec.apps.iter().zip(&self.facts.apps).zip(self.decided) {
            let Some(facts) = &facts.image else { continue };
            let image = image_number(&mut images, &facts.id, &facts.rootfs);
            apps.push(AppPlan {
                name: app.name.clone(),
                unit: crate::guest::units::app_unit(&app.name),
                image,
                process: decided.process.clone(),
                mounts: Arc::clone(&decided.mounts),
                rootfs: app.rootfs,
                stdin,
                life: Life::of(app, decided.care.clone()),
                last_words: last_words::place(&app.last_words, Some(&facts.tree)),
            });
        }
        (apps, images)
    }
}

/// The number of an image among `images`, at whose end it is put where it is not there yet.
fn image_number(images: &mut Vec<ImagePlan>, id: &str, rootfs: &Path) -> usize {
    let known = images.iter().position(|image| image.rootfs == rootfs);
    known.unwrap_or_else(|| {
        images.push(ImagePlan {
            id: id.to_owned(),
            rootfs: rootfs.to_owned(),
        });
        images.len() - 1
    })
}

/// The empty volumes that are kept on disk and that some app mounts.
fn disk_volumes<'a>(
    volumes: impl Iterator<Item = &'a Volume>,
    used: &HashSet<&VolumeName>,
) -> Vec<DiskVolume> {
    let of_volume = |volume: &Volume| match &volume.kind {
        VolumeKind::Empty(empty) if empty.medium == Medium::Disk => Some(DiskVolume {
            name: volume.name.clone(),
            size_bytes: empty.size_bytes.unwrap_or(hardware::DEFAULT_DISK_BYTES),
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
    let missing = (!mkfs && !disks.is_empty()).then(|| Fault::Host {
        what: "cannot keep volumes on disk".into(),
        reason: "`mkfs.ext4` and `debugfs` were not found".into(),
        hint: "install `e2fsprogs`, or say `medium=memory`".into(),
    });
    missing.into_iter().collect()
}
