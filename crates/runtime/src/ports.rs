//! The host's ports that a pod publishes: looked at before its VM begins, so that one that cannot be had is an
//! error in a moment and not a VM that ends. What comes between the check and QEMU's own is reported by [`refused`].

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use isopod_spec::{PortForward, PortProtocol};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Why a port of the host cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot publish port `{port}`: {}", reason(.cause))]
pub struct PortError {
    pub port: PortForward,
    /// What binding it came to.
    cause: io::Error,
}

/// Why, in plain words where there are some.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another process uses it".into(),
        io::ErrorKind::AddrNotAvailable => "the host has no such address".into(),
        io::ErrorKind::PermissionDenied => "an ordinary user may not bind it".into(),
        _ => error.to_string(),
    }
}

impl PortError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let PortForward {
            host_port, protocol, ..
        } = self.port;
        match self.cause.kind() {
            io::ErrorKind::AddrInUse if self.port.host_last.is_some() => {
                Some("name other ports of the host".into())
            }
            io::ErrorKind::AddrInUse => {
                let kind = if protocol == PortProtocol::Tcp {
                    "-ltnp"
                } else {
                    "-lunp"
                };
                Some(format!(
                    "name another port of the host, or see who has it: `ss {kind} 'sport = :{host_port}'`"
                ))
            }
            io::ErrorKind::AddrNotAvailable => Some("`ip address` shows those that it has".into()),
            io::ErrorKind::PermissionDenied => Some(format!(
                "take one from 1024 on, or let every user have this one: \
                 `sysctl net.ipv4.ip_unprivileged_port_start={host_port}`"
            )),
            _ => None,
        }
    }
}

/// Binds every port and lets it go again.
///
/// # Errors
/// [`PortError`] for the first that cannot be had.
pub fn look(ports: &[PortForward]) -> Result<(), PortError> {
    ports.iter().try_for_each(|port| {
        bind(port).map(drop).map_err(|cause| PortError {
            port: port.clone(),
            cause,
        })
    })
}

