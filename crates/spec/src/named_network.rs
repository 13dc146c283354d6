//! Networks with names (`isopod network`), and how a pod joins one: names, addresses, what a network's file says.
//!
//! A network's file has the shape that podman's networks have (containers.conf.d, `podman network inspect`), which is also what netavark
//! reads. What is chosen of all that is possible is decided in `isopod-plan`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The longest name, in bytes: it is a file's, with `.json` behind it.
pub const MAX_NETWORK_NAME_BYTES: usize = 63;

/// Words that say what network a pod has, and so name none.
const RESERVED: [&str; 7] = ["none", "user", "host", "bridge", "default", "ns", "container"];

/// The smallest packet size that IPv6 lets a link have (RFC 8200, section 5), in bytes, and the largest that an Ethernet interface takes.
pub const MTU: std::ops::RangeInclusive<u32> = 1280..=65_535;

/// The packet size of a network that nobody has said another of, in bytes: Ethernet's.
pub const DEFAULT_MTU: u32 = 1500;

/// The name of a network: letters, digits, `_`, `.` and `-`, the first a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NetworkName(String);

/// Why a text is no [`NetworkName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a valid network name: {reason}", crate::words::shown(.name))]
pub struct InvalidNetworkName {
    pub name: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl NetworkName {
    /// Checks it.
    ///
    /// # Errors
    /// [`InvalidNetworkName`].
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidNetworkName> {
        let name = name.into();
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let reason = match &*name {
            "" => "it is empty",
            name if name.len() > MAX_NETWORK_NAME_BYTES => "it is longer than 63 bytes",
            name if !name.bytes().all(known) => "it may have letters, digits, `_`, `.` and `-` only",
            name if !name.as_bytes()[0].is_ascii_alphanumeric() => {
                "it begins with neither a letter nor a digit"
            }
            name if RESERVED.contains(&name) => {
                "this word is reserved: it says that a pod has no network with a name"
            }
            _ => return Ok(Self(name)),
        };
        Err(InvalidNetworkName { name, reason })
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for NetworkName {
    type Err = InvalidNetworkName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name)
    }
}

impl TryFrom<String> for NetworkName {
    type Error = InvalidNetworkName;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(name)
    }
}

impl From<NetworkName> for String {
    fn from(name: NetworkName) -> Self {
        name.0
    }
}

/// An Ethernet address that one interface has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// The one that goes with that IPv4 address: of those that nobody sells (IEEE 802, locally administered), and another for each.
    #[must_use]
    pub fn of(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x49, a, b, c, d])
    }

    /// The one that goes with that IPv6 address, by its last bytes.
    #[must_use]
    pub fn of_ipv6(address: Ipv6Addr) -> Self {
        let [.., a, b, c, d] = address.octets();
        Self([0x06, 0x49, a, b, c, d])
    }

    #[must_use]
    pub fn bytes(self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.map(|byte| format!("{byte:02x}")).join(":"))
    }
}

/// `02:49:0a:5a:00:02`, with colons or dashes.
impl FromStr for MacAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = "it is not an Ethernet address, such as `02:00:00:00:00:01`";
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or(form)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| form)?;
        }
        match (parts.next(), bytes) {
            (Some(_), _) => Err(form),
            (None, [0, 0, 0, 0, 0, 0]) => Err("no interface can have it"),
            (None, [first, ..]) if first & 1 == 1 => Err("it is one of a group, which no interface can have"),
            (None, bytes) => Ok(Self(bytes)),
        }
    }
}

impl TryFrom<String> for MacAddress {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

/// A pod's wish to be in a network (`--network NAME,ip=...`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NetworkJoin {
    pub network: NetworkName,
    /// The IPv4 address; `None`: one that is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Addr>,
    /// The IPv6 address, in a network that has IPv6; `None`: one that is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
    /// The Ethernet address; `None`: one that goes with the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
    /// Names that the pod has there beside its own and its apps'.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
}

impl NetworkJoin {
    /// A wish for nothing but the network.
    #[must_use]
    pub fn new(network: NetworkName) -> Self {
        Self {
            network,
            ipv4: None,
            ipv6: None,
            mac: None,
            aliases: Vec::new(),
        }
    }
}

/// As `--network` takes it: `front,ip=10.90.0.7`.
impl fmt::Display for NetworkJoin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.network)?;
        let addresses = [self.ipv4.map(IpAddr::from), self.ipv6.map(IpAddr::from)];
        for address in addresses.into_iter().flatten() {
            let key = if address.is_ipv4() { "ip" } else { "ip6" };
            write!(f, ",{key}={address}")?;
        }
        if let Some(mac) = self.mac {
            write!(f, ",mac={mac}")?;
        }
        self.aliases
            .iter()
            .try_for_each(|alias| write!(f, ",alias={alias}"))
    }
}

/// A network with a name, as its file has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedNetwork {
    pub name: NetworkName,
    /// 64 hexadecimal digits that no other network has.
    pub id: String,
    /// `bridge`, always.
    pub driver: String,
    /// The host's interface to it.
    pub network_interface: String,
    /// Its subnets: at most one of each kind.
    pub subnets: Vec<Subnet>,
    /// Whether one of them is IPv6's.
    pub ipv6_enabled: bool,
    /// Whether nothing leads out of it.
    pub internal: bool,
    /// Whether its pods find each other by name.
    pub dns_enabled: bool,
    /// Words about it that nobody here reads.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// netavark's options: `mtu`, `isolate`.
    pub options: BTreeMap<String, String>,
    /// Who chooses addresses.
    pub ipam_options: BTreeMap<String, String>,
}

impl NamedNetwork {
    /// The longest packet, in bytes.
    #[must_use]
    pub fn mtu(&self) -> u32 {
        let mtu = self.options.get("mtu").and_then(|mtu| mtu.parse().ok());
        mtu.unwrap_or(DEFAULT_MTU)
    }
}

/// A subnet of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    /// Its addresses.
    pub subnet: IpNet,
    /// The host's address in it.
    pub gateway: IpAddr,
}

/// What a pod has of a network: the wish, decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct JoinedNetwork {
    /// The network, as it was then.
    pub network: NamedNetwork,
    /// The pod's interface to it.
    pub interface: String,
    /// Its Ethernet address.
    pub mac: MacAddress,
    /// The pod's addresses, one of each subnet.
    pub addresses: Vec<IpAddr>,
    /// The pod's names there, its host name first.
    pub names: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_files() {
        for name in ["a", "front", "Back_1.x-2", "0"] {
            assert_eq!(NetworkName::new(name).unwrap().to_string(), name);
        }
        let long = "a".repeat(64);
        for name in [
            "", ".", "..", "a/b", "-a", "a b", "ä", "user", "none", "bridge", &long,
        ] {
            assert!(NetworkName::new(name).is_err(), "{name}");
        }
    }

    #[test]
    fn ethernet_addresses_are_those_of_one_interface() {
        let mac: MacAddress = "02:49-0A:5a:00:02".parse().unwrap();
        assert_eq!(mac.to_string(), "02:49:0a:5a:00:02");
        assert_eq!(mac, MacAddress::of("10.90.0.2".parse().unwrap()));
        for text in [
            "",
            "02:49:0a:5a:00",
            "02:49:0a:5a:00:02:03",
            "2:49:0a:5a:00:02",
            "gg:49:0a:5a:00:02",
            "00:00:00:00:00:00",
            "01:00:5e:00:00:01",
            "ff:ff:ff:ff:ff:ff",
        ] {
            assert!(text.parse::<MacAddress>().is_err(), "{text}");
        }
    }
}
