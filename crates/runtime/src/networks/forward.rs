//! The host's ports that lead into an ordinary user's pod in networks with names: a process that listens on the host, and connects from
//! within the user's namespace of networks ([`isopod_vm::rootless`]).
//!
//! ```text
//! supervisor: binds the ports ── spawns ──> isopod FORWARD PROCESS
//!    ── where each leads, the sockets, a pipe ──>  enters the namespace; the sockets stay the host's
//!                                                  carries connections and datagrams until the pipe is closed
//! ```
//!
//! The pod sees its network's router as who speaks with it, as with podman's rootlessport.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, PipeWriter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener, UdpSocket as StdUdp};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use isopod_spec::{JoinedNetwork, PortForward, PortProtocol};
use isopod_vm::rootless::{self, Space};
use isopod_vm::{fd_message, launch};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Mutex, Semaphore};

use crate::joining::OWN_PROGRAM;
use crate::joining::call;
use crate::ports::Listening;

/// The first argument that makes `isopod` such a process.
pub const FORWARD: &str = "internal-ports";

/// How many connections it carries at a time; more wait to be accepted.
const CONNECTIONS: usize = 4096;

/// How many senders of datagrams it knows for a port at a time; those of more are dropped.
const SENDERS: usize = 1024;

/// How long one is known that sends nothing and is sent nothing.
const SILENCE: Duration = Duration::from_secs(60);

/// The longest datagram, in bytes.
const DATAGRAM: usize = 65_536;

/// Where a socket leads.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Target {
    protocol: PortProtocol,
    to: SocketAddr,
}

/// The process, which ends with this.
#[derive(Debug)]
pub(super) struct Forwarder {
    child: Child,
    /// It ends when this is closed.
    life: Option<PipeWriter>,
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        drop(self.life.take());
        let _ = self.child.wait();
    }
}

impl Forwarder {
    /// Starts it for the sockets `bound`, which lead to the pod's addresses in `joined`.
    pub(super) fn start(
        space: &Space,
        bound: Vec<(PortForward, Listening)>,
        joined: &JoinedNetwork,
    ) -> io::Result<Self> {
        let (life, ours) = io::pipe()?;
        let mut targets = Vec::new();
        let mut given: Vec<OwnedFd> = vec![life.into()];
        for (port, Listening { socket, ipv6 }) in bound {
            let address = joined.addresses.iter().find(|address| address.is_ipv6() == ipv6);
            if let Some(address) = address.or(joined.addresses.first()) {
                targets.push(Target {
                    protocol: port.protocol,
                    to: (*address, port.pod_port).into(),
                });
                given.push(socket);
            }
        }
        let (socket, theirs) = UnixStream::pair()?;
        let mut process = launch::command(Path::new(OWN_PROGRAM));
        process.arg(FORWARD).arg(space.process().to_string());
        let spawned = process
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .current_dir("/");
        // A terminal's Ctrl-C is for the supervisor to act on.
        let child = std::os::unix::process::CommandExt::process_group(spawned, 0).spawn()?;
        drop(process);
        let given: Vec<BorrowedFd<'_>> = given.iter().map(OwnedFd::as_fd).collect();
        fd_message::send(&socket, &serde_json::to_vec(&targets)?, &given)?;
        Ok(Self {
            child,
            life: Some(ours),
        })
    }
}

/// Is that process; the argument is the one whose namespaces it enters, after [`FORWARD`].
///
/// # Errors
/// The system's.
pub fn serve(args: impl IntoIterator<Item = OsString>) -> io::Result<()> {
    let (process, socket) = call::asked(args)?;
    let (targets, given) = fd_message::receive(&socket)?;
    let targets: Vec<Target> = serde_json::from_slice(&targets)?;
    rootless::enter(process).map_err(io::Error::other)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut given = given.into_iter();
        let life = given.next().ok_or(io::ErrorKind::InvalidInput)?;
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        for (target, socket) in targets.into_iter().zip(given) {
            match target.protocol {
                PortProtocol::Tcp => {
                    let listener = StdListener::from(socket);
                    listener.set_nonblocking(true)?;
                    tokio::spawn(accept(TcpListener::from_std(listener)?, target.to, room.clone()));
                }
                PortProtocol::Udp => {
                    let socket = StdUdp::from(socket);
                    socket.set_nonblocking(true)?;
                    tokio::spawn(datagrams(Arc::new(UdpSocket::from_std(socket)?), target.to));
                }
            }
        }
        let mut life = pipe::Receiver::from_owned_fd(life)?;
        let _ = life.read(&mut [0]).await;
        Ok(())
    })
}

