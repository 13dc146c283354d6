//! `kubectl port-forward`: containerd connects with `localhost` in the sandbox's network namespace, where nothing of the VM listens. What
//! connects there is led here by a rule of the kernel, and from here to the same port of the guest's loopback interface.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use isopod_contract::message::{DialAnswer, HostStream};
use isopod_contract::names::NAMES_PORT;
use isopod_protocol::codec::read_message;
use isopod_runtime::control;
use isopod_vm::namespaces::join_network;
use rustix::net::sockopt::{ip_original_dst, ipv6_original_dst, set_socket_linger};
use tokio::net::{TcpListener, TcpStream};

use crate::pod::words;

/// The network namespace of this process's first thread.
const OWN_NETWORK: &str = "/proc/self/ns/net";

/// Begins to relay into the pod at `dir`, but for what is for `servers`, the namespace's own name servers; without it, a sandbox has
/// everything but port-forward.
pub(crate) fn begin(dir: &Path, servers: Vec<IpAddr>) {
    let dir = dir.to_owned();
    tokio::spawn(async move {
        if let Err(error) = relay(dir, servers).await {
            tracing::info!("port forwarding is not available: {error}");
        }
    });
}

async fn relay(dir: PathBuf, servers: Vec<IpAddr>) -> io::Result<()> {
    let four = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    // A host without IPv6 has none to forward.
    let six = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.ok();
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    let ports = (port(&four)?, six.as_ref().map(port).transpose()?);
    tokio::task::spawn_blocking(move || redirect(ports, &servers))
        .await
        .map_err(io::Error::other)??;
    if let Some(six) = six {
        tokio::spawn(accept(six, dir.clone()));
    }
    accept(four, dir).await;
    Ok(())
}

/// Leads what this namespace's processes connect with on its loopback interface to those ports.
fn redirect((four, six): (u16, Option<u16>), servers: &[IpAddr]) -> io::Result<()> {
    // That of the first thread, whatever this one had before.
    join_network(Path::new(OWN_NETWORK))?;
    let by_nft = pipe("nft", &["-f", "-"], &rules((four, six), servers));
    if let Err(error) = &by_nft {
        tracing::debug!("nft: {error}");
    } else {
        return by_nft;
    }
    let tables = [
        ("iptables", "127.0.0.0/8", Some(four)),
        ("ip6tables", "::1/128", six),
    ];
    for (program, loopback, port) in tables {
        let Some(port) = port else {
            continue;
        };
        for server in servers
            .iter()
            .filter(|server| server.is_ipv4() == (program == "iptables"))
        {
            let line = format!("-t nat -A OUTPUT -d {server} -p tcp --dport {NAMES_PORT} -j RETURN");
            pipe(program, &line.split(' ').collect::<Vec<_>>(), "")?;
        }
        let line =
            format!("-t nat -A OUTPUT -d {loopback} -p tcp ! --dport {port} -j REDIRECT --to-ports {port}");
        pipe(program, &line.split(' ').collect::<Vec<_>>(), "")?;
    }
    Ok(())
}

/// The same for nft(8).
fn rules((four, six): (u16, Option<u16>), servers: &[IpAddr]) -> String {
    let mut rules = "add table inet isopod\nflush table inet isopod\n\
         add chain inet isopod output { type nat hook output priority -100 ; }\n"
        .to_owned();
    let mut rule = |words: String| rules += &format!("add rule inet isopod output {words}\n");
    for server in servers {
        let family = if server.is_ipv4() { "ip" } else { "ip6" };
        rule(format!("{family} daddr {server} tcp dport {NAMES_PORT} accept"));
    }
    rule(format!(
        "ip daddr 127.0.0.0/8 tcp dport != {four} redirect to :{four}"
    ));
    if let Some(six) = six {
        rule(format!("ip6 daddr ::1 tcp dport != {six} redirect to :{six}"));
    }
    rules
}

fn pipe(program: &str, args: &[&str], input: &str) -> io::Result<()> {
    use std::io::Write as _;
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let mut command = Command::new(program);
    command.args(args).env_clear().env("PATH", path);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        )),
    }
}

async fn accept(listener: TcpListener, dir: PathBuf) {
    loop {
        match listener.accept().await {
            Ok((connection, _)) => {
                let dir = dir.clone();
                tokio::spawn(async move {
                    if let Err(error) = connect(connection, &dir).await {
                        tracing::debug!("port-forward: {error}");
                    }
                });
            }
            // No descriptors left: later there may be.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
}

/// Where the connection was to go before it was led here.
fn wanted(connection: &TcpStream) -> io::Result<u16> {
    Ok(match connection.local_addr()? {
        SocketAddr::V4(_) => ip_original_dst(connection)?.port(),
        SocketAddr::V6(_) => ipv6_original_dst(connection)?.port(),
    })
}

async fn connect(mut connection: TcpStream, dir: &Path) -> Result<(), String> {
    let port = wanted(&connection).map_err(|error| words(&error))?;
    let stream = control::open(dir, HostStream::Dial { port }).await;
    let mut stream = stream.map_err(|error| words(&error))?;
    let answer = read_message(&mut stream).await.map_err(|error| words(&error))?;
    match answer {
        Some(DialAnswer::Connected) => {}
        // The connection is reset, as it would be where nothing listens.
        Some(DialAnswer::Failed { text }) => {
            let _ = set_socket_linger(&connection, Some(std::time::Duration::ZERO));
            return Err(format!("port {port} of the guest: {text}"));
        }
        None => return Err("the pod is ending".to_owned()),
    }
    // Either side's end is the other's to see.
    let _ = tokio::io::copy_bidirectional(&mut connection, &mut stream).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_the_namespaces_name_servers_is_left_to_them() {
        let servers = ["127.0.0.11", "::1"].map(|server| server.parse().unwrap());
        let rules = rules((40, Some(60)), &servers);
        let lines: Vec<&str> = rules
            .lines()
            .filter_map(|line| line.strip_prefix("add rule inet isopod output "))
            .collect();
        assert_eq!(
            lines,
            [
                "ip daddr 127.0.0.11 tcp dport 53 accept",
                "ip6 daddr ::1 tcp dport 53 accept",
                "ip daddr 127.0.0.0/8 tcp dport != 40 redirect to :40",
                "ip6 daddr ::1 tcp dport != 60 redirect to :60",
            ]
        );
    }
}