/// Binds every port and keeps it, of both kinds of addresses where the forward names none: those of packets that the host's firewall leads
/// on before they come to a socket, so that no other program takes one for its own meanwhile. Nobody is answered.
///
/// # Errors
/// [`PortError`] for the first that cannot be had.
pub fn hold(ports: &[PortForward]) -> Result<Vec<OwnedFd>, PortError> {
    let mut held = Vec::new();
    for port in ports {
        let failed = |cause| PortError {
            port: port.clone(),
            cause,
        };
        held.push(bind_silently(port.address(), port).map_err(failed)?);
        if port.host_ip.is_none() {
            match bind_silently(Ipv6Addr::UNSPECIFIED.into(), port) {
                Ok(socket) => held.push(socket),
                // A host without IPv6.
                Err(error) if is_without_ipv6(&error) => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
    Ok(held)
}

/// A socket of a port that is listened on.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) socket: OwnedFd,
    /// Whether it is of IPv6.
    pub(crate) ipv6: bool,
}

/// Binds every port as [`hold`] does, and listens.
///
/// # Errors
/// [`PortError`] for the first that cannot be had.
pub(crate) fn listen(ports: &[PortForward]) -> Result<Vec<(PortForward, Listening)>, PortError> {
    let mut bound = Vec::new();
    for port in ports {
        let other = port
            .host_ip
            .is_none()
            .then_some(IpAddr::from(Ipv6Addr::UNSPECIFIED));
        for address in std::iter::once(port.address()).chain(other) {
            let socket = bind_as(address, port, Use::Listened);
            let listening = socket.and_then(|socket| {
                if port.protocol == PortProtocol::Tcp {
                    rustix::net::listen(&socket, BACKLOG)?;
                }
                Ok(socket)
            });
            let cause = match listening {
                Ok(socket) => {
                    let ipv6 = address.is_ipv6();
                    bound.push((port.clone(), Listening { socket, ipv6 }));
                    continue;
                }
                // A host without IPv6.
                Err(error) if Some(address) == other && is_without_ipv6(&error) => continue,
                Err(cause) => cause,
            };
            let port = port.clone();
            return Err(PortError { port, cause });
        }
    }
    Ok(bound)
}

/// How many connections wait to be accepted.
const BACKLOG: i32 = 1024;

fn is_without_ipv6(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error())
        || error.kind() == io::ErrorKind::AddrNotAvailable
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// To have the port.
    Held,
    /// To be spoken with.
    Listened,
}

/// A socket that is bound and does not listen: whoever comes to it nevertheless is refused.
fn bind_silently(address: IpAddr, port: &PortForward) -> io::Result<OwnedFd> {
    bind_as(address, port, Use::Held)
}

fn bind_as(address: IpAddr, port: &PortForward, used: Use) -> io::Result<OwnedFd> {
    let family = match address {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let kind = match port.protocol {
        PortProtocol::Tcp => SocketType::STREAM,
        PortProtocol::Udp => SocketType::DGRAM,
    };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if address.is_ipv6() {
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // Connections of an earlier life may still be ending.
    if used == Use::Listened && port.protocol == PortProtocol::Tcp {
        rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &SocketAddr::from((address, port.host_port)))?;
    Ok(socket)
}

/// Chooses a free port of the host for each forward without one, or with several to choose from. They are let go again: QEMU
/// binds them when the pod starts.
///
/// # Errors
/// [`PortError`] for the first for which there is none.
pub fn choose(ports: &mut [PortForward]) -> Result<(), PortError> {
    // Held until all are chosen, so that none is chosen twice, nor one that another forward names.
    let mut held: Vec<Bound> = match ports.iter().any(PortForward::is_open) {
        true => ports
            .iter()
            .filter(|port| !port.is_open())
            .filter_map(|port| bind(port).ok())
            .collect(),
        false => Vec::new(),
    };
    for port in ports.iter_mut().filter(|port| port.is_open()) {
        let bound = first_free(port).and_then(|bound| Ok((bound.port()?, bound)));
        let (number, bound) = bound.map_err(|cause| PortError {
            port: port.clone(),
            cause,
        })?;
        (port.host_port, port.host_last) = (number, None);
        held.push(bound);
    }
    Ok(())
}

/// The first port that can be had of those that the forward leaves open.
fn first_free(port: &PortForward) -> io::Result<Bound> {
    let last = port.host_last.unwrap_or(port.host_port);
    let mut failed = io::ErrorKind::AddrInUse.into();
    for host_port in port.host_port..=last {
        match bind(&PortForward {
            host_port,
            ..port.clone()
        }) {
            Ok(bound) => return Ok(bound),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// A port that is bound.
enum Bound {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Bound {
    fn port(&self) -> io::Result<u16> {
        let address = match self {
            Self::Tcp(socket) => socket.local_addr(),
            Self::Udp(socket) => socket.local_addr(),
        };
        address.map(|address| address.port())
    }
}

fn bind(port: &PortForward) -> io::Result<Bound> {
    let address = (port.address(), port.host_port);
    match port.protocol {
        PortProtocol::Tcp => TcpListener::bind(address).map(Bound::Tcp),
        PortProtocol::Udp => UdpSocket::bind(address).map(Bound::Udp),
    }
}

/// The port that QEMU or passt could not have, by what it said when it ended: it was taken after [`look`].
#[must_use]
pub fn refused(ports: &[PortForward], lines: &[String]) -> Option<PortError> {
    const QEMU: &str = "Could not set up host forwarding rule '";
    const PASST: &str = "Failed to bind any port for '-";
    let rule = |words| {
        lines
            .iter()
            .find_map(|line: &String| Some(line.split_once(words)?.1))
    };
    let (rule, by_passt) = match rule(QEMU) {
        Some(rule) => (rule, false),
        None => (rule(PASST)?, true),
    };
    let (rule, _) = rule.split_once('\'')?;
    let is_of = |port: &&PortForward| {
        let (protocol, address, host) = (port.protocol, port.address(), port.host_port);
        match by_passt {
            false => rule.starts_with(&format!("{protocol}:{address}:{host}-")),
            // `t 80:8080`, `u 127.0.0.1/53:53`
            true => {
                let letter = if protocol == PortProtocol::Tcp { 't' } else { 'u' };
                let address = port.host_ip.map(|ip| format!("{ip}/")).unwrap_or_default();
                rule == format!("{letter} {address}{host}:{}", port.pod_port)
            }
        }
    };
    Some(PortError {
        port: ports.iter().find(is_of)?.clone(),
        cause: io::ErrorKind::AddrInUse.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host_port: u16, protocol: PortProtocol) -> PortForward {
        PortForward {
            host_ip: Some([127, 0, 0, 1].into()),
            host_port,
            host_last: None,
            pod_port: 80,
            protocol,
        }
    }

    /// Neither one that another program has, nor one that another forward of the pod names or was given.
    #[test]
    fn of_a_range_the_first_free_port_is_chosen() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let first = taken.local_addr().unwrap().port().min(u16::MAX - 8);
        let range = PortForward {
            host_last: Some(first + 8),
            ..port(first, PortProtocol::Tcp)
        };
        let mut ports = [range.clone(), range.clone(), port(first + 1, PortProtocol::Tcp)];
        choose(&mut ports).unwrap();
        let chosen: Vec<u16> = ports.iter().map(|port| port.host_port).collect();
        assert!(chosen[0] > first + 1 && chosen[1] > chosen[0], "{chosen:?}");
        assert!(ports.iter().all(|port| !port.is_open()), "{ports:?}");
        let mut none = [PortForward {
            host_last: Some(first),
            ..range
        }];
        let error = choose(&mut none).unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&format!("{first}-{first}:80/tcp`: another process uses it")),
            "{error}"
        );
        drop(taken);
    }

    #[test]
    fn a_taken_port_is_reported() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (tcp_port, udp_port) = (tcp.local_addr().unwrap().port(), udp.local_addr().unwrap().port());
        for (number, protocol, ss) in [
            (tcp_port, PortProtocol::Tcp, "-ltnp"),
            (udp_port, PortProtocol::Udp, "-lunp"),
        ] {
            let error = look(&[port(number, protocol)]).unwrap_err();
            let expected =
                format!("cannot publish port `127.0.0.1:{number}:80/{protocol}`: another process uses it");
            assert_eq!(error.to_string(), expected);
            let hint = error.hint().unwrap();
            assert!(hint.contains(&format!("`ss {ss} 'sport = :{number}'`")), "{hint}");
        }
        drop((tcp, udp));
        look(&[
            port(tcp_port, PortProtocol::Tcp),
            port(udp_port, PortProtocol::Udp),
        ])
        .unwrap();
    }

    #[test]
    fn an_address_of_another_host_is_reported() {
        let elsewhere = PortForward {
            host_ip: Some([192, 0, 2, 1].into()),
            ..port(1, PortProtocol::Tcp)
        };
        let error = look(&[elsewhere]).unwrap_err();
        let expected = "cannot publish port `192.0.2.1:1:80/tcp`: the host has no such address";
        assert_eq!(error.to_string(), expected);
        assert!(error.hint().is_some());
    }

    #[test]
    fn what_qemu_says_names_the_port() {
        let ports = [port(80, PortProtocol::Tcp), port(8080, PortProtocol::Tcp)];
        let refused_by = |rule: &str| {
            let line = format!("qemu: -netdev user: Could not set up host forwarding rule '{rule}'");
            refused(&ports, &["noise".to_owned(), line]).map(|error| error.port)
        };
        assert_eq!(
            refused_by("tcp:127.0.0.1:8080-10.0.2.15:80"),
            Some(ports[1].clone())
        );
        assert_eq!(refused_by("tcp:127.0.0.1:808-10.0.2.15:80"), None);
        assert_eq!(refused_by("udp:127.0.0.1:80-10.0.2.15:80"), None);
        assert!(refused(&ports, &["noise".to_owned()]).is_none());
        let passt = "Failed to bind any port for '-t 127.0.0.1/8080:80', exiting".to_owned();
        assert_eq!(
            refused(&ports, &[passt]).map(|error| error.port),
            Some(ports[1].clone())
        );
    }
}
