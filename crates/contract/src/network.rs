//! The guest's network: interfaces and all that is configured on them, as the planner or the host's own network says it.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

/// The six bytes of an Ethernet address.
pub type Mac = [u8; 6];

/// The guest's network interfaces beside the loopback interface, in the order of their devices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GuestNetwork {
    /// At least one.
    pub interfaces: Vec<GuestInterface>,
}

impl GuestNetwork {
    /// The guest's first IPv4 address.
    #[must_use]
    pub fn ipv4(&self) -> Option<Ipv4Addr> {
        self.addresses().find_map(|address| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
    }

    /// The guest's addresses, in order.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let interfaces = self.interfaces.iter();
        interfaces.flat_map(|interface| interface.addresses.iter().map(|address| address.address))
    }
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GuestInterface {
    /// Its name; the kernel calls the first one `eth0`, the next `eth1`.
    pub name: String,
    /// Its Ethernet address; `None`: that of its device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// The longest packet, in bytes; `None`: the device's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    pub addresses: Vec<GuestAddress>,
    /// The routes through it, all of them: an address brings none to its network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<GuestRoute>,
    /// Neighbours whose Ethernet addresses are not asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub neighbours: Vec<GuestNeighbour>,
    /// Whether it asks for its router at once, which shows that one its Ethernet address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub announced: bool,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GuestAddress {
    pub address: IpAddr,
    /// How many of its bits are its network's.
    pub prefix_len: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GuestRoute {
    /// Where to.
    pub destination: GuestAddress,
    /// Through which router; `None`: whoever has the address is a neighbour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Whether the router is a neighbour although no address of the interface says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_link: bool,
    /// From which address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// The lower, the sooner it is taken; `None`: the kernel's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GuestNeighbour {
    pub address: IpAddr,
    /// Its Ethernet address.
    pub mac: Mac,
}

/// The agent's answer to [`AddInterface`](crate::message::HostStream::AddInterface),
/// [`RemoveInterface`](crate::message::HostStream::RemoveInterface), [`Nameservers`](crate::message::HostStream::Nameservers),
/// [`Names`](crate::message::HostStream::Names) and [`Identify`](crate::message::HostStream::Identify).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InterfaceAnswer {
    /// 0: it is done.
    Done,
    /// 1: it is not, and nothing has changed.
    Failed {
        /// Why, in one line.
        text: String,
    },
}
