//! Ports: those that apps say they listen on (`app.ports`), and those of the pod that the host is to publish (`ports`).
//!
//! `hostIP` and `podPort` are in the specification's schema (schema/pod.go, `ExposedPort`) and not in its text.

use std::net::IpAddr;

use crate::AppName;
use crate::check::MAX_PORTS;
use crate::located::{FaultKind, Node};
use crate::network::{ImagePort, NamedPort, PortForward};
use crate::words::shown;

/// Reads an item of an app's `ports`. It is information; only socket activation asks for something.
pub(super) fn read_app_port(node: &Node<'_>) -> Option<ImagePort> {
    let fields = node.expect_object(&["name", "protocol", "port", "count", "socketActivated"])?;
    let name = fields.required("name").and_then(|node| node.name(AppName::new));
    let protocol = fields.required_text("protocol");
    let first = fields.required("port").and_then(|node| read_number(&node));
    let count = match fields.get("count") {
        // Go's zero value: what a program writes that never set it.
        Some(node) if node.expect_number() == Some("0") => Some(1),
        Some(node) => read_number(&node),
        None => Some(1),
    };
    if let (Some(first), Some(count)) = (first, count)
        && first.checked_add(count - 1).is_none()
    {
        fields
            .get("count")
            .iter()
            .for_each(|node| node.reject(&count.to_string(), "no more ports than there are up to 65535"));
    }
    if let Some(activated) = fields.get("socketActivated")
        && activated.expect_boolean() == Some(true)
    {
        activated.refuse_it("socket activation is", "let the app open its port itself");
    }
    Some(ImagePort {
        name: name?.to_string(),
        protocol: protocol?.1,
        first: first?,
        count: count?,
    })
}

/// What an item of the pod's `ports` leads to.
pub(super) enum PodPort {
    /// These ports of the pod.
    Forwards(Vec<PortForward>),
    /// One that only an image knows.
    Named(NamedPort),
}

/// Reads the pod's `ports`, each with its place: `hostPort` leads to the port of that name that an app listens on, or
/// to `podPort`. Where the manifest does not say of every app which ports it has (`images_may_name`), its image may. They are no
/// more than a pod may have and one.
pub(super) fn read_pod_ports<'a>(
    pod: &Node<'a>,
    apps: &[ImagePort],
    images_may_name: bool,
) -> (Vec<(PortForward, Node<'a>)>, Vec<NamedPort>) {
    let (mut forwards, mut named) = (Vec::new(), Vec::new());
    for node in pod.expect_items("ports") {
        match read_pod_port(&node, apps, images_may_name) {
            Some(PodPort::Forwards(ports)) => {
                forwards.extend(ports.into_iter().map(|port| (port, node.clone())));
            }
            Some(PodPort::Named(port)) => named.push(port),
            None => {}
        }
        forwards.truncate(MAX_PORTS + 1);
        named.truncate(MAX_PORTS + 1);
    }
    (forwards, named)
}

fn read_pod_port(node: &Node<'_>, apps: &[ImagePort], images_may_name: bool) -> Option<PodPort> {
    let fields = node.expect_object(&["name", "hostPort", "hostIP", "podPort"])?;
    let name = fields.required_text("name");
    let host_port = fields.required("hostPort").and_then(|node| read_number(&node));
    let host_ip = match fields.optional_text("hostIP") {
        Some((node, text)) => Some(read_address(&node, &text)?),
        None => None,
    };
    let own = match fields.get("podPort") {
        Some(node) => Some(read_app_port(&node)?),
        None => None,
    };
    let ((name_node, name), host_port) = (name?, host_port?);
    let port = own
        .as_ref()
        .or_else(|| apps.iter().find(|port| port.name == name));
    match port {
        Some(port) => match port.forwards(host_ip, host_port) {
            Ok(forwards) => Some(PodPort::Forwards(forwards)),
            Err(reason) => {
                name_node.fault(FaultKind::Port {
                    name: shown(&name),
                    reason,
                });
                None
            }
        },
        None if images_may_name => Some(PodPort::Named(NamedPort {
            name,
            host_ip,
            host_port,
        })),
        None => {
            name_node.reject(&name, "the name of a port that an app's own `app.ports` has");
            None
        }
    }
}

fn read_address(node: &Node<'_>, text: &str) -> Option<IpAddr> {
    let address = text.parse().ok();
    if address.is_none() {
        node.reject(text, "an IP address of the host");
    }
    address
}

fn read_number(node: &Node<'_>) -> Option<u16> {
    let text = node.expect_number()?;
    let number = text.parse::<u16>().ok().filter(|number| *number > 0);
    if number.is_none() {
        node.reject(text, "a whole number from 1 to 65535");
    }
    number
}
