//! `isopod volume`, on the volumes of a pod: one comes to a pod that runs, goes, and is shown.

use std::ffi::OsStr;
use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::control::{ControlError, Request};
use isopod_runtime::hotplug as attach;
use isopod_runtime::pods::files::PodRecord;
use isopod_runtime::pods::volumes::{AttachedRecord, MountRecord, VolumeRecord};
use isopod_runtime::pods::{PodEntry, Pods};
use isopod_spec::flags::{read_app_mount, read_volume};
use isopod_spec::words::shown;
use isopod_spec::{AppName, Mount, Volume, VolumeName};
use serde_json::{Value, json};

use crate::args::{Format, VolumeCommand};
use crate::failure::Failure;
use crate::life::{ask, check_live};
use crate::named_volume;
use crate::output::{self, Report};
use crate::show::{JSON_VERSION, find, pods, pretty};
use crate::table::table;

/// How often an attachment is planned anew, since volumes came or went at the same time.
const ATTEMPTS: usize = 16;

/// Does it.
///
/// # Errors
/// A [`Report`] with the reason.
pub(crate) fn volume(command: &VolumeCommand, settings: &Settings) -> Result<ExitCode, Failure> {
    match command {
        VolumeCommand::Attach { pod, volume, mounts } => {
            let (volume, mounts) = read(volume, mounts)?;
            bring(pod, &volume, &mounts, settings)
        }
        VolumeCommand::Detach { pod, name, force } => take(pod, name, *force, settings),
        VolumeCommand::List {
            pod: Some(pod),
            format,
            ..
        } => list(pod, *format, settings),
        VolumeCommand::List {
            pod: None,
            quiet,
            format,
        } => named_volume::list(*quiet, *format, settings),
        VolumeCommand::Create { name } => named_volume::create(name.as_deref(), settings),
        VolumeCommand::Inspect { names } => named_volume::inspect(names, settings),
        VolumeCommand::Rm { names, force } => named_volume::remove(names, *force, settings),
        VolumeCommand::Prune { .. } => named_volume::prune(settings),
    }
}

type Wanted = (Volume, Vec<(Option<AppName>, Mount)>);

fn read(volume: &OsStr, mounts: &[std::ffi::OsString]) -> Result<Wanted, Failure> {
    let mut reports = Vec::new();
    let mut fault = |error: isopod_spec::flags::InvalidFlag| reports.push(error.into());
    let volume = read_volume(volume).map_err(&mut fault).ok();
    let mounts: Vec<_> = mounts
        .iter()
        .filter_map(|mount| read_app_mount(mount).map_err(&mut fault).ok())
        .collect();
    match volume {
        Some(volume) if reports.is_empty() => Ok((volume, mounts)),
        _ => Err(reports.into()),
    }
}

