//! The few messages of rtnetlink(7) that a guest's interfaces need, written and acknowledged one at a time. No
//! dumps, no events, nothing is asked of the kernel.
//!
//! ```text
//! nlmsghdr  length(4) type(2) flags(2) sequence(4) port(4)
//! body      ifinfomsg, ifaddrmsg, ndmsg or rtmsg
//! rtattr    length(2) type(2) value, padded to 4 bytes; any number of them
//! ```

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use isopod_contract::network::{GuestRoute, Mac};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// The length of a message's header, in bytes.
const HEADER_BYTES: usize = 16;

/// `NLM_F_REQUEST | NLM_F_ACK`.
const REQUEST: u16 = 0x1 | 0x4;
/// `NLM_F_CREATE | NLM_F_EXCL`.
const CREATE: u16 = 0x400 | 0x200;
/// `NLM_F_CREATE`.
const CREATE_OR_CHANGE: u16 = 0x400;
/// `NTF_USE`: as if a packet were on its way there.
const USE: u8 = 1;

const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_NEWNEIGH: u16 = 28;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// `IFF_UP`, netdevice(7).
const UP: u32 = 1;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
/// `IFA_F_NODAD`: the address is the guest's, and nobody has to be asked whether it is another's.
const NODAD: u32 = 2;
/// `IFA_F_NOPREFIXROUTE`: the routes are set apart from the addresses.
const NOPREFIXROUTE: u32 = 0x200;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;
/// `RTNH_F_ONLINK`.
const ONLINK: u32 = 4;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
/// `NUD_PERMANENT`.
const PERMANENT: u16 = 0x80;

/// A connection to the kernel's routing.
pub(crate) struct Netlink(OwnedFd);

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        // Protocol 0 is NETLINK_ROUTE. Without an address, what is sent goes to the kernel.
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok(Self(socket))
    }

    /// The interface's number.
    pub(crate) fn index(&self, interface: &str) -> io::Result<u32> {
        Ok(rustix::net::netdevice::name_to_index(&self.0, interface)?)
    }

    pub(crate) fn set_up(&self, index: u32) -> io::Result<()> {
        self.request(&link_up(index))
    }

    /// Renames the interface, which must be down.
    pub(crate) fn rename(&self, index: u32, name: &str) -> io::Result<()> {
        let name = [name.as_bytes(), &[0]].concat();
        self.request(&change_link(index, IFLA_IFNAME, &name))
    }

    pub(crate) fn set_mac(&self, index: u32, mac: Mac) -> io::Result<()> {
        self.request(&change_link(index, IFLA_ADDRESS, &mac))
    }

    pub(crate) fn set_mtu(&self, index: u32, mtu: u32) -> io::Result<()> {
        self.request(&change_link(index, IFLA_MTU, &mtu.to_ne_bytes()))
    }

    pub(crate) fn add_address(&self, index: u32, address: IpAddr, prefix_len: u8) -> io::Result<()> {
        self.request(&new_address(index, address, prefix_len))
    }

    pub(crate) fn add_route(&self, index: u32, route: &GuestRoute) -> io::Result<()> {
        self.request(&new_route(index, route))
    }

    pub(crate) fn add_neighbour(&self, index: u32, address: IpAddr, mac: Mac) -> io::Result<()> {
        self.request(&new_neighbour(index, address, mac))
    }

    /// Asks which Ethernet address a neighbour has, which shows everybody this one's.
    pub(crate) fn seek_neighbour(&self, index: u32, address: IpAddr) -> io::Result<()> {
        self.request(&sought_neighbour(index, address))
    }

    /// Sends a message and waits for the kernel's answer, which is there when the call returns.
    fn request(&self, message: &[u8]) -> io::Result<()> {
        rustix::net::send(&self.0, message, SendFlags::empty())?;
        let mut answer = [0; 1024];
        let (length, _) = rustix::net::recv(&self.0, &mut answer[..], RecvFlags::empty())?;
        acknowledged(&answer[..length])
    }
}

