//! Flags of the pod's network: `--publish`, `--hostname`, and how names are found: `--add-host`, `--dns`.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;

use super::scalar::utf8;
use super::{FlagFault, InvalidFlag};
use crate::named_network::{MacAddress, NetworkJoin, NetworkName};
use crate::network::{
    self, HostLoopback, NamedPort, Network, PortForward, PortProtocol, UserNetwork, UserRouter,
};
use crate::words::shown;

/// Reads `--publish [[IP:][HOST]:]POD[/tcp|/udp]`, as docker writes it. `HOST` and `POD` may be ranges of one length
/// (`8000-8009:80-89`), each a forward for every port. Without `HOST` a free port is chosen when the pod is prepared, and of
/// a range before a single `POD` one that is free (`8000-8009:80`). An IPv6 address stands in brackets.
///
/// # Errors
/// [`InvalidFlag`] for everything else.
pub fn read_publish(text: &OsStr) -> Result<Vec<PortForward>, InvalidFlag> {
    utf8(text)
        .and_then(publish)
        .map_err(|fault| InvalidFlag::new("--publish", text, fault))
}

/// What `--publish` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// Ports of the pod, by their numbers.
    Forwards(Vec<PortForward>),
    /// A port of an image, by its name.
    Named(NamedPort),
}

/// Reads `--publish`, as [`read_publish`] or, as rkt wrote it, `NAME:[IP:]HOST`, where `NAME` has a letter.
///
/// # Errors
/// [`InvalidFlag`].
pub fn read_published(text: &OsStr) -> Result<Published, InvalidFlag> {
    let first = text.as_encoded_bytes().split(|byte| *byte == b':').next();
    let is_named = first.is_some_and(|name| {
        !name.starts_with(b"[") && name.iter().any(u8::is_ascii_alphabetic) && !name.contains(&b'/')
    });
    if !is_named {
        return read_publish(text).map(Published::Forwards);
    }
    let read = utf8(text).and_then(named_port).map(Published::Named);
    read.map_err(|fault| InvalidFlag::new("--publish", text, fault))
}

/// Reads `--network`: `none`, `user` with options behind commas, `ns:PATH`, or the name of a network with the pod's options in it.
///
/// # Errors
/// [`InvalidFlag`] for everything else.
pub fn read_network(text: &OsStr) -> Result<Network, InvalidFlag> {
    utf8(text)
        .and_then(network)
        .map_err(|fault| InvalidFlag::new("--network", text, fault))
}

/// Reads `--netns`, the path of a network namespace.
///
/// # Errors
/// [`InvalidFlag`] for a path that is relative or no UTF-8.
pub fn read_netns(text: &OsStr) -> Result<Network, InvalidFlag> {
    utf8(text)
        .and_then(namespace)
        .map_err(|fault| InvalidFlag::new("--netns", text, fault))
}

fn namespace(path: &str) -> Result<Network, FlagFault> {
    let path = Path::new(path);
    match path.is_absolute() {
        true => Ok(Network::Namespace {
            path: path.to_owned(),
        }),
        false => Err(FlagFault::Form {
            fault: "it is not an absolute path",
            hint: Some("write `/run/netns/NAME`, or `/proc/PID/ns/net`"),
        }),
    }
}

fn network(text: &str) -> Result<Network, FlagFault> {
    if let Some(path) = text.strip_prefix("ns:") {
        return namespace(path);
    }
    let mut words = text.split(',');
    let kind = words.next().unwrap_or_default();
    let options: Vec<&str> = words.collect();
    match kind {
        other if other.starts_with("container:") => Err(FlagFault::Unsupported {
            what: shown(other),
            hint: "only apps of one pod share a network: put both into one command line, with `---` between them",
        }),
        "none" if options.is_empty() => Ok(Network::None),
        "none" => Err(FlagFault::form("a pod without a network has no options of it")),
        // docker's own default has no other meaning for a single pod.
        "user" | "bridge" | "default" => Ok(Network::User {
            ports: Vec::new(),
            options: user_options(&options)?,
        }),
        "host" | "container" | "ns" => Err(FlagFault::Unknown {
            what: "network",
            name: shown(kind),
            hint: "a pod has the host user's network (`user`), networks with names (`isopod network create`), that of a namespace (`ns:PATH`) or none (`none`): \
                   forward the host's ports to it with `-p`"
                .to_owned(),
        }),
        name => Ok(Network::Named {
            joins: vec![join(name, &options)?],
            ports: Vec::new(),
        }),
    }
}

