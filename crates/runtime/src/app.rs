//! Plans the coming of an app to a pod that runs: gathers what is to be known of it, reads what the pod's directory says of
//! the pod, and asks the planner. The pod's supervisor does the rest.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use isopod_plan::arriving::{ArrivalPlan, RunningPod, arrive};
use isopod_plan::facts::RootOrigin;
use isopod_plan::hotplug::Share;
use isopod_plan::{PlanError, layout};
use isopod_spec::{Network, PidMode, PodSpec, Volume, VolumeKind};

use crate::Settings;
use crate::control::AddApp;
use crate::gather::sources::MissingSource;
use crate::gather::{GatherError, gather};
use crate::json_file;
use crate::named_volume::{self, FillError};
use crate::pods::PodEntry;
use crate::pods::files::ArrivedRecord;
use crate::pods::files::{AppRecord, Asked, PodRecord, Status};
use crate::pods::volumes::{ShareRecord, SourceRecord, VolumeRecord, VolumeType};
use crate::prepare::app_record;

/// Why no app can come.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The pod is only just coming up, or another version's.
    #[error("there is no record of the pod yet")]
    NoRecord,
    /// What the pod was asked to be was not recorded.
    #[error("what the pod was started with is not recorded: some path of it is not UTF-8")]
    NotAsked,
    /// The image or a volume cannot be had.
    #[error(transparent)]
    Gather(#[from] GatherError),
    /// The planner found faults.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A named volume could not be filled.
    #[error("cannot fill a named volume")]
    Fill(#[from] FillError),
    /// A volume's source that is missing could not be made.
    #[error("cannot make `{}`, the source of a volume", path.display())]
    Source { path: PathBuf, source: std::io::Error },
    /// What comes cannot be written.
    #[error("cannot write what comes to the VM")]
    Write(#[source] std::io::Error),
}

/// What is to be asked of the supervisor, and what the user should know.
#[derive(Debug)]
pub struct PlannedApp {
    /// The request.
    pub add: AddApp,
    /// What comes to the guest, which follows the request.
    pub files: Vec<u8>,
    pub notices: Vec<String>,
    /// The sources of volumes that were not there, and were made.
    pub made: Vec<MissingSource>,
}

/// Plans that the one app of `wanted` comes to `pod`, and waits to be started where `waits` says so. The sources of its volumes
/// that are not there are made, and its named volumes that are new begin as the image has the directory.
///
/// # Errors
/// [`AddError`].
pub fn plan(
    pod: &PodEntry,
    wanted: &PodSpec,
    waits: bool,
    settings: &Settings,
) -> Result<PlannedApp, AddError> {
    let (Some(record), Some(status)) = (&pod.record, &pod.status) else {
        return Err(AddError::NoRecord);
    };
    let asked: Option<Asked> = json_file::read(&pod.path, layout::SPEC).ok().flatten();
    let asked = asked.ok_or(AddError::NotAsked)?.spec;
    let running = running(record, status);
    let spec = merged(asked, wanted, record, &running);
    let mut gathered = gather(&spec, settings)?;
    let host = &mut gathered.facts.host;
    // Whether there is a writable disk was decided when the pod began.
    match record.writable {
        true => host.free_bytes = u64::MAX,
        false => host.mkfs = None,
    }
    // What is bound has no link in its path.
    let roots = gathered.facts.apps.iter_mut().filter_map(|app| app.root.as_mut());
    for root in roots {
        if let RootOrigin::Image { rootfs, .. } = &mut root.origin {
            *rootfs = rootfs.canonicalize().unwrap_or_else(|_| rootfs.clone());
        }
    }
    let mut plan = arrive(&running, &spec, &gathered.facts, waits)?;
    let rootfs = plan.image.as_ref().map(|image| &*image.rootfs);
    named_volume::fill(&spec, &gathered.facts, std::iter::once((&plan.app, rootfs)))?;
    for missing in &gathered.missing {
        let made = missing.make().map_err(|source| AddError::Source {
            path: missing.path().to_owned(),
            source,
        })?;
        let shared = plan.binds.iter_mut().map(|(_, shared)| shared);
        shared
            .filter(|shared| shared.source == missing.path())
            .for_each(|shared| shared.id = Some(made));
    }
    let mut files = Vec::new();
    crate::arrival_files::append(&mut files, &plan.guest).map_err(AddError::Write)?;
    if let Some(more) = &plan.more_modules {
        let copied = File::open(more).and_then(|mut more| io::copy(&mut more, &mut files));
        copied.map_err(AddError::Write)?;
    }
    Ok(PlannedApp {
        notices: plan.notices.clone(),
        made: gathered.missing,
        add: request(&running, &plan),
        files,
    })
}

/// The pod with the one app in place of its own.
fn merged(asked: PodSpec, wanted: &PodSpec, record: &PodRecord, running: &RunningPod) -> PodSpec {
    let (mut apps, mut volumes) = (wanted.apps.clone(), wanted.volumes.clone());
    // Volumes of the command line are numbered again for each (`v1`).
    for volume in &mut volumes {
        let app = apps.first().map(|app| app.name.as_str()).unwrap_or_default();
        let own = isopod_spec::VolumeName::nearest(&format!("{app}-{}", volume.name));
        let Some(own) = own.filter(|_| running.volumes.contains(&volume.name)) else {
            continue;
        };
        let mounts = apps.iter_mut().flat_map(|app| &mut app.mounts);
        mounts
            .filter(|mount| mount.volume == volume.name)
            .for_each(|mount| mount.volume = own.clone());
        volume.name = own;
    }
    PodSpec {
        apps,
        volumes,
        // What is in a namespace is not asked for again: the pod's own VM has it, and the record says what it has.
        network: match asked.network {
            Network::Namespace { .. } => Network::None,
            network => network,
        },
        hostname: Some(record.hostname.clone()),
        storage_bytes: None,
        named_ports: Vec::new(),
        pid_mode: match wanted.pid_mode {
            PidMode::Private => asked.pid_mode,
            own => own,
        },
        ..asked
    }
}

fn running(record: &PodRecord, status: &Status) -> RunningPod {
    let attached = status
        .attached
        .iter()
        .map(|attached| attached.volume.name.clone());
    RunningPod {
        apps: record.apps.iter().map(|app| app.name.clone()).collect(),
        volumes: record
            .volumes
            .iter()
            .map(|volume| volume.name.clone())
            .chain(attached)
            .collect(),
        share: match record.share {
            ShareRecord::None => Share::None,
            ShareRecord::Devices => Share::Devices,
            ShareRecord::Virtiofs => Share::Bound("virtiofs"),
            ShareRecord::NineP => Share::Bound("9p"),
        },
        network: record.network.clone(),
        images: record.images.clone(),
        ownership: record.owner.ownership(),
        changes: status.volume_changes,
        arrivals: u32::try_from(status.arrived.len())
            .unwrap_or(u32::MAX)
            .saturating_add(1),
        writable: record.writable,
        slice: record.slice,
    }
}

fn request(running: &RunningPod, plan: &ArrivalPlan) -> AddApp {
    let binds = plan.binds.iter();
    let hosts = binds.clone().map(|(_, shared)| VolumeRecord {
        name: shared.name.clone(),
        kind: VolumeType::Host,
        host: Some(SourceRecord::of(shared)),
        image_number: None,
    });
    let own = |volume: &&Volume| !matches!(volume.kind, VolumeKind::Host(_));
    let own = plan.volumes.iter().filter(own).map(|volume| VolumeRecord {
        name: volume.name.clone(),
        kind: VolumeType::of(volume),
        host: None,
        image_number: None,
    });
    let own_volume = |volume: &VolumeRecord| plan.volumes.iter().any(|own| own.name == volume.name);
    AddApp {
        first: running.apps.len(),
        changes: running.changes,
        rootfs: plan.image.as_ref().map(|image| image.rootfs.as_os_str().into()),
        binds: binds
            .clone()
            .map(|(serial, _)| *serial)
            .zip(hosts.clone())
            .collect(),
        arrived: ArrivedRecord {
            app: AppRecord {
                stdin: plan.app.stdin,
                ..app_record(
                    &plan.app,
                    plan.image.as_ref().map(|image| &*image.id).unwrap_or_default(),
                )
            },
            volumes: hosts.filter(own_volume).chain(own).collect(),
            serials: binds.map(|(serial, _)| *serial).collect(),
            departure: plan.departure.clone(),
            slice: plan.slice,
        },
    }
}
