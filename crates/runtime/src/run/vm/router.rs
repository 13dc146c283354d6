//! passt, where it is the pod's router, and the thread that carries the VM's frames to it.

use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;

use isopod_plan::layout;
use isopod_vm::frames;
use isopod_vm::launch::{self, Streams};
use rustix::net::sockopt::{set_socket_send_buffer_size, set_socket_send_buffer_size_force};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Child;
use tokio::task::JoinHandle;

use super::{PodStart, RunError, failed, launcher};
use crate::Settings;
use crate::capture::Capture;
use crate::pods::os_text::OsText;
use crate::socket::listen;

/// As much room as passt's socket is to have, in bytes; for ordinary users the system bounds it (`net.core.wmem_max`, socket(7)). passt drops
/// what finds none: it takes eight connections whose windows are as large as Linux lets them become, 6 MiB.
const PASST_BUFFER: usize = 32 << 20;

/// The pod's router, where it is a process of its own, and what carries frames between it and QEMU.
pub(super) struct Router {
    pub(super) passt: Child,
    pub(super) log: Capture,
    /// Waits for QEMU; what carries the frames then is a thread, which ends with either of the two.
    waiting: JoinHandle<()>,
}

impl Drop for Router {
    fn drop(&mut self) {
        self.waiting.abort();
    }
}

impl Router {
    /// Starts passt, which QEMU reaches through a socket in the pod directory. `qemu_user` is who connects, where that is not this
    /// one.
    pub(super) fn start(
        words: &[OsText],
        dir: &Path,
        settings: &Settings,
        qemu_user: Option<u32>,
        pod_start: PodStart,
    ) -> Result<Self, RunError> {
        let launcher = launcher(words, pod_start).map_err(failed("start passt"))?;
        let socket = listen(dir, layout::NETWORK_SOCKET, qemu_user).map_err(failed("listen for QEMU"))?;
        socket.set_nonblocking(true).map_err(failed("listen for QEMU"))?;
        let socket = UnixListener::from_std(socket).map_err(failed("listen for QEMU"))?;
        let (ours, of_passt) = StdStream::pair().map_err(failed("make passt's socket"))?;
        let _ = set_socket_send_buffer_size_force(&of_passt, PASST_BUFFER)
            .or_else(|_| set_socket_send_buffer_size(&of_passt, PASST_BUFFER));
        let (log, stderr) = Capture::begin(dir, layout::PASST_LOG).map_err(failed("make passt's log"))?;
        let streams = Streams {
            inherited: Vec::new(),
            stdin: Some(of_passt.into()),
            stdout: None,
            stderr,
            lock: layout::PASST_LOCK,
        };
        let passt =
            launch::spawn(&settings.isopod, &launcher, dir, streams).map_err(failed("start passt"))?;
        let waiting = tokio::spawn(async move {
            match socket.accept().await.and_then(|(stream, _)| blocking(stream)) {
                Ok(qemu) => carry(qemu, ours),
                Err(error) => tracing::warn!("cannot accept QEMU's connection to its network: {error}"),
            }
        });
        Ok(Self { passt, log, waiting })
    }
}

fn blocking(stream: UnixStream) -> io::Result<StdStream> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Carries frames in a thread of their own, so that no queue of the supervisor is in their way.
fn carry(qemu: StdStream, passt: StdStream) {
    let thread = std::thread::Builder::new().name("frames".into());
    let begun = thread.spawn(move || {
        if let Err(error) = frames::carry(&qemu, &passt) {
            tracing::debug!("the pod's network has ended: {error}");
        }
    });
    if let Err(error) = begun {
        tracing::warn!("cannot carry the pod's frames: {error}");
    }
}