/// `NAME[,OPTION...]`, docker's `name=NAME,OPTION...` and podman's `NAME:OPTION,...`.
fn join(name: &str, options: &[&str]) -> Result<NetworkJoin, FlagFault> {
    let name = name.strip_prefix("name=").unwrap_or(name);
    let (name, first) = match name.split_once(':') {
        Some((name, option)) => (name, Some(option)),
        None => (name, None),
    };
    if let Some((key, _)) = name.split_once('=') {
        return Err(FlagFault::Unknown {
            what: "option",
            name: shown(key),
            hint: "the network's name comes first: `front,ip=10.90.0.7`".to_owned(),
        });
    }
    let network = NetworkName::new(name).map_err(|invalid| FlagFault::Unknown {
        what: "network",
        name: shown(name),
        hint: invalid.reason.to_owned(),
    })?;
    let mut join = NetworkJoin::new(network);
    for option in first.iter().chain(options) {
        match option.split_once('=') {
            Some(("ip" | "ip6", address)) => match address.parse() {
                Ok(IpAddr::V4(address)) => join.ipv4 = Some(address),
                Ok(IpAddr::V6(address)) => join.ipv6 = Some(address),
                Err(_) => return Err(FlagFault::value("ip", address, "an IP address of the network")),
            },
            Some(("mac" | "mac-address", address)) => join.mac = Some(mac(address)?),
            Some(("alias", alias)) => join.aliases.push(network_alias(alias)?),
            _ => {
                return Err(FlagFault::Unknown {
                    what: "option",
                    name: shown(option),
                    hint: "there are `ip=`, `ip6=`, `mac=` and `alias=`".to_owned(),
                });
            }
        }
    }
    Ok(join)
}

fn mac(text: &str) -> Result<MacAddress, FlagFault> {
    text.parse().map_err(FlagFault::form)
}

fn network_alias(text: &str) -> Result<String, FlagFault> {
    network::check_alias(text).map_err(FlagFault::form)?;
    Ok(text.to_owned())
}

/// Reads `--ip` and `--ip6`, an address of the pod.
///
/// # Errors
/// [`InvalidFlag`] for what is not an address of that kind.
pub fn read_ip<T: FromStr>(flag: &'static str, text: &OsStr) -> Result<T, InvalidFlag> {
    let address = utf8(text).and_then(|text| {
        let address = text.parse::<T>();
        address.map_err(|_| FlagFault::form("it is not an IP address of that kind"))
    });
    address.map_err(|fault| InvalidFlag::new(flag, text, fault))
}

/// Reads `--mac-address`.
///
/// # Errors
/// [`InvalidFlag`] for what no interface can have.
pub fn read_mac(text: &OsStr) -> Result<MacAddress, InvalidFlag> {
    utf8(text)
        .and_then(mac)
        .map_err(|fault| InvalidFlag::new("--mac-address", text, fault))
}

/// Reads `--network-alias`, a name of the pod in its networks.
///
/// # Errors
/// [`InvalidFlag`] with the rule that it breaks.
pub fn read_network_alias(text: &OsStr) -> Result<String, InvalidFlag> {
    utf8(text)
        .and_then(network_alias)
        .map_err(|fault| InvalidFlag::new("--network-alias", text, fault))
}

