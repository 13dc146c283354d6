//! Plans the coming of a volume to a pod that runs: reads what the pod's directory says of it, looks at the volume's
//! source and into the images, and asks the planner. The pod's supervisor does the rest.

use std::path::PathBuf;

use isopod_image::erofs::{ReadError, Reader};
use isopod_plan::facts::{FileId, SourceKind};
use isopod_plan::hotplug::{AttachPlan, HotplugRequest, Running, RunningApp, Share, attach};
use isopod_plan::path::Lookup;
use isopod_plan::volumes::{Source, VolumeMount};
use isopod_plan::{PlanError, layout};
use isopod_spec::{AppName, Mount, Volume, VolumeKind, VolumeName};

use crate::Settings;
use crate::control::Attach;
use crate::gather::GatherFault;
use crate::gather::RootDir;
use crate::gather::sources;
use crate::pods::PodEntry;
use crate::pods::files::{AppRecord, PodRecord, RootRecord, Status};
use crate::pods::volumes::{
    AttachedMountRecord, AttachedRecord, MountRecord, ShareRecord, SourceRecord, VolumeRecord, VolumeType,
};
use crate::record::{HostRoot, ImageRoot};

/// Why no volume can come.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The pod is only just coming up, or another version's.
    #[error("there is no record of the pod yet")]
    NoRecord,
    /// The source cannot be shared.
    #[error(transparent)]
    Source(#[from] GatherFault),
    /// An image of the pod cannot be read.
    #[error("cannot read the pod's image `{}`", path.display())]
    Image { path: PathBuf, source: Box<ReadError> },
    /// The planner found faults.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// What is to be asked of the supervisor, and what the user should know.
#[derive(Debug)]
pub struct PlannedHotplug {
    /// The request.
    pub attach: Attach,
    pub notices: Vec<String>,
}

/// Plans that `volume` comes to `pod`, with these mounts, each in one app or in all.
///
/// # Errors
/// [`AttachError`].
pub fn plan(
    pod: &PodEntry,
    volume: &Volume,
    mounts: &[(Option<AppName>, Mount)],
    settings: &Settings,
) -> Result<PlannedHotplug, AttachError> {
    let (Some(record), Some(status)) = (&pod.record, &pod.status) else {
        return Err(AttachError::NoRecord);
    };
    let (path, kind, id) = match &volume.kind {
        VolumeKind::Host(host) => {
            let found = sources::source(&volume.name, host, settings)?;
            (found.path, found.kind, found.id)
        }
        // The planner's to refuse.
        _ => (PathBuf::new(), SourceKind::Directory, None),
    };
    let open = |app: &AppRecord| open_root(pod, &app.root);
    let images: Vec<Box<dyn Lookup>> = record.apps.iter().map(open).collect::<Result<_, _>>()?;
    let volumes: Vec<VolumeRecord> = volumes(record, status).cloned().collect();
    let held = volumes.iter().filter_map(|volume| held(pod, volume).transpose());
    let held: Vec<Held> = held.collect::<Result<_, _>>()?;
    let sources = held.iter().map(|(name, kind, tree)| {
        let source = Source {
            kind: *kind,
            tree: &**tree,
        };
        (name.clone(), source)
    });
    let volumes: Vec<Volume> = volumes.iter().map(VolumeRecord::volume).collect();
    let running = Running {
        apps: apps(record, status, &images),
        volumes: &volumes,
        sources: sources.collect(),
        share: match record.share {
            ShareRecord::None => Share::None,
            ShareRecord::Devices => Share::Devices,
            ShareRecord::Virtiofs => Share::Bound("virtiofs"),
            ShareRecord::NineP => Share::Bound("9p"),
        },
        systemd_version: record.systemd_version,
        ownership: record.owner.ownership(),
        attached_before: status.volume_changes,
    };
    let tree = HostRoot(path.clone());
    let coming = HotplugRequest {
        volume,
        path,
        source: Source { kind, tree: &tree },
        id,
        mounts,
    };
    let plan = attach(&running, &coming)?;
    Ok(PlannedHotplug {
        notices: plan.notices.clone(),
        attach: request(record, plan),
    })
}

/// The volumes of a pod, with those that were attached.
fn volumes<'a>(record: &'a PodRecord, status: &'a Status) -> impl Iterator<Item = &'a VolumeRecord> {
    let attached = status.attached.iter().map(|attached| &attached.volume);
    record.volumes.iter().chain(attached)
}

/// A volume that can be looked into.
type Held = (VolumeName, SourceKind, Box<dyn Lookup>);

/// What a volume holds, of the host or of an image; a volume of the pod's own is the guest's to know.
fn held(pod: &PodEntry, volume: &VolumeRecord) -> Result<Option<Held>, AttachError> {
    let name = volume.name.clone();
    Ok(match (&volume.host, volume.image_number) {
        (Some(host), _) => Some((name, host.kind(), Box::new(HostRoot(host.path())))),
        (None, Some(number)) => Some((name, SourceKind::Directory, Box::new(open(pod, number)?))),
        (None, None) => None,
    })
}

/// An app's root.
fn open_root(pod: &PodEntry, root: &RootRecord) -> Result<Box<dyn Lookup>, AttachError> {
    Ok(match root {
        RootRecord::Image { number, .. } => Box::new(open(pod, *number)?),
        RootRecord::Directory { path, id, .. } => {
            let id = FileId {
                device: id.0,
                inode: id.1,
            };
            Box::new(RootDir::new(std::ffi::OsString::from(path.clone()).into(), id))
        }
    })
}

/// An image of the pod.
fn open(pod: &PodEntry, number: usize) -> Result<ImageRoot, AttachError> {
    let path = pod.path.join(layout::host_image(number));
    match Reader::open(&path) {
        Ok(reader) => Ok(ImageRoot(reader)),
        Err(source) => Err(AttachError::Image {
            path,
            source: Box::new(source),
        }),
    }
}

fn apps<'a>(record: &PodRecord, status: &Status, images: &'a [Box<dyn Lookup>]) -> Vec<RunningApp<'a>> {
    let attached = |app: &AppName| -> Vec<VolumeMount> {
        let mounts = status.attached.iter().flat_map(|attached| &attached.mounts);
        mounts
            .filter(|mount| mount.app == *app)
            .map(|mount| mount.mount.mount())
            .collect()
    };
    let apps = record.apps.iter().zip(images).map(|(app, image)| RunningApp {
        name: app.name.clone(),
        image: &**image,
        rootfs: app.rootfs,
        uid: app.uid,
        mounts: app
            .mounts
            .iter()
            .map(MountRecord::mount)
            .chain(attached(&app.name))
            .collect(),
    });
    apps.collect()
}

fn request(record: &PodRecord, plan: AttachPlan) -> Attach {
    let mounts = plan.mounts.iter().filter_map(|(app, mount)| {
        Some(AttachedMountRecord {
            app: record.apps.get(*app)?.name.clone(),
            mount: MountRecord::of(mount),
        })
    });
    Attach {
        record: AttachedRecord {
            serial: plan.serial,
            volume: VolumeRecord {
                name: plan.shared.name.clone(),
                kind: VolumeType::Host,
                host: Some(SourceRecord::of(&plan.shared)),
                image_number: None,
            },
            mounts: mounts.collect(),
        },
        guest: plan.guest,
    }
}
