//! How a pod is reached, and what it reaches.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::named_network::NetworkJoin;

/// A pod's network (`--net`). The apps of a pod share it, and reach each other on localhost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// The pod's own loopback interface and nothing else.
    None,
    /// The host user's own: outgoing connections are that user's, incoming ones come through forwarded ports.
    User {
        /// The ports of the host that lead into the pod.
        ports: Vec<PortForward>,
        /// How.
        #[serde(default, skip_serializing_if = "UserNetwork::is_default")]
        options: UserNetwork,
    },
    /// What is in a network namespace that somebody else made (`--netns`).
    Namespace {
        /// The namespace (network_namespaces(7)), absolute.
        path: PathBuf,
    },
    /// Networks with names, by which pods reach each other (`isopod network`).
    Named {
        /// Which, at least one; the first leads out.
        joins: Vec<NetworkJoin>,
        /// The ports of the host that lead into the pod.
        ports: Vec<PortForward>,
    },
}

impl Default for Network {
    fn default() -> Self {
        Self::user(Vec::new())
    }
}

impl Network {
    /// The host user's network with these ports.
    #[must_use]
    pub fn user(ports: Vec<PortForward>) -> Self {
        Self::User {
            ports,
            options: UserNetwork::default(),
        }
    }

    /// The ports of the host that lead into the pod.
    #[must_use]
    pub fn ports(&self) -> &[PortForward] {
        match self {
            Self::User { ports, .. } | Self::Named { ports, .. } => ports,
            Self::None | Self::Namespace { .. } => &[],
        }
    }

    /// The same, to be changed; `None`: none can be published.
    pub fn ports_mut(&mut self) -> Option<&mut Vec<PortForward>> {
        match self {
            Self::User { ports, .. } | Self::Named { ports, .. } => Some(ports),
            Self::None | Self::Namespace { .. } => None,
        }
    }

    /// The networks with names that it is to be in.
    #[must_use]
    pub fn joins(&self) -> &[NetworkJoin] {
        match self {
            Self::Named { joins, .. } => joins,
            Self::None | Self::User { .. } | Self::Namespace { .. } => &[],
        }
    }
}

/// How a pod has the host user's network (`--network user,...`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct UserNetwork {
    /// Which program is the pod's router; `None`: passt where it can be had, otherwise QEMU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<UserRouter>,
    /// Whether the router's address leads to the host's loopback interface.
    #[serde(default, skip_serializing_if = "HostLoopback::is_closed")]
    pub host_loopback: HostLoopback,
}

impl UserNetwork {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// As `--network` takes it: `user,by=passt`.
impl fmt::Display for UserNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("user")?;
        match self.by {
            Some(UserRouter::Passt) => f.write_str(",by=passt")?,
            Some(UserRouter::Qemu) => f.write_str(",by=qemu")?,
            None => {}
        }
        match self.host_loopback {
            HostLoopback::Open => f.write_str(",host-loopback=yes"),
            HostLoopback::Closed => Ok(()),
        }
    }
}

/// The program that is the router of a pod with the host user's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserRouter {
    /// passt(1), a process of its own.
    Passt,
    /// QEMU's user mode, in the VM's process.
    Qemu,
}

/// Whether a pod is to reach what listens on the host's loopback interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostLoopback {
    /// It is not.
    #[default]
    Closed,
    Open,
}

impl HostLoopback {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
    fn is_closed(&self) -> bool {
        *self == Self::Closed
    }
}

/// Further names of an address (Kubernetes' `hostAliases`, docker's `--add-host`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostAlias {
    pub address: IpAddr,
    /// Its names, at least one.
    pub names: Vec<String>,
}

/// How a pod finds names (resolv.conf(5), Kubernetes' `dnsConfig`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolver {
    /// Whether the host's own name servers and search domains come first (`dnsPolicy` other than `None`).
    pub with_host: bool,
    /// Name servers, in the order in which they are asked.
    pub nameservers: Vec<IpAddr>,
    /// Search domains.
    pub searches: Vec<String>,
    /// Options, such as `ndots:2`.
    pub options: Vec<String>,
}

/// A port of the host that leads into the pod (`-p`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortForward {
    /// The host's address; `None`: every address that the pod's router can listen on.
    pub host_ip: Option<IpAddr>,
    /// The host's port; 0: one that is free, chosen when the pod is prepared.
    pub host_port: u16,
    /// Where the port is chosen from `host_port` and those that follow: the last of them (`-p 8000-8010:80`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_last: Option<u16>,
    pub pod_port: u16,
    pub protocol: PortProtocol,
}