fn user_options(options: &[&str]) -> Result<UserNetwork, FlagFault> {
    let mut network = UserNetwork::default();
    for option in options {
        match option.split_once('=') {
            Some(("by", "passt")) => network.by = Some(UserRouter::Passt),
            Some(("by", "qemu")) => network.by = Some(UserRouter::Qemu),
            Some(("by", other)) => {
                return Err(FlagFault::value("by", other, "`passt` or `qemu`"));
            }
            Some(("host-loopback", "yes")) => network.host_loopback = HostLoopback::Open,
            Some(("host-loopback", "no")) => network.host_loopback = HostLoopback::Closed,
            Some(("host-loopback", other)) => {
                return Err(FlagFault::value("host-loopback", other, "`yes` or `no`"));
            }
            _ => {
                return Err(FlagFault::Unknown {
                    what: "option",
                    name: shown(option),
                    hint: "there are `by=passt`, `by=qemu` and `host-loopback=yes`".to_owned(),
                });
            }
        }
    }
    Ok(network)
}

/// Reads `--hostname`, a name as RFC 1123 has it.
///
/// # Errors
/// [`InvalidFlag`] with the rule that it breaks.
pub fn read_hostname(text: &OsStr) -> Result<String, InvalidFlag> {
    let read = || {
        let name = utf8(text)?;
        network::check_hostname(name).map_err(FlagFault::form)?;
        Ok(name.to_owned())
    };
    read().map_err(|fault| InvalidFlag::new("--hostname", text, fault))
}

/// The address of an `--add-host`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostAddress {
    Ip(IpAddr),
    /// The one at which the pod reaches the host (`host-gateway`).
    Gateway,
}

/// Reads `--add-host NAME:ADDRESS` or `NAME=ADDRESS`; an IPv6 address may stand in brackets.
///
/// # Errors
/// [`InvalidFlag`] for everything else.
pub fn read_add_host(text: &OsStr) -> Result<(String, HostAddress), InvalidFlag> {
    let read = |text: &str| {
        let form = || FlagFault::Form {
            fault: "it is not a name and an address",
            hint: Some("write `db:192.0.2.7` or `host:host-gateway`"),
        };
        let (name, address) = text.split_once(['=', ':']).ok_or_else(form)?;
        network::check_hostname(name).map_err(FlagFault::form)?;
        let address = match address {
            "host-gateway" => HostAddress::Gateway,
            address => {
                let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
                HostAddress::Ip(bare.unwrap_or(address).parse().map_err(|_| form())?)
            }
        };
        Ok((name.to_owned(), address))
    };
    utf8(text)
        .and_then(read)
        .map_err(|fault| InvalidFlag::new("--add-host", text, fault))
}

/// Reads `--dns`, the address of a name server.
///
/// # Errors
/// [`InvalidFlag`] for what is not an address.
pub fn read_dns(text: &OsStr) -> Result<IpAddr, InvalidFlag> {
    let address = utf8(text).and_then(|text| {
        let address = text.parse::<IpAddr>();
        address.map_err(|_| FlagFault::form("it is not an IP address"))
    });
    address.map_err(|fault| InvalidFlag::new("--dns", text, fault))
}

fn publish(text: &str) -> Result<Vec<PortForward>, FlagFault> {
    let (ports, protocol) = match text.rsplit_once('/') {
        None => (text, PortProtocol::Tcp),
        Some((ports, protocol)) => (ports, read_protocol(protocol)?),
    };
    let (host_ip, host, pod) = split(ports)?;
    let pod = read_ports(pod)?;
    let forward = |host_port, host_last, pod_port| PortForward {
        host_ip,
        host_port,
        host_last,
        pod_port,
        protocol,
    };
    if host.is_empty() {
        return Ok(pod.map(|port| forward(0, None, port)).collect());
    }
    let host = read_ports(host)?;
    match (host.len(), pod.len()) {
        (1, 1) => Ok(vec![forward(*host.start(), None, *pod.start())]),
        (_, 1) => Ok(vec![forward(*host.start(), Some(*host.end()), *pod.start())]),
        (hosts, pods) if hosts == pods => Ok(host
            .zip(pod)
            .map(|(host, pod)| forward(host, None, pod))
            .collect()),
        _ => Err(FlagFault::form("its two ranges have different lengths")),
    }
}