/// Carries each connection.
async fn accept(listener: TcpListener, to: SocketAddr, room: Arc<Semaphore>) {
    loop {
        let Ok(place) = room.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((mut outside, _)) => {
                tokio::spawn(async move {
                    // One that the pod refuses is closed: that is what is seen of it outside.
                    if let Ok(mut inside) = TcpStream::connect(to).await {
                        let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                    }
                    drop(place);
                });
            }
            // No descriptors left: later there may be.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Who has sent something, with the socket that the pod answers to.
type Senders = Arc<Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>>;

/// Carries datagrams, and the answers to them.
async fn datagrams(outside: Arc<UdpSocket>, to: SocketAddr) {
    let senders = Senders::default();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let Ok((length, sender)) = outside.recv_from(&mut buffer).await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let mut known = senders.lock().await;
        let inside = match known.get(&sender) {
            Some(inside) => inside.clone(),
            None if known.len() >= SENDERS => continue,
            None => {
                let Ok(inside) = connected(to).await else { continue };
                let inside = Arc::new(inside);
                known.insert(sender, inside.clone());
                tokio::spawn(answers(outside.clone(), inside.clone(), sender, senders.clone()));
                inside
            }
        };
        drop(known);
        let _ = inside.send(&buffer[..length]).await;
    }
}

async fn connected(to: SocketAddr) -> io::Result<UdpSocket> {
    let any = match to {
        SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(to).await?;
    Ok(socket)
}

/// Carries what the pod answers one sender, until neither says anything.
async fn answers(outside: Arc<UdpSocket>, inside: Arc<UdpSocket>, sender: SocketAddr, senders: Senders) {
    let mut buffer = vec![0; DATAGRAM];
    while let Ok(received) = tokio::time::timeout(SILENCE, inside.recv(&mut buffer)).await {
        // An error is that nobody listens in the pod, which may change.
        if let Ok(length) = received {
            let _ = outside.send_to(&buffer[..length], sender).await;
        }
    }
    senders.lock().await.remove(&sender);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_and_datagrams_are_carried_both_ways() {
        use tokio::io::AsyncWriteExt as _;
        let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = inside.local_addr().unwrap();
        let outside = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = outside.local_addr().unwrap();
        tokio::spawn(accept(outside, to, Arc::new(Semaphore::new(1))));
        let mut client = TcpStream::connect(at).await.unwrap();
        let (mut server, _) = inside.accept().await.unwrap();
        client.write_all(b"hello").await.unwrap();
        client.shutdown().await.unwrap();
        let mut received = String::new();
        server.read_to_string(&mut received).await.unwrap();
        server.write_all(b"and back").await.unwrap();
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!((&*received, &*answer), ("hello", "and back"));

        let inside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let outside = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let at = outside.local_addr().unwrap();
        tokio::spawn(datagrams(outside, inside.local_addr().unwrap()));
        for client in [
            UdpSocket::bind("127.0.0.1:0").await.unwrap(),
            UdpSocket::bind("127.0.0.1:0").await.unwrap(),
        ] {
            client.send_to(b"ping", at).await.unwrap();
            let mut buffer = [0; 16];
            let (length, from) = inside.recv_from(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..length], b"ping");
            inside.send_to(b"pong", from).await.unwrap();
            let (length, from) = client.recv_from(&mut buffer).await.unwrap();
            assert_eq!((&buffer[..length], from), (&b"pong"[..], at));
        }
    }
}
