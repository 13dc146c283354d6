//! Probes and lifecycle handlers.

use std::time::Duration;

use super::env::StaticVariables;
use crate::located::Node;
use crate::{Handler, HttpGet, Lifecycle, Overrides, Probe, ProbeAction, Probes};

/// The probes of the container `node`.
pub(super) fn probes(node: &Node<'_>) -> Probes {
    let variables = StaticVariables::read(node);
    let read = |name: &str| probe(&node.get(name)?, node, &variables);
    Probes {
        startup: read("startupProbe"),
        liveness: read("livenessProbe"),
        readiness: read("readinessProbe"),
    }
}

/// A probe: what it says, and the API's defaults.
fn probe(node: &Node<'_>, container: &Node<'_>, variables: &StaticVariables<'_>) -> Option<Probe> {
    const SECONDS: &str = "a number of seconds";
    const COUNT: &str = "a number of times";
    let exec = node.get("exec").map(|exec| {
        let words = command(&exec).into_iter();
        ProbeAction::Exec(words.filter_map(|word| variables.expand(&exec, &word)).collect())
    });
    let http = match node.get("httpGet") {
        Some(get) => Some(ProbeAction::HttpGet(http_get(&get, container)?)),
        None => None,
    };
    let tcp = match node.get("tcpSocket") {
        Some(tcp) => Some(ProbeAction::Tcp {
            host: host(&tcp)?,
            port: port(&tcp, container)?,
        }),
        None => None,
    };
    let grpc = match node.get("grpc") {
        Some(grpc) => Some(grpc_check(&grpc)?),
        None => None,
    };
    let mut actions = [exec, http, tcp, grpc].into_iter().flatten();
    let action = match (actions.next(), actions.next()) {
        (Some(action), None) => action,
        _ => {
            node.rule("one action must be given: `exec`, `grpc`, `httpGet` or `tcpSocket`");
            return None;
        }
    };
    let default = Probe::new(action);
    // 0 is Go's way to say nothing.
    let seconds = |name: &str| {
        let seconds = node.number::<u32>(name, SECONDS).filter(|seconds| *seconds > 0);
        seconds.map(|seconds| Duration::from_secs(seconds.into()))
    };
    let count = |name: &str| node.number::<u32>(name, COUNT).filter(|count| *count > 0);
    Some(Probe {
        initial_delay: seconds("initialDelaySeconds").unwrap_or(default.initial_delay),
        period: seconds("periodSeconds").unwrap_or(default.period),
        timeout: seconds("timeoutSeconds").unwrap_or(default.timeout),
        success_threshold: count("successThreshold").unwrap_or(default.success_threshold),
        failure_threshold: count("failureThreshold").unwrap_or(default.failure_threshold),
        termination_grace: termination_grace(node),
        ..default
    })
}

/// How long an app that fails the probe has to stop: unlike the other times, 0 is not Go's way to say nothing.
fn termination_grace(node: &Node<'_>) -> Option<Duration> {
    const SECONDS: &str = "a number of seconds, at least 1";
    let node = node.get("terminationGracePeriodSeconds")?;
    let seconds: u32 = node.as_number(SECONDS)?;
    if seconds == 0 {
        node.reject("0", SECONDS);
    }
    Some(Duration::from_secs(seconds.into()))
}

/// The lifecycle handlers of the container `node`, which has `grace` to stop; its stop signal goes to `overrides`.
pub(super) fn lifecycle(container: &Node<'_>, grace: Duration, overrides: &mut Overrides) -> Lifecycle {
    let Some(node) = container.get("lifecycle") else {
        return Lifecycle::default();
    };
    overrides.stop_signal = node.text("stopSignal").map(|(_, signal)| signal.to_owned());
    let read = |name: &str| handler(&node.get(name)?, container, grace);
    Lifecycle {
        post_start: read("postStart"),
        pre_stop: read("preStop"),
    }
}

