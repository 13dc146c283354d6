//! The `app` section of an app: how to run it (appc specification, "Image Manifest Schema", `app`).

use super::json::{Fields, Node};
use super::ports::{AppPort, read_app_port};
use crate::{Capabilities, MountPoint, RunConfig, VolumeName, capability};

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

/// Reads an `app` section; it replaces all that the image says. The ports that it names are put to `ports`.
pub(super) fn read_run_config(node: &Node<'_>, ports: &mut Vec<AppPort>) -> Option<RunConfig> {
    let fields = node.object(&FIELDS)?;
    for name in ["userAnnotations", "userLabels"] {
        fields.optional(name).inspect(Node::check_texts);
    }
    for handler in fields.items("eventHandlers") {
        handler.refuse(
            "an event handler is",
            "run its command within the app's own `exec`",
        );
    }
    ports.extend(fields.items("ports").iter().filter_map(read_app_port));
    let working_dir = fields
        .optional("workingDirectory")
        .filter(|node| node.string().is_some_and(|s| !s.is_empty()));
    Some(RunConfig {
        entrypoint: read_exec(&fields),
        cmd: Vec::new(),
        env: read_environment(&fields),
        user: fields.required_text("user").map(|(_, user)| user),
        group: fields.required_text("group").map(|(_, group)| group),
        supplementary_gids: fields
            .items("supplementaryGIDs")
            .iter()
            .filter_map(Node::id)
            .collect(),
        working_dir: working_dir.and_then(|node| node.absolute_path()),
        mount_points: fields
            .items("mountPoints")
            .iter()
            .filter_map(read_mount_point)
            .collect(),
        capabilities: read_capabilities(&fields),
        ..RunConfig::default()
    })
}

fn read_exec(fields: &Fields<'_>) -> Vec<String> {
    let Some(node) = fields.required("exec") else {
        return Vec::new();
    };
    let Some(items) = node.list() else {
        return Vec::new();
    };
    let exec: Vec<String> = items.iter().filter_map(Node::string).collect();
    match exec.first() {
        None if items.is_empty() => node.reject("[]", "a list that begins with the program"),
        Some(program) if !program.starts_with('/') => items[0].reject(program, "an absolute path"),
        _ => {}
    }
    exec
}

fn read_environment(fields: &Fields<'_>) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = Vec::new();
    for item in fields.items("environment") {
        let Some(variable) = item.object(&["name", "value"]) else {
            continue;
        };
        let name = variable.required_text("name");
        let value = variable.required("value").and_then(|node| node.string());
        let (Some((node, name)), Some(value)) = (name, value) else {
            continue;
        };
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            node.reject(&name, "letters, digits and `_`");
        } else if env.iter().any(|(other, _)| *other == name) {
            node.reject(&name, "a name that no other variable of the app has");
        }
        env.push((name, value));
    }
    env
}

fn read_mount_point(node: &Node<'_>) -> Option<MountPoint> {
    let fields = node.object(&["name", "path", "readOnly"])?;
    let name = fields
        .required("name")
        .and_then(|node| node.name(VolumeName::new));
    let path = fields.required("path").and_then(|node| node.absolute_path());
    let read_only = fields
        .optional("readOnly")
        .and_then(|node| node.boolean())
        .unwrap_or_default();
    Some(MountPoint {
        name: name?,
        path: path?,
        read_only,
    })
}

fn read_capabilities(fields: &Fields<'_>) -> Option<Capabilities> {
    let mut capabilities = None;
    for item in fields.items("isolators") {
        let Some((name, value)) = read_isolator(&item) else {
            continue;
        };
        let set: fn(Vec<String>) -> Capabilities = match name.as_str() {
            "os/linux/capabilities-retain-set" => Capabilities::Retain,
            "os/linux/capabilities-remove-set" => Capabilities::Remove,
            _ => {
                refuse_isolator(&item);
                continue;
            }
        };
        let names = value.map(|value| read_capability_set(&value)).unwrap_or_default();
        if capabilities.replace(set(names)).is_some() {
            item.reject(&name, "the only capability isolator of the app");
        }
    }
    capabilities
}

/// An isolator's name and value.
fn read_isolator<'a>(node: &Node<'a>) -> Option<(String, Option<Node<'a>>)> {
    let fields = node.object(&["name", "value"])?;
    let value = fields.required("value");
    Some((fields.required_text("name")?.1, value))
}

fn read_capability_set(node: &Node<'_>) -> Vec<String> {
    let Some(list) = node.object(&["set"]).and_then(|fields| fields.required("set")) else {
        return Vec::new();
    };
    if list.is_empty_list() {
        list.reject("[]", "a list of at least one capability");
    }
    let read = |node: Node<'_>| {
        let name = node.string()?;
        let known = capability::CAPABILITIES.into_iter().find(|known| *known == name);
        if known.is_none() {
            node.reject(&name, "a capability of capabilities(7), such as `CAP_NET_ADMIN`");
        }
        known.map(str::to_owned)
    };
    list.list()
        .unwrap_or_default()
        .into_iter()
        .filter_map(read)
        .collect()
}

/// Reports an isolator as one that cannot be honoured.
pub(super) fn refuse_isolator(node: &Node<'_>) {
    if let Some((name, _)) = read_isolator(node) {
        let hint = match name.as_str() {
            "resource/memory" => "leave it out; `--memory` sets the memory of the whole machine",
            "resource/cpu" => "leave it out; `--cpus` sets the virtual CPUs of the whole machine",
            _ => {
                "leave it out; only `os/linux/capabilities-retain-set` and `-remove-set` of an app are honoured"
            }
        };
        node.refuse(&format!("isolator `{}` is", crate::words::shown(name)), hint);
    }
}