fn named_port(text: &str) -> Result<NamedPort, FlagFault> {
    let form = || FlagFault::Form {
        fault: "it does not have the form `NAME:[IP:]HOST`",
        hint: Some(
            "write `http:8080`, by the name that the image has for its port, or `8080:80`, by numbers",
        ),
    };
    let (name, rest) = text.split_once(':').ok_or_else(form)?;
    let (address, host) = match rest.rsplit_once(':') {
        None => (None, rest),
        Some((address, host)) => (Some(address.trim_start_matches('[').trim_end_matches(']')), host),
    };
    let read = |text: &str| {
        let address = text.parse::<IpAddr>();
        address.map_err(|_| FlagFault::value("IP", text, "an IP address of the host"))
    };
    let host = read_ports(host)?;
    if host.start() != host.end() {
        return Err(form());
    }
    Ok(NamedPort {
        name: name.to_owned(),
        host_ip: address.map(read).transpose()?,
        host_port: *host.start(),
    })
}

/// The address, the host's ports and the pod's.
fn split(text: &str) -> Result<(Option<IpAddr>, &str, &str), FlagFault> {
    let form = || FlagFault::Form {
        fault: "it does not have the form `[[IP:][HOST]:]POD[/PROTOCOL]`",
        hint: Some(
            "write `8080:80`, `127.0.0.1:8080:80` or `8053:53/udp`; an IPv6 address stands in brackets",
        ),
    };
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or_else(form)?;
        let address = address
            .parse::<Ipv6Addr>()
            .map_err(|_| FlagFault::value("IP", address, "an IPv6 address, which stands in brackets"))?;
        let ports = rest.strip_prefix(':').and_then(|ports| ports.split_once(':'));
        let (host, pod) = ports.filter(|(_, pod)| !pod.contains(':')).ok_or_else(form)?;
        return Ok((Some(address.into()), host, pod));
    }
    match text.split(':').collect::<Vec<_>>()[..] {
        [pod] => Ok((None, "", pod)),
        [host, pod] => Ok((None, host, pod)),
        [address, host, pod] => {
            let address = address
                .parse::<Ipv4Addr>()
                .map_err(|_| FlagFault::value("IP", address, "an IP address of the host"))?;
            Ok((Some(address.into()), host, pod))
        }
        _ => Err(form()),
    }
}

/// Reads `--expose PORT[-PORT][/tcp|/udp]`.
///
/// # Errors
/// [`InvalidFlag`] for everything else.
pub fn read_expose(text: &OsStr) -> Result<Vec<(u16, PortProtocol)>, InvalidFlag> {
    let read = |text: &str| {
        let (ports, protocol) = match text.rsplit_once('/') {
            None => (text, PortProtocol::Tcp),
            Some((ports, protocol)) => (ports, read_protocol(protocol)?),
        };
        Ok(read_ports(ports)?.map(|port| (port, protocol)).collect())
    };
    utf8(text)
        .and_then(read)
        .map_err(|fault| InvalidFlag::new("--expose", text, fault))
}

fn read_protocol(text: &str) -> Result<PortProtocol, FlagFault> {
    match text {
        "tcp" => Ok(PortProtocol::Tcp),
        "udp" => Ok(PortProtocol::Udp),
        other => Err(FlagFault::Unknown {
            what: "protocol",
            name: shown(other),
            hint: "there are `tcp` and `udp`".to_owned(),
        }),
    }
}

/// A port, or a range of them.
fn read_ports(text: &str) -> Result<RangeInclusive<u16>, FlagFault> {
    let port = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse::<u16>().ok().filter(|number| digits && *number > 0);
        number.ok_or_else(|| FlagFault::value("port", text, "a whole number from 1 to 65535"))
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(FlagFault::form("a range ends before it begins"));
    }
    Ok(first..=last)
}

#[cfg(test)]
mod tests;
