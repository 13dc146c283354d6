//! What happens when an app comes to a pod that runs: decided here, done by the pod's supervisor and the agent.
//!
//! The rules are those of an app that a pod starts with, by the same code. Three things differ, since the VM is there: the
//! file of the app's image and its volumes of the host are bound below the pod's share, each under a number that is never used
//! again; what would be a device of the VM's cannot come; and everything that comes is named once more, to go with the app.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use isopod_contract::arrival::Departure;
use isopod_contract::config::{EarlyMount, GuestNetwork};
use isopod_spec::{
    AppName, HostVolume, Medium, PodLimits, PodSpec, Propagation, SourceRule, Volume, VolumeKind, VolumeName,
};

use super::{Planner, image_trees};
use crate::apps::{AppPlan, ImagePlan, RootPlan, roots};
use crate::decide;
use crate::facts::{Facts, SourceKind};
use crate::fault::{Fault, PlanError};
use crate::guest::config::{self, ArrivalText, Placed};
use crate::guest::mounts::{self, Elsewhere, Writable};
use crate::guest::network_names::{KnownNetwork, Names};
use crate::guest::tree::GuestTree;
use crate::guest::{files, units};
use crate::hotplug::Share;
use crate::layout;
use crate::path::Lookup;
use crate::vm::file_server::Ownership;
use crate::vm::network;
use crate::vm::sharing::SharedVolume;
use crate::volumes::Source;

/// A pod that runs, as far as this needs it.
#[derive(Clone, Debug)]
pub struct RunningPod {
    /// All the apps that it has or had, by their numbers.
    pub apps: Vec<AppName>,
    /// The volumes that it has.
    pub volumes: BTreeSet<VolumeName>,
    /// How volumes of the host reach the guest.
    pub share: Share,
    /// What the guest has of its network, and the name servers that are the host's; `None`: the loopback interface alone.
    pub network: Option<(GuestNetwork, Vec<IpAddr>)>,
    /// The IDs of the images that it started with, by their numbers.
    pub images: Vec<String>,
    /// Whose files those of the host are in the guest.
    pub ownership: Ownership,
    /// How often volumes have come or gone.
    pub changes: u32,
    /// How many arrivals there have been, the pod's own included.
    pub arrivals: u32,
    /// Whether it has a writable disk.
    pub writable: bool,
    /// Whether its apps are in a slice of their own.
    pub slice: bool,
}

/// What will happen.
#[derive(Clone, Debug)]
pub struct ArrivalPlan {
    /// The number of the arrival.
    pub number: u32,
    pub app: AppPlan,
    /// Its image; `None` where its root is a directory, which is among what is bound.
    pub image: Option<ImagePlan>,
    /// The volumes that come with it.
    pub volumes: Vec<Volume>,
    /// What the host binds below the share, under which number of a change.
    pub binds: Vec<(u32, SharedVolume)>,
    /// What comes to the guest.
    pub guest: GuestTree,
    /// The archive of further kernel modules, which comes behind that, where the app may have some loaded.
    pub more_modules: Option<PathBuf>,
    /// What goes with the app.
    pub departure: Departure,
    /// Whether its apps are in a slice of their own from now on.
    pub slice: bool,
    /// What the user should know.
    pub notices: Vec<String>,
}

/// Plans the coming of the one app of `spec`, which waits for the host's word where `waits` says so.
///
/// # Errors
/// [`PlanError`] with every fault found.
pub fn arrive(
    running: &RunningPod,
    spec: &PodSpec,
    facts: &Facts,
    waits: bool,
) -> Result<ArrivalPlan, PlanError> {
    let refused = refusals(running, spec);
    if !refused.is_empty() {
        return Err(PlanError { faults: refused });
    }
    let mut notices = Vec::new();
    let of_host = facts.sources.iter().map(|(name, facts)| {
        let (kind, tree) = (facts.kind, &facts.tree as &dyn Lookup);
        (name.clone(), Source { kind, tree })
    });
    let sources: BTreeMap<VolumeName, Source<'_>> = of_host.collect();
    let images = image_trees(facts);
    let decided = decide::decide(spec, facts, &images, &sources, &mut notices);
    let (decided, table) = decided.map_err(|faults| PlanError { faults })?;
    let planner = Planner {
        spec,
        facts,
        decided: &decided,
        table: &table,
    };
    arrival(running, &planner, waits, notices).map_err(|faults| PlanError { faults })
}

