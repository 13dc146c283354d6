//! `--publish-all`, and `--publish` without a port of the host: which ports those are is known when the images are there.

use isopod_plan::vm::network;
use isopod_runtime::gather::Gathered;
use isopod_runtime::ports::{self, PortError};
use isopod_spec::{PodSpec, PortForward};

use crate::args::Publish;

/// Adds the ports that all are published, and chooses a port of the host for each forward without one.
///
/// # Errors
/// [`PortError`] when there is none.
pub(crate) fn complete(pod: &mut PodSpec, publish: &Publish, gathered: &Gathered) -> Result<(), PortError> {
    let exposed = match publish.all {
        true => network::exposed(pod, &gathered.facts),
        false => Vec::new(),
    };
    let Some(ports) = pod.network.ports_mut() else {
        return Ok(());
    };
    if publish.all {
        for (pod_port, protocol) in exposed.into_iter().chain(publish.exposed.iter().copied()) {
            let is_there = |port: &PortForward| port.pod_port == pod_port && port.protocol == protocol;
            if !ports.iter().any(is_there) {
                ports.push(PortForward {
                    host_ip: None,
                    host_port: 0,
                    host_last: None,
                    pod_port,
                    protocol,
                });
            }
        }
    }
    ports::choose(ports)
}
