//! The pod's network: QEMU's user mode or none, its addresses, its host name, and the files by which apps find it.
//!
//! QEMU's user mode is a router with a name server in the QEMU process: outgoing connections are the host user's own,
//! incoming ones come through forwarded ports. IPv4 only: QEMU forwards no IPv6.
//!
//! ```text
//! 10.0.2.15  the pod          10.0.2.2  the router, which is also the host's loopback interface
//!                             10.0.2.3  the name server, which asks the host's own
//! ```

use std::net::Ipv4Addr;

use isopod_contract::config::{GuestNetwork, Sysctl};
use isopod_spec::network::{MAX_HOSTNAME_BYTES, check_hostname};
use isopod_spec::words::shown;
use isopod_spec::{ImagePort, NamedPort, Network, PodSpec, PortForward, PortProtocol};

use crate::facts::Facts;
use crate::fault::Fault;
use crate::vm::qemu::{Device, Forward, Netdev};

/// The pod's address.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// How many bits of it are the network's.
pub const PREFIX_LEN: u8 = 24;
/// The router.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The name server.
pub const NAMESERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);

/// The interface, as the kernel names the first one.
const INTERFACE: &str = "eth0";
/// The kernel module of its device.
pub(crate) const MODULE: &str = "virtio_net";
/// QEMU's name for the network.
const NETDEV: &str = "net0";

/// What docker gives a container too: an app need not be root for a port below 1024, nor for ping(8).
const SYSCTLS: [(&str, &str); 2] = [
    ("net.ipv4.ip_unprivileged_port_start", "0"),
    ("net.ipv4.ping_group_range", "0 2147483647"),
];

/// A pod's network in QEMU's user mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserNetwork {
    /// The host's ports that lead into the pod.
    pub ports: Vec<PortForward>,
}

/// Decides on the pod's network; `None`: its loopback interface alone.
///
/// # Errors
/// Every [`Fault`] that stands against it on this host.
pub fn network(spec: &PodSpec, facts: &Facts) -> Result<Option<UserNetwork>, Vec<Fault>> {
    let Network::User { ports } = &spec.network else {
        return Ok(None);
    };
    let (mut ports, host) = (ports.clone(), &facts.host);
    let mut faults = Vec::new();
    for port in &spec.named_ports {
        match named(port, spec, facts) {
            Ok(forwards) => ports.extend(forwards),
            Err(fault) => faults.push(fault),
        }
    }
    faults.extend(ports.iter().filter_map(unforwardable));
    // Those with numbers alone are looked at before.
    faults.extend(doubled(&ports).filter(|_| !spec.named_ports.is_empty()));
    if !host.guest.modules.contains(MODULE) {
        faults.push(Fault::Host {
            what: "cannot give the pod a network".into(),
            reason: format!("the kernel {} has no `{MODULE}`", host.guest.release),
            hint: "say `--network none`, or install `linux-image-amd64`".into(),
        });
    }
    if faults.is_empty() {
        Ok(Some(UserNetwork { ports }))
    } else {
        Err(faults)
    }
}

/// The forwards to a port that is known by its name: that of the first app which has one of that name, as with rkt.
fn named(port: &NamedPort, spec: &PodSpec, facts: &Facts) -> Result<Vec<PortForward>, Fault> {
    let known: Vec<ImagePort> = image_ports(spec, facts).collect();
    let fault = |reason, hint| Fault::Host {
        what: format!("cannot publish port `{port}`"),
        reason,
        hint,
    };
    let Some(found) = known.iter().find(|known| known.name == port.name) else {
        let names: Vec<String> = known
            .iter()
            .map(|port| format!("`{}`", shown(&port.name)))
            .collect();
        let hint = match names.is_empty() {
            true => "they name no port; write its number, `HOST:POD`".to_owned(),
            false => format!("they have {}; or write its number, `HOST:POD`", names.join(", ")),
        };
        let reason = format!("no image of the pod has a port named `{}`", shown(&port.name));
        return Err(fault(reason, hint));
    };
    found
        .forwards(port.host_ip, port.host_port)
        .map_err(|reason| fault(reason, "publish another port".to_owned()))
}

/// The ports that the apps expose, by their images or by what stands in the images' place: what `--publish-all` publishes. One
/// that is neither TCP nor UDP only describes its image.
#[must_use]
pub fn exposed(spec: &PodSpec, facts: &Facts) -> Vec<(u16, PortProtocol)> {
    let forwards = |port: ImagePort| port.forwards(None, port.first).unwrap_or_default();
    let forwards = image_ports(spec, facts).flat_map(forwards);
    forwards
        .map(|forward| (forward.pod_port, forward.protocol))
        .collect()
}