fn arrival(
    running: &RunningPod,
    planner: &Planner<'_>,
    waits: bool,
    mut notices: Vec<String>,
) -> Result<ArrivalPlan, Vec<Fault>> {
    let (spec, table) = (planner.spec, planner.table);
    let mut faults = Vec::new();
    planner.check_apps(&mut faults, &mut notices);
    if !faults.is_empty() {
        return Err(faults);
    }
    let (mut apps, mut images) = planner.apps(running.writable.then_some(0));
    planner.note_roots(running.ownership, &mut notices);
    let image = images.pop();
    let Some(app) = apps.first_mut() else {
        return Err(vec![Fault::Host {
            what: "cannot add an app".into(),
            reason: "it has no root".into(),
            hint: "name an image".into(),
        }]);
    };
    // Otherwise nobody is there whose input it could be.
    app.stdin = spec.apps.iter().any(|app| app.overrides.stdin);
    let bound = bind(running, planner, app, image.as_ref(), &mut notices)?;
    let made = mounts::mounts(
        table,
        &apps,
        None,
        &[],
        &BTreeMap::new(),
        &planner.shares(),
        &bound.volumes,
    );
    let made = std::sync::Arc::new(made);
    let writable = running.writable.then(|| Writable {
        device: PathBuf::from(layout::WRITABLE),
        table,
        images: planner.image_trees(),
    });
    let early: Vec<EarlyMount> = bound
        .image
        .clone()
        .into_iter()
        .chain(mounts::early_mounts(&apps, 0, writable.as_ref(), None))
        .collect();
    let placed = Placed {
        number: running.arrivals,
        before: &running.apps,
        waits,
    };
    let mut coming = config::arrival(None, &apps, &early, &made, None, &placed);
    coming.modules.retain(|module| is_late(module));
    coming
        .modules
        .extend(bound.image.as_ref().map(|_| LOOP_MODULE.to_owned()));
    (coming.shares, coming.disks) = (Vec::new(), Vec::new());
    let share_type = match running.share {
        Share::Bound(fs_type) => Some(fs_type),
        Share::Devices | Share::None => None,
    };
    let coming = ArrivalText::of_share(
        coming,
        &apps,
        &made,
        share_type,
        bound.volumes.keys().cloned().collect(),
    );
    let mut guest = files::guest_tree(table, planner.facts, &apps, PodLimits::default(), &made, coming)?;
    let slice = units::join_slice(
        &mut guest,
        running.slice,
        apps.iter().map(|app| app.unit.as_str()),
    );
    notices.extend(write_names(running, planner, &apps, &mut guest));
    let Some(app) = apps.pop() else {
        return Err(Vec::new());
    };
    let volumes: Vec<Volume> = table.iter().cloned().collect();
    let archive = || planner.facts.host.guest.more_modules.clone();
    let more_modules = app.process.may_load().then(archive);
    let places = bound.binds.iter().map(|(at, _)| layout::attached_volume(*at));
    let places = places.collect();
    let departure = departure(running, &app, &volumes, bound.image.as_ref(), places, &guest);
    Ok(ArrivalPlan {
        number: running.arrivals,
        app,
        image,
        volumes,
        binds: bound.binds,
        guest,
        more_modules,
        departure,
        slice,
        notices,
    })
}