fn bring(
    query: &str,
    volume: &Volume,
    mounts: &[(Option<AppName>, Mount)],
    settings: &Settings,
) -> Result<ExitCode, Failure> {
    let pods = pods(settings)?;
    let mut pod = live(&pods, query)?;
    for attempt in 1.. {
        let planned = attach::plan(&pod, volume, mounts, settings)?;
        match ask(&pod, &Request::Attach(Box::new(planned.attach))) {
            Ok(()) => {
                planned.notices.iter().for_each(|notice| output::note(notice));
                output::data(&format!("{}\n", volume.name));
                return Ok(ExitCode::SUCCESS);
            }
            // Another came or went at the same time: planned anew, on what is now.
            Err(ControlError::Outdated) if attempt < ATTEMPTS => pod = live(&pods, query)?,
            Err(error) => return Err(failed("attach", "to", &volume.name, &pod, &error).into()),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn take(query: &str, name: &VolumeName, force: bool, settings: &Settings) -> Result<ExitCode, Failure> {
    let pod = live(&pods(settings)?, query)?;
    let request = Request::Detach {
        name: name.clone(),
        force,
    };
    match ask(&pod, &request) {
        Ok(()) => {
            output::data(&format!("{name}\n"));
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Err(failed("detach", "from", name, &pod, &error).into()),
    }
}

fn live(pods: &Pods, query: &str) -> Result<PodEntry, Report> {
    let pod = find(pods, query)?;
    check_live(&pod)?;
    Ok(pod)
}

fn failed(verb: &str, way: &str, name: &VolumeName, pod: &PodEntry, error: &ControlError) -> Report {
    let what = format!("cannot {verb} volume `{name}` {way} pod `{}`", pod.label());
    let hint = match error {
        ControlError::Busy(_) => {
            Some("end what uses it, or detach it with `--force`: what is open then stays open".to_owned())
        }
        error => error.hint(),
    };
    match error {
        ControlError::Refused(reason) => Report::text(what).because(reason.clone()),
        other => Report::text(what).because(Report::new(other).line()),
    }
    .hint(hint)
}

fn list(query: &str, format: Format, settings: &Settings) -> Result<ExitCode, Failure> {
    let pod = find(&pods(settings)?, query)?;
    let record = pod.record.as_ref();
    let declared = record.map(|record| &record.volumes[..]).unwrap_or_default();
    let attached = pod.status.as_ref().map(|status| &status.attached[..]);
    let attached = attached.unwrap_or_default();
    let text = match format {
        Format::Text => {
            let rows: Vec<[String; 5]> = declared
                .iter()
                .map(|volume| row(volume, "start", &mounts_of(record, volume)))
                .chain(
                    attached
                        .iter()
                        .map(|one| row(&one.volume, "attached", &attached_mounts(one))),
                )
                .collect();
            table(["VOLUME", "SOURCE", "ACCESS", "SINCE", "MOUNTS"], &rows)
        }
        Format::Json => {
            let declared = declared
                .iter()
                .map(|volume| value(volume, false, &mounts_of(record, volume)));
            let attached = attached
                .iter()
                .map(|one| value(&one.volume, true, &attached_mounts(one)));
            let volumes: Vec<Value> = declared.chain(attached).collect();
            pretty(&json!({ "version": JSON_VERSION, "uuid": pod.uuid, "volumes": volumes }))
        }
    };
    output::data(&text);
    Ok(ExitCode::SUCCESS)
}

type MountOf<'a> = (&'a AppName, &'a MountRecord);

fn mounts_of<'a>(record: Option<&'a PodRecord>, volume: &VolumeRecord) -> Vec<MountOf<'a>> {
    let apps = record.map(|record| &record.apps[..]).unwrap_or_default();
    let mounts = apps
        .iter()
        .flat_map(|app| app.mounts.iter().map(|mount| (&app.name, mount)));
    mounts.filter(|(_, mount)| mount.volume == volume.name).collect()
}

fn attached_mounts(attached: &AttachedRecord) -> Vec<MountOf<'_>> {
    let mounts = attached.mounts.iter();
    mounts.map(|mount| (&mount.app, &mount.mount)).collect()
}

fn row(volume: &VolumeRecord, since: &str, mounts: &[MountOf<'_>]) -> [String; 5] {
    let mounts = mounts.iter().map(|(app, mount)| {
        let access = if mount.read_only { " (ro)" } else { "" };
        format!("{app}:{}{access}", shown(&mount.target))
    });
    let source = volume.host.as_ref().map(|host| shown(host.path()));
    [
        volume.name.to_string(),
        source.unwrap_or_else(|| format!("({})", volume.kind.as_str())),
        access(volume).to_owned(),
        since.to_owned(),
        mounts.collect::<Vec<_>>().join(", "),
    ]
}

/// What the host lets the pod do with it.
fn access(volume: &VolumeRecord) -> &'static str {
    match volume.host.as_ref().is_some_and(|host| host.read_only) {
        true => "ro",
        false => "rw",
    }
}

fn value(volume: &VolumeRecord, attached: bool, mounts: &[MountOf<'_>]) -> Value {
    let mounts: Vec<Value> = mounts
        .iter()
        .map(|(app, mount)| {
            json!({
                "app": app,
                "target": mount.target,
                "place": mount.place,
                "subPath": mount.sub_path,
                "readOnly": mount.read_only,
            })
        })
        .collect();
    json!({
        "name": volume.name,
        "kind": volume.kind,
        "source": volume.host.as_ref().map(|host| &host.source),
        "readOnly": volume.host.as_ref().is_some_and(|host| host.read_only),
        "attached": attached,
        "mounts": mounts,
    })
}