/// Reads an acknowledgement: `nlmsghdr`, then 0 or a negative error number.
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let kind = answer
        .get(4..6)
        .map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
    let code = answer
        .get(HEADER_BYTES..HEADER_BYTES + 4)
        .map(|b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
    match (kind, code) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(code)) => Err(Errno::from_raw_os_error(code.saturating_neg()).into()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "no acknowledgement")),
    }
}

fn link_up(index: u32) -> Vec<u8> {
    // ifinfomsg: family, padding, type(2), index(4), flags(4), the flags to change(4).
    let body = [[0; 4], index.to_ne_bytes(), UP.to_ne_bytes(), UP.to_ne_bytes()];
    message(RTM_NEWLINK, REQUEST, &body.concat(), &[])
}

fn change_link(index: u32, attribute: u16, value: &[u8]) -> Vec<u8> {
    let body = [[0; 4], index.to_ne_bytes(), [0; 4], [0; 4]];
    message(RTM_NEWLINK, REQUEST, &body.concat(), &[(attribute, value)])
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn new_address(index: u32, address: IpAddr, prefix_len: u8) -> Vec<u8> {
    // ifaddrmsg: family, prefix length, flags, scope, index(4).
    let body = [[family(address), prefix_len, 0, 0], index.to_ne_bytes()];
    let address = octets(address);
    let flags = (NODAD | NOPREFIXROUTE).to_ne_bytes();
    let attributes: [(u16, &[u8]); 3] = [
        (IFA_LOCAL, &address),
        (IFA_ADDRESS, &address),
        (IFA_FLAGS, &flags),
    ];
    message(RTM_NEWADDR, REQUEST | CREATE, &body.concat(), &attributes)
}

fn new_route(index: u32, route: &GuestRoute) -> Vec<u8> {
    let destination = route.destination;
    let scope = match route.gateway {
        None if destination.address.is_ipv4() => RT_SCOPE_LINK,
        _ => RT_SCOPE_UNIVERSE,
    };
    let flags = if route.on_link { ONLINK } else { 0 };
    // rtmsg: family, lengths of destination and source, TOS, table, protocol, scope, type, flags(4).
    let head = [
        family(destination.address),
        destination.prefix_len,
        0,
        0,
        RT_TABLE_MAIN,
        RTPROT_BOOT,
        scope,
        RTN_UNICAST,
    ];
    let body = [&head[..], &flags.to_ne_bytes()].concat();
    let mut attributes = Vec::new();
    if destination.prefix_len > 0 {
        attributes.push((RTA_DST, octets(destination.address)));
    }
    attributes.extend(route.gateway.map(|gateway| (RTA_GATEWAY, octets(gateway))));
    attributes.push((RTA_OIF, index.to_ne_bytes().to_vec()));
    attributes.extend(route.source.map(|source| (RTA_PREFSRC, octets(source))));
    attributes.extend(
        route
            .metric
            .map(|metric| (RTA_PRIORITY, metric.to_ne_bytes().to_vec())),
    );
    let attributes: Vec<(u16, &[u8])> = attributes.iter().map(|(kind, value)| (*kind, &**value)).collect();
    message(RTM_NEWROUTE, REQUEST | CREATE, &body, &attributes)
}

fn new_neighbour(index: u32, address: IpAddr, mac: Mac) -> Vec<u8> {
    // ndmsg: family, padding(3), index(4), state(2), flags, type.
    let state = PERMANENT.to_ne_bytes();
    let body = [
        [family(address), 0, 0, 0],
        index.to_ne_bytes(),
        [state[0], state[1], 0, 0],
    ];
    let address = octets(address);
    let attributes: [(u16, &[u8]); 2] = [(NDA_DST, &address), (NDA_LLADDR, &mac)];
    message(RTM_NEWNEIGH, REQUEST | CREATE, &body.concat(), &attributes)
}

fn sought_neighbour(index: u32, address: IpAddr) -> Vec<u8> {
    let body = [[family(address), 0, 0, 0], index.to_ne_bytes(), [0, 0, USE, 0]];
    let address = octets(address);
    message(
        RTM_NEWNEIGH,
        REQUEST | CREATE_OR_CHANGE,
        &body.concat(),
        &[(NDA_DST, &address)],
    )
}

fn message(kind: u16, flags: u16, body: &[u8], attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut out = vec![0; HEADER_BYTES];
    out.extend(body);
    for (attribute, value) in attributes {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        out.extend(length.to_ne_bytes());
        out.extend(attribute.to_ne_bytes());
        out.extend(*value);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    let length = u32::try_from(out.len()).unwrap_or(u32::MAX);
    out[0..4].copy_from_slice(&length.to_ne_bytes());
    out[4..6].copy_from_slice(&kind.to_ne_bytes());
    out[6..8].copy_from_slice(&flags.to_ne_bytes());
    out
}

#[cfg(test)]
mod tests {
    use isopod_contract::network::GuestAddress;

    use super::*;

    /// As strace(1) shows iproute2's own messages; the numbers are little-endian.
    #[test]
    fn messages_are_as_iproute2_writes_them() {
        let address = new_address(2, [10, 0, 2, 15].into(), 24);
        let expected = [
            48, 0, 0, 0, 20, 0, 5, 6, 0, 0, 0, 0, 0, 0, 0, 0, 2, 24, 0, 0, 2, 0, 0, 0, 8, 0, 2, 0, 10, 0, 2,
            15, 8, 0, 1, 0, 10, 0, 2, 15, 8, 0, 8, 0, 2, 2, 0, 0,
        ];
        assert_eq!(address, expected);
        let up = link_up(2);
        let expected = [
            32, 0, 0, 0, 16, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0,
        ];
        assert_eq!(up, expected);
        let route = GuestRoute {
            destination: GuestAddress {
                address: [0, 0, 0, 0].into(),
                prefix_len: 0,
            },
            gateway: Some([10, 0, 2, 2].into()),
            on_link: false,
            source: None,
            metric: None,
        };
        let route = new_route(2, &route);
        let expected = [
            44, 0, 0, 0, 24, 0, 5, 6, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0, 8, 0, 5,
            0, 10, 0, 2, 2, 8, 0, 4, 0, 2, 0, 0, 0,
        ];
        assert_eq!(route, expected);
        let name = change_link(2, IFLA_IFNAME, b"net1\0");
        let expected = [
            44, 0, 0, 0, 16, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            9, 0, 3, 0, 110, 101, 116, 49, 0, 0, 0, 0,
        ];
        assert_eq!(name, expected);
        let neighbour = new_neighbour(2, [10, 0, 2, 2].into(), [2, 0, 0, 0, 0, 1]);
        let expected = [
            48, 0, 0, 0, 28, 0, 5, 6, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 128, 0, 0, 0, 8, 0, 1,
            0, 10, 0, 2, 2, 10, 0, 2, 0, 2, 0, 0, 0, 0, 1, 0, 0,
        ];
        assert_eq!(neighbour, expected);
        // `ip neigh replace 10.0.2.2 dev eth0 nud none use`, as strace shows it.
        let sought = sought_neighbour(2, [10, 0, 2, 2].into());
        let expected = [
            36, 0, 0, 0, 28, 0, 5, 4, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 1, 0, 8, 0, 1, 0,
            10, 0, 2, 2,
        ];
        assert_eq!(sought, expected);
    }

    #[test]
    fn answers_are_read_whatever_they_are() {
        let answer = |kind: u16, code: i32| message(kind, 0, &code.to_ne_bytes(), &[]);
        assert!(acknowledged(&answer(NLMSG_ERROR, 0)).is_ok());
        let error = acknowledged(&answer(NLMSG_ERROR, -17)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        for bad in [&answer(3, 0)[..], &[], &[0; 19]] {
            assert_eq!(acknowledged(bad).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error() {
        let netlink = Netlink::open().unwrap();
        let error = netlink.index("isopod-none").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::NODEV.raw_os_error()));
    }
}
