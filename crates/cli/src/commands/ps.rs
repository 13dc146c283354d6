//! `isopod ps`, and what it has in common with `isopod list`.

use std::cmp::Reverse;
use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::pods::PodEntry;
use isopod_runtime::pods::files::Now;
use isopod_runtime::pods::state::PodState;
use regex_lite::Regex;
use serde_json::{Value, json};

use crate::as_docker::{self, Layout, layout};
use crate::commands::image::list::is_named;
use crate::failure::Failure;
use crate::label_filter::LabelFilter;
use crate::output::{self};
use crate::pods::pods;
use crate::room::Room;
use crate::show::{JSON_VERSION, is_paused, pods_table, pods_table_with, pretty, summary};

/// Show running pods, as docker's `ps` does
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Ps {
    /// Show all pods, not only those that run
    #[arg(short, long)]
    all: bool,
    /// Show the N pods that were made last, in any state
    #[arg(short = 'n', long, value_name = "N")]
    last: Option<usize>,
    /// Show the pod that was made last, in any state
    #[arg(short, long, conflicts_with = "last")]
    latest: bool,
    #[command(flatten)]
    listing: Listing,
}

impl Ps {
    /// Prints them.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let last = if self.latest { Some(1) } else { self.last };
        self.listing.print(self.all || last.is_some(), last, settings)
    }
}

/// What a pod wrote, and with its images, as docker says it.
fn docker_size(room: Room) -> String {
    let size = as_docker::size;
    format!(
        "{} (virtual {})",
        size(room.written),
        size(room.written + room.images)
    )
}

/// Which of the pods are shown, and how.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Listing {
    /// Print UUIDs only
    #[arg(short, long, conflicts_with = "format")]
    quiet: bool,
    /// Show the disk space that the apps' writes take
    #[arg(short, long)]
    size: bool,
    /// No effect: UUIDs for programs are always whole
    #[arg(long)]
    no_trunc: bool,
    /// Only these: name=REGEX, id=UUID, status=STATE, label=NAME[=VALUE], ancestor=IMAGE, exited=STATUS, health=STATE,
    /// network=NAME or volume=NAME; with one key given twice either matches,
    /// with two keys both must
    #[arg(short = 'f', long = "filter", value_name = "KEY=VALUE", value_parser = pod_filter)]
    filters: Vec<PodFilter>,
    /// How to print them: text, json, or a Go template over docker's fields, with `table` before it under their names
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = layout)]
    format: Layout,
}

impl Listing {
    /// Prints the pods that run, or all, or of those the ones that were made last.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(super) fn print(
        &self,
        all: bool,
        last: Option<usize>,
        settings: &Settings,
    ) -> Result<ExitCode, Failure> {
        let mut found = pods(settings)?.list()?;
        found.retain(|pod| (all || pod.state.is_live()) && passes(pod, &self.filters));
        if let Some(last) = last {
            let made = |pod: &PodEntry| pod.record.as_ref().map(|record| record.created_ms);
            found.sort_by_key(|pod| Reverse(made(pod)));
            found.truncate(last);
        }
        let text = match &self.format {
            _ if self.quiet => found.iter().map(|pod| format!("{}\n", pod.uuid)).collect(),
            Layout::Text if self.size => pods_table_with(&found, "SIZE", |pod| docker_size(Room::of(pod))),
            Layout::Text => pods_table(&found),
            Layout::Json => {
                let summary = |pod: &PodEntry| {
                    let mut summary = summary(pod);
                    if self.size {
                        summary["writtenBytes"] = Room::of(pod).written.into();
                    }
                    summary
                };
                let found: Vec<Value> = found.iter().map(summary).collect();
                pretty(&json!({ "version": JSON_VERSION, "pods": found }))
            }
            layout @ (Layout::Template(text) | Layout::Table(text)) => {
                let sized = self.size || text.contains(".Size") || text.contains("json .");
                as_docker::rows(layout, &rows(&found, sized))?
            }
        };
        output::data(&text);
        Ok(ExitCode::SUCCESS)
    }
}

/// The pods with docker's fields.
fn rows(found: &[PodEntry], sized: bool) -> Vec<Value> {
    let now_ms = Now::read().wall_ms;
    let row = |pod: &PodEntry| {
        let spec = pod.asked().ok().flatten().map(|asked| asked.spec);
        let mut row = as_docker::pod_row(pod, spec.as_ref(), now_ms);
        if sized {
            row["Size"] = docker_size(Room::of(pod)).into();
        }
        row
    };
    found.iter().map(row).collect()
}

/// Which pods are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PodFilter {
    /// Those with names like this regular expression.
    Name(String),
    /// Those whose UUIDs begin so.
    Id(String),
    /// Those in this state.
    Status(String),
    /// Those with this label.
    Label(LabelFilter),
    /// Those with an app of this image: its name, with the tag or without, or its ID's beginning.
    Ancestor(String),
    /// Those that have exited with this status.
    Exited(u8),
    /// Those with an app of this health.
    Health(String),
    /// Those in this network.
    Network(String),
    /// Those with this volume, or with a mount at that path.
    Volume(String),
}

