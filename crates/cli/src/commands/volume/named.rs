//! Named volumes: those that outlive pods.

use std::collections::{BTreeMap, BTreeSet};

use isopod_runtime::Settings;
use isopod_runtime::logs::stamp;
use isopod_runtime::named_volume::{self, RemoveError, dir};
use isopod_runtime::pods::{Pods, PodsError};
use serde_json::{Value, json};

use crate::as_docker::{self, Layout};
use crate::label_filter::LabelFilter;
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
    Ok(users_of(settings)?.into_keys().collect())
}

/// The pods that have named volumes, by the volumes' names.
///
/// # Errors
/// A [`Report`] when the pods cannot be read.
pub(crate) fn users_of(settings: &Settings) -> Result<BTreeMap<String, Vec<String>>, Report> {
    Ok(users(&pods(settings)?, settings)?)
}

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

/// Which volumes are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum VolumeFilter {
    /// Those whose names have this text in them.
    Name(String),
    Label(LabelFilter),
    /// Those without this label.
    NoLabel(LabelFilter),
    /// Those that no pod has, or that one has.
    Dangling(bool),
    /// Those of this driver: all are `local`.
    Driver(String),
}

/// Reads one.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn volume_filter(text: &str) -> Result<VolumeFilter, String> {
    if let Some(label) = text.strip_prefix("label!=") {
        return Ok(VolumeFilter::NoLabel(LabelFilter::read(label)));
    }
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| "it is not KEY=VALUE".to_owned())?;
    match key {
        "name" => Ok(VolumeFilter::Name(value.to_owned())),
        "label" => Ok(VolumeFilter::Label(LabelFilter::read(value))),
        "driver" => Ok(VolumeFilter::Driver(value.to_owned())),
        "dangling" => match value {
            "true" | "1" => Ok(VolumeFilter::Dangling(true)),
            "false" | "0" => Ok(VolumeFilter::Dangling(false)),
            _ => Err("it must be `true` or `false`".to_owned()),
        },
        _ => Err("the keys are name, label, dangling and driver".to_owned()),
    }
}

/// The names of those that pass one filter of each key, and every filter by label.
///
/// # Errors
/// A [`Report`] when labels or pods cannot be read.
pub(crate) fn filtered(
    mut names: Vec<String>,
    filters: &[VolumeFilter],
    settings: &Settings,
) -> Result<Vec<String>, Report> {
    let used = match filters
        .iter()
        .any(|filter| matches!(filter, VolumeFilter::Dangling(_)))
    {
        true => used(settings)?,
        false => BTreeSet::new(),
    };
    for filter in filters {
        let passes = |name: &String| -> Result<bool, Report> {
            let mut like = filters.iter();
            Ok(match filter {
                VolumeFilter::Name(_) => {
                    like.any(|other| matches!(other, VolumeFilter::Name(text) if name.contains(text)))
                }
                VolumeFilter::Label(label) => label.passes(&labels(name, settings)?),
                VolumeFilter::NoLabel(label) => !label.passes(&labels(name, settings)?),
                VolumeFilter::Dangling(_) => filters.contains(&VolumeFilter::Dangling(!used.contains(name))),
                VolumeFilter::Driver(_) => {
                    like.any(|other| matches!(other, VolumeFilter::Driver(driver) if driver == "local"))
                }
            })
        };
        let passing = names.iter().map(passes).collect::<Result<Vec<bool>, Report>>()?;
        let mut passing = passing.into_iter();
        names.retain(|_| passing.next().unwrap_or(false));
    }
    Ok(names)
}

fn labels(name: &str, settings: &Settings) -> Result<BTreeMap<String, String>, Report> {
    let failed = |error: std::io::Error| {
        Report::text(format!("cannot read the labels of volume `{name}`")).because(error.to_string())
    };
    named_volume::labels(&settings.state_dir, name).map_err(failed)
}

/// What is known of named volumes.
struct Known<'a> {
    settings: &'a Settings,
    /// The pods that have them.
    users: BTreeMap<String, Vec<String>>,
}

impl Known<'_> {
    fn of(settings: &Settings) -> Result<Known<'_>, Report> {
        let users = users(&pods(settings)?, settings)?;
        Ok(Known { settings, users })
    }

    fn path(&self, name: &str) -> String {
        dir(&self.settings.state_dir).join(name).display().to_string()
    }

    fn created(&self, name: &str) -> Option<String> {
        let metadata = dir(&self.settings.state_dir).join(name).metadata().ok()?;
        Some(stamp(metadata.created().ok()?))
    }

    fn users(&self, name: &str) -> &[String] {
        self.users.get(name).map_or(&[], Vec::as_slice)
    }

    /// docker's fields.
    fn as_docker(&self, name: &str, labels: &Value) -> Value {
        json!({
            "Name": name,
            "Driver": "local",
            "Scope": "local",
            "Mountpoint": self.path(name),
            "CreatedAt": self.created(name),
            "Labels": labels,
            "Options": null,
            "Links": self.users(name).len().to_string(),
        })
    }
}

/// These, with the pods that have them.
pub(crate) fn shown(names: &[String], layout: &Layout, settings: &Settings) -> Result<String, Report> {
    let known = Known::of(settings)?;
    Ok(match layout {
        Layout::Text => {
            let rows: Vec<[String; 3]> = names
                .iter()
                .map(|name| [name.clone(), known.path(name), known.users(name).join(", ")])
                .collect();
            table(["VOLUME", "DIRECTORY", "USED BY"], &rows)
        }
        Layout::Json => {
            let value = |name: &String| {
                Ok(json!({
                    "name": name,
                    "directory": known.path(name),
                    "created": known.created(name),
                    "labels": labels(name, settings)?,
                    "usedBy": known.users(name),
                }))
            };
            let volumes: Vec<_> = names.iter().map(value).collect::<Result<_, Report>>()?;
            pretty(&json!({ "version": JSON_VERSION, "volumes": volumes }))
        }
        layout => {
            let row = |name: &String| {
                let labels = labels(name, settings)?;
                let text = labels.iter().map(|(name, value)| format!("{name}={value}"));
                // In a list docker has them as a text.
                Ok(known.as_docker(name, &text.collect::<Vec<_>>().join(",").into()))
            };
            let rows: Vec<_> = names.iter().map(row).collect::<Result<_, Report>>()?;
            as_docker::rows(layout, &rows)?
        }
    })
}

/// All that is known of each, with docker's fields.
pub(crate) fn documents(names: &[String], settings: &Settings) -> Result<Vec<Value>, Report> {
    let known = Known::of(settings)?;
    let document = |name: &String| {
        let mut document = known.as_docker(name, &json!(labels(name, settings)?));
        document["Isopod"] = json!({ "version": JSON_VERSION, "usedBy": known.users(name) });
        Ok(document)
    };
    names.iter().map(document).collect()
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
        RemoveError::Pods(error) => error.hint(),
        RemoveError::Files(_) => None,
    };
    Report::text(format!("cannot remove volume `{name}`"))
        .because(Report::new(error).line())
        .hint(hint)
}