fn image_ports(spec: &PodSpec, facts: &Facts) -> impl Iterator<Item = ImagePort> {
    let apps = spec.apps.iter().zip(&facts.apps);
    apps.flat_map(|(app, facts)| facts.run_config(app).ports)
}

/// Two of them that no two programs could have both.
fn doubled(ports: &[PortForward]) -> Option<Fault> {
    let later = |(i, port): (usize, &PortForward)| {
        let other = ports[..i].iter().find(|other| other.overlaps(port))?;
        Some(Fault::Host {
            what: format!("cannot publish port `{port}`"),
            reason: format!("port `{other}` is the same of the host's"),
            hint: "give one of them another port of the host".into(),
        })
    };
    ports.iter().enumerate().find_map(later)
}

fn unforwardable(port: &PortForward) -> Option<Fault> {
    port.address().is_ipv6().then(|| Fault::Host {
        what: format!("cannot publish port `{port}`"),
        reason: "QEMU's user network forwards IPv4 only".into(),
        hint: "leave the address out, or give an IPv4 one".into(),
    })
}

impl UserNetwork {
    /// QEMU's half of it.
    #[must_use]
    pub fn netdev(&self) -> Netdev {
        let forward = |port: &PortForward| Forward {
            protocol: port.protocol,
            host: (port.address(), port.host_port),
            guest: (ADDRESS, port.pod_port),
        };
        Netdev {
            id: NETDEV,
            network: (
                Ipv4Addr::from_bits(ADDRESS.to_bits() & (u32::MAX << (32 - PREFIX_LEN))),
                PREFIX_LEN,
            ),
            host: GATEWAY,
            dns: NAMESERVER,
            dhcp_start: ADDRESS,
            forwards: self.ports.iter().map(forward).collect(),
        }
    }

    /// The guest's device.
    #[must_use]
    pub fn device(&self) -> Device {
        // Without a firmware to boot from the network, which would only be loaded.
        Device {
            driver: "virtio-net-pci",
            properties: vec![("netdev", NETDEV.to_owned()), ("romfile", String::new())],
        }
    }

    /// The guest's interface.
    #[must_use]
    pub fn guest(&self) -> GuestNetwork {
        GuestNetwork {
            interface: INTERFACE.to_owned(),
            address: ADDRESS,
            prefix_len: PREFIX_LEN,
            gateway: GATEWAY,
        }
    }
}

/// The kernel's parameters in the guest.
pub(crate) fn sysctls() -> Vec<Sysctl> {
    let sysctl = |(name, value): (&str, &str)| Sysctl {
        name: name.to_owned(),
        value: value.to_owned(),
        required: false,
    };
    SYSCTLS.map(sysctl).into()
}

/// The guest's host name: the one that was asked for, or made of the pod's name, or of its first app's.
#[must_use]
pub fn hostname(spec: &PodSpec) -> String {
    if let Some(name) = &spec.hostname {
        return name.clone();
    }
    let pod = spec.name.as_ref().map(ToString::to_string);
    let app = spec.apps.first().map(|app| app.name.to_string());
    let name = pod.or(app).unwrap_or_default();
    let known = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' {
            c
        } else {
            '-'
        }
    };
    let name: String = name.chars().map(known).take(MAX_HOSTNAME_BYTES - 1).collect();
    let name = name.trim_matches(['-', '.']);
    match check_hostname(name) {
        Ok(()) => name.to_owned(),
        // Dots in a row, or at a dash: no name that anybody meant to be one of a domain.
        Err(_) => name.replace('.', "-"),
    }
}

#[cfg(test)]
mod tests {
    use isopod_spec::{App, AppName, ImageSource, PodName};

    use super::*;

    #[test]
    fn the_host_name_is_always_one() {
        let long_name = "a".repeat(80);
        let of = |hostname: Option<&str>, pod: Option<&str>, app: &str| {
            let image = ImageSource::Stored { id: None, name: None };
            let spec = PodSpec {
                name: pod.map(|name| PodName::new(name).unwrap()),
                hostname: hostname.map(str::to_owned),
                ..PodSpec::new(vec![App::new(AppName::new(app).unwrap(), image)])
            };
            hostname_checked(&spec)
        };
        fn hostname_checked(spec: &PodSpec) -> String {
            let name = hostname(spec);
            assert_eq!(check_hostname(&name), Ok(()), "{name}");
            name
        }
        assert_eq!(of(Some("a.b"), Some("pod"), "web"), "a.b");
        assert_eq!(of(None, Some("my_pod"), "web"), "my-pod");
        assert_eq!(of(None, Some("a.b"), "web"), "a.b");
        assert_eq!(of(None, Some("a.-b..c_"), "web"), "a--b--c");
        assert_eq!(of(None, None, "web"), "web");
        assert_eq!(of(None, None, &long_name), "a".repeat(63));
    }
}
