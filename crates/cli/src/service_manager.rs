//! Notifies the host's service manager how far the pod is (sd_notify(3)), where `isopod run` is a unit of `Type=notify`.
//!
//! It is notified and never asked: a manager that cannot be notified keeps no pod from running.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use isopod_runtime::run::Milestone;
use tokio::sync::mpsc;

/// Where the milestones of `count` pods go: to the service manager that the environment names, where it names one. All are
/// ready when the last one is.
pub(crate) fn milestones(count: usize) -> mpsc::UnboundedSender<Milestone> {
    let (sender, mut milestones) = mpsc::unbounded_channel();
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else {
        return sender;
    };
    tokio::spawn(async move {
        let mut ready = 0;
        while let Some(milestone) = milestones.recv().await {
            ready += usize::from(milestone == Milestone::Ready);
            if milestone == Milestone::Ready && ready != count {
                continue;
            }
            if let Err(error) = send(&socket, words(milestone)) {
                tracing::warn!("cannot report to the service manager at NOTIFY_SOCKET: {error}");
            }
        }
    });
    sender
}

fn words(milestone: Milestone) -> &'static str {
    match milestone {
        Milestone::Ready => "READY=1\nSTATUS=every app is ready",
        Milestone::Stopping => "STOPPING=1\nSTATUS=stopping the apps",
    }
}

/// Sends to a socket that is named by its path, or by `@` and its abstract name.
fn send(socket: &OsStr, words: &str) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    sender.set_nonblocking(true)?;
    sender.send_to_addr(words.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_sockets_with_paths_and_with_abstract_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let abstract_name = format!("isopod-test-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let by_name = UnixDatagram::bind_addr(&address).unwrap();
        send(path.as_os_str(), "READY=1").unwrap();
        send(OsStr::new(&format!("@{abstract_name}")), "READY=1").unwrap();
        for socket in [by_path, by_name] {
            let mut datagram = [0; 64];
            let length = socket.recv(&mut datagram).unwrap();
            assert_eq!(&datagram[..length], b"READY=1");
        }
        assert!(send(OsStr::new("/nonexistent/socket"), "READY=1").is_err());
    }
}
