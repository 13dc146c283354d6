//! The profile `rkt`: what rkt's KVM flavour wrote below the guest's root for a pod's volumes, and the arguments with
//! which it shared them. Which volume is mounted where is decided by the same code as everywhere ([`crate::volumes`]);
//! nothing else of a pod's plan comes through here.
//!
//! Where rkt was wrong this is not: paths are written so that systemd reads them as they are, a target never leaves the
//! app's root, unit names over 255 bytes are systemd's, and mounts are distinguished by their path, not by their volume.

mod command_line;
pub(crate) mod document;
mod units;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isopod_spec::{
    HostVolume, ImplicitVolumes, Medium, Owners, PodSpec, Propagation, RunConfig, Volume, VolumeKind,
    VolumeName,
};

use crate::fault::{Fault, PlanError};
use crate::guest::entry::{Entry, EntryKind};
use crate::guest::tree::GuestTree;
use crate::guest::units::{MountUnit, flag_options};
use crate::systemd::unit::Unwritable;
use crate::systemd::unit_name;
use crate::vm::sharing;
use crate::volumes::{self, Roots, Rules, VolumeMount, VolumeTable};
use crate::{layout, path};

/// The longest tag of a 9p share: QEMU's `MAX_TAG_LEN` and kvmtool's.
const MAX_TAG_BYTES: usize = 31;

/// What the rkt profile plans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RktPlan {
    /// The files and directories below the guest's root.
    pub guest: GuestTree,
    /// The mounts, by app for those of an app.
    pub mounts: Vec<MountUnit>,
    /// What each app mounts, in the order of declaration.
    pub app_mounts: Vec<Vec<VolumeMount>>,
    /// The host volumes: tag and source, in the order of declaration.
    pub shares: Vec<(String, PathBuf)>,
    /// `--cpu`.
    pub cpus: u32,
    /// `--mem`, in MiB.
    pub memory_mib: u32,
}

/// Plans the volumes of `spec` as rkt did. `configs` says for every app how its image wants to be run.
///
/// # Errors
/// [`PlanError`] with every fault found.
pub fn plan_rkt(spec: &PodSpec, configs: &[RunConfig]) -> Result<RktPlan, PlanError> {
    let mut faults = volumes::check_names(spec);
    let mut table = VolumeTable::new(spec);
    let mut guest = GuestTree::default();
    let all: Arc<[Arc<str>]> = spec
        .apps
        .iter()
        .map(|app| format!("{}.service", app.name).into())
        .collect();
    let (mut mounts, mut app_mounts) = (Vec::new(), Vec::new());
    let options: Arc<[String]> = ["trans=virtio".into()].into();
    // One path for a volume, whoever mounts it.
    let mut shared: HashMap<VolumeName, Arc<Path>> = HashMap::new();
    for volume in &spec.volumes {
        shared.insert(volume.name.clone(), layout::shared_volume(&volume.name).into());
        volume_directory(&mut guest, volume);
        if let VolumeKind::Host(_) = volume.kind {
            let place = Arc::clone(&shared[&volume.name]);
            let mut mount = MountUnit::new(Path::new(&tag(volume)), place, "9p");
            mount.options = Arc::clone(&options);
            mount.required_by = Arc::clone(&all);
            mount.volume = Some(volume.name.clone());
            mounts.push(mount);
        }
    }
    let sources = BTreeMap::new();
    let systemd_version = unit_name::HASHED_NAMES_SINCE;
    let roots = Roots {
        image: None,
        sources: &sources,
        rules: Rules::Rkt,
        systemd_version,
    };
    for ((app, config), service) in spec.apps.iter().zip(configs).zip(all.iter()) {
        match volumes::mounts_of(
            app,
            &config.mount_points,
            ImplicitVolumes::Refuse,
            &mut table,
            &roots,
        ) {
            Ok(of_app) => {
                let root = layout::app_root(&app.name);
                let service = Arc::from([Arc::clone(service)]);
                mounts.extend(of_app.iter().map(|mount| {
                    let of_volume = shared
                        .entry(mount.volume.clone())
                        .or_insert_with(|| layout::shared_volume(&mount.volume).into());
                    let place = path::below(&root, &mount.place);
                    rkt_directory(&mut guest, &place);
                    bind(Arc::clone(of_volume), place, mount, &service)
                }));
                app_mounts.push(of_app);
            }
            Err(found) => faults.extend(found),
        }
    }
    faults.extend(spec.volumes.iter().filter_map(not_rkts));
    let mounts_of_apps = spec.apps.iter().flat_map(|app| &app.mounts);
    let giving = mounts_of_apps.filter(|mount| mount.owners == Owners::App);
    faults.extend(giving.map(|mount| Fault::Volume {
        volume: mount.volume.clone(),
        reason: "the profile `rkt` gives no files to an app's user (`U`)".into(),
    }));
    let refused = |mount: &MountUnit| Some(unwritable(mount, &mount.check().err()?));
    faults.extend(mounts.iter().filter_map(refused));
    if !faults.is_empty() {
        return Err(PlanError { faults });
    }
    for mount in &mounts {
        units::add(&mut guest, mount).map_err(|reason| PlanError {
            faults: vec![unwritable(mount, &reason)],
        })?;
    }
    let shares = spec.volumes.iter().filter_map(|volume| match &volume.kind {
        VolumeKind::Host(host) => Some((tag(volume), host.source.clone())),
        VolumeKind::Empty(_) | VolumeKind::Files(_) | VolumeKind::Image(_) => None,
    });
    let (cpus, memory_mib) = (spec.vm.cpus, spec.vm.memory_mib);
    Ok(RktPlan {
        guest,
        mounts,
        app_mounts,
        shares: shares.collect(),
        cpus,
        memory_mib,
    })
}

