//! The pod's network: whose it is, its addresses, its host name, and the files by which apps find it.
//!
//! The host user's network is what the user that runs the pod reaches: outgoing connections are that user's own, incoming ones
//! come through forwarded ports. [`passt`] is its router, a process of its own, where it can be had, and QEMU otherwise. The
//! addresses are the same with both and on every host, so that a plan, and a VM that is restored, has them before it runs.
//!
//! ```text
//! 10.0.2.15  fd49:534f:504f:44::15   the pod
//! 10.0.2.2   fd49:534f:504f:44::2    the router; asked for, also the host's loopback interface
//! 10.0.2.3   fd49:534f:504f:44::3    the name server, which asks the host's own
//! ```
//!
//! IPv6 is passt's alone, on a host that has a route for it.
//!
//! A pod can have what is in a network namespace instead ([`namespace`]): then its addresses are that namespace's. Or it is in networks with names
//! ([`named`]), by which pods reach each other.

pub mod named;
mod namespace;
mod passt;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use isopod_contract::config::{GuestNetwork, Sysctl};
use isopod_contract::network::{GuestAddress, GuestInterface, GuestRoute};
use isopod_spec::network::{MAX_HOSTNAME_BYTES, check_hostname};
use isopod_spec::words::shown;
use isopod_spec::{
    HostLoopback, ImagePort, JoinedNetwork, NamedPort, Network, PodSpec, PortForward, PortProtocol,
    UserNetwork, UserRouter,
};

pub use passt::{Passt, PasstUser};

use crate::distribution::Need;
use crate::facts::{Facts, HostFacts, NetworkFacts};
use crate::fault::Fault;
use crate::layout;
use crate::vm::qemu::{Device, Forward, Netdev, UserNetdev};

/// The pod's address.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// How many bits of it are the network's.
pub const PREFIX_LEN: u8 = 24;
/// The router.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The name server.
pub const NAMESERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);

/// The pod's IPv6 address, of a network that is nobody's (RFC 4193).
pub const ADDRESS6: Ipv6Addr = Ipv6Addr::new(0xfd49, 0x534f, 0x504f, 0x44, 0, 0, 0, 0x15);
/// How many bits of it are the network's.
pub const PREFIX_LEN6: u8 = 64;
/// The router's IPv6 address.
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfd49, 0x534f, 0x504f, 0x44, 0, 0, 0, 2);
/// The name server's IPv6 address.
pub const NAMESERVER6: Ipv6Addr = Ipv6Addr::new(0xfd49, 0x534f, 0x504f, 0x44, 0, 0, 0, 3);

/// The interface, as the kernel names the first one.
const INTERFACE: &str = "eth0";
/// The longest packet with passt, in bytes: what an Ethernet frame of 64 KiB holds, in whole words. There is no cable.
const PASST_MTU: u32 = 65_520;
/// The kernel module of its device.
pub(crate) const MODULE: &str = "virtio_net";
/// The number of the descriptor that QEMU has for the tap of the first interface; the next ones follow.
pub const TAP_FD: i32 = 903;
/// How many there may be.
pub const MAX_TAPS: usize = 7;
/// Where the host's kernel serves the taps: the number of QEMU's descriptor of `/dev/vhost-net` for the first; the next ones follow.
/// Behind those of [`MAX_TAPS`] taps.
pub const VHOST_FD: i32 = 910;
const _: () = assert!(VHOST_FD as usize == TAP_FD as usize + MAX_TAPS);

/// What docker gives a container too: an app need not be root for a port below 1024, nor for ping(8).
const SYSCTLS: [(&str, &str); 2] = [
    ("net.ipv4.ip_unprivileged_port_start", "0"),
    ("net.ipv4.ping_group_range", "0 2147483647"),
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodNetwork {
    /// What leads out of it.
    pub router: Router,
    /// The host's ports that lead into the pod.
    pub ports: Vec<PortForward>,
    /// The guest's half.
    pub guest: GuestNetwork,
    /// The name servers that are the host's.
    pub nameservers: Vec<IpAddr>,
    /// Whether the host's kernel serves its taps (`vhost_net`), in place of QEMU.
    pub vhost_net: bool,
}

/// What leads out of a pod's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Router {
    /// QEMU's user mode.
    Qemu,
    /// A process of passt.
    Passt(Passt),
    /// Whatever the interfaces of the network namespace at that path lead to.
    Namespace(PathBuf),
    /// The host's interfaces to networks with names.
    Networks(Vec<JoinedNetwork>),
}

