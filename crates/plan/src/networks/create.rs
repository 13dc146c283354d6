//! What a new network is: its subnets, the host's addresses in them, the name of the host's interface to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use isopod_spec::named_network::{DEFAULT_MTU, MTU};
use isopod_spec::{NamedNetwork, NetworkName, Subnet};

use super::address::is_a_hosts;

/// How the host's interfaces to networks are named, but for their numbers.
const BRIDGE: &str = "isopod-br";

/// What subnets are taken from that nobody names: IPv4's 10.90.0.0/16 in pieces of 256, podman having those from 10.88 and 10.89; of
/// IPv6's unique local addresses (RFC 4193) fd49:534f:5045::/48, `ISO` and one more than the host user's network.
const POOL: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 90, 0, 0), 24);
const POOL6: (Ipv6Addr, u8) = (Ipv6Addr::new(0xfd49, 0x534f, 0x5045, 0, 0, 0, 0, 0), 64);

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkRequest {
    pub name: NetworkName,
    /// Its subnets, at most one of each kind; one that is missing is chosen.
    pub subnets: Vec<IpNet>,
    /// The host's addresses in them; the first of a subnet where none is given.
    pub gateways: Vec<IpAddr>,
    /// Whether it has IPv6 without a subnet that says so.
    pub ipv6: bool,
    /// Whether nothing leads out of it.
    pub internal: bool,
    /// Whether its pods find each other by name.
    pub dns: bool,
    /// Whether nothing leads to other networks of pods.
    pub isolated: bool,
    /// The longest packet, in bytes; `None`: 1500.
    pub mtu: Option<u32>,
    /// Words about it.
    pub labels: BTreeMap<String, String>,
}

/// What is there already.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    pub others: Vec<NamedNetwork>,
    /// Where the host's routes lead, but for those that lead everywhere.
    pub routes: Vec<IpNet>,
    /// The names of the host's interfaces.
    pub interfaces: BTreeSet<String>,
    /// The ID that the new one gets: 64 hexadecimal digits.
    pub id: String,
}

/// Why there is no such network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateFault {
    /// The name is taken.
    #[error("a network of that name already exists")]
    Exists,
    /// Two of a kind.
    #[error("subnets {0} and {1} are both IPv4 or both IPv6, and a network has one of each")]
    TwoOfAKind(IpNet, IpNet),
    /// It is not the first address of it that was written.
    #[error("`{0}` is an address in subnet {1}, not a subnet")]
    HostBits(IpNet, IpNet),
    /// No pod fits into it.
    #[error("subnet {0} has no room for a pod")]
    TooSmall(IpNet),
    /// It is not one that hosts have addresses of.
    #[error("subnet {0} is not a range of host addresses")]
    Special(IpNet),
    /// Two that would be one.
    #[error("subnet {subnet} overlaps {other} of network `{network}`")]
    OfAnother {
        subnet: IpNet,
        other: IpNet,
        network: NetworkName,
    },
    /// The host has a route there.
    #[error("subnet {subnet} overlaps {other}, to which the host has a route")]
    OfTheHost {
        subnet: IpNet,
        /// Where the route leads.
        other: IpNet,
    },
    /// The gateway is in none of its subnets.
    #[error("gateway {0} is not an address in a subnet of the network")]
    Gateway(IpAddr),
    /// The MTU is none.
    #[error("a network with IPv6 cannot have an MTU of {0} bytes: it is from {min} to {max}", min = MTU.start(), max = MTU.end())]
    Mtu(u32),
    /// All of the pool's are taken.
    #[error("no subnet is free")]
    Exhausted,
}

impl CreateFault {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Exists => "`isopod network ls` lists them; name another".into(),
            Self::HostBits(_, subnet) => format!("write `{subnet}`"),
            Self::OfAnother { .. } | Self::OfTheHost { .. } => {
                "name another, or leave `--subnet` out: one that is free is chosen".into()
            }
            Self::Exhausted => "name one: `--subnet`".into(),
            Self::TooSmall(_) => "IPv4's may have up to 30 bits, and IPv6's up to 126".into(),
            Self::TwoOfAKind(..) | Self::Gateway(_) | Self::Mtu(_) | Self::Special(_) => return None,
        })
    }
}

