//! What happens when a volume comes to a pod that runs, and whether one may go: decided here, done by the pod's
//! supervisor and the agent.
//!
//! The rules are those of a volume that a pod starts with, by the same code ([`crate::volumes`]). Three things differ,
//! since apps run already: nothing is mounted above what is mounted (it would be hidden), a missing mount point can be
//! made only where the app itself could make one, and the volume has a name of its own below the share, which is never
//! used again: the guest may remember for a while what an earlier one stood for.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isopod_contract::hotplug::{HotplugMount, HotplugVolume, UnitText};
use isopod_spec::words::shown;
use isopod_spec::{AppName, Mount, Owners, RootfsAccess, Submounts, Volume, VolumeKind, VolumeName};

use crate::facts::{FileId, SourceKind};
use crate::fault::{Fault, PlanError, TargetFault};
use crate::guest::config;
use crate::guest::units::{self, Binds, MountUnit};
use crate::path::{self, Lookup};
use crate::systemd::unit::UnitFile;
use crate::systemd::unit_name;
use crate::vm::file_server::Ownership;
use crate::vm::sharing::SharedVolume;
use crate::volumes::kernel_places;
use crate::volumes::{AskedBy, Placing, Roots, Rules, Source, VolumeMount, VolumeTable, Wanted};
use crate::{layout, notices};

/// The most bytes of units that go to the guest in one message, which has room for as much again.
const MAX_UNIT_BYTES: usize = 24 * 1024;

/// A pod that runs, as far as this needs it.
pub struct Running<'a> {
    /// Its apps, in the order of declaration.
    pub apps: Vec<RunningApp<'a>>,
    /// Its volumes, with those that were attached.
    pub volumes: &'a [Volume],
    /// What its host volumes hold.
    pub sources: BTreeMap<VolumeName, Source<'a>>,
    /// How they reach the guest.
    pub share: Share,
    /// systemd's version in the guest.
    pub systemd_version: u32,
    /// Whose files those of its host volumes are.
    pub ownership: Ownership,
    /// How many volumes were attached to it in this life.
    pub attached_before: u32,
}

/// An app that runs, or ran, or will.
pub struct RunningApp<'a> {
    pub name: AppName,
    pub image: &'a dyn Lookup,
    /// Whether it may write to its root.
    pub rootfs: RootfsAccess,
    /// The user that it runs as.
    pub uid: u32,
    /// What is mounted in it.
    pub mounts: Vec<VolumeMount>,
}

/// How a running pod's host volumes reach the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Through one share, below which volumes are bound, of this file system type.
    Bound(&'static str),
    /// Through a device each.
    Devices,
    /// It has no device for any.
    None,
}

/// A volume that is to be added to a running pod, and where.
pub struct HotplugRequest<'a> {
    pub volume: &'a Volume,
    /// Its source, links followed.
    pub path: PathBuf,
    /// What the source is and holds.
    pub source: Source<'a>,
    /// Which file the source is.
    pub id: Option<FileId>,
    /// Its mounts, each in one app or in every app.
    pub mounts: &'a [(Option<AppName>, Mount)],
}

/// What will happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachPlan {
    /// The volume's number in this life of the pod: its name below the share is made of it.
    pub serial: u32,
    /// What the host binds.
    pub shared: SharedVolume,
    /// What is mounted in which app, parents first; apps by their position.
    pub mounts: Vec<(usize, VolumeMount)>,
    /// What the guest receives.
    pub guest: HotplugVolume,
    /// What the user should know.
    pub notices: Vec<String>,
}

/// Plans the arrival of a volume.
///
/// # Errors
/// [`PlanError`] with every fault found.
pub fn attach(running: &Running<'_>, request: &HotplugRequest<'_>) -> Result<AttachPlan, PlanError> {
    let mut faults = refusals(running, request);
    let by_app = by_app(running, request, &mut faults);
    let mut mounts = Vec::new();
    if faults.is_empty() {
        for (app, wanted) in &by_app {
            mounts.extend(place(running, request, *app, wanted, &mut faults));
        }
    }
    if !faults.is_empty() {
        return Err(PlanError { faults });
    }
    let VolumeKind::Host(host) = &request.volume.kind else {
        return Err(PlanError {
            faults: vec![not_of_the_host(request.volume)],
        });
    };
    let serial = running.attached_before.saturating_add(1);
    let submounts = match mounts.iter().any(|(_, mount)| mount.keeps_submounts()) {
        true => Submounts::AsOnHost,
        false => Submounts::ReadOnly,
    };
    let read_only = submounts == Submounts::AsOnHost || mounts.iter().all(|(_, mount)| mount.read_only);
    let name = &request.volume.name;
    let shared = SharedVolume {
        id: request.id,
        submounts,
        ..SharedVolume::new(name, host, request.path.clone(), request.source.kind, read_only)
    };
    let guest = guest(running, name, serial, &mounts).map_err(|fault| PlanError { faults: vec![fault] })?;
    Ok(AttachPlan {
        serial,
        notices: notices_of(running, name, &mounts),
        shared,
        mounts,
        guest,
    })
}

