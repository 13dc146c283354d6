//! Networks with names: which addresses and names the pod has in each, and what the guest receives about them. netavark(1) makes the same of
//! it on the host, in a network namespace of the pod, which a tap leads out of (`isopod_vm::netns`).

pub mod plugged;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use isopod_contract::network::{GuestAddress, GuestInterface, GuestNetwork, GuestRoute};
use isopod_spec::{JoinedNetwork, MacAddress, NetworkJoin, PodSpec, PortForward};

use super::{MAX_TAPS, PodNetwork, Router, doubled, named_port};
use crate::distribution::{Distribution, Need};
use crate::facts::{Facts, HostUser, NamedNetworks, NetworkPrograms, TakenNetwork};
use crate::fault::Fault;
use crate::networks::address::{self, AddressFault};

/// How many ports of the host lead into an ordinary user's pod: each has up to two sockets, which one message carries (unix(7)).
const CARRIED_PORTS: usize = 120;

/// The metric of the first default route that is not the one to take; the next ones follow.
const METRIC: u32 = 2000;

/// Decides on them.
///
/// # Errors
/// Every [`Fault`] that stands against them.
pub(super) fn network(
    joins: &[NetworkJoin],
    ports: &[PortForward],
    spec: &PodSpec,
    facts: &Facts,
    notices: &mut Vec<String>,
) -> Result<PodNetwork, Vec<Fault>> {
    let known = &facts.host.network.named;
    let mut faults = Vec::new();
    let host = &facts.host;
    faults.extend(lacking(host.user, &host.distribution, known, joins));
    let mut ports = ports.to_vec();
    for port in &spec.named_ports {
        match named_port(port, spec, facts) {
            Ok(forwards) => ports.extend(forwards),
            Err(fault) => faults.push(fault),
        }
    }
    faults.extend(doubled(&ports).filter(|_| !spec.named_ports.is_empty()));
    let mut joined: Vec<JoinedNetwork> = Vec::new();
    for (i, join) in joins.iter().enumerate() {
        if joined.iter().any(|earlier| earlier.network.name == join.network) {
            faults.push(fault(join, "it is named twice", "name it once"));
            continue;
        }
        match of_join(join, &interface(i), &PodNames::of(spec), known) {
            Ok(network) => joined.push(network),
            Err(fault) => faults.push(fault),
        }
    }
    if joins.len() > MAX_TAPS {
        let reason = format!(
            "it asks for {} networks, and a pod can be in {MAX_TAPS}",
            joins.len()
        );
        faults.push(Fault::Host {
            what: "cannot give the pod its networks".into(),
            reason,
            hint: "name fewer".into(),
        });
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    faults.extend(ports.iter().filter_map(|port| unpublishable(port, &joined)));
    if facts.host.user != HostUser::Root && ports.len() > CARRIED_PORTS {
        faults.push(Fault::Host {
            what: format!("cannot publish {} ports", ports.len()),
            reason: format!("without root, a pod in networks with names publishes at most {CARRIED_PORTS}"),
            hint: "publish fewer".into(),
        });
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let nameservers = nameservers(&joined, &facts.host.network.nameservers);
    let asked = spec.resolver.as_ref();
    if nameservers.is_empty() && asked.is_none_or(|resolver| resolver.nameservers.is_empty()) {
        notices.push("the pod finds no names: none of its networks has a name server".into());
    }
    Ok(PodNetwork {
        guest: GuestNetwork {
            interfaces: interfaces(&joined),
        },
        router: Router::Networks(joined),
        ports,
        nameservers,
        vhost_net: host.network.vhost_net,
    })
}

fn fault(join: &NetworkJoin, reason: &str, hint: &str) -> Fault {
    Fault::Host {
        what: format!("cannot join network `{}`", join.network),
        reason: reason.into(),
        hint: hint.into(),
    }
}

impl NetworkPrograms {
    /// The first program that `user` needs for networks with names and does not have, in words, and what brings it. `dns`: whether a
    /// network has a name server.
    pub(crate) fn missing(&self, user: HostUser, dns: bool) -> Option<(&'static str, Need)> {
        if user != HostUser::Root && self.pasta.is_none() {
            let what = "`pasta` is not installed, which leads out of an ordinary user's networks";
            return Some((what, Need::Passt));
        }
        if self.netavark.is_none() {
            return Some(("`netavark` is not installed", Need::Netavark));
        }
        let what = "`aardvark-dns` is not installed, which is their name server";
        (dns && self.aardvark.is_none()).then_some((what, Need::Aardvark))
    }
}

/// What this host or user lacks that networks need.
fn lacking(
    user: HostUser,
    distribution: &Distribution,
    known: &NamedNetworks,
    joins: &[NetworkJoin],
) -> Option<Fault> {
    let named = |join: &NetworkJoin| known.networks.get(&join.network)?.as_ref().ok();
    let dns = joins
        .iter()
        .filter_map(named)
        .any(|taken| taken.network.dns_enabled);
    let fault = |reason: &str, hint: String| Fault::Host {
        what: "cannot give the pod networks with names".into(),
        reason: reason.into(),
        hint,
    };
    if let Some((what, need)) = known.programs.missing(user, dns) {
        let instead = match need {
            Need::Passt => "; or run it as root; pods also reach each other by ports of the host: `-p`",
            Need::Aardvark => "; or create the network with `--disable-dns`",
            _ => "",
        };
        return Some(fault(what, distribution.install(need) + instead));
    }
    let obstacle = known.obstacle.as_deref().filter(|_| user != HostUser::Root)?;
    let hint = "`isopod doctor` says what to do; pods also reach each other by ports of the host: `-p`";
    Some(fault(obstacle, hint.into()))
}

fn of_join(
    join: &NetworkJoin,
    interface: &str,
    names: &PodNames,
    known: &NamedNetworks,
) -> Result<JoinedNetwork, Fault> {
    let TakenNetwork {
        network,
        addresses: taken,
        macs,
    } = match known.networks.get(&join.network) {
        Some(Ok(found)) => found,
        Some(Err(reason)) => return Err(fault(join, reason, "remove it and create it again")),
        None => {
            return Err(fault(
                join,
                "there is no network of that name",
                &known_names(known),
            ));
        }
    };
    for (asked, is_kind, kind) in [
        (
            join.ipv4.map(IpAddr::from),
            IpAddr::is_ipv4 as fn(&IpAddr) -> bool,
            "IPv4",
        ),
        (join.ipv6.map(IpAddr::from), IpAddr::is_ipv6, "IPv6"),
    ] {
        if let Some(asked) = asked
            && !network.subnets.iter().any(|subnet| is_kind(&subnet.gateway))
        {
            let reason = format!("it has no {kind}, and the pod asks for {asked}");
            return Err(fault(join, &reason, "leave that address out"));
        }
    }
    let choose = |subnet: &isopod_spec::Subnet| {
        let asked = match subnet.gateway {
            IpAddr::V4(_) => join.ipv4.map(IpAddr::from),
            IpAddr::V6(_) => join.ipv6.map(IpAddr::from),
        };
        address::choose(subnet, taken, asked)
    };
    let addresses: Result<Vec<IpAddr>, AddressFault> = network.subnets.iter().map(choose).collect();
    let addresses = addresses.map_err(|error| {
        let hint = match error {
            AddressFault::Exhausted(_) => "remove pods that are no longer needed, or create a larger network",
            _ => "leave the address out, or name another",
        };
        fault(join, &error.to_string(), hint)
    })?;
    let own = match addresses[..] {
        [IpAddr::V4(address), ..] => MacAddress::of(address),
        [IpAddr::V6(address), ..] => MacAddress::of_ipv6(address),
        [] => return Err(fault(join, "it has no subnet", "remove it and create it again")),
    };
    let mac = join.mac.unwrap_or(own);
    if macs.contains(&mac) {
        let reason = format!("the Ethernet address {mac} belongs to another pod");
        return Err(fault(join, &reason, "name another: `--mac-address`"));
    }
    Ok(JoinedNetwork {
        network: network.clone(),
        interface: interface.to_owned(),
        mac,
        addresses,
        names: names.with(&join.aliases),
    })
}

fn known_names(known: &NamedNetworks) -> String {
    let names: Vec<String> = known.networks.keys().map(|name| format!("`{name}`")).collect();
    match names.is_empty() {
        true => "create it: `isopod network create NAME`".to_owned(),
        false => format!("there are {}", names.join(", ")),
    }
}

/// What a pod is called in a network, whatever it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodNames {
    pub hostname: String,
    /// Its own.
    pub pod: Option<String>,
    pub apps: Vec<String>,
}

impl PodNames {
    fn of(spec: &PodSpec) -> Self {
        Self {
            hostname: super::hostname(spec),
            pod: spec.name.as_ref().map(ToString::to_string),
            apps: spec.apps.iter().map(|app| app.name.to_string()).collect(),
        }
    }

    /// All its names, with those that it asks for. Names are the same in both cases (RFC 4343).
    fn with(&self, aliases: &[String]) -> Vec<String> {
        let Self { hostname, pod, apps } = self;
        let short = hostname.split('.').next().unwrap_or_default();
        let own = [&**hostname, short].into_iter().chain(pod.as_deref());
        let all = own.chain(apps.iter().chain(aliases).map(String::as_str));
        let mut seen = BTreeSet::new();
        all.map(str::to_lowercase)
            .filter(|name| seen.insert(name.clone()))
            .collect()
    }
}

/// The guest's name of an interface.
fn interface(i: usize) -> String {
    format!("eth{i}")
}

/// The name server of the first network that has one, one that leads out before one that does not: it knows all networks of a pod.
/// Where none has, the host's.
#[must_use]
pub fn nameservers(joined: &[JoinedNetwork], host: &[IpAddr]) -> Vec<IpAddr> {
    let of = |internal| {
        let mut found = joined.iter().map(|joined| &joined.network);
        found.find(|network| network.dns_enabled && network.internal == internal)
    };
    if let Some(network) = of(false).or_else(|| of(true)) {
        return network.subnets.iter().map(|subnet| subnet.gateway).collect();
    }
    let leads_out = joined.iter().any(|joined| !joined.network.internal);
    let reached = host.iter().filter(|address| leads_out && !address.is_loopback());
    reached.copied().collect()
}

/// Why a port cannot lead into the pod.
fn unpublishable(port: &PortForward, joined: &[JoinedNetwork]) -> Option<Fault> {
    let (reason, hint) = match publishing(joined) {
        None => (
            "the pod's networks are internal, and nothing leads into them".to_owned(),
            "leave it out, or join a network that is not",
        ),
        Some(into) => {
            let has = |is: fn(&IpAddr) -> bool| into.addresses.iter().any(is);
            match port.host_ip {
                Some(IpAddr::V6(_)) if !has(IpAddr::is_ipv6) => (
                    format!("network `{}` has no IPv6", into.network.name),
                    "give an IPv4 address",
                ),
                Some(IpAddr::V4(_)) if !has(IpAddr::is_ipv4) => (
                    format!("network `{}` has no IPv4", into.network.name),
                    "give an IPv6 address",
                ),
                _ => return None,
            }
        }
    };
    Some(Fault::Host {
        what: format!("cannot publish port `{port}`"),
        reason,
        hint: hint.into(),
    })
}

/// The network through which the host's ports lead into the pod: the first that is not internal, which is also where its answers go.
#[must_use]
pub fn publishing(joined: &[JoinedNetwork]) -> Option<&JoinedNetwork> {
    joined.iter().find(|joined| !joined.network.internal)
}

/// The guest's interfaces: as netavark has them in the namespace, and one default route of each kind that is the one to take.
#[must_use]
pub fn interfaces(joined: &[JoinedNetwork]) -> Vec<GuestInterface> {
    let mut leading_out = [0u32; 2];
    joined
        .iter()
        .map(|joined| {
            let network = &joined.network;
            let mut interface = GuestInterface {
                name: joined.interface.clone(),
                mac: Some(joined.mac.bytes()),
                mtu: Some(network.mtu()),
                addresses: Vec::new(),
                routes: Vec::new(),
                neighbours: Vec::new(),
                announced: false,
            };
            for (subnet, address) in network.subnets.iter().zip(&joined.addresses) {
                let with = |address: IpAddr, prefix_len| GuestAddress { address, prefix_len };
                let route = |destination, gateway, metric| GuestRoute {
                    destination,
                    gateway,
                    on_link: false,
                    source: None,
                    metric,
                };
                let (net, any) = (subnet.subnet, any_of_kind(*address));
                interface.addresses.push(with(*address, net.prefix_len()));
                interface
                    .routes
                    .push(route(with(net.network(), net.prefix_len()), None, None));
                if !network.internal {
                    let before = &mut leading_out[usize::from(address.is_ipv6())];
                    let metric = (*before > 0).then(|| METRIC + *before);
                    *before += 1;
                    interface
                        .routes
                        .push(route(with(any, 0), Some(subnet.gateway), metric));
                }
            }
            interface
        })
        .collect()
}

fn any_of_kind(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}
