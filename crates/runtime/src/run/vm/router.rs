//! passt, where it is the pod's router, and the thread that carries the VM's frames to it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use isopod_plan::layout;
use isopod_spec::PortForward;
use isopod_vm::frames::{self, Wake};
use isopod_vm::launch::{self, Streams};
use isopod_vm::launcher::Launcher;
use rustix::net::sockopt::{set_socket_send_buffer_size, set_socket_send_buffer_size_force};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Child;
use tokio::sync::watch;
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
    passt: Passt,
    /// Waits for QEMU; what carries the frames then is a thread, which ends with either of the two.
    waiting: JoinHandle<()>,
}

enum Passt {
    /// No packet has come yet for which it is needed.
    Wanted {
        by: watch::Receiver<bool>,
        start: Box<Start>,
    },
    Running(Child, Capture),
}

/// What starts passt.
struct Start {
    isopod: PathBuf,
    launcher: Launcher,
    dir: PathBuf,
    socket: OwnedFd,
}

impl Start {
    fn passt(&self) -> Result<Passt, RunError> {
        let (log, stderr) =
            Capture::begin(&self.dir, layout::PASST_LOG).map_err(failed("make passt's log"))?;
        let socket = self.socket.try_clone().map_err(failed("make passt's socket"))?;
        let streams = Streams {
            inherited: Vec::new(),
            stdin: Some(socket),
            stdout: None,
            stderr,
            lock: layout::PASST_LOCK,
        };
        let passt = launch::spawn(&self.isopod, &self.launcher, &self.dir, streams);
        Ok(Passt::Running(passt.map_err(failed("start passt"))?, log))
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.waiting.abort();
    }
}

impl Router {
    /// Prepares passt, which QEMU reaches through a socket in the pod directory, and starts it where ports lead into the pod: otherwise
    /// [`Router::ended`] does, when the guest sends something. `qemu_user` is who connects, where that is not this one.
    pub(super) fn begin(
        words: &[OsText],
        ports: &[PortForward],
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
        let start = Start {
            isopod: settings.isopod.clone(),
            launcher,
            dir: dir.to_owned(),
            socket: of_passt.into(),
        };
        let (passt, wake): (_, Option<Wake>) = match ports.is_empty() {
            true => {
                let (wanted, by) = watch::channel(false);
                let start = Box::new(start);
                let wake = Box::new(move || {
                    let _ = wanted.send(true);
                });
                (Passt::Wanted { by, start }, Some(wake))
            }
            false => (start.passt()?, None),
        };
        let waiting = tokio::spawn(async move {
            match socket.accept().await.and_then(|(stream, _)| blocking(stream)) {
                Ok(qemu) => carry(qemu, ours, wake),
                Err(error) => tracing::warn!("cannot accept QEMU's connection to its network: {error}"),
            }
        });
        Ok(Self { passt, waiting })
    }

    /// Starts passt when it is needed, and waits until it ends. May be cancelled.
    pub(super) async fn ended(&mut self) -> Result<io::Result<ExitStatus>, RunError> {
        loop {
            match &mut self.passt {
                Passt::Running(passt, _) => return Ok(passt.wait().await),
                Passt::Wanted { by, start } => {
                    if by.wait_for(|wanted| *wanted).await.is_err() {
                        // QEMU has ended.
                        std::future::pending::<()>().await;
                    }
                    self.passt = start.passt()?;
                }
            }
        }
    }

    /// passt, where it has been started.
    pub(super) fn passt(&mut self) -> Option<&mut Child> {
        match &mut self.passt {
            Passt::Running(passt, _) => Some(passt),
            Passt::Wanted { .. } => None,
        }
    }

    /// What passt has said, where it has been started.
    pub(super) fn log(&mut self) -> Option<&mut Capture> {
        match &mut self.passt {
            Passt::Running(_, log) => Some(log),
            Passt::Wanted { .. } => None,
        }
    }
}

fn blocking(stream: UnixStream) -> io::Result<StdStream> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Carries frames in a thread of their own, so that no queue of the supervisor is in their way.
fn carry(qemu: StdStream, passt: StdStream, wake: Option<Wake>) {
    let thread = std::thread::Builder::new().name("frames".into());
    let begun = thread.spawn(move || {
        if let Err(error) = frames::carry(&qemu, &passt, wake) {
            tracing::debug!("the pod's network has ended: {error}");
        }
    });
    if let Err(error) = begun {
        tracing::warn!("cannot carry the pod's frames: {error}");
    }
}
