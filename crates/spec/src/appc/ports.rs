//! Ports: those that apps say they listen on (`app.ports`), and those of the pod that the host is to publish (`ports`).
//!
//! `hostIP` and `podPort` are in the specification's schema (schema/pod.go, `ExposedPort`) and not in its text.

use std::net::IpAddr;

use super::FaultKind;
use super::json::{Fields, Node, Place};
use crate::check::MAX_PORTS;
use crate::network::{PortForward, PortProtocol};

/// A port that an app listens on, or a range of them.
pub(super) struct AppPort {
    name: String,
    protocol: String,
    first: u16,
    count: u16,
}

/// Reads an item of an app's `ports`. It is information; only socket activation asks for something.
pub(super) fn read_app_port(node: &Node<'_>) -> Option<AppPort> {
    let fields = node.object(&["name", "protocol", "port", "count", "socketActivated"])?;
    let name = fields.required_text("name");
    let protocol = fields.required_text("protocol");
    let first = fields.required("port").and_then(|node| read_number(&node));
    let count = match fields.optional("count") {
        // Go's zero value: what a program writes that never set it.
        Some(node) if node.number() == Some("0") => Some(1),
        Some(node) => read_number(&node),
        None => Some(1),
    };
    if let Some(activated) = fields.optional("socketActivated")
        && activated.boolean() == Some(true)
    {
        activated.refuse("socket activation is", "let the app open its port itself");
    }
    Some(AppPort {
        name: name?.1,
        protocol: protocol?.1,
        first: first?,
        count: count?,
    })
}

/// Reads the pod's `ports`, each with its place: `hostPort` leads to the port of that name that an app listens on, or
/// to `podPort`. They are no more than a pod may have and one.
pub(super) fn read_pod_ports(pod: &Fields<'_>, apps: &[AppPort]) -> Vec<(PortForward, Place)> {
    let read = |node: Node<'_>| Some((read_pod_port(&node, apps)?, node.place()));
    let ports = pod.items("ports").into_iter().filter_map(read);
    ports
        .flat_map(|(forwards, place)| forwards.into_iter().map(move |forward| (forward, place.clone())))
        .take(MAX_PORTS + 1)
        .collect()
}

fn read_pod_port(node: &Node<'_>, apps: &[AppPort]) -> Option<Vec<PortForward>> {
    let fields = node.object(&["name", "hostPort", "hostIP", "podPort"])?;
    let name = fields.required_text("name");
    let host_port = fields.required("hostPort").and_then(|node| read_number(&node));
    let host_ip = match fields.optional_text("hostIP") {
        Some((node, text)) => Some(read_address(&node, &text)?),
        None => None,
    };
    let own = match fields.optional("podPort") {
        Some(node) => Some(read_app_port(&node)?),
        None => None,
    };
    let (name_node, name) = name?;
    let port = own
        .as_ref()
        .or_else(|| apps.iter().find(|port| port.name == name));
    let Some(port) = port else {
        name_node.reject(&name, "the name of a port that an app's own `app.ports` has");
        return None;
    };
    let protocol = match port.protocol.as_str() {
        "tcp" => PortProtocol::Tcp,
        "udp" => PortProtocol::Udp,
        other => {
            let what = format!(
                "publishing a port of protocol `{}` is",
                crate::words::shown(other)
            );
            name_node.refuse(&what, "only `tcp` and `udp` can be published");
            return None;
        }
    };
    let host_port = host_port?;
    let more = port.count - 1;
    if port.first.checked_add(more).is_none() || host_port.checked_add(more).is_none() {
        name_node.fault(FaultKind::Value {
            value: name,
            expected: "a range of ports that ends at 65535 or before, on the host as well",
        });
        return None;
    }
    let forward = |n| PortForward {
        host_ip,
        host_port: host_port + n,
        pod_port: port.first + n,
        protocol,
    };
    Some((0..port.count).map(forward).collect())
}

fn read_address(node: &Node<'_>, text: &str) -> Option<IpAddr> {
    let address = text.parse().ok();
    if address.is_none() {
        node.reject(text, "an IP address of the host's");
    }
    address
}

fn read_number(node: &Node<'_>) -> Option<u16> {
    let text = node.number()?;
    let number = text.parse::<u16>().ok().filter(|number| *number > 0);
    if number.is_none() {
        node.reject(text, "a whole number from 1 to 65535");
    }
    number
}
