//! What apps say of themselves (sd_notify(3)): a datagram socket for each app that has one, bound into its root by its
//! unit. Each app has a socket of its own, so whatever arrives there is the app's, whichever of its processes sent it.
//!
//! Only readiness is accepted. systemd's own socket would take more (`MAINPID=`, `FDSTORE=`), and none of it is an app's
//! to say here.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tokio::net::UnixDatagram;
use tokio::sync::mpsc;

/// The longest datagram that is read; the rest of a longer one is lost. systemd reads as much.
const MAX_DATAGRAM_BYTES: usize = 4096;

/// Whether an app says that it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadinessReport {
    /// `READY=1`.
    Ready,
    /// `RELOADING=1` or `STOPPING=1`.
    NotReady,
}

/// Makes the socket at `path`, open to every user of the app's root.
pub(crate) fn open(path: &Path) -> io::Result<UnixDatagram> {
    let _ = std::fs::remove_file(path);
    let socket = UnixDatagram::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    Ok(socket)
}

/// Hands on what arrives, until nobody listens. An app that floods its socket waits for the agent, not the agent for it.
pub(crate) async fn listen(
    socket: UnixDatagram,
    app: usize,
    reports: mpsc::Sender<(usize, ReadinessReport)>,
) {
    let mut datagram = vec![0; MAX_DATAGRAM_BYTES];
    while let Ok(length) = socket.recv(&mut datagram).await {
        if let Some(report) = read(&datagram[..length])
            && reports.send((app, report)).await.is_err()
        {
            return;
        }
    }
}

/// The last report of readiness in a datagram of lines.
fn read(datagram: &[u8]) -> Option<ReadinessReport> {
    let mut lines = datagram.rsplit(|&byte| byte == b'\n');
    lines.find_map(|line| match line {
        b"READY=1" => Some(ReadinessReport::Ready),
        b"RELOADING=1" | b"STOPPING=1" => Some(ReadinessReport::NotReady),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_readiness_and_nothing_else() {
        for (datagram, report) in [
            (&b"READY=1"[..], Some(ReadinessReport::Ready)),
            (b"STATUS=up\nREADY=1\nMAINPID=7\n", Some(ReadinessReport::Ready)),
            (b"RELOADING=1\nMONOTONIC_USEC=5", Some(ReadinessReport::NotReady)),
            (b"READY=1\nSTOPPING=1", Some(ReadinessReport::NotReady)),
            (b"READY=0", None),
            (b"NOTREADY=1", None),
            (b"\xff\0\n\n", None),
            (b"", None),
        ] {
            assert_eq!(read(datagram), report, "{datagram:?}");
        }
    }
}
