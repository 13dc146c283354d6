//! How a pod is reached, and what it reaches.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A pod's network (`--net`). The apps of a pod share it, and reach each other on localhost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// The pod's own loopback interface and nothing else.
    None,
    /// QEMU's user mode: outgoing connections as the host's user, incoming ones through forwarded ports.
    User {
        /// The ports of the host's that lead into the pod.
        ports: Vec<PortForward>,
    },
}

impl Default for Network {
    fn default() -> Self {
        Self::User { ports: Vec::new() }
    }
}

/// A port of the host's that leads into the pod (`-p`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortForward {
    /// The host's address; `None`: every IPv4 address, as with docker.
    pub host_ip: Option<IpAddr>,
    /// The host's port.
    pub host_port: u16,
    /// The pod's port.
    pub pod_port: u16,
    /// The protocol.
    pub protocol: PortProtocol,
}

/// A protocol with ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortProtocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for PortProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}