/// Whether the volume `name` may go: only one that came while the pod ran, and in which no other is mounted.
///
/// `attached` has each such volume with its mounts: the app's position, and the place.
///
/// # Errors
/// [`Fault::Volume`].
pub fn detach<'a>(
    name: &VolumeName,
    attached: &[(&'a VolumeName, Vec<(usize, &'a Path)>)],
    declared: impl IntoIterator<Item = &'a VolumeName>,
) -> Result<(), Fault> {
    let fault = |reason| Fault::Volume {
        volume: name.clone(),
        reason,
    };
    let Some((_, places)) = attached.iter().find(|(known, _)| *known == name) else {
        return Err(fault(match declared.into_iter().any(|known| known == name) {
            true => "the pod was started with it; only what was attached can be detached".into(),
            false => "the pod has no such volume".into(),
        }));
    };
    for (other, inner) in attached.iter().filter(|(other, _)| *other != name) {
        let within = |(app, place): &(usize, &Path)| {
            places
                .iter()
                .any(|(above, at)| app == above && place.starts_with(at))
        };
        if let Some((_, place)) = inner.iter().find(|mount| within(mount)) {
            return Err(fault(format!(
                "volume `{other}` is mounted in it, at `{}`: detach that one first",
                shown(place)
            )));
        }
    }
    Ok(())
}

fn not_of_the_host(volume: &Volume) -> Fault {
    Fault::Host {
        what: format!("cannot attach volume `{}`", volume.name),
        reason: "only a volume of kind `host` can be attached to a running pod".into(),
        hint: "an empty volume is made when the pod starts: `isopod run --volume NAME,kind=empty`".into(),
    }
}

/// What stands against it whatever its mounts are.
fn refusals(running: &Running<'_>, request: &HotplugRequest<'_>) -> Vec<Fault> {
    let volume = request.volume;
    let host = |reason: &str, hint: &str| Fault::Host {
        what: format!("cannot attach volume `{}`", volume.name),
        reason: reason.into(),
        hint: hint.into(),
    };
    let mut faults = Vec::new();
    match running.share {
        Share::Bound(_) => {}
        Share::Devices => faults.push(host(
            "each volume of the pod is a device of its own, since there is no mount namespace here",
            "start the pod with it",
        )),
        Share::None => faults.push(host(
            "the pod was started without a device for volumes of the host",
            "start it with a host volume, or with `--transport virtiofs` or `--transport 9p`, which gives it the device",
        )),
    }
    if !matches!(volume.kind, VolumeKind::Host(_)) {
        faults.push(not_of_the_host(volume));
    }
    if running.volumes.iter().any(|known| known.name == volume.name) {
        faults.push(Fault::Volume {
            volume: volume.name.clone(),
            reason: "the pod has a volume of this name".into(),
        });
    }
    if request
        .mounts
        .iter()
        .any(|(_, mount)| mount.owners == Owners::App)
    {
        faults.push(Fault::Volume {
            volume: volume.name.clone(),
            reason: "its files are given to an app's user (`U`) only when the pod starts with it".into(),
        });
    }
    if request.mounts.is_empty() {
        faults.push(Fault::Volume {
            volume: volume.name.clone(),
            reason: "no mount of it is given".into(),
        });
    }
    faults
}

