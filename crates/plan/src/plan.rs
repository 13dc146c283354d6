//! The planner: from what was asked for and what is known to what will happen. No file, clock or environment is read.

pub mod arriving;
mod faults;
mod host_volumes;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use isopod_contract::config::{EarlyMount, Identity, Sysctl};
use isopod_spec::{Medium, PodSpec, Resources, VolumeKind, VolumeName};

use crate::apps::lifecycle::AppLifecycle;
use crate::apps::{AppPlan, ImagePlan, RootPlan};
use crate::apps::{last_words, limits, roots};
use crate::decide::{self, Decided};
use crate::facts::{Facts, RootOrigin, SourceKind};
use crate::fault::{Fault, PlanError};
use crate::guest::config::{ArrivalText, Placed};
use crate::guest::mounts::{Elsewhere, Writable};
use crate::guest::network_names::{KnownNetwork, Names};
use crate::guest::tree::GuestTree;
use crate::guest::units::Mounts;
use crate::guest::{config, files, mounts, sysctl, units};
use crate::path::Lookup;
use crate::pod_plan::PodPlan;
use crate::vm::accelerator;
use crate::vm::confinement;
use crate::vm::disks::{self, DiskVolume};
use crate::vm::file_server::{self, Ownership, VirtiofsdCommand};
use crate::vm::hardware::{self, Attached};
use crate::vm::memory::Shares;
use crate::vm::network::{self, PodNetwork};
use crate::vm::qemu::Accelerator;
use crate::vm::sharing::{self, Sharing, ToShare, Transport};
use crate::vm::template;
use crate::vm::user_maps;
use crate::volumes::{Source, VolumeTable};
use crate::{layout, notices};
use host_volumes::HostVolumes;

/// Plans the pod in Isopod's own way.
///
/// # Errors
/// [`PlanError`] with every fault found.
pub fn plan(spec: &PodSpec, facts: &Facts) -> Result<PodPlan, PlanError> {
    let sized = sized(spec, facts);
    let spec = &*sized;
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
    let images = image_trees(facts);
    let decided = decide::decide(spec, facts, &images, &sources, &mut notices);
    let (decided, table) = decided.map_err(|faults| PlanError { faults })?;
    Planner {
        spec,
        facts,
        decided: &decided,
        table: &table,
    }
    .plan(notices)
    .map_err(|faults| PlanError { faults })
}

/// `spec` with a VM that is as large as its apps need, where nobody says how large it is: their images may have limits, too.
fn sized<'a>(spec: &'a PodSpec, facts: &Facts) -> Cow<'a, PodSpec> {
    let images = spec.apps.iter().zip(&facts.apps);
    let images: Vec<_> = images
        .map(|(app, facts)| facts.run_config(app).resources)
        .collect();
    if images.iter().all(|resources| *resources == Resources::default()) {
        return Cow::Borrowed(spec);
    }
    let flags = spec.apps.iter().map(|app| &app.overrides.resources);
    Cow::Owned(PodSpec {
        vm: spec.vm.for_apps(flags.zip(&images)),
        ..spec.clone()
    })
}

/// The inputs of the second half, in which nothing is looked up any more.
struct Planner<'a> {
    spec: &'a PodSpec,
    facts: &'a Facts,
    decided: &'a [Decided],
    table: &'a VolumeTable,
}

/// What joins the VM to the host.
struct Joined {
    sharing: Option<Sharing>,
    ownership: Ownership,
    network: Option<PodNetwork>,
    accel: Accelerator,
}

/// What the guest is made of, but for its files.
struct Inside<'a> {
    hostname: &'a str,
    apps: &'a [AppPlan],
    early_mounts: &'a [EarlyMount],
    mounts: &'a Arc<Mounts>,
    sysctls: &'a [Sysctl],
    shares: &'a Shares,
    disk_volumes: &'a [DiskVolume],
    /// How many images there are, whose disks come before those of volumes.
    images: usize,
}

