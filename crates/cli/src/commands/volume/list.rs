//! `isopod volume list`.

use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::pods::files::PodRecord;
use isopod_runtime::pods::volumes::{AttachedRecord, MountRecord, VolumeRecord};
use isopod_spec::AppName;
use isopod_spec::words::shown;
use serde_json::{Value, json};

use super::named::{self, VolumeFilter, volume_filter};
use crate::args::Format;
use crate::as_docker::{Layout, layout};
use crate::failure::Failure;
use crate::output::{self, Report};
use crate::pods::{find, pods};
use crate::show::{JSON_VERSION, pretty};
use crate::table::table;

/// List the named volumes, or show the volumes of a pod
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(visible_alias = "ls")]
pub(crate) struct VolumeList {
    /// The pod
    #[arg(value_name = "POD")]
    pod: Option<String>,
    /// Print names only
    #[arg(short, long, conflicts_with_all = ["format", "pod"])]
    quiet: bool,
    /// Only these: name=TEXT, label=NAME[=VALUE], dangling=true|false or driver=NAME
    #[arg(short = 'f', long = "filter", value_name = "KEY=VALUE", value_parser = volume_filter, conflicts_with = "pod")]
    filters: Vec<VolumeFilter>,
    /// How to print them: text, json, or a Go template over docker's fields, with `table` before it under their names
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = layout)]
    format: Layout,
}

impl VolumeList {
    /// Prints them.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        if let Some(pod) = &self.pod {
            let format = self.format.plain().ok_or_else(|| {
                Report::text("templates are for the named volumes")
                    .hint(Some("leave the pod out, or write `--format json`".into()))
            })?;
            output::data(&of_pod(pod, format, settings)?);
            return Ok(ExitCode::SUCCESS);
        }
        let names = named::filtered(named::names(settings)?, &self.filters, settings)?;
        output::data(&match self.quiet {
            true => names.iter().map(|name| format!("{name}\n")).collect::<String>(),
            false => named::shown(&names, &self.format, settings)?,
        });
        Ok(ExitCode::SUCCESS)
    }
}

/// The volumes of a pod: those that it started with, and those that were attached.
fn of_pod(query: &str, format: Format, settings: &Settings) -> Result<String, Report> {
    let pod = find(&pods(settings)?, query)?;
    let record = pod.record.as_ref();
    let declared = record.map(|record| &record.volumes[..]).unwrap_or_default();
    let attached = pod.status.as_ref().map(|status| &status.attached[..]);
    let attached = attached.unwrap_or_default();
    Ok(match format {
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
    })
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