/// Decides on the pod's network; `None`: its loopback interface alone. A notice says what it leaves open.
///
/// # Errors
/// Every [`Fault`] that stands against it on this host.
pub fn network(
    spec: &PodSpec,
    facts: &Facts,
    notices: &mut Vec<String>,
) -> Result<Option<PodNetwork>, Vec<Fault>> {
    let planned = match &spec.network {
        Network::None => return Ok(None),
        Network::User { ports, options } => user(spec, facts, ports, *options, notices),
        Network::Namespace { path } => {
            namespace::network(path, &facts.host.network, spec, notices).map_err(|fault| vec![fault])
        }
        Network::Named { joins, ports } => named::network(joins, ports, spec, facts, notices),
    };
    let mut faults = Vec::new();
    let planned = planned.map_err(|found| faults.extend(found)).ok();
    let guest = &facts.host.guest;
    if !guest.modules.contains(MODULE) {
        faults.push(Fault::Host {
            what: "cannot give the pod a network".into(),
            reason: format!("the kernel {} has no `{MODULE}`", guest.release),
            hint: format!(
                "write `--network none`, or use the distribution's general kernel; {}",
                facts.host.distribution.install(Need::Kernel)
            ),
        });
    }
    match faults.is_empty() {
        true => Ok(planned),
        false => Err(faults),
    }
}

/// The host user's network.
fn user(
    spec: &PodSpec,
    facts: &Facts,
    ports: &[PortForward],
    options: UserNetwork,
    notices: &mut Vec<String>,
) -> Result<PodNetwork, Vec<Fault>> {
    let (mut ports, host) = (ports.to_vec(), &facts.host);
    let mut faults = Vec::new();
    for port in &spec.named_ports {
        match named_port(port, spec, facts) {
            Ok(forwards) => ports.extend(forwards),
            Err(fault) => faults.push(fault),
        }
    }
    let asked = spec.host_aliases.iter().any(|alias| alias.address == GATEWAY);
    let options = UserNetwork {
        host_loopback: match asked {
            true => HostLoopback::Open,
            false => options.host_loopback,
        },
        ..options
    };
    let router = router(options, host, notices).map_err(|fault| faults.push(fault));
    let router = router.unwrap_or(Router::Qemu);
    match &router {
        Router::Passt(passt) => faults.extend(passt.faults(&ports)),
        Router::Qemu | Router::Namespace(_) | Router::Networks(_) => {
            faults.extend(ports.iter().filter_map(unforwardable));
        }
    }
    // Those with numbers alone are looked at before.
    faults.extend(doubled(&ports).filter(|_| !spec.named_ports.is_empty()));
    match faults.is_empty() {
        true => Ok(user_network(router, ports, &host.network)),
        false => Err(faults),
    }
}

/// The program that is the router: passt where there is one.
fn router(options: UserNetwork, host: &HostFacts, notices: &mut Vec<String>) -> Result<Router, Fault> {
    const LACKING: &str = "`passt` is not installed";
    let network = &host.network;
    match (&network.passt, options.by) {
        (Some(program), None | Some(UserRouter::Passt)) => Ok(Router::Passt(Passt {
            program: program.clone(),
            ipv6: network.ipv4_route && network.ipv6_route,
            ipv4_route: network.ipv4_route,
            user: PasstUser::of(host),
            host_loopback: options.host_loopback,
        })),
        (_, Some(UserRouter::Passt)) => Err(Fault::Host {
            what: "cannot give the pod a network by passt".into(),
            reason: LACKING.into(),
            hint: format!(
                "leave `by=passt` out, or {}",
                host.distribution.install(Need::Passt)
            ),
        }),
        (_, by) => {
            if options.host_loopback == HostLoopback::Closed {
                let (reason, advice) = match by {
                    Some(_) => (
                        "QEMU has no switch that closes it",
                        "with `by=passt` it is closed",
                    ),
                    None => (LACKING, "with passt it is closed"),
                };
                notices.push(format!(
                    "the pod reaches what listens on the host's own loopback interface, at {GATEWAY}: {reason}; {advice}"
                ));
            }
            Ok(Router::Qemu)
        }
    }
}

/// The host user's network, whoever is its router.
pub(crate) fn user_network(router: Router, ports: Vec<PortForward>, host: &NetworkFacts) -> PodNetwork {
    let passt = match &router {
        Router::Passt(passt) => Some(passt),
        Router::Qemu | Router::Namespace(_) | Router::Networks(_) => None,
    };
    let ipv6 = passt.is_some_and(|passt| passt.ipv6);
    let address = |address, prefix_len| GuestAddress { address, prefix_len };
    let route = |destination, gateway| GuestRoute {
        destination,
        gateway,
        on_link: false,
        source: None,
        metric: None,
    };
    let default = |any: IpAddr, gateway: IpAddr| route(address(any, 0), Some(gateway));
    let network = Ipv4Addr::from_bits(ADDRESS.to_bits() & (u32::MAX << (32 - PREFIX_LEN)));
    let network6 = Ipv6Addr::from_bits(ADDRESS6.to_bits() & (u128::MAX << (128 - PREFIX_LEN6)));
    let mut interface = GuestInterface {
        name: INTERFACE.to_owned(),
        mac: None,
        mtu: passt.map(|_| PASST_MTU),
        addresses: vec![address(ADDRESS.into(), PREFIX_LEN)],
        routes: vec![
            route(address(network.into(), PREFIX_LEN), None),
            default(Ipv4Addr::UNSPECIFIED.into(), GATEWAY.into()),
        ],
        neighbours: Vec::new(),
        announced: is_awaited(&router, &ports),
    };
    // passt asks the host's name server of the same kind.
    let has = |wanted: fn(&IpAddr) -> bool| host.nameservers.iter().any(wanted);
    let mut nameservers: Vec<IpAddr> = Vec::new();
    if ipv6 {
        interface.addresses.push(address(ADDRESS6.into(), PREFIX_LEN6));
        interface.routes.extend([
            route(address(network6.into(), PREFIX_LEN6), None),
            default(Ipv6Addr::UNSPECIFIED.into(), GATEWAY6.into()),
        ]);
        nameservers.extend(has(IpAddr::is_ipv6).then_some(IpAddr::from(NAMESERVER6)));
    }
    if nameservers.is_empty() || has(IpAddr::is_ipv4) {
        nameservers.insert(0, NAMESERVER.into());
    }
    PodNetwork {
        router,
        ports,
        guest: GuestNetwork {
            interfaces: vec![interface],
        },
        nameservers,
        vhost_net: false,
    }
}

