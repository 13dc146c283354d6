//! The choice of an address in a subnet: the one that was asked for, or the lowest that nobody has.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use isopod_spec::Subnet;

/// Why there is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressFault {
    /// The one that was asked for belongs elsewhere.
    #[error("address {address} is not in its subnet {subnet}")]
    Outside { address: IpAddr, subnet: IpNet },
    /// The one that was asked for is the subnet's own, or its router's.
    #[error("address {0} cannot be given to a pod: it is the address of the subnet or of its router")]
    Reserved(IpAddr),
    /// The one that was asked for belongs to another pod.
    #[error("address {0} belongs to another pod")]
    Taken(IpAddr),
    /// Every one is a pod's.
    #[error("all addresses of {0} are taken")]
    Exhausted(IpNet),
}

/// The address that a pod gets in `subnet`, where pods have those in `taken`.
///
/// # Errors
/// [`AddressFault`].
pub fn choose(
    subnet: &Subnet,
    taken: &BTreeSet<IpAddr>,
    asked: Option<IpAddr>,
) -> Result<IpAddr, AddressFault> {
    if let Some(address) = asked {
        return match address {
            address if !subnet.subnet.contains(&address) => Err(AddressFault::Outside {
                address,
                subnet: subnet.subnet,
            }),
            address if !is_a_pods(subnet, address) => Err(AddressFault::Reserved(address)),
            address if taken.contains(&address) => Err(AddressFault::Taken(address)),
            address => Ok(address),
        };
    }
    let (first, last) = (bits(subnet.subnet.network()), bits(subnet.subnet.broadcast()));
    // Of so many in a row one is free, or there are no more.
    let candidates = (first..=last).take(taken.len().saturating_add(4));
    let of_kind = |bits| address(bits, subnet.subnet);
    candidates
        .map(of_kind)
        .find(|address| is_a_pods(subnet, *address) && !taken.contains(address))
        .ok_or(AddressFault::Exhausted(subnet.subnet))
}

/// Whether a pod may have it: neither the subnet's first nor, of IPv4, its last, which is every host's (RFC 919), nor the router's.
pub(super) fn is_a_pods(subnet: &Subnet, address: IpAddr) -> bool {
    address != subnet.gateway && is_a_hosts(subnet.subnet, address)
}

/// Whether a single interface may have it.
pub(super) fn is_a_hosts(subnet: IpNet, address: IpAddr) -> bool {
    let last = address.is_ipv4() && address == subnet.broadcast();
    subnet.contains(&address) && address != subnet.network() && !last
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address of the kind of `subnet`'s.
#[expect(
    clippy::cast_possible_truncation,
    reason = "IPv4's have 32 bits, and come from such"
)]
fn address(bits: u128, subnet: IpNet) -> IpAddr {
    match subnet {
        IpNet::V4(_) => Ipv4Addr::from_bits(bits as u32).into(),
        IpNet::V6(_) => Ipv6Addr::from_bits(bits).into(),
    }
}
