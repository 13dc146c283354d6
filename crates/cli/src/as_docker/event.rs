//! Events with the fields and words that docker has for them.

use isopod_runtime::events::{Event, EventKind};
use serde_json::{Value, json};

use super::template::AS_JSON;

/// docker's word for it; Isopod's own where docker has none.
pub(crate) fn action(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Prepared => "create",
        EventKind::Started => "start",
        EventKind::Exited => "die",
        EventKind::Removed => "destroy",
        EventKind::AppPaused => "pause",
        EventKind::AppUnpaused => "unpause",
        EventKind::AppHealthy => "health_status: healthy",
        EventKind::AppUnhealthy => "health_status: unhealthy",
        EventKind::VolumeAttached => "mount",
        EventKind::VolumeDetached => "unmount",
        other => other.as_str(),
    }
}

/// What docker says an event is of.
pub(crate) fn event_type(kind: EventKind) -> &'static str {
    match kind {
        EventKind::VolumeAttached | EventKind::VolumeDetached => "volume",
        _ => "container",
    }
}

/// An event as docker's `--format` sees it; podman's fields are beside docker's.
pub(crate) fn event_row(event: &Event) -> Value {
    let (kind, action) = (event_type(event.kind), action(event.kind));
    let mut attributes = serde_json::Map::new();
    let name = event.name.as_ref().map(|name| name.as_str().to_owned());
    let texts = [
        ("name", name.clone()),
        ("app", event.app.as_ref().map(ToString::to_string)),
        ("volume", event.volume.as_ref().map(ToString::to_string)),
        ("exitCode", event.exit_status.map(|status| status.to_string())),
        ("signal", event.signal.map(|signal| signal.to_string())),
        ("reason", event.reason.clone()),
    ];
    // In Go, what such a map does not have is an empty text.
    let reported = texts
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.unwrap_or_default().into()));
    attributes.extend(reported);
    let id = match (&event.volume, kind) {
        (Some(volume), "volume") => volume.to_string(),
        _ => event.uuid.clone(),
    };
    let (seconds, nanoseconds) = (event.time_ms / 1000, event.time_ms * 1_000_000);
    let actor = json!({ "ID": id, "Attributes": attributes });
    json!({
        "Type": kind,
        "Action": action,
        "Actor": actor,
        "Scope": "local",
        "Time": seconds,
        "TimeNano": nanoseconds,
        "ID": id,
        "Status": action,
        "Name": name.unwrap_or_default(),
        AS_JSON: {
            "status": action,
            "id": id,
            "Type": kind,
            "Action": action,
            "Actor": actor,
            "scope": "local",
            "time": seconds,
            "timeNano": nanoseconds,
        },
    })
}