/// What the host binds below the share for an app that comes.
struct Bound {
    /// Each under its number of a change.
    binds: Vec<(u32, SharedVolume)>,
    /// The volumes among it, by their places in the guest.
    volumes: Elsewhere,
    /// The mount of the app's image, where the pod does not have that yet.
    image: Option<EarlyMount>,
}

/// Gives all that the app brings its place below the share: its image, its root where that is a directory, its volumes.
fn bind(
    running: &RunningPod,
    planner: &Planner<'_>,
    app: &mut AppPlan,
    image: Option<&ImagePlan>,
    notices: &mut Vec<String>,
) -> Result<Bound, Vec<Fault>> {
    let mut serial = running.changes;
    let mut next = || {
        serial = serial.saturating_add(1);
        serial
    };
    let mut binds = Vec::new();
    let known = |image: &ImagePlan| running.images.iter().position(|id| *id == image.id);
    let image_mount = match (image, image.and_then(known)) {
        (None, _) => None,
        (Some(_), Some(number)) => {
            app.root = RootPlan::Image(number);
            None
        }
        (Some(image), None) => {
            // Numbers of arrivals are behind those of the images that the pod started with.
            let number = running.images.len() + usize::try_from(running.arrivals).unwrap_or(usize::MAX);
            app.root = RootPlan::Image(number);
            let at = next();
            binds.extend(image_file(&app.name, image).map(|file| (at, file)));
            Some(EarlyMount {
                source: text(&layout::attached_volume(at)),
                ..mounts::image_mount(number)
            })
        }
    };
    for root in roots::shared(planner.spec, planner.facts).into_iter().flatten() {
        let at = next();
        roots::move_to(&mut app.root, layout::attached_volume(at));
        binds.push((at, root));
    }
    let mut elsewhere = Elsewhere::new();
    let mut shared = planner.host_volumes().shared(notices);
    let is_bound = matches!(running.share, Share::Bound(_));
    let faults = planner
        .host_volumes()
        .give(running.ownership, is_bound, &mut shared);
    if !faults.is_empty() {
        return Err(faults);
    }
    for volume in shared {
        let at = next();
        elsewhere.insert(volume.name.clone(), layout::attached_volume(at));
        binds.push((at, volume));
    }
    Ok(Bound {
        binds,
        volumes: elsewhere,
        image: image_mount,
    })
}

/// Writes the app's `/etc/hosts` and its kin, with what the user should know of it.
fn write_names(
    running: &RunningPod,
    planner: &Planner<'_>,
    apps: &[AppPlan],
    guest: &mut GuestTree,
) -> Vec<String> {
    let names = Names {
        hostname: &network::hostname(planner.spec),
        network: running
            .network
            .as_ref()
            .map(|(guest, nameservers)| KnownNetwork { guest, nameservers }),
        search_domains: &planner.facts.host.search_domains,
        aliases: &planner.spec.host_aliases,
        resolver: planner.spec.resolver.as_ref(),
        apps: running
            .apps
            .iter()
            .chain(apps.iter().map(|app| &app.name))
            .collect(),
    };
    let of_apps = apps.iter().zip(&planner.facts.apps);
    let noted = of_apps.filter_map(|(app, facts)| names.write(guest, app, facts.root.as_ref()?));
    noted.collect()
}

/// The guest's driver of files as devices.
const LOOP_MODULE: &str = "loop";

/// Whether an app that comes later may bring a module: what drives the VM's own devices is there.
fn is_late(module: &str) -> bool {
    !matches!(module, "virtio_blk" | "virtiofs" | "9p" | "9pnet_virtio" | "ext4")
}

/// The file of an image, as the host binds it.
fn image_file(app: &AppName, image: &ImagePlan) -> Option<SharedVolume> {
    let name = VolumeName::nearest(&format!("{app}-image"))?;
    let host = HostVolume {
        source: image.rootfs.clone(),
        recursive: false,
        propagation: Propagation::Private,
        must_be: SourceRule::Any,
    };
    Some(SharedVolume::new(
        &name,
        &host,
        image.rootfs.clone(),
        SourceKind::File,
        true,
    ))
}