fn handler(node: &Node<'_>, container: &Node<'_>, grace: Duration) -> Option<Handler> {
    match (
        node.get("exec"),
        node.get("httpGet"),
        node.get("sleep"),
        node.get("tcpSocket"),
    ) {
        (Some(exec), None, None, None) => Some(Handler::Exec(command(&exec))),
        (None, Some(get), None, None) => Some(Handler::HttpGet(http_get(&get, container)?)),
        (None, None, Some(sleep), None) => {
            let seconds: u32 = sleep.number("seconds", "a number of seconds")?;
            let time = Duration::from_secs(seconds.into());
            if time > grace {
                sleep.rule(format!(
                    "it sleeps longer than the pod's `terminationGracePeriodSeconds`, which are {}",
                    grace.as_secs()
                ));
            }
            Some(Handler::Sleep(time))
        }
        // Refused by its field.
        (None, None, None, Some(_)) => None,
        _ => {
            node.rule("one action must be given: `exec`, `httpGet` or `sleep`");
            None
        }
    }
}

fn command(exec: &Node<'_>) -> Vec<String> {
    let words = exec.texts("command").unwrap_or_default();
    words.into_iter().map(str::to_owned).collect()
}

/// A gRPC probe, whose port has no name.
fn grpc_check(node: &Node<'_>) -> Option<ProbeAction> {
    const PORT: &str = "a port from 1 to 65535";
    let tls = match node.text("mode") {
        None | Some((_, "Plaintext")) => false,
        Some((_, "TLS")) => true,
        Some((node, other)) => {
            node.reject(other, "`Plaintext` or `TLS`");
            return None;
        }
    };
    let port: u16 = node.number("port", PORT)?;
    if port == 0 {
        node.get("port")?.reject("0", PORT);
        return None;
    }
    let service = node.text("service").map_or("", |(_, service)| service);
    Some(ProbeAction::Grpc {
        tls,
        port,
        service: service.to_owned(),
    })
}

fn http_get(node: &Node<'_>, container: &Node<'_>) -> Option<HttpGet> {
    let tls = match node.text("scheme") {
        None | Some((_, "HTTP")) => false,
        Some((_, "HTTPS")) => true,
        Some((node, other)) => {
            node.reject(other, "`HTTP` or `HTTPS`");
            return None;
        }
    };
    let header = |node: &Node<'_>| {
        let value = node.get("value")?;
        Some((node.text("name")?.1.to_owned(), value.as_text()?.to_owned()))
    };
    let path = node.text("path").map_or("/", |(_, path)| path);
    Some(HttpGet {
        tls,
        host: host(node)?,
        port: port(node, container)?,
        path: match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("/{path}"),
        },
        headers: node.items("httpHeaders").iter().filter_map(header).collect(),
    })
}

/// The address that `host` is; `None` where it is wrong.
fn host(node: &Node<'_>) -> Option<Option<std::net::IpAddr>> {
    let Some((node, text)) = node.text("host") else {
        return Some(None);
    };
    let address = text.parse().ok();
    if address.is_none() {
        node.refuse(
            "a host name is",
            "leave it out for the pod itself, or write an IP address",
        );
    }
    address.map(Some)
}

/// A port by its number, or by the name that the container gives it.
fn port(node: &Node<'_>, container: &Node<'_>) -> Option<u16> {
    let node = node.get("port")?;
    let word = node.as_word()?;
    if let Ok(port @ 1..) = word.parse::<u16>() {
        if node.as_text().is_some() {
            node.rule("a port in quotes is a name, and a name has a letter: write the number without them");
        }
        return Some(port);
    }
    let named = container.items("ports").into_iter().find(|port| {
        let name = port.text("name");
        name.is_some_and(|(_, name)| name == word)
    });
    let port = named.and_then(|port| port.number("containerPort", "a port"));
    if port.is_none() {
        node.reject(
            &word,
            "a port from 1 to 65535, or the name of one of the container's `ports`",
        );
    }
    port
}