/// The bind mount of the volume at `what`, or of a part of it: not private, as systemd makes the guest's root shared and
/// mounts inherit that, and not read-only before a service has made it so.
fn bind(what: Arc<Path>, place: PathBuf, mount: &VolumeMount, service: &Arc<[Arc<str>]>) -> MountUnit {
    let options = std::iter::once("bind".to_owned()).chain(flag_options(mount.flags));
    MountUnit {
        options: options.collect(),
        ..MountUnit::of_volume(what, place, "bind", mount, service)
    }
}

/// rkt made every directory for root only. What is above one that is there is there too.
fn rkt_directory(guest: &mut GuestTree, path: &Path) {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|dir| dir.parent().is_some() && !guest.entries.contains_key(dir))
        .collect();
    for dir in missing.into_iter().rev() {
        guest.directory(dir, 0o700);
    }
}

fn volume_directory(guest: &mut GuestTree, volume: &Volume) {
    let path = layout::shared_volume(&volume.name);
    rkt_directory(guest, &path);
    if let VolumeKind::Empty(empty) = &volume.kind {
        let (mode, uid, gid) = (
            empty.mode.unwrap_or(0o700),
            empty.uid.unwrap_or(0),
            empty.gid.unwrap_or(0),
        );
        guest.insert(
            &path,
            Entry {
                kind: EntryKind::Directory,
                mode,
                uid,
                gid,
            },
        );
    }
}

/// A volume's tag: its name, shortened where a tag cannot be so long.
fn tag(volume: &Volume) -> String {
    sharing::tag(&volume.name, MAX_TAG_BYTES)
}

/// What rkt had no word for, or lkvm none.
fn not_rkts(volume: &Volume) -> Option<Fault> {
    let name = volume.name.clone();
    match &volume.kind {
        VolumeKind::Empty(empty) if empty.size_bytes.is_some() || empty.medium == Medium::Disk => {
            Some(Fault::Volume {
                volume: name,
                reason: "the profile `rkt` has no empty volumes with a size or on disk".into(),
            })
        }
        VolumeKind::Files(_) | VolumeKind::Image(_) => Some(Fault::Volume {
            volume: name,
            reason: "the profile `rkt` has volumes of kind `host` and `empty` only".into(),
        }),
        VolumeKind::Host(HostVolume {
            recursive,
            propagation,
            ..
        }) if !recursive || *propagation != Propagation::Private => Some(Fault::Volume {
            volume: name,
            reason:
                "the profile `rkt` shares whole directories: it has no `recursive=false` and no `propagation`"
                    .into(),
        }),
        VolumeKind::Host(host) if host.source.as_os_str().as_encoded_bytes().contains(&b',') => {
            Some(Fault::Source {
                volume: name,
                path: host.source.clone(),
                reason: "lkvm ends a path at its first comma, and has no way to write one".into(),
            })
        }
        _ => None,
    }
}

fn unwritable(mount: &MountUnit, reason: &Unwritable) -> Fault {
    Fault::Host {
        what: format!("cannot write the unit that mounts `{}`", mount.place.display()),
        reason: reason.to_string(),
        hint: "name another path".into(),
    }
}