/// What stands against an app that comes to that pod.
fn refusals(running: &RunningPod, spec: &PodSpec) -> Vec<Fault> {
    let mut faults = Vec::new();
    let host = |reason: &str, hint: &str| Fault::Host {
        what: "cannot add an app to the pod".into(),
        reason: reason.into(),
        hint: hint.into(),
    };
    match running.share {
        Share::Bound(_) => {}
        Share::Devices => faults.push(host(
            "each volume of the pod is a device of its own, since there is no mount namespace here",
            "start the pod with all of its apps",
        )),
        Share::None => faults.push(host(
            "the pod was started without a share, by which an app's root reaches it",
            "start it with `--hold`, with a volume of the host, or with `--transport virtiofs` or `--transport 9p`",
        )),
    }
    for app in &spec.apps {
        if running.apps.contains(&app.name) {
            faults.push(Fault::App {
                app: app.name.clone(),
                reason: "the pod has or had an app of this name, and each name is used once; `--app-name` gives another".into(),
            });
        }
    }
    for volume in &spec.volumes {
        let reason = match &volume.kind {
            _ if running.volumes.contains(&volume.name) => "the pod has a volume of this name",
            VolumeKind::Empty(empty) if empty.medium == Medium::Disk && empty.size_bytes.is_some() => {
                "a volume on a disk of its own must be in the pod from its start"
            }
            VolumeKind::Image(_) => "an image as a volume must be in the pod from its start",
            _ => continue,
        };
        faults.push(Fault::Volume {
            volume: volume.name.clone(),
            reason: reason.into(),
        });
    }
    faults
}

/// What goes with an app: its units, mounts and files.
fn departure(
    running: &RunningPod,
    app: &AppPlan,
    volumes: &[Volume],
    image: Option<&EarlyMount>,
    bound: Vec<PathBuf>,
    guest: &GuestTree,
) -> Departure {
    let own = layout::app_dir(&app.name);
    let root = layout::app_root(&app.name);
    let volumes: Vec<PathBuf> = volumes
        .iter()
        .map(|volume| layout::empty_volume(&volume.name))
        .collect();
    let of_app = [root.clone(), own.clone()];
    let mounted = of_app.iter().chain(&volumes).map(|path| text(path));
    // Over virtiofs what is bound on the host is a mount in the guest, too.
    let mount_points = mounted
        .chain(image.map(|image| image.mount_point.clone()))
        .chain(bound.iter().map(|path| text(path)));
    let written = running.writable.then(|| {
        let kept = volumes.iter().filter_map(|path| path.file_name());
        let kept = kept.map(|name| Path::new(layout::WRITABLE_VOLUMES).join(name));
        kept.chain([layout::writable_app(&app.name)])
    });
    let units: HashSet<PathBuf> = guest
        .iter()
        .map(|(path, _)| path.into_owned())
        .filter(|path| path.parent() == Some(Path::new(layout::UNIT_DIR)))
        .filter(|path| path.file_name() != Some(units::POD_SLICE.as_ref()))
        .collect();
    let mut units: Vec<PathBuf> = units.into_iter().collect();
    units.sort();
    let root_dir = root.parent().map(Path::to_owned);
    let paths = units
        .into_iter()
        .chain(root_dir)
        .chain([own])
        .chain(volumes.iter().cloned())
        .chain(written.into_iter().flatten())
        .chain(image.map(|image| PathBuf::from(&image.mount_point)));
    Departure {
        app: u16::try_from(running.apps.len()).unwrap_or(u16::MAX),
        units: vec![layout::arrival_unit(running.arrivals), app.unit.clone()],
        mount_points: mount_points.collect(),
        paths: paths.map(|path| text(&path)).collect(),
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
