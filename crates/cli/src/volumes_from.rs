//! `--volumes-from`: what other pods have mounted, read from their records, for the apps of a new one.

use std::path::{Path, PathBuf};

use isopod_runtime::Settings;
use isopod_runtime::pods::PodEntry;
use isopod_runtime::pods::volumes::{MountRecord, VolumeRecord};
use isopod_spec::flags::{Brought, VolumesFrom, take_over};
use isopod_spec::{HostVolume, MountFlags, Owners, PodSpec, SourceRule, VolumeKind};

use crate::failure::Failure;
use crate::output::Report;
use crate::pods::{find, pods};

/// Gives each app the volumes of the pods that it names in `from`, which has a list for each app.
///
/// # Errors
/// A [`Report`] for each pod that is not there, and for each volume that is in its pod's VM alone.
pub(crate) fn add(pod: &mut PodSpec, from: &[Vec<VolumesFrom>], settings: &Settings) -> Result<(), Failure> {
    let mut reports = Vec::new();
    for (index, from) in from.iter().enumerate() {
        for from in from {
            if let Err(mut found) = add_one(pod, index, from, settings) {
                reports.append(&mut found);
            }
        }
    }
    Failure::unless_empty(reports)
}

fn add_one(
    pod: &mut PodSpec,
    app: usize,
    from: &VolumesFrom,
    settings: &Settings,
) -> Result<(), Vec<Report>> {
    let other = pods(settings)
        .and_then(|pods| find(&pods, &from.name))
        .map_err(|report| vec![report])?;
    let (mut brought, mut reports) = (Vec::new(), Vec::new());
    for (volume, mount) in mounted(&other) {
        match shareable(volume, mount) {
            Some(one) => brought.push(one),
            None => reports.push(in_its_vm(&other, mount)),
        }
    }
    if !reports.is_empty() {
        return Err(reports);
    }
    // None of the pod's own volumes is taken for one of the other's.
    let declared = pod.volumes.len();
    let mounts: Vec<_> = brought
        .into_iter()
        .map(|one| one.add_to(&mut pod.volumes, declared))
        .collect();
    if let Some(app) = pod.apps.get_mut(app) {
        take_over(app, mounts, from.read_only);
    }
    Ok(())
}

/// What the apps of a pod have mounted, what was attached while it runs included.
fn mounted(pod: &PodEntry) -> Vec<(&VolumeRecord, &MountRecord)> {
    let record = pod.record.iter();
    let prepared = record.flat_map(|record| {
        let mounts = record.apps.iter().flat_map(|app| &app.mounts);
        mounts.filter_map(|mount| {
            let volume = record.volumes.iter().find(|volume| volume.name == mount.volume);
            Some((volume?, mount))
        })
    });
    let attached = pod.status.iter().flat_map(|status| &status.attached);
    let attached = attached.flat_map(|one| one.mounts.iter().map(|mount| (&one.volume, &mount.mount)));
    prepared.chain(attached).collect()
}

/// A volume of the host, as a flag would bring it.
fn shareable(volume: &VolumeRecord, mount: &MountRecord) -> Option<Brought> {
    let host = volume.host.as_ref()?;
    Some(Brought {
        kind: VolumeKind::Host(HostVolume {
            source: host.path(),
            recursive: host.recursive,
            propagation: host.propagation,
            must_be: SourceRule::Any,
        }),
        target: PathBuf::from(&mount.target),
        read_only: mount.read_only.then_some(true),
        sub_path: Some(Path::new(&mount.sub_path))
            .filter(|path| !path.as_os_str().is_empty())
            .map(Path::to_owned),
        flags: MountFlags::default(),
        // They were given when that pod started.
        owners: Owners::default(),
    })
}

fn in_its_vm(pod: &PodEntry, mount: &MountRecord) -> Report {
    let what = format!(
        "volume `{}` at `{}` of pod `{}` is only in that pod's VM",
        mount.volume,
        mount.target,
        pod.label()
    );
    Report::text(what).hint(Some(format!(
        "give it a name when you make that pod, so that it is kept: `-v NAME:{}`",
        mount.target
    )))
}
