//! What is known of pods, for people and as JSON. It comes from their directories; no supervisor is asked.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use isopod_runtime::pods::files::{AppRecord, AppState, AppStatus, HealthState};
use isopod_runtime::pods::state::{Phase, PodState};
use isopod_runtime::pods::volumes::MountRecord;
use isopod_runtime::pods::{PodEntry, Silence};
use isopod_spec::JoinedNetwork;
use isopod_spec::words::shown;
use serde_json::{Value, json};

use crate::output::{self};
use crate::table::{age, table};

/// The version of what is printed as JSON.
pub(crate) const JSON_VERSION: u32 = 1;

/// JSON as it is printed.
pub(crate) fn pretty(value: &Value) -> String {
    output::json_text(&format!("{value:#}\n"))
}

/// Why it is no longer running.
pub(crate) fn exit_reason(pod: &PodEntry) -> Option<String> {
    if pod.state != PodState::Exited {
        return None;
    }
    Some(match &pod.status {
        Some(status) => status.exit_reason(),
        None => "its supervisor was killed before it had begun".into(),
    })
}

/// Its exit status; 125 where nobody lived to write one.
pub(crate) fn exit_status(pod: &PodEntry) -> Option<u8> {
    if pod.state != PodState::Exited {
        return None;
    }
    let ended = pod.status.as_ref().filter(|status| status.phase == Phase::Exited);
    Some(ended.and_then(|status| status.exit_status).unwrap_or(125))
}

pub(crate) fn summary(pod: &PodEntry) -> Value {
    let record = pod.record.as_ref();
    let status = pod.status.as_ref();
    let silence = pod.silence();
    let apps: Vec<Value> = record
        .iter()
        .flat_map(|record| record.present())
        .map(|(i, app)| {
            let status = status.and_then(|status| status.apps.get(i));
            json!({
                "name": app.name,
                "image": app.root.image_id(),
                "rootDirectory": app.root.directory(),
                "state": app_state(pod, status),
                "ready": status.is_some_and(|status| status.ready),
                "exitStatus": status.and_then(|status| status.exit_status),
                "signal": status.and_then(|status| status.signal),
                "restarts": status.map_or(0, |status| status.restarts),
                "startedMs": status.and_then(|status| status.started_ms),
                "endedMs": status.and_then(|status| status.ended_ms),
                "error": status.and_then(|status| status.error.as_ref()),
                "health": status.and_then(|status| health(pod, status)),
                "healthText": status.and_then(|status| status.health_text.as_ref()),
                "endedBecause": status.and_then(|status| status.ended_because.as_ref()),
                "lastWords": status.and_then(|status| status.last_words.as_ref()),
                "mounts": mounts(pod, app),
            })
        })
        .collect();
    json!({
        "uuid": pod.uuid,
        "name": record.and_then(|record| record.name.as_ref()),
        "state": pod.state.as_str(),
        "networks": pod.joined().iter().map(network).collect::<Vec<Value>>(),
        "createdMs": record.map(|record| record.created_ms),
        "startedMs": status.map(|status| status.started_ms),
        "readyMs": status.and_then(|status| status.ready_ms),
        "endedMs": status.and_then(|status| status.ended_ms),
        "exitStatus": exit_status(pod),
        "exitReason": exit_reason(pod),
        "silentMs": match silence {
            Some(Silence::Guest(silent)) => Some(silent.as_millis()),
            _ => None,
        },
        "supervisorStopped": silence == Some(Silence::Supervisor),
        "apps": apps,
    })
}

/// What is mounted in an app, with what was attached while it runs.
fn mounts<'a>(pod: &'a PodEntry, app: &'a AppRecord) -> Vec<&'a MountRecord> {
    let attached = pod.status.iter().flat_map(|status| &status.attached);
    let attached = attached.flat_map(|attached| &attached.mounts);
    let attached = attached.filter(|mount| mount.app == app.name);
    app.mounts
        .iter()
        .chain(attached.map(|mount| &mount.mount))
        .collect()
}

/// An app's state in words: what is known of the pod goes before what its supervisor wrote last.
fn app_state(pod: &PodEntry, status: Option<&AppStatus>) -> &'static str {
    use AppState as A;
    match status.map(|status| status.state) {
        Some(A::Waiting) if !pod.state.is_live() => "not-started",
        Some(A::Running | A::Restarting) if !pod.state.is_live() => "lost",
        Some(A::Running) if status.is_some_and(|status| status.paused) => "paused",
        Some(state) => state.as_str(),
        None => "waiting",
    }
}

/// What an app's probes find, as long as it runs and its guest answers.
fn health(pod: &PodEntry, status: &AppStatus) -> Option<HealthState> {
    status
        .health
        .filter(|_| pod.state.is_live() && pod.silence().is_none())
}

/// What the probes of a pod find, the worst of them.
fn pod_health(pod: &PodEntry) -> Option<HealthState> {
    use HealthState::{Healthy, Starting, Unhealthy};
    let apps = pod.status.iter().flat_map(|status| &status.apps);
    let found: Vec<HealthState> = apps.filter_map(|app| health(pod, app)).collect();
    [Unhealthy, Starting, Healthy]
        .into_iter()
        .find(|state| found.contains(state))
}

pub(crate) fn pods_table(found: &[PodEntry]) -> String {
    let rows: Vec<[String; 5]> = found.iter().map(row).collect();
    table(PODS_TABLE, &rows)
}