/// The mounts of each app. One that is for this app alone wins over one for all at the same target.
fn by_app<'a>(
    running: &Running<'_>,
    request: &HotplugRequest<'a>,
    faults: &mut Vec<Fault>,
) -> BTreeMap<usize, Vec<&'a Mount>> {
    let mut by_app: BTreeMap<usize, Vec<&Mount>> = BTreeMap::new();
    for (app, mount) in request.mounts {
        if mount.volume != request.volume.name {
            faults.push(Fault::Volume {
                volume: mount.volume.clone(),
                reason: format!(
                    "it is not the one that is attached, which is `{}`",
                    request.volume.name
                ),
            });
        }
        let Some(app) = app else { continue };
        match running.apps.iter().position(|known| known.name == *app) {
            Some(number) => by_app.entry(number).or_default().push(mount),
            None => faults.push(Fault::App {
                app: app.clone(),
                reason: "the pod has no such app".into(),
            }),
        }
    }
    for number in 0..running.apps.len() {
        let own = by_app.entry(number).or_default();
        let taken: HashSet<PathBuf> = own.iter().map(|mount| path::clean(&mount.target)).collect();
        let for_all = request.mounts.iter().filter(|(app, _)| app.is_none());
        let for_all = for_all.map(|(_, mount)| mount);
        own.extend(for_all.filter(|mount| !taken.contains(&path::clean(&mount.target))));
    }
    by_app.retain(|_, mounts| !mounts.is_empty());
    by_app
}

/// The places of the mounts of one app.
fn place(
    running: &Running<'_>,
    request: &HotplugRequest<'_>,
    number: usize,
    wanted: &[&Mount],
    faults: &mut Vec<Fault>,
) -> Vec<(usize, VolumeMount)> {
    let app = &running.apps[number];
    let mut sources = running.sources.clone();
    sources.insert(request.volume.name.clone(), request.source);
    let placing = Placing {
        app: &app.name,
        table: &VolumeTable::of(running.volumes.iter().chain([request.volume])),
        roots: Roots {
            image: Some(app.image),
            sources: &sources,
            rules: Rules::Isopod,
            systemd_version: running.systemd_version,
        },
    };
    let mut placed: HashMap<Arc<Path>, VolumeMount> = app
        .mounts
        .iter()
        .map(|mount| (Arc::clone(&mount.place), mount.clone()))
        .collect();
    let mut wanted: Vec<&Mount> = wanted.to_vec();
    wanted.sort_by_cached_key(|mount| path::clean(&mount.target).components().count());
    let mut mounts = Vec::new();
    for mount in wanted {
        match place_one(&placing, app, request.volume, mount, &placed) {
            Ok(mount) => {
                placed.insert(Arc::clone(&mount.place), mount.clone());
                mounts.push((number, mount));
            }
            Err(fault) => faults.push(fault),
        }
    }
    mounts
}

fn place_one(
    placing: &Placing<'_>,
    app: &RunningApp<'_>,
    volume: &Volume,
    mount: &Mount,
    placed: &HashMap<Arc<Path>, VolumeMount>,
) -> Result<VolumeMount, Fault> {
    let want = Wanted {
        volume: volume.name.clone(),
        target: path::clean(&mount.target).into(),
        read_only: volume.read_only.or(mount.read_only).unwrap_or(false),
        sub_path: mount.sub_path.clone(),
        flags: mount.flags,
        asked_by: AskedBy::User,
        late: false,
    };
    let (mount, there) = placing.add(want, placed)?;
    let refused = |reason| Fault::Target {
        app: app.name.clone(),
        volume: volume.name.clone(),
        target: mount.target.to_path_buf(),
        reason,
    };
    if kernel_places::contains(&mount.place) {
        let reason =
            "in a directory that the guest itself mounts, where a volume can only be from the pod's start";
        return Err(refused(TargetFault::Reserved(reason)));
    }
    let hidden = placed
        .values()
        .find(|below| below.place.starts_with(&mount.place));
    if let Some(hidden) = hidden {
        return Err(refused(TargetFault::Hides {
            volume: hidden.volume.clone(),
            place: hidden.place.to_path_buf(),
        }));
    }
    let parent = mount.place.ancestors().find_map(|above| placed.get(above));
    match parent {
        _ if there.is_some() => Ok(mount),
        None if app.rootfs == RootfsAccess::ReadOnly => Err(refused(TargetFault::MissingInReadOnlyRoot)),
        None => Ok(mount),
        Some(parent) if parent.read_only => {
            Err(refused(TargetFault::MissingInReadOnly(parent.volume.clone())))
        }
        Some(_) => Ok(mount),
    }
}