/// Whether the pod's router is to send to the guest before that has sent anything.
fn is_awaited(router: &Router, ports: &[PortForward]) -> bool {
    matches!(router, Router::Passt(_)) && !ports.is_empty()
}

/// The forwards to a port that is known by its name: that of the first app which has one of that name, as with rkt.
fn named_port(port: &NamedPort, spec: &PodSpec, facts: &Facts) -> Result<Vec<PortForward>, Fault> {
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
            reason: format!("port `{other}` uses the same host port"),
            hint: "give one of them another port of the host".into(),
        })
    };
    ports.iter().enumerate().find_map(later)
}

fn unforwardable(port: &PortForward) -> Option<Fault> {
    port.address().is_ipv6().then(|| Fault::Host {
        what: format!("cannot publish port `{port}`"),
        reason: "QEMU's user network forwards IPv4 only".into(),
        hint: "leave the address out, give an IPv4 one, or install `passt`".into(),
    })
}

impl PodNetwork {
    /// QEMU's half of it, an end for each of the guest's interfaces.
    #[must_use]
    pub fn netdevs(&self) -> Vec<Netdev> {
        match &self.router {
            Router::Qemu => vec![Netdev::User(self.user_netdev())],
            Router::Passt(_) => vec![Netdev::Stream {
                id: netdev(0),
                path: layout::NETWORK_SOCKET.into(),
            }],
            Router::Namespace(_) | Router::Networks(_) => (TAP_FD..)
                .zip(VHOST_FD..)
                .zip(0..self.guest.interfaces.len())
                .map(|((fd, vhost), i)| Netdev::Tap {
                    id: netdev(i),
                    fd,
                    vhost: self.vhost_net.then_some(vhost),
                })
                .collect(),
        }
    }

    fn user_netdev(&self) -> UserNetdev {
        let forward = |port: &PortForward| Forward {
            protocol: port.protocol,
            host: (port.address(), port.host_port),
            guest: (ADDRESS, port.pod_port),
        };
        UserNetdev {
            id: netdev(0),
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

    /// The guest's devices, in the order of its interfaces.
    pub fn devices(&self) -> impl Iterator<Item = Device> {
        // Without a firmware to boot from the network, which would only be loaded.
        (0..self.guest.interfaces.len()).map(|i| Device {
            driver: "virtio-net-pci",
            properties: vec![("netdev", netdev(i)), ("romfile", String::new())],
        })
    }

    /// The network namespace that the VM takes over, where it does.
    #[must_use]
    pub fn namespace(&self) -> Option<&Path> {
        match &self.router {
            Router::Namespace(path) => Some(path),
            Router::Passt(_) | Router::Qemu | Router::Networks(_) => None,
        }
    }

    /// The networks with names that it is in.
    #[must_use]
    pub fn networks(&self) -> &[JoinedNetwork] {
        match &self.router {
            Router::Networks(joined) => joined,
            Router::Namespace(_) | Router::Passt(_) | Router::Qemu => &[],
        }
    }

    /// Whether it may join other networks while it runs.
    #[must_use]
    pub fn may_join_others(&self) -> bool {
        matches!(self.router, Router::Networks(_))
    }

    /// Whether QEMU itself speaks to the host's network.
    #[must_use]
    pub fn is_qemus(&self) -> bool {
        self.router == Router::Qemu
    }

    /// passt's command, where it is the router.
    #[must_use]
    pub fn passt(&self) -> Option<&Passt> {
        match &self.router {
            Router::Passt(passt) => Some(passt),
            Router::Qemu | Router::Namespace(_) | Router::Networks(_) => None,
        }
    }
}

/// QEMU's name for the host's end of an interface.
fn netdev(i: usize) -> String {
    format!("net{i}")
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
