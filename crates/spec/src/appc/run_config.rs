//! The `app` section of an app: how to run it (appc specification, "Image Manifest Schema", `app`).

use super::isolators::read_app_isolators;
use super::ports::read_app_port;
use crate::located::Node;
use crate::probe::EventHandlers;
use crate::{MountPoint, RunConfig, VolumeName};
use std::collections::BTreeSet;

const FIELDS: [&str; 12] = [
    "exec",
    "eventHandlers",
    "user",
    "group",
    "supplementaryGIDs",
    "workingDirectory",
    "environment",
    "mountPoints",
    "ports",
    "isolators",
    "userAnnotations",
    "userLabels",
];

/// Reads an `app` section; it replaces all that the image says.
pub(super) fn read_run_config(node: &Node<'_>) -> Option<RunConfig> {
    let fields = node.expect_object(&FIELDS)?;
    for name in ["userAnnotations", "userLabels"] {
        fields.get(name).inspect(Node::check_texts);
    }
    let working_dir = fields
        .get("workingDirectory")
        .filter(|node| node.expect_text().is_some_and(|s| !s.is_empty()));
    let mut config = RunConfig {
        entrypoint: read_exec(&fields),
        cmd: Vec::new(),
        env: read_environment(&fields),
        user: fields.required_text("user").map(|(_, user)| user),
        group: fields.required_text("group").map(|(_, group)| group),
        group_for_any_user: true,
        supplementary_gids: fields
            .expect_items("supplementaryGIDs")
            .iter()
            .filter_map(Node::id)
            .collect(),
        working_dir: working_dir.and_then(|node| node.absolute_path()),
        mount_points: fields
            .expect_items("mountPoints")
            .iter()
            .filter_map(read_mount_point)
            .collect(),
        ports: fields
            .expect_items("ports")
            .iter()
            .filter_map(read_app_port)
            .collect(),
        event_handlers: read_event_handlers(&fields),
        ..RunConfig::default()
    };
    read_app_isolators(&fields, &mut config);
    Some(config)
}

fn read_event_handlers(fields: &Node<'_>) -> EventHandlers {
    let mut handlers = EventHandlers::default();
    for item in fields.expect_items("eventHandlers") {
        let Some(handler) = item.expect_object(&["name", "exec"]) else {
            continue;
        };
        let exec = read_exec(&handler);
        let Some((node, name)) = handler.required_text("name") else {
            continue;
        };
        let place = match name.as_str() {
            "pre-start" => &mut handlers.pre_start,
            "post-stop" => &mut handlers.post_stop,
            _ => {
                node.reject(&name, "`pre-start` or `post-stop`");
                continue;
            }
        };
        if place.replace(exec).is_some() {
            node.reject(&name, "a name that no other handler of the app has");
        }
    }
    handlers
}

fn read_exec(fields: &Node<'_>) -> Vec<String> {
    let Some(node) = fields.required("exec") else {
        return Vec::new();
    };
    let Some(items) = node.expect_list() else {
        return Vec::new();
    };
    let exec: Vec<String> = items.iter().filter_map(Node::expect_text).collect();
    match exec.first() {
        None if items.is_empty() => node.reject("[]", "a list that begins with the program"),
        Some(program) if !program.starts_with('/') => items[0].reject(program, "an absolute path"),
        _ => {}
    }
    exec
}

fn read_environment(fields: &Node<'_>) -> Vec<(String, String)> {
    let (mut env, mut seen) = (Vec::new(), BTreeSet::new());
    for item in fields.expect_items("environment") {
        let Some(variable) = item.expect_object(&["name", "value"]) else {
            continue;
        };
        let name = variable.required_text("name");
        let value = variable.required("value").and_then(|node| node.expect_text());
        let (Some((node, name)), Some(value)) = (name, value) else {
            continue;
        };
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            node.reject(&name, "letters, digits and `_`");
        } else if !seen.insert(name.clone()) {
            node.reject(&name, "a name that no other variable of the app has");
        }
        env.push((name, value));
    }
    env
}

fn read_mount_point(node: &Node<'_>) -> Option<MountPoint> {
    let fields = node.expect_object(&["name", "path", "readOnly"])?;
    let name = fields
        .required("name")
        .and_then(|node| node.name(VolumeName::new));
    let path = fields.required("path").and_then(|node| node.path_in_root());
    let read_only = fields
        .get("readOnly")
        .and_then(|node| node.expect_boolean())
        .unwrap_or_default();
    Some(MountPoint {
        name: name?,
        path: path?,
        read_only,
    })
}
