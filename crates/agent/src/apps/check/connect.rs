//! Connections of probes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpStream;

/// Connects to the host, or to the guest itself: at its own address, as the kubelet does, or else at the loopback interface's by
/// either protocol. The first error is reported.
pub(super) async fn connect(
    host: Option<IpAddr>,
    own: Option<Ipv4Addr>,
    port: u16,
) -> io::Result<(TcpStream, SocketAddr)> {
    let itself = [
        own.map(IpAddr::from),
        Some(Ipv4Addr::LOCALHOST.into()),
        Some(Ipv6Addr::LOCALHOST.into()),
    ];
    let addresses = match host {
        Some(_) => vec![host],
        None => itself.to_vec(),
    };
    let mut first = None;
    for ip in addresses.into_iter().flatten() {
        let at = SocketAddr::new(ip, port);
        match TcpStream::connect(at).await {
            Ok(stream) => return Ok((stream, at)),
            Err(error) => drop(first.get_or_insert(error)),
        }
    }
    Err(first.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
}