/// Decides on it.
///
/// # Errors
/// [`CreateFault`].
pub fn create(request: &NetworkRequest, there: &Surroundings) -> Result<NamedNetwork, CreateFault> {
    if there.others.iter().any(|other| other.name == request.name) {
        return Err(CreateFault::Exists);
    }
    if let Some(mtu) = request.mtu.filter(|mtu| !MTU.contains(mtu)) {
        return Err(CreateFault::Mtu(mtu));
    }
    let mut nets = request.subnets.clone();
    for (i, net) in nets.iter().enumerate() {
        check(*net, there)?;
        if let Some(other) = nets[..i].iter().find(|other| is_ipv4(other) == is_ipv4(net)) {
            return Err(CreateFault::TwoOfAKind(*other, *net));
        }
    }
    // A network of IPv6 alone is one that was named.
    if nets.is_empty() {
        nets.push(chosen(pool4(), there)?);
    }
    if request.ipv6 && nets.iter().all(is_ipv4) {
        nets.push(chosen(pool6(), there)?);
    }
    nets.sort_by_key(|net| !is_ipv4(net));
    let subnets = nets
        .iter()
        .map(|net| Subnet {
            subnet: *net,
            gateway: gateway(*net, &request.gateways),
        })
        .collect::<Vec<_>>();
    for gateway in &request.gateways {
        let is_one = |subnet: &Subnet| subnet.gateway == *gateway && is_a_hosts(subnet.subnet, *gateway);
        if !subnets.iter().any(is_one) {
            return Err(CreateFault::Gateway(*gateway));
        }
    }
    let option = |name: &str, value: String| (name.to_owned(), value);
    Ok(NamedNetwork {
        name: request.name.clone(),
        id: there.id.clone(),
        driver: "bridge".into(),
        network_interface: bridge(there),
        ipv6_enabled: !nets.iter().all(is_ipv4),
        subnets,
        internal: request.internal,
        dns_enabled: request.dns,
        labels: request.labels.clone(),
        options: BTreeMap::from([
            option("mtu", request.mtu.unwrap_or(DEFAULT_MTU).to_string()),
            option("isolate", request.isolated.to_string()),
        ]),
        ipam_options: BTreeMap::from([option("driver", "host-local".into())]),
    })
}

fn is_ipv4(net: &IpNet) -> bool {
    matches!(net, IpNet::V4(_))
}

/// Two of them have an address in common.
fn overlap(one: &IpNet, two: &IpNet) -> bool {
    one.contains(two) || two.contains(one)
}

fn check(net: IpNet, there: &Surroundings) -> Result<(), CreateFault> {
    if net.trunc() != net {
        return Err(CreateFault::HostBits(net, net.trunc()));
    }
    if net.max_prefix_len() - net.prefix_len() < 2 {
        return Err(CreateFault::TooSmall(net));
    }
    let special = match net {
        IpNet::V4(net) => [
            Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 8),
            Ipv4Net::new_assert(Ipv4Addr::LOCALHOST, 8),
            Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16),
            Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 3),
        ]
        .iter()
        .any(|special| overlap(&IpNet::V4(*special).trunc(), &IpNet::V4(net))),
        IpNet::V6(net) => [
            Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 96),
            Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96),
            Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
            Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
        ]
        .iter()
        .any(|special| overlap(&IpNet::V6(*special), &IpNet::V6(net))),
    };
    if special {
        return Err(CreateFault::Special(net));
    }
    taken(&net, there).map_or(Ok(()), Err)
}

/// Who has it, or a part of it.
fn taken(net: &IpNet, there: &Surroundings) -> Option<CreateFault> {
    for other in &there.others {
        let found = other.subnets.iter().find(|theirs| overlap(&theirs.subnet, net));
        if let Some(found) = found {
            return Some(CreateFault::OfAnother {
                subnet: *net,
                other: found.subnet,
                network: other.name.clone(),
            });
        }
    }
    let route = there.routes.iter().find(|route| overlap(route, net))?;
    Some(CreateFault::OfTheHost {
        subnet: *net,
        other: *route,
    })
}

fn pool4() -> impl Iterator<Item = IpNet> {
    let (first, prefix) = POOL;
    (0..=255u32).map(move |n| {
        let address = Ipv4Addr::from_bits(first.to_bits() + (n << (32 - prefix)));
        IpNet::V4(Ipv4Net::new_assert(address, prefix))
    })
}

fn pool6() -> impl Iterator<Item = IpNet> {
    let (first, prefix) = POOL6;
    (0..=65_535u128).map(move |n| {
        let address = Ipv6Addr::from_bits(first.to_bits() + (n << (128 - prefix)));
        IpNet::V6(Ipv6Net::new_assert(address, prefix))
    })
}

fn chosen(mut pool: impl Iterator<Item = IpNet>, there: &Surroundings) -> Result<IpNet, CreateFault> {
    pool.find(|net| taken(net, there).is_none())
        .ok_or(CreateFault::Exhausted)
}

/// The host's address in `net`: the one that was asked for, otherwise the first.
fn gateway(net: IpNet, asked: &[IpAddr]) -> IpAddr {
    let asked = asked.iter().find(|address| net.contains(*address));
    asked.copied().unwrap_or_else(|| match net {
        IpNet::V4(net) => Ipv4Addr::from_bits(net.network().to_bits() + 1).into(),
        IpNet::V6(net) => Ipv6Addr::from_bits(net.network().to_bits() + 1).into(),
    })
}

/// A name that no interface has, nor the interface of another network.
fn bridge(there: &Surroundings) -> String {
    let is_free = |name: &String| {
        let mut others = there.others.iter();
        !there.interfaces.contains(name) && others.all(|other| other.network_interface != *name)
    };
    let mut names = (0u32..).map(|n| format!("{BRIDGE}{n}"));
    names.find(is_free).unwrap_or_default()
}
