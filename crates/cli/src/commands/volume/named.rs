//! Named volumes: those that outlive pods.

use std::collections::{BTreeMap, BTreeSet};

use isopod_runtime::Settings;
use isopod_runtime::named_volume::{self, RemoveError, dir};
use isopod_runtime::pods::{Pods, PodsError};
use serde_json::json;

use crate::args::Layout;
use crate::as_docker;
use crate::output::Report;
use crate::pods::pods;
use crate::show::{JSON_VERSION, pretty};
use crate::table::table;

/// The names of all of them.
pub(crate) fn names(settings: &Settings) -> Result<Vec<String>, Report> {
    let failed = |error: std::io::Error| Report::text("cannot list the volumes").because(error.to_string());
    named_volume::names(&settings.state_dir).map_err(failed)
}

/// Removes one that no pod has.
pub(crate) fn remove(name: &str, pods: &Pods, settings: &Settings) -> Result<(), RemoveError> {
    named_volume::remove(&settings.state_dir, name, || {
        Ok(users(pods, settings)?.remove(name).unwrap_or_default())
    })
}

/// The names of those that a pod has.
///
/// # Errors
/// A [`Report`] when the pods cannot be read.
pub(crate) fn used(settings: &Settings) -> Result<BTreeSet<String>, Report> {
    Ok(users(&pods(settings)?, settings)?.into_keys().collect())
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

/// These, with the pods that have them.
pub(crate) fn shown(names: &[String], layout: &Layout, settings: &Settings) -> Result<String, Report> {
    let users = users(&pods(settings)?, settings)?;
    let of = |name: &String| users.get(name).cloned().unwrap_or_default();
    let path = |name: &String| dir(&settings.state_dir).join(name).display().to_string();
    Ok(match layout {
        Layout::Text => {
            let rows: Vec<[String; 3]> = names
                .iter()
                .map(|name| [name.clone(), path(name), of(name).join(", ")])
                .collect();
            table(["VOLUME", "DIRECTORY", "USED BY"], &rows)
        }
        Layout::Json => {
            let value = |name| json!({ "name": name, "directory": path(name), "usedBy": of(name) });
            let volumes: Vec<_> = names.iter().map(value).collect();
            pretty(&json!({ "version": JSON_VERSION, "volumes": volumes }))
        }
        layout => {
            let row = |name: &String| {
                json!({
                    "Name": name,
                    "Driver": "local",
                    "Scope": "local",
                    "Mountpoint": path(name),
                    "Labels": "",
                    "Links": of(name).len().to_string(),
                })
            };
            as_docker::rows(layout, &names.iter().map(row).collect::<Vec<_>>())?
        }
    })
}

/// Why a volume is not found.
pub(crate) fn no_such_volume(name: &str) -> Report {
    Report::text(format!("there is no volume `{name}`"))
        .hint(Some("`isopod volume ls` lists the named volumes".to_owned()))
}

/// Why a volume was not removed.
pub(crate) fn refused(name: &str, error: &RemoveError) -> Report {
    let hint = match error {
        RemoveError::Missing => return no_such_volume(name),
        RemoveError::Used(_) => Some("remove the pod first: `isopod rm POD`".to_owned()),
        _ => None,
    };
    Report::text(format!("cannot remove volume `{name}`"))
        .because(Report::new(error).line())
        .hint(hint)
}