/// Reads one.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn pod_filter(text: &str) -> Result<PodFilter, String> {
    const STATES: [&str; 7] = [
        "preparing",
        "prepared",
        "starting",
        "running",
        "paused",
        "stopping",
        "exited",
    ];
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| "it is not KEY=VALUE".to_owned())?;
    match key {
        "name" => match Regex::new(value) {
            Ok(_) => Ok(PodFilter::Name(value.to_owned())),
            Err(error) => Err(format!("it is not a valid regular expression: {error}")),
        },
        "id" => Ok(PodFilter::Id(value.to_owned())),
        "label" => Ok(PodFilter::Label(LabelFilter::read(value))),
        // docker's word for it.
        "status" if value == "created" => Ok(PodFilter::Status("prepared".to_owned())),
        "status" if STATES.contains(&value) => Ok(PodFilter::Status(value.to_owned())),
        "status" => Err(format!("the states are {}", STATES.join(", "))),
        "ancestor" => Ok(PodFilter::Ancestor(value.to_owned())),
        "exited" => value
            .parse()
            .map(PodFilter::Exited)
            .map_err(|_| "an exit status is a number from 0 to 255".to_owned()),
        "health" if ["starting", "healthy", "unhealthy"].contains(&value) => {
            Ok(PodFilter::Health(value.to_owned()))
        }
        "health" => Err("health is starting, healthy or unhealthy".to_owned()),
        "network" => Ok(PodFilter::Network(value.to_owned())),
        "volume" => Ok(PodFilter::Volume(value.to_owned())),
        _ => Err(
            "the keys are name, id, status, label, ancestor, exited, health, network and volume".to_owned(),
        ),
    }
}

/// Whether a pod passes one filter of each key that is among them.
pub(crate) fn passes(pod: &PodEntry, filters: &[PodFilter]) -> bool {
    let of_key = |filter: &PodFilter| {
        filters
            .iter()
            .any(|other| same_key(filter, other) && passes_one(pod, other))
    };
    filters.iter().all(of_key)
}

/// Labels are each a key of their own, as with docker.
fn same_key(one: &PodFilter, other: &PodFilter) -> bool {
    match (one, other) {
        (PodFilter::Label(_), PodFilter::Label(_)) => one == other,
        _ => std::mem::discriminant(one) == std::mem::discriminant(other),
    }
}

fn passes_one(pod: &PodEntry, filter: &PodFilter) -> bool {
    let name = pod.record.as_ref().and_then(|record| record.name.as_ref());
    match filter {
        PodFilter::Name(pattern) => {
            // docker's names begin with a slash.
            let like = |name: &str| Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(name));
            name.is_some_and(|name| like(name.as_str()) || like(&format!("/{name}")))
        }
        PodFilter::Id(begin) => pod.uuid.starts_with(begin),
        PodFilter::Status(state) if state == "paused" => is_paused(pod),
        PodFilter::Status(state) => pod.state.as_str() == state && !(state == "running" && is_paused(pod)),
        PodFilter::Label(label) => {
            let asked = pod.asked().ok().flatten();
            asked.is_some_and(|asked| label.passes(&asked.spec.labels))
        }
        PodFilter::Ancestor(image) => {
            let row = as_docker::pod_row(
                pod,
                pod.asked().ok().flatten().map(|asked| asked.spec).as_ref(),
                0,
            );
            let mut names = row["Image"].as_str().unwrap_or_default().split(',');
            let ids = pod.record.iter().flat_map(|record| &record.images);
            let hex = image.trim_start_matches("sha256:");
            let mut ids = ids.filter_map(|id| id.get("sha256:".len()..));
            names.any(|name| is_named(name, image)) || (hex.len() >= 4 && ids.any(|id| id.starts_with(hex)))
        }
        PodFilter::Exited(status) => {
            pod.state == PodState::Exited && crate::show::exit_status(pod) == Some(*status)
        }
        PodFilter::Health(health) => {
            let apps = pod.status.iter().flat_map(|status| &status.apps);
            let mut found = apps.filter_map(|app| app.health);
            found.any(|found| found.as_str() == health)
        }
        PodFilter::Network(network) => {
            let row = as_docker::pod_row(
                pod,
                pod.asked().ok().flatten().map(|asked| asked.spec).as_ref(),
                0,
            );
            let mut joined = row["Networks"].as_str().unwrap_or_default().split(',');
            joined.any(|name| name == network)
        }
        PodFilter::Volume(volume) => {
            let record = pod.record.iter();
            let mut mounts = record.flat_map(|record| record.apps.iter().flat_map(|app| &app.mounts));
            let named = |record: &isopod_runtime::pods::files::PodRecord| {
                let hosts = record.volumes.iter().filter_map(|volume| volume.host.as_ref());
                let mut paths = hosts.map(|host| host.path());
                paths.any(|path| path.ends_with(format!("volumes/{volume}")))
            };
            mounts.any(|mount| mount.target == *volume || mount.volume.as_str() == volume)
                || pod.record.as_ref().is_some_and(named)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::tests::command;
    use crate::commands::OtherCommand;

    #[test]
    fn filters_are_read() {
        let OtherCommand::Ps(ps) = command("ps -aq --filter label=a=b -f status=created") else {
            panic!()
        };
        let expected = [
            PodFilter::Label(LabelFilter::read("a=b")),
            PodFilter::Status("prepared".into()),
        ];
        assert_eq!((ps.all, &ps.listing.filters[..]), (true, &expected[..]));
    }
}
