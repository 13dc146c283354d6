//! `isopod stats`: what the apps of a pod use, as the guest's kernel counts it.

use std::process::ExitCode;
use std::time::Duration;

use futures::future::join_all;
use isopod_contract::message::HostStream;
use isopod_contract::stats::{AppStats, Stats as Used};
use isopod_protocol::codec::read_message;
use isopod_runtime::Settings;
use isopod_runtime::control::{self, ANSWER_WITHIN, ControlError};
use isopod_runtime::pods::PodEntry;
use isopod_runtime::pods::state::PodState;
use serde_json::{Value, json};

use crate::as_docker::{self, Layout, layout};
use crate::failure::Failure;
use crate::output::{self, Report};
use crate::pods::{check_live, find, pods};
use crate::show::pretty;
use crate::table::table;

/// How long the processors' use is watched.
const WATCH: Duration = Duration::from_millis(500);

/// Show what the apps of a pod use
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Stats {
    /// The pods [default: those that run]
    #[arg(value_name = "POD")]
    pods: Vec<String>,
    /// No effect: pods that do not run use nothing
    #[arg(short, long)]
    all: bool,
    /// No effect: names are always whole
    #[arg(long)]
    no_trunc: bool,
    /// No effect: they are always shown once
    #[arg(long)]
    no_stream: bool,
    /// How to print it: text, json, or a Go template over docker's fields, with `table` before it under their names
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = layout)]
    format: Layout,
}

