//! passt(1): the router of a pod with the host user's network, a process of its own.
//!
//! It reads the guest's frames from a socket and opens a connection of the host user's for each of the guest. It has no way to the
//! host's loopback interface by the router's address (`--no-map-gw`), and none by that interface's own addresses, since whoever
//! hands it the frames leaves those out ([`isopod_vm`]'s `frames`): a guest that makes its own packets is stopped there.
//!
//! [`isopod_vm`]: ../../../isopod_vm/index.html

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use isopod_spec::{HostLoopback, PortForward, PortProtocol};

use super::{ADDRESS, ADDRESS6, GATEWAY, GATEWAY6, NAMESERVER, NAMESERVER6, PASST_MTU, PREFIX_LEN};
use crate::facts::{HostFacts, HostUser, Namespaces, OwnUsers};
use crate::fault::Fault;

/// The router's Ethernet address, which is nobody else's.
const MAC: &str = "52:55:0a:00:02:02";

/// How passt is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passt {
    pub program: PathBuf,
    /// Whether the pod has IPv6.
    pub ipv6: bool,
    /// Whether the host has a route that leads out over IPv4.
    pub ipv4_route: bool,
    /// As whom it runs.
    pub user: PasstUser,
    /// Whether the router's address is the host's loopback interface.
    pub host_loopback: HostLoopback,
}

/// As whom passt runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasstUser {
    /// As a user of the pod's own, as QEMU does ([`own_user`](crate::vm::confinement::own_user)).
    Own,
    /// As the caller, who is not root.
    Caller,
    /// As root of a container that has no other users.
    Root,
}

impl PasstUser {
    /// Decides on it.
    pub(super) fn of(host: &HostFacts) -> Self {
        let has_root = matches!(
            host.namespaces,
            Namespaces::Available | Namespaces::WithoutNetwork(_)
        );
        match (host.user, &host.own_users) {
            (HostUser::Ordinary { .. }, _) => Self::Caller,
            (HostUser::Root, OwnUsers::Available) if has_root => Self::Own,
            (HostUser::Root, _) => Self::Root,
        }
    }
}

impl Passt {
    /// The arguments with which it serves the guest behind its standard input.
    #[must_use]
    pub fn argv(&self, ports: &[PortForward]) -> Vec<OsString> {
        let mut argv: Vec<String> = ["--foreground", "--quiet", "--stderr", "--fd", "0"]
            .map(str::to_owned)
            .into();
        let mut option = |name: &str, value: String| argv.extend([name.to_owned(), value]);
        option("--mtu", PASST_MTU.to_string());
        option("--address", ADDRESS.to_string());
        option("--netmask", PREFIX_LEN.to_string());
        option("--gateway", GATEWAY.to_string());
        option("--mac-addr", MAC.to_owned());
        option("--dns-forward", NAMESERVER.to_string());
        if self.ipv6 {
            option("--address", ADDRESS6.to_string());
            option("--gateway", GATEWAY6.to_string());
            option("--dns-forward", NAMESERVER6.to_string());
        }
        for port in ports {
            let name = match port.protocol {
                PortProtocol::Tcp => "--tcp-ports",
                PortProtocol::Udp => "--udp-ports",
            };
            option(name, forward(port));
        }
        // The agent has what these would say.
        argv.extend(["--no-dhcp", "--no-dhcpv6", "--no-ra"].map(str::to_owned));
        if !self.ipv6 {
            argv.push("--ipv4-only".into());
        }
        if !self.ipv4_route {
            // Otherwise it takes the interface of the default route, and ends where there is none.
            argv.extend(["--interface", "lo"].map(str::to_owned));
        }
        if self.user == PasstUser::Root {
            // Otherwise it looks for `nobody`.
            argv.extend(["--runas", "0:0"].map(str::to_owned));
        }
        if self.host_loopback == HostLoopback::Closed {
            argv.push("--no-map-gw".into());
        }
        argv.into_iter().map(OsString::from).collect()
    }

    /// What stands against forwarding these ports.
    pub(super) fn faults(&self, ports: &[PortForward]) -> Vec<Fault> {
        let fault = |port: &PortForward, reason: String, hint: &str| Fault::Host {
            what: format!("cannot publish port `{port}`"),
            reason,
            hint: hint.into(),
        };
        let mut faults = Vec::new();
        for (i, port) in ports.iter().enumerate() {
            if !self.ipv6 && port.host_ip.is_some_and(|address| address.is_ipv6()) {
                faults.push(fault(
                    port,
                    "passt needs a default route over IPv4 and over IPv6 for it, and the host has not both"
                        .into(),
                    "leave the address out, or give an IPv4 one",
                ));
            }
            // It knows a port of the host by its number, whatever the address.
            let clashes = |other: &&PortForward| {
                let same = other.protocol == port.protocol && other.host_port == port.host_port;
                same && !port.is_open() && other.pod_port != port.pod_port && !other.overlaps(port)
            };
            if let Some(other) = ports[..i].iter().find(clashes) {
                faults.push(fault(
                    port,
                    format!("with passt, all addresses of a port lead to one port of the pod, and `{other}` leads to another"),
                    "take another port of the host, or `--network user,by=qemu`",
                ));
            }
        }
        faults
    }
}

/// A forward in passt's words.
fn forward(port: &PortForward) -> String {
    let ports = format!("{}:{}", port.host_port, port.pod_port);
    match port.host_ip {
        // For each kind of address there is: without an address it is all of both.
        None => ports,
        Some(IpAddr::V4(address)) => format!("{address}/{ports}"),
        Some(IpAddr::V6(address)) => format!("{address}/{ports}"),
    }
}
