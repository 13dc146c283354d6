//! `isopod list` and `ps`: which pods there are; `port` and `wait`: one thing of them, for scripts.

use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::pods::PodEntry;
use isopod_runtime::pods::state::PodState;
use isopod_spec::{PortForward, PortProtocol};
use serde_json::{Value, json};

use crate::args::{Format, PodFilter};
use crate::failure::Failure;
use crate::output::{self, Report};
use crate::show::{self, JSON_VERSION, Until, find, pods, pods_table, pretty, summary};

/// What is listed, and how.
pub(crate) struct Wanted<'a> {
    /// Whether pods that do not run are, too.
    pub(crate) all: bool,
    /// Whether their UUIDs are enough.
    pub(crate) quiet: bool,
    /// Which of them.
    pub(crate) filters: &'a [PodFilter],
    /// How they are printed.
    pub(crate) format: Format,
}

/// Prints pods.
///
/// # Errors
/// A [`Report`] with the reason.
pub(crate) fn list(wanted: &Wanted<'_>, settings: &Settings) -> Result<ExitCode, Failure> {
    let mut found = pods(settings)?.list()?;
    found.retain(|pod| (wanted.all || pod.state.is_live()) && passes(pod, wanted.filters));
    let text = match wanted.format {
        _ if wanted.quiet => found.iter().map(|pod| format!("{}\n", pod.uuid)).collect(),
        Format::Text => pods_table(&found),
        Format::Json => {
            let found: Vec<Value> = found.iter().map(summary).collect();
            pretty(&json!({ "version": JSON_VERSION, "pods": found }))
        }
    };
    output::data(&text);
    Ok(ExitCode::SUCCESS)
}

/// Whether a pod passes one filter of each key that is among them.
fn passes(pod: &PodEntry, filters: &[PodFilter]) -> bool {
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
        (PodFilter::Label(..), PodFilter::Label(..)) => one == other,
        _ => std::mem::discriminant(one) == std::mem::discriminant(other),
    }
}

fn passes_one(pod: &PodEntry, filter: &PodFilter) -> bool {
    let name = pod.record.as_ref().and_then(|record| record.name.as_ref());
    match filter {
        PodFilter::Name(text) => name.is_some_and(|name| name.as_str().contains(text)),
        PodFilter::Id(begin) => pod.uuid.starts_with(begin),
        PodFilter::Status(state) => pod.state.as_str() == state,
        PodFilter::Label(label, value) => {
            let asked = pod.asked().ok().flatten();
            let found = asked.and_then(|asked| asked.spec.labels.get(label).cloned());
            found.is_some_and(|found| value.as_ref().is_none_or(|value| *value == found))
        }
    }
}

/// Prints the ports of the host that lead into a pod: all of them, or those to one port.
///
/// # Errors
/// A [`Report`] with the reason, also where none leads to that port.
pub(crate) fn port(
    query: &str,
    port: Option<(u16, PortProtocol)>,
    settings: &Settings,
) -> Result<ExitCode, Failure> {
    let pod = find(&pods(settings)?, query)?;
    let ports = pod
        .record
        .as_ref()
        .map(|record| &record.ports[..])
        .unwrap_or_default();
    let address = |forward: &PortForward| std::net::SocketAddr::new(forward.address(), forward.host_port);
    let text: String = match port {
        None => ports
            .iter()
            .map(|forward| {
                format!(
                    "{}/{} -> {}\n",
                    forward.pod_port,
                    forward.protocol,
                    address(forward)
                )
            })
            .collect(),
        Some((number, protocol)) => {
            let meant = |forward: &&PortForward| forward.pod_port == number && forward.protocol == protocol;
            let lines: String = ports
                .iter()
                .filter(meant)
                .map(|forward| format!("{}\n", address(forward)))
                .collect();
            if lines.is_empty() {
                let what = format!(
                    "no port of the host leads to port {number}/{protocol} of pod `{}`",
                    pod.label()
                );
                return Err(Report::text(what)
                    .hint(Some("`-p` forwards one when the pod is made".into()))
                    .into());
            }
            lines
        }
    };
    output::data(&text);
    Ok(ExitCode::SUCCESS)
}

/// Waits until each pod has exited, and prints the exit status of each.
///
/// # Errors
/// A [`Report`] with the reason.
pub(crate) fn wait(queries: &[String], settings: &Settings) -> Result<ExitCode, Failure> {
    let pods = pods(settings)?;
    for query in queries {
        let pod = find(&pods, query)?;
        if pod.state == PodState::Prepared {
            return Err(Report::text(format!("pod `{}` was never started", pod.label()))
                .hint(Some(format!("start it: `isopod start {}`", pod.label())))
                .into());
        }
        let pod = show::wait(&pods, pod, Until::Exited)?;
        let status = show::exit_status(&pod);
        output::data(&format!("{}\n", status.unwrap_or(crate::FAILURE)));
    }
    Ok(ExitCode::SUCCESS)
}