impl PortForward {
    /// Whether a free port of the host is still to be chosen.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.host_port == 0 || self.host_last.is_some()
    }

    /// The host's address that it is bound to; without one, IPv4's for every address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into())
    }

    /// Whether no two programs could have both: one protocol, one port, and addresses that are one or include each
    /// other.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let (one, two) = (self.address(), other.address());
        let addresses =
            one == two || one.is_ipv4() == two.is_ipv4() && (one.is_unspecified() || two.is_unspecified());
        let one_port = self.host_port == other.host_port && !self.is_open() && !other.is_open();
        self.protocol == other.protocol && one_port && addresses
    }
}

/// As docker writes it: `127.0.0.1:8080:80/tcp`.
impl fmt::Display for PortForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip {
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            None => {}
        }
        match (self.host_port, self.host_ip) {
            (0, None) => {}
            (0, Some(_)) => f.write_str(":")?,
            (port, _) => match self.host_last {
                Some(last) => write!(f, "{port}-{last}:")?,
                None => write!(f, "{port}:")?,
            },
        }
        write!(f, "{}/{}", self.pod_port, self.protocol)
    }
}

/// A port of the host that leads to one which an app's image, or its manifest, has a name for (rkt's `--port`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedPort {
    pub name: String,
    /// The host's address; `None`: every IPv4 address.
    pub host_ip: Option<IpAddr>,
    /// The host's port; the first of them, where the name is that of a range.
    pub host_port: u16,
}

/// As `--publish` takes it: `http:127.0.0.1:8080`.
impl fmt::Display for NamedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.name)?;
        match self.host_ip {
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            None => {}
        }
        write!(f, "{}", self.host_port)
    }
}

/// A port, or a range of them, that an image says it listens on (appc `ports`, OCI `ExposedPorts`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagePort {
    /// Its name; of OCI's nameless ports the number and the protocol, `80-tcp`, as docker2aci named them.
    pub name: String,
    /// The protocol, `tcp` or `udp` or another.
    pub protocol: String,
    /// The first of them.
    pub first: u16,
    /// How many there are, at least 1.
    pub count: u16,
}

impl ImagePort {
    /// The forwards that lead to it from the host's port `host_port` and those that follow.
    ///
    /// # Errors
    /// Why there are none, in words.
    pub fn forwards(&self, host_ip: Option<IpAddr>, host_port: u16) -> Result<Vec<PortForward>, String> {
        let protocol = match self.protocol.as_str() {
            "tcp" => PortProtocol::Tcp,
            "udp" => PortProtocol::Udp,
            other => {
                return Err(format!(
                    "its protocol is `{}`, and only `tcp` and `udp` can be published",
                    crate::words::shown(other)
                ));
            }
        };
        let more = self.count - 1;
        if self.first.checked_add(more).is_none() || host_port.checked_add(more).is_none() {
            return Err("its range must end at 65535 or before, on the host as well".to_owned());
        }
        let forward = |n| PortForward {
            host_ip,
            host_port: host_port + n,
            host_last: None,
            pod_port: self.first + n,
            protocol,
        };
        Ok((0..self.count).map(forward).collect())
    }
}

/// The longest host name, in bytes (`HOST_NAME_MAX`, gethostname(2)).
pub const MAX_HOSTNAME_BYTES: usize = 64;

/// Checks a host name (RFC 1123, section 2.1): labels of letters, digits and dashes with dots between them.
///
/// # Errors
/// The rule that it breaks.
pub fn check_hostname(name: &str) -> Result<(), &'static str> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    if name.is_empty() {
        return Err("it is empty");
    }
    if !name.bytes().all(known) {
        return Err("it may have letters, digits, dashes and dots only (RFC 1123)");
    }
    if name.len() > MAX_HOSTNAME_BYTES {
        return Err("it is longer than 64 bytes, the most that Linux takes");
    }
    for label in name.split('.') {
        match label {
            "" => return Err("a part of it between dots is empty"),
            label if label.len() > 63 => return Err("a part of it is longer than 63 bytes"),
            label if label.starts_with('-') || label.ends_with('-') => {
                return Err("a part of it begins or ends with a dash");
            }
            _ => {}
        }
    }
    Ok(())
}

/// Checks a name that a pod has in a network: as [`check_hostname`], and `_` too, as compose files and images have it.
///
/// # Errors
/// The rule that it breaks.
pub fn check_alias(name: &str) -> Result<(), &'static str> {
    check_hostname(&name.replace('_', "a"))
}

/// A protocol with ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortProtocol {
    #[default]
    Tcp,
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