/// What the guest receives: units as for a volume that was there at the start, and for each app what its own unit says
/// more.
fn guest(
    running: &Running<'_>,
    name: &VolumeName,
    serial: u32,
    mounts: &[(usize, VolumeMount)],
) -> Result<HotplugVolume, Fault> {
    let Share::Bound(share_type) = running.share else {
        return Ok(HotplugVolume::default());
    };
    let root: Arc<Path> = layout::attached_volume(serial).into();
    let shared = HashSet::from([name.clone()]);
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let (mut files, mut of_guest) = (Vec::new(), Vec::new());
    let mut by_app: BTreeMap<usize, Vec<MountUnit>> = BTreeMap::new();
    for (number, mount, unit) in mount_units(running, &root, mounts) {
        let app = &running.apps[number].name;
        let unwritable = |reason| Fault::Target {
            app: app.clone(),
            volume: name.clone(),
            target: mount.target.to_path_buf(),
            reason: TargetFault::Unwritable(reason),
        };
        files.push(UnitText {
            path: unit.name(),
            text: unit.file().map_err(unwritable)?.text(),
        });
        of_guest.push(HotplugMount {
            app: u16::try_from(number).unwrap_or(u16::MAX),
            mount: config::guest_mount(&unit, Some(share_type), &shared),
            root: text(&layout::app_root(app)),
            place: text(&mount.place),
            file: mount.kind == SourceKind::File,
        });
        by_app.entry(number).or_default().push(unit);
    }
    for (number, units) in by_app {
        let service = units::app_unit(&running.apps[number].name);
        files.push(UnitText {
            path: format!("{service}.d/volume-{serial}.conf"),
            text: drop_in(&units).map_err(|reason| Fault::App {
                app: running.apps[number].name.clone(),
                reason: reason.to_string(),
            })?,
        });
    }
    let bytes: usize = files.iter().map(|file| file.path.len() + file.text.len()).sum();
    if bytes > MAX_UNIT_BYTES {
        return Err(Fault::Volume {
            volume: name.clone(),
            reason: format!(
                "it is mounted {} times, which does not fit into one message",
                mounts.len()
            ),
        });
    }
    Ok(HotplugVolume {
        volume: name.to_string(),
        shared: text(&root),
        files,
        mounts: of_guest,
    })
}

/// The unit of each mount, with the apps' positions: after the share, and after the nearest mount that it is in.
fn mount_units<'a>(
    running: &Running<'_>,
    root: &Arc<Path>,
    mounts: &'a [(usize, VolumeMount)],
) -> Vec<(usize, &'a VolumeMount, MountUnit)> {
    let share: Arc<str> = unit_name::for_path(Path::new(layout::SHARE_DIR), ".mount").into();
    let mut binds = Binds::default();
    let mut unit = |(number, mount): &'a (usize, VolumeMount)| {
        let app = &running.apps[*number];
        let in_guest = |place: &Path| layout::app_place(&app.name, place);
        let service = Arc::from([Arc::from(units::app_unit(&app.name))]);
        let mut unit = binds.mount(Arc::clone(root), in_guest(&mount.place), mount, &service);
        let new = mounts.iter().filter(|(other, _)| other == number);
        let parents = app.mounts.iter().chain(new.map(|(_, mount)| mount));
        let parents =
            parents.filter(|other| other.place != mount.place && mount.place.starts_with(&other.place));
        let parent = parents.max_by_key(|parent| parent.place.components().count());
        let parent = parent.map(|parent| unit_name::for_path(&in_guest(&parent.place), ".mount").into());
        unit.after = [Arc::clone(&share)].into_iter().chain(parent).collect();
        (*number, mount, unit)
    };
    mounts.iter().map(&mut unit).collect()
}

/// What an app's unit says of its own volumes, for these: it does not start without them.
fn drop_in(units: &[MountUnit]) -> Result<String, crate::systemd::unit::Unwritable> {
    let names: Vec<String> = units.iter().map(MountUnit::name).collect();
    let names = names.join(" ");
    let mut section = vec![("Requires", names.clone()), ("After", names)];
    section.extend(units::assertions(units.iter())?);
    Ok(UnitFile::default().section("Unit", section).text())
}

fn notices_of(running: &Running<'_>, name: &VolumeName, mounts: &[(usize, VolumeMount)]) -> Vec<String> {
    let written = mounts.iter().any(|(_, mount)| !mount.read_only);
    let app = |number: &usize| &running.apps[*number];
    let weak: BTreeSet<&AppName> = mounts
        .iter()
        .filter(|(_, mount)| written && mount.read_only)
        .map(|(number, _)| &app(number).name)
        .collect();
    let weak = weak.into_iter().map(|app| notices::weak_read_only(name, app));
    let foreign: BTreeMap<usize, u32> = mounts
        .iter()
        .filter(|(_, mount)| !mount.read_only)
        .map(|(number, _)| (*number, app(number).uid))
        .collect();
    let foreign = foreign
        .into_iter()
        .filter_map(|(number, uid)| notices::foreign_user(name, &app(&number).name, uid, running.ownership));
    weak.chain(foreign).collect()
}
