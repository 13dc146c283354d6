//! `--publish-all`, and `--publish` without a port of the host: which ports those are is known when the images are there.

use isopod_runtime::gather::Gathered;
use isopod_runtime::ports::{self, PortError};
use isopod_spec::{ImagePort, Network, PodSpec, PortForward, PortProtocol};

use crate::args::Publish;

/// Adds the ports that all are published, and chooses a port of the host for each forward without one.
///
/// # Errors
/// [`PortError`] when there is none.
pub(crate) fn complete(pod: &mut PodSpec, publish: &Publish, gathered: &Gathered) -> Result<(), PortError> {
    let exposed = match publish.all {
        true => exposed(pod, gathered),
        false => Vec::new(),
    };
    let Network::User { ports } = &mut pod.network else {
        return Ok(());
    };
    if publish.all {
        for (pod_port, protocol) in exposed.into_iter().chain(publish.exposed.iter().copied()) {
            let is_there = |port: &PortForward| port.pod_port == pod_port && port.protocol == protocol;
            if !ports.iter().any(is_there) {
                ports.push(PortForward {
                    host_ip: None,
                    host_port: 0,
                    pod_port,
                    protocol,
                });
            }
        }
    }
    ports::choose(ports)
}

/// The ports that the images of the apps expose.
fn exposed(pod: &PodSpec, gathered: &Gathered) -> Vec<(u16, PortProtocol)> {
    let apps = pod.apps.iter().zip(&gathered.facts.apps);
    let configs = apps.filter_map(|(app, facts)| {
        let image = facts.image.as_ref().map(|image| &image.config);
        app.run_config.as_ref().or(image)
    });
    let of_port = |port: &ImagePort| {
        // What is neither TCP nor UDP only describes the image.
        let forwards = port.forwards(None, port.first).unwrap_or_default();
        forwards
            .into_iter()
            .map(|forward| (forward.pod_port, forward.protocol))
    };
    configs
        .flat_map(|config| config.ports.iter().flat_map(of_port))
        .collect()
}
