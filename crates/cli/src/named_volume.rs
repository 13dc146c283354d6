//! `isopod volume`, on named volumes: those that outlive pods.

use std::collections::BTreeMap;
use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::named_volume::{self, RemoveError, dir};
use isopod_runtime::pods::{Pods, PodsError, new_uuid};
use serde_json::json;

use crate::args::Format;
use crate::failure::Failure;
use crate::output::{self, Report};
use crate::show::{JSON_VERSION, pods, pretty};
use crate::table::table;

/// `volume create`.
pub(crate) fn create(name: Option<&str>, settings: &Settings) -> Result<ExitCode, Failure> {
    let name = name.map_or_else(new_uuid, str::to_owned);
    let failed = |error: std::io::Error| {
        Report::text(format!("cannot make volume `{name}`")).because(error.to_string())
    };
    named_volume::create(&settings.state_dir, &name).map_err(failed)?;
    output::data(&format!("{name}\n"));
    Ok(ExitCode::SUCCESS)
}

/// `volume list` without a pod.
pub(crate) fn list(quiet: bool, format: Format, settings: &Settings) -> Result<ExitCode, Failure> {
    let names = names(settings)?;
    if quiet {
        output::data(&names.iter().map(|name| format!("{name}\n")).collect::<String>());
        return Ok(ExitCode::SUCCESS);
    }
    output::data(&shown(&names, format, settings)?);
    Ok(ExitCode::SUCCESS)
}

/// `volume inspect`.
pub(crate) fn inspect(asked: &[String], settings: &Settings) -> Result<ExitCode, Failure> {
    let names = names(settings)?;
    if let Some(missing) = asked.iter().find(|name| !names.contains(name)) {
        return Err(no_such_volume(missing).into());
    }
    output::data(&shown(asked, Format::Json, settings)?);
    Ok(ExitCode::SUCCESS)
}

/// `volume rm`.
pub(crate) fn remove(names: &[String], force: bool, settings: &Settings) -> Result<ExitCode, Failure> {
    let known = self::names(settings)?;
    let pods = pods(settings)?;
    let mut reports = Vec::new();
    for name in names {
        // The names that are there are safe to make paths of.
        let removed = match known.contains(name) {
            true => remove_one(name, &pods, settings),
            false => Err(RemoveError::Missing),
        };
        match removed {
            Err(RemoveError::Missing) if force => {}
            Ok(()) => output::data(&format!("{name}\n")),
            Err(error) => reports.push(refused(name, &error)),
        }
    }
    Failure::unless_empty(reports)?;
    Ok(ExitCode::SUCCESS)
}

/// `volume prune --all`.
pub(crate) fn prune(settings: &Settings) -> Result<ExitCode, Failure> {
    let pods = pods(settings)?;
    let mut reports = Vec::new();
    for name in names(settings)? {
        match remove_one(&name, &pods, settings) {
            Ok(()) => output::data(&format!("{name}\n")),
            Err(RemoveError::Used(_) | RemoveError::Missing) => {}
            Err(error) => reports.push(refused(&name, &error)),
        }
    }
    Failure::unless_empty(reports)?;
    Ok(ExitCode::SUCCESS)
}

fn names(settings: &Settings) -> Result<Vec<String>, Report> {
    let failed = |error: std::io::Error| Report::text("cannot list the volumes").because(error.to_string());
    named_volume::names(&settings.state_dir).map_err(failed)
}

fn remove_one(name: &str, pods: &Pods, settings: &Settings) -> Result<(), RemoveError> {
    named_volume::remove(&settings.state_dir, name, || {
        Ok(users(pods, settings)?.remove(name).unwrap_or_default())
    })
}

/// The pods that have named volumes, by the volumes' names.
fn users(pods: &Pods, settings: &Settings) -> Result<BTreeMap<String, Vec<String>>, PodsError> {
    let dir = dir(&settings.state_dir);
    // Sources are recorded with their links followed.
    let dir = dir.canonicalize().unwrap_or(dir);
    let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pod in pods.list()? {
        let declared = pod.record.iter().flat_map(|record| &record.volumes);
        let attached = pod.status.iter().flat_map(|status| &status.attached);
        for volume in declared.chain(attached.map(|one| &one.volume)) {
            let path = volume.host.as_ref().map(|host| host.path());
            let name = path.as_ref().and_then(|path| path.strip_prefix(&dir).ok());
            let name = name
                .and_then(|name| name.iter().next())
                .and_then(|name| name.to_str());
            if let Some(name) = name {
                let label = format!("pod `{}`", pod.label());
                let users = users.entry(name.to_owned()).or_default();
                if !users.contains(&label) {
                    users.push(label);
                }
            }
        }
    }
    Ok(users)
}

fn shown(names: &[String], format: Format, settings: &Settings) -> Result<String, Report> {
    let users = users(&pods(settings)?, settings)?;
    let of = |name: &String| users.get(name).cloned().unwrap_or_default();
    let path = |name: &String| dir(&settings.state_dir).join(name).display().to_string();
    Ok(match format {
        Format::Text => {
            let rows: Vec<[String; 3]> = names
                .iter()
                .map(|name| [name.clone(), path(name), of(name).join(", ")])
                .collect();
            table(["VOLUME", "DIRECTORY", "USED BY"], &rows)
        }
        Format::Json => {
            let value = |name| json!({ "name": name, "directory": path(name), "usedBy": of(name) });
            let volumes: Vec<_> = names.iter().map(value).collect();
            pretty(&json!({ "version": JSON_VERSION, "volumes": volumes }))
        }
    })
}

fn no_such_volume(name: &str) -> Report {
    Report::text(format!("there is no volume `{name}`"))
        .hint(Some("`isopod volume ls` lists the named volumes".to_owned()))
}

fn refused(name: &str, error: &RemoveError) -> Report {
    let hint = match error {
        RemoveError::Missing => return no_such_volume(name),
        RemoveError::Used(_) => Some("remove the pod first: `isopod rm POD`".to_owned()),
        _ => None,
    };
    Report::text(format!("cannot remove volume `{name}`"))
        .because(Report::new(error).line())
        .hint(hint)
}
