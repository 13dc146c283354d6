//! `isopod port`.

use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_spec::{PortForward, PortProtocol};

use crate::failure::Failure;
use crate::output::{self, Report};
use crate::pods::{find, pods};

/// Print the host's ports that lead to a pod
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Port {
    /// The pod
    #[arg(value_name = "POD")]
    pod: String,
    /// Only those to this port of the pod, such as 80 or 53/udp
    #[arg(value_name = "PORT[/PROTOCOL]", value_parser = pod_port)]
    port: Option<(u16, PortProtocol)>,
}

impl Port {
    /// Prints the host's ports that lead into the pod: all of them, or those to one port.
    ///
    /// # Errors
    /// A [`Failure`] with the reason, also where none leads to that port.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let pod = find(&pods(settings)?, &self.pod)?;
        let ports = pod
            .record
            .as_ref()
            .map(|record| &record.ports[..])
            .unwrap_or_default();
        let address = |forward: &PortForward| std::net::SocketAddr::new(forward.address(), forward.host_port);
        let text: String = match self.port {
            None => ports
                .iter()
                .map(|forward| {
                    format!(
                        "{}/{} -> {}\n",
                        forward.pod_port,
                        forward.protocol,
                        address(forward)
                    )
                })
                .collect(),
            Some((number, protocol)) => {
                let meant =
                    |forward: &&PortForward| forward.pod_port == number && forward.protocol == protocol;
                let lines: String = ports
                    .iter()
                    .filter(meant)
                    .map(|forward| format!("{}\n", address(forward)))
                    .collect();
                if lines.is_empty() {
                    let what = format!(
                        "no port of the host leads to port {number}/{protocol} of pod `{}`",
                        pod.label()
                    );
                    return Err(Report::text(what)
                        .hint(Some("`-p` forwards one when the pod is made".into()))
                        .into());
                }
                lines
            }
        };
        output::data(&text);
        Ok(ExitCode::SUCCESS)
    }
}

fn pod_port(text: &str) -> Result<(u16, PortProtocol), String> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Ok(PortProtocol::Tcp),
        "udp" => Ok(PortProtocol::Udp),
        _ => Err("the protocols are tcp and udp".to_owned()),
    };
    let port = port.parse().map_err(|_| "it is not a port".to_owned());
    Ok((port?, protocol?))
}