impl Planner<'_> {
    fn plan(&self, mut notices: Vec<String>) -> Result<PodPlan, Vec<Fault>> {
        let mounted = self.decided.iter().flat_map(|decided| decided.mounts.iter());
        let used: HashSet<&VolumeName> = mounted.map(|mount| &mount.volume).collect();
        let disk_volumes = disks::disk_volumes(self.table.iter(), &used);
        let mut faults = disks::disk_faults(self.spec, &self.facts.host, self.table.declared(), &used);
        let writable_bytes = self.writable_bytes(&used, &mut notices);
        let sysctls = self.check_apps(&mut faults, &mut notices);
        let shares = self.shares();
        notices.extend(notices::beyond_memory(&shares, self.spec.vm.memory_mib));
        let joined = self.join(faults, &mut notices)?;
        let sharing = joined.sharing.as_ref();

        let (apps, mut images) = self.apps(writable_bytes);
        let volume_images = self.volume_images(&used, &mut images);
        let elsewhere = Elsewhere::new();
        let mounts = mounts::mounts(
            self.table,
            &apps,
            sharing,
            &disk_volumes,
            &volume_images,
            &shares,
            &elsewhere,
        );
        let mounts = Arc::new(mounts);
        let writable = writable_bytes.map(|_| Writable {
            device: layout::writable_device(images.len(), disk_volumes.len()),
            table: self.table,
            images: self.image_trees(),
        });
        let early_mounts = mounts::early_mounts(&apps, images.len(), writable.as_ref(), sharing);
        let qemu = hardware::qemu(
            &self.spec.vm,
            joined.accel,
            &self.facts.host,
            &Attached {
                sharing,
                ownership: joined.ownership,
                disks: &disks::disks(images.len(), &disk_volumes, writable_bytes),
                network: joined.network.as_ref(),
            },
        );
        let qemu = qemu.map_err(|fault| vec![fault])?;
        let start = template::start(self.spec.vm.start, &qemu, &self.facts.host.templates);
        let start = start.map_err(|fault| vec![fault])?;
        let hostname = network::hostname(self.spec);
        let inside = Inside {
            hostname: &hostname,
            apps: &apps,
            early_mounts: &early_mounts,
            mounts: &mounts,
            sysctls: &sysctls,
            shares: &shares,
            disk_volumes: &disk_volumes,
            images: images.len(),
        };
        let guest = self.guest(&inside, &joined, &mut notices)?;
        let asks = apps.iter().any(|app| app.process.may_load());
        let more_modules = asks.then(|| self.facts.host.guest.more_modules.clone());
        let virtiofsd = self.virtiofsd(&joined);
        let few_files = |virtiofsd| file_server::few_open_files(&self.facts.host, virtiofsd);
        let hints = virtiofsd.iter().filter_map(few_files).collect();
        if virtiofsd.is_some() {
            notices.extend(self.host_volumes().unknown_sizes(sharing));
        }
        notices.extend(self.facts.host.guest.passed_over.iter().cloned());
        let confinement = confinement::confinement(&self.facts.host.namespaces, &mut notices);
        let qemu_user = confinement::qemu_user(&self.facts.host, confinement, &qemu, &mut notices);
        Ok(PodPlan {
            apps,
            volumes: self.table.iter().cloned().collect(),
            hostname,
            network: joined.network,
            sharing: joined.sharing,
            images,
            volume_images,
            disk_volumes,
            writable_bytes,
            early_mounts,
            mounts,
            guest,
            more_modules,
            qemu,
            start,
            virtiofsd,
            held: self.spec.held,
            on_failure: self.spec.on_failure,
            limits: self.spec.limits,
            stop_timeout: self.spec.stop_timeout,
            deadline: self.spec.deadline,
            confinement,
            qemu_user,
            ownership: joined.ownership,
            notices,
            hints,
        })
    }

    /// Adds what stands against the apps to `faults`; the kernel's parameters for them.
    fn check_apps(&self, faults: &mut Vec<Fault>, notices: &mut Vec<String>) -> Vec<Sysctl> {
        faults.extend(faults::notify(self.spec, self.decided, self.table));
        faults.extend(faults::last_words(self.spec, self.facts));
        faults.extend(roots::faults(self.spec, self.facts));
        let sysctls = sysctl::sysctls(self.spec)
            .map_err(|found| faults.extend(found))
            .unwrap_or_default();
        for (app, decided) in self.spec.apps.iter().zip(self.decided) {
            let limits = &decided.process.limits;
            faults.extend(limits::vm_fault(self.spec, app, limits));
            notices.extend(limits::beyond(&self.spec.vm, app, limits));
        }
        faults.extend(faults::health(self.spec, self.decided));
        faults.extend(faults::devices(self.spec, &self.facts.host.guest));
        sysctls
    }

    fn host_volumes(&self) -> HostVolumes<'_> {
        HostVolumes {
            spec: self.spec,
            facts: self.facts,
            decided: self.decided,
            table: self.table,
        }
    }

    /// What joins the VM to the host.
    ///
    /// # Errors
    /// `faults`, and every [`Fault`] that stands against it on this host.
    fn join(&self, mut faults: Vec<Fault>, notices: &mut Vec<String>) -> Result<Joined, Vec<Fault>> {
        let (vm, host) = (&self.spec.vm, &self.facts.host);
        let volumes = self.host_volumes();
        let roots = self.spec.apps.iter().zip(roots::shared(self.spec, self.facts));
        let shared = ToShare {
            volumes: volumes.shared(notices),
            roots: roots
                .filter_map(|(app, root)| Some((app.name.clone(), root?)))
                .collect(),
            held: self.spec.held,
        };
        let mut sharing = sharing::sharing(vm, host, shared, notices)
            .map_err(|found| faults.extend(found))
            .unwrap_or_default();
        let mapped = user_maps::wanted(self.spec.user_mapping, host, sharing.as_ref());
        let mapped = mapped.map_err(|fault| faults.push(fault)).unwrap_or_default();
        let ownership = sharing.as_mut().map_or(Ownership::ByNumber, |sharing| {
            let ownership = file_server::ownership(host, sharing, &volumes.users(sharing), mapped);
            let is_bound = sharing.is_bound();
            faults.extend(volumes.give(ownership, is_bound, &mut sharing.volumes));
            volumes.note_foreign_users(sharing, ownership, notices);
            self.note_roots(ownership, notices);
            ownership
        });
        let network = network::network(self.spec, self.facts, notices)
            .map_err(|found| faults.extend(found))
            .unwrap_or_default();
        match accelerator::accelerator(vm, &host.kvm, notices) {
            Ok(accel) if faults.is_empty() => Ok(Joined {
                sharing,
                ownership,
                network,
                accel,
            }),
            accel => {
                faults.extend(accel.err());
                Err(faults)
            }
        }
    }

    /// What the user should know of roots that are directories.
    fn note_roots(&self, ownership: Ownership, notices: &mut Vec<String>) {
        for (app, decided) in self.spec.apps.iter().zip(self.decided) {
            notices.extend(roots::notices(self.spec, app, &decided.process, ownership));
        }
    }

    fn guest(
        &self,
        inside: &Inside<'_>,
        joined: &Joined,
        notices: &mut Vec<String>,
    ) -> Result<GuestTree, Vec<Fault>> {
        let (apps, mounts, sharing) = (inside.apps, inside.mounts, joined.sharing.as_ref());
        let identity = Identity {
            hostname: inside.hostname.to_owned(),
            memory: inside.shares.guest,
            sysctls: inside.sysctls.to_vec(),
            network: joined.network.as_ref().map(|network| network.guest.clone()),
            held: self.spec.held,
        };
        let placed = Placed::default();
        let early = inside.early_mounts;
        let mut arrival = config::arrival(Some(identity), apps, early, mounts, sharing, &placed);
        let balloon = self.facts.host.guest.modules.get(hardware::BALLOON_MODULE);
        arrival.modules.extend(balloon.cloned());
        if let Some(identity) = arrival.identity.as_mut().filter(|_| self.spec.spare) {
            identity.network = None;
        }
        let coming = ArrivalText::new(arrival, apps, mounts, sharing);
        let mut guest = files::guest_tree(self.table, self.facts, apps, self.spec.limits, mounts, coming)?;
        for (i, disk) in inside.disk_volumes.iter().enumerate() {
            guest.symlink(
                &layout::disk_link(&disk.name),
                layout::volume_device(inside.images, i),
            );
        }
        let names = Names {
            hostname: inside.hostname,
            network: joined.network.as_ref().map(KnownNetwork::of),
            search_domains: &self.facts.host.search_domains,
            aliases: &self.spec.host_aliases,
            resolver: self.spec.resolver.as_ref(),
            apps: apps.iter().map(|app| &app.name).collect(),
        };
        for (app, facts) in apps.iter().zip(&self.facts.apps) {
            let root = facts.root.as_ref();
            notices.extend(root.and_then(|root| names.write(&mut guest, app, root)));
        }
        Ok(guest)
    }

    fn virtiofsd(&self, joined: &Joined) -> Option<VirtiofsdCommand> {
        let sharing = joined.sharing.as_ref()?;
        match &sharing.transport {
            Transport::Virtiofs(daemon) => Some(VirtiofsdCommand {
                daemon: daemon.clone(),
                user: self.facts.host.user,
                ownership: joined.ownership,
                mounts: self.host_volumes().mount_names(sharing),
            }),
            Transport::NineP => None,
        }
    }

    /// What the volumes in memory get of it.
    fn shares(&self) -> Shares {
        let sizes = self.table.iter().filter_map(|volume| match &volume.kind {
            VolumeKind::Empty(empty) if empty.medium == Medium::Memory => empty.size_bytes,
            _ => None,
        });
        Shares::new(
            self.spec.vm.memory_mib,
            self.spec.shm_bytes,
            sizes,
            self.table.unbounded(),
        )
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

    /// The size of the disk that what is written goes to, where something is and there can be one.
    fn writable_bytes(&self, used: &HashSet<&VolumeName>, notices: &mut Vec<String>) -> Option<u64> {
        if !disks::needs_writable(self.spec, self.table.iter(), used) {
            return None;
        }
        let bytes = disks::writable_bytes(self.spec, &self.facts.host);
        bytes.map_err(|none| notices.push(none.notice())).ok()
    }

    /// What is known of each app's image.
    fn image_trees(&self) -> Vec<Option<&dyn Lookup>> {
        image_trees(self.facts)
    }

    fn apps(&self, writable_bytes: Option<u64>) -> (Vec<AppPlan>, Vec<ImagePlan>) {
        let mut images: Vec<ImagePlan> = Vec::new();
        let mut apps = Vec::new();
        let stdin = self.spec.apps.len() == 1;
        let shared = roots::shared(self.spec, self.facts);
        let facts = self.facts.apps.iter().zip(&shared);
        for ((app, (facts, shared)), decided) in self.spec.apps.iter().zip(facts).zip(self.decided) {
            let Some(facts) = &facts.root else { continue };
            let root = match (&facts.origin, shared) {
                (RootOrigin::Image { id, rootfs }, _) => {
                    RootPlan::Image(image_number(&mut images, id, rootfs))
                }
                (RootOrigin::Directory { id, .. }, Some(shared)) => roots::of_directory(app, *id, shared),
                // Nothing else has no name.
                (RootOrigin::Directory { .. }, None) => continue,
            };
            apps.push(AppPlan {
                name: app.name.clone(),
                unit: units::app_unit(&app.name),
                root,
                process: decided.process.clone(),
                mounts: Arc::clone(&decided.mounts),
                rootfs: app.rootfs,
                writes: roots::writes(app, writable_bytes.is_some()),
                stdin,
                lifecycle: AppLifecycle::of(app, decided.health.clone()),
                last_words: last_words::place(&app.last_words, Some(&facts.tree)),
                log: app.overrides.log,
            });
        }
        (apps, images)
    }
}

/// What is known of each app's image.
fn image_trees(facts: &Facts) -> Vec<Option<&dyn Lookup>> {
    let apps = facts.apps.iter();
    apps.map(|app| app.root.as_ref().map(|root| &root.tree as &dyn Lookup))
        .collect()
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
