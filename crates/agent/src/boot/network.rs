//! The guest's network interfaces: their addresses, routes and whatever else is configured on them. Nothing is negotiated: the
//! host wrote down what each interface has, whoever decided it. The loopback interface is systemd's to bring up.
//!
//! A few messages to the kernel, and no DHCP client or unit to run one.
//!
//! ```text
//! device   eth0, eth1, ... in the order of the list; names that are not the kernel's come last, by way of one nobody has
//! each     down ─> MAC, MTU, name ─> addresses ─> up ─> neighbours ─> routes, those without a router first ─> ask for the router
//! ```

use std::io;

use isopod_contract::config::GuestNetwork;
use isopod_contract::network::{GuestAddress, GuestInterface, GuestRoute};

use crate::boot::netlink::Netlink;

/// Why the guest has no network.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}")]
pub(crate) struct NetworkError {
    action: String,
    #[source]
    source: io::Error,
}

fn failed(action: String) -> impl FnOnce(io::Error) -> NetworkError {
    |source| NetworkError { action, source }
}

/// Sets the interfaces up.
pub(crate) fn set_up(network: &GuestNetwork) -> Result<(), NetworkError> {
    let netlink = Netlink::open().map_err(failed("open the kernel's routing socket".to_owned()))?;
    let mut found = Vec::new();
    for (i, interface) in network.interfaces.iter().enumerate() {
        let device = format!("eth{i}");
        let index = netlink
            .index(&device)
            .map_err(failed(format!("find the interface `{device}`")))?;
        if device != interface.name {
            netlink
                .rename(index, &format!("isopod{i}"))
                .map_err(failed(format!("rename the interface `{device}`")))?;
        }
        found.push((index, device, interface));
    }
    for (index, device, interface) in &found {
        if *device != interface.name {
            netlink
                .rename(*index, &interface.name)
                .map_err(failed(format!("rename an interface to `{}`", interface.name)))?;
        }
    }
    found
        .iter()
        .try_for_each(|(index, _, interface)| set_up_interface(&netlink, *index, interface))
}

/// Sets an interface up whose device is called otherwise so far, and is down.
pub(crate) fn set_up_as(device: &str, interface: &GuestInterface) -> Result<(), NetworkError> {
    let netlink = Netlink::open().map_err(failed("open the kernel's routing socket".to_owned()))?;
    let index = netlink
        .index(device)
        .map_err(failed(format!("find the interface `{device}`")))?;
    if device != interface.name {
        netlink
            .rename(index, &interface.name)
            .map_err(failed(format!("rename an interface to `{}`", interface.name)))?;
    }
    set_up_interface(&netlink, index, interface)
}

fn set_up_interface(netlink: &Netlink, index: u32, interface: &GuestInterface) -> Result<(), NetworkError> {
    let GuestInterface {
        name,
        mac,
        mtu,
        addresses,
        routes,
        neighbours,
        announced,
    } = interface;
    if let Some(mac) = mac {
        netlink
            .set_mac(index, *mac)
            .map_err(failed(format!("give `{name}` its Ethernet address")))?;
    }
    if let Some(mtu) = mtu {
        netlink
            .set_mtu(index, *mtu)
            .map_err(failed(format!("give `{name}` the MTU {mtu}")))?;
    }
    for GuestAddress { address, prefix_len } in addresses {
        netlink
            .add_address(index, *address, *prefix_len)
            .map_err(failed(format!(
                "give `{name}` the address {address}/{prefix_len}"
            )))?;
    }
    netlink
        .set_up(index)
        .map_err(failed(format!("bring `{name}` up")))?;
    for neighbour in neighbours {
        let address = neighbour.address;
        netlink
            .add_neighbour(index, address, neighbour.mac)
            .map_err(failed(format!("make {address} a neighbour at `{name}`")))?;
    }
    let direct = routes.iter().filter(|route| route.gateway.is_none());
    let others = routes.iter().filter(|route| route.gateway.is_some());
    for route in direct.chain(others) {
        netlink
            .add_route(index, route)
            .map_err(failed(format!("set the route {}", said(route))))?;
    }
    // passt of 2023 (Debian 12) knows the guest's Ethernet address from its frames. What it sends before it has seen one goes to
    // everybody's, where no TCP listens: the first connection to a pod that has said nothing yet would fail after 10 s.
    let gateway = routes.iter().find_map(|route| route.gateway);
    if let Some(gateway) = gateway.filter(|_| *announced) {
        netlink
            .seek_neighbour(index, gateway)
            .map_err(failed(format!("look for the router {gateway} at `{name}`")))?;
    }
    Ok(())
}

fn said(route: &GuestRoute) -> String {
    let GuestAddress { address, prefix_len } = route.destination;
    match route.gateway {
        Some(gateway) => format!("to {address}/{prefix_len} through {gateway}"),
        None => format!("to {address}/{prefix_len}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_done_is_named() {
        let network = GuestNetwork {
            interfaces: (0..100).map(|_| GuestInterface::default()).collect(),
        };
        let error = set_up(&network).unwrap_err().to_string();
        // On a host that has some of them, no right to rename one comes first.
        assert!(
            error.starts_with("cannot find the interface `eth")
                || error.starts_with("cannot rename the interface `eth"),
            "{error}"
        );
    }
}