impl Stats {
    /// Prints it.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let all = pods(settings)?;
        let found = match &self.pods[..] {
            [] => {
                let live = all.list()?;
                live.into_iter()
                    .filter(|pod| pod.state == PodState::Running)
                    .collect()
            }
            names => {
                let found: Result<Vec<PodEntry>, Report> =
                    names.iter().map(|name| find(&all, name)).collect();
                let found = found?;
                found.iter().try_for_each(check_live)?;
                found
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        // Each by itself: one whose guest is silent holds up no other.
        let looks = runtime.block_on(join_all(found.iter().map(look)));
        let (one, mut reports, mut documents, mut rows) =
            (found.len() == 1, Vec::new(), Vec::new(), Vec::new());
        for (pod, look) in found.iter().zip(looks) {
            let (before, now) = match look {
                Ok(looks) => looks,
                Err(report) => {
                    reports.push(report);
                    continue;
                }
            };
            match &self.format {
                Layout::Text if one => output::data(&text(pod, &before, &now)),
                Layout::Text => {
                    output::data(&format!("pod: {}\n{}\n", pod.label(), text(pod, &before, &now)))
                }
                Layout::Json => documents.push(json(pod, &before, &now)),
                Layout::Template(_) | Layout::Table(_) => rows.push(row(pod, &before, &now)),
            }
        }
        match (&self.format, &documents[..]) {
            (Layout::Json, [document]) if one => output::data(&pretty(document)),
            (Layout::Json, _) if !one => output::data(&pretty(&documents.into())),
            (layout, _) => output::data(&as_docker::rows(layout, &rows)?),
        }
        Failure::unless_empty(reports)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What the pod uses, at two moments.
async fn look(pod: &PodEntry) -> Result<(Used, Used), Report> {
    let before = ask(pod).await?;
    tokio::time::sleep(WATCH).await;
    Ok((before, ask(pod).await?))
}

async fn ask(pod: &PodEntry) -> Result<Used, Report> {
    let stream = control::open(&pod.path, HostStream::Stats).await;
    let mut stream = stream?;
    // systemd in the guest is asked, which may hang where the agent does not.
    let answer = tokio::time::timeout(ANSWER_WITHIN, read_message(&mut stream)).await;
    let answer = answer.map_err(|_| ControlError::Silent(ANSWER_WITHIN))?;
    let stats: Option<Used> = answer?;
    stats.ok_or_else(|| Report::text("the pod ended before its agent answered"))
}

fn names(pod: &PodEntry) -> Vec<String> {
    let apps = pod.record.iter().flat_map(|record| &record.apps);
    apps.map(|app| app.name.to_string()).collect()
}

/// The share of one processor that an app used between two looks, in percent.
fn cpu_percent(before: &Used, now: &Used, app: usize) -> Option<f64> {
    let usec = |stats: &Used| stats.apps.get(app)?.cpu_usec;
    let passed_ms = now
        .guest
        .uptime_ms
        .checked_sub(before.guest.uptime_ms)
        .filter(|ms| *ms > 0)?;
    let used = usec(now)?.checked_sub(usec(before)?)?;
    Some(used as f64 / passed_ms as f64 / 10.0)
}

fn text(pod: &PodEntry, before: &Used, now: &Used) -> String {
    let unknown = || "-".to_owned();
    let size = |bytes: Option<u64>| bytes.map_or_else(unknown, mebibytes);
    let row = |(i, name): (usize, String)| {
        let app = now.apps.get(i).copied().unwrap_or_default();
        [
            name,
            cpu_percent(before, now, i).map_or_else(unknown, |percent| format!("{percent:.1}%")),
            size(app.memory_bytes),
            size(app.memory_peak_bytes),
            size(app.io_read_bytes),
            size(app.io_write_bytes),
            app.processes.to_string(),
        ]
    };
    let rows: Vec<[String; 7]> = names(pod).into_iter().enumerate().map(row).collect();
    let guest = &now.guest;
    let used = guest
        .memory_total_bytes
        .saturating_sub(guest.memory_available_bytes);
    let host = resident(pod).map(|bytes| format!("host: {} resident\n", mebibytes(bytes)));
    format!(
        "{}\nguest: {} of {} used, {} CPU, load {}.{:02}\n{}",
        table(
            ["APP", "CPU", "MEMORY", "PEAK", "READ", "WRITTEN", "PROCESSES"],
            &rows
        ),
        mebibytes(used),
        mebibytes(guest.memory_total_bytes),
        guest.cpus,
        guest.load_hundredths[0] / 100,
        guest.load_hundredths[0] % 100,
        host.unwrap_or_default(),
    )
}

/// A pod with docker's fields: what its apps use together, the page cache left out that goes first.
fn row(pod: &PodEntry, before: &Used, now: &Used) -> Value {
    let sum = |of: fn(&AppStats) -> Option<u64>| now.apps.iter().filter_map(of).sum::<u64>();
    let memory = sum(|app| {
        let inactive = app.memory_inactive_file_bytes.unwrap_or(0);
        app.memory_bytes.map(|bytes| bytes.saturating_sub(inactive))
    });
    let total = now.guest.memory_total_bytes;
    let percent: f64 = (0..now.apps.len())
        .filter_map(|app| cpu_percent(before, now, app))
        .sum();
    let size = as_docker::size;
    json!({
        "Container": pod.uuid,
        "ID": pod.uuid,
        "Name": pod.label(),
        "CPUPerc": format!("{percent:.2}%"),
        "MemUsage": format!("{} / {}", mebibytes(memory).replace(" ", ""), mebibytes(total).replace(" ", "")),
        "MemPerc": format!("{:.2}%", 100.0 * memory as f64 / (total.max(1)) as f64),
        // The VM's interfaces are not counted.
        "NetIO": "-- / --",
        "BlockIO": format!("{} / {}", size(sum(|app| app.io_read_bytes)), size(sum(|app| app.io_write_bytes))),
        "PIDs": now.apps.iter().map(|app| app.processes).sum::<u32>().to_string(),
    })
}

/// The memory of the host that the pod's processes have, in bytes.
fn resident(pod: &PodEntry) -> Option<u64> {
    pod.status.as_ref()?.supervisor?.resident_bytes()
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn json(pod: &PodEntry, before: &Used, now: &Used) -> Value {
    let app = |(i, name): (usize, String)| {
        let app: AppStats = now.apps.get(i).copied().unwrap_or_default();
        json!({
            "name": name,
            "processes": app.processes,
            "cpuPercent": cpu_percent(before, now, i),
            "cpuUsec": app.cpu_usec,
            "memoryBytes": app.memory_bytes,
            "memoryPeakBytes": app.memory_peak_bytes,
            "ioReadBytes": app.io_read_bytes,
            "ioWriteBytes": app.io_write_bytes,
        })
    };
    json!({
        "version": 1,
        "uptimeMs": now.guest.uptime_ms,
        "memoryTotalBytes": now.guest.memory_total_bytes,
        "memoryAvailableBytes": now.guest.memory_available_bytes,
        "cpus": now.guest.cpus,
        "hostResidentBytes": resident(pod),
        "apps": names(pod).into_iter().enumerate().map(app).collect::<Vec<Value>>(),
    })
}