/// The same, with one more column.
pub(crate) fn pods_table_with(found: &[PodEntry], name: &str, more: impl Fn(&PodEntry) -> String) -> String {
    let [a, b, c, d, e] = PODS_TABLE;
    let row = |pod: &PodEntry| {
        let [a, b, c, d, e] = row(pod);
        [a, b, c, d, e, more(pod)]
    };
    let rows: Vec<[String; 6]> = found.iter().map(row).collect();
    table([a, b, c, d, e, name], &rows)
}

const PODS_TABLE: [&str; 5] = ["UUID", "NAME", "STATE", "AGE", "APPS"];

fn row(pod: &PodEntry) -> [String; 5] {
    let record = pod.record.as_ref();
    let apps = record.iter().flat_map(|record| record.present());
    let apps: Vec<&str> = apps.map(|(_, app)| app.name.as_str()).collect();
    [
        pod.uuid.chars().take(8).collect(),
        record
            .and_then(|r| r.name.as_ref())
            .map(ToString::to_string)
            .unwrap_or_default(),
        state_text(pod),
        record.map(|record| since(record.created_ms)).unwrap_or_default(),
        apps.join(","),
    ]
}

fn state_text(pod: &PodEntry) -> String {
    match exit_status(pod) {
        Some(status) => format!("{} ({status})", pod.state.as_str()),
        None => match pod.silence() {
            Some(Silence::Guest(silent)) => {
                format!("{} (silent for {} s)", pod.state.as_str(), silent.as_secs())
            }
            Some(Silence::Supervisor) => format!("{} (supervisor stopped)", pod.state.as_str()),
            None if is_paused(pod) => format!("{} (paused)", pod.state.as_str()),
            None => with_health(pod.state.as_str(), pod_health(pod)),
        },
    }
}

/// Whether nothing of it runs but what is held.
pub(crate) fn is_paused(pod: &PodEntry) -> bool {
    let apps = pod.status.iter().flat_map(|status| &status.apps);
    let mut running = apps.filter(|app| app.state == AppState::Running).peekable();
    pod.state == PodState::Running && running.peek().is_some() && running.all(|app| app.paused)
}

/// `running (healthy)`, as docker writes it.
fn with_health(state: &str, health: Option<HealthState>) -> String {
    match health {
        Some(health) => format!("{state} ({})", health.as_str()),
        None => state.to_owned(),
    }
}

fn since(ms: u64) -> String {
    let then = UNIX_EPOCH + Duration::from_millis(ms);
    // A clock that went back makes everything new.
    age(SystemTime::now().duration_since(then).unwrap_or_default())
}

/// What a pod has of a network with a name.
fn network(joined: &JoinedNetwork) -> Value {
    json!({
        "name": joined.network.name,
        "interface": joined.interface,
        "mac": joined.mac,
        "addresses": joined.addresses,
        "names": joined.names,
    })
}

pub(crate) fn pod_text(pod: &PodEntry) -> String {
    let mut text = format!("uuid    {}\n", pod.uuid);
    if let Some(name) = pod.record.as_ref().and_then(|record| record.name.as_ref()) {
        text += &format!("name    {name}\n");
    }
    text += &format!("state   {}\n", state_text(pod));
    if let Some(reason) = exit_reason(pod) {
        text += &format!("reason  {}\n", reason.replace('\n', "\n        "));
    }
    let Some(record) = &pod.record else { return text };
    for joined in pod.joined() {
        let addresses: Vec<String> = joined.addresses.iter().map(ToString::to_string).collect();
        text += &format!("network {}: {}\n", joined.network.name, addresses.join(", "));
    }
    text += &format!("age     {}\n\n", since(record.created_ms));
    let rows: Vec<[String; 5]> = record
        .present()
        .map(|(i, app)| {
            let status = pod.status.as_ref().and_then(|status| status.apps.get(i));
            let end = status.and_then(|status| status.exit_status);
            let mounts: Vec<String> = mounts(pod, app)
                .into_iter()
                .map(|mount| {
                    let access = if mount.read_only { " (ro)" } else { "" };
                    format!("{}:{}{access}", mount.volume, mount.target)
                })
                .collect();
            [
                app.name.to_string(),
                with_health(
                    app_state(pod, status),
                    status.and_then(|status| health(pod, status)),
                ),
                end.map(|end| end.to_string()).unwrap_or_default(),
                status.map_or(0, |status| status.restarts).to_string(),
                mounts.join(", "),
            ]
        })
        .collect();
    text += &table(["APP", "STATE", "EXIT", "RESTARTS", "MOUNTS"], &rows);
    for app in pod.status.iter().flat_map(|status| &status.apps) {
        let unhealthy = health(pod, app) == Some(HealthState::Unhealthy);
        let found = app.health_text.as_ref().filter(|_| unhealthy);
        let found = found.map(|found| format!("unhealthy: {found}"));
        let ended = app.ended_because.as_ref().map(|why| format!("was ended: {why}"));
        let last = app.last_words.as_deref().map(str::trim_end);
        let last = last.map(|last| format!("termination message: {}", shown(last)));
        for words in app.error.iter().chain(&found).chain(&ended).chain(&last) {
            text += &format!("\n{}: {words}\n", app.name);
        }
    }
    text
}
