//! The apps' standard streams in the guest, between their units and the host's streams.
//!
//! - **Output**: named pipes that the guest image ships. The agent holds each open for reading and writing, so that
//!   opening one for writing never blocks, for systemd as for an app that opens `/dev/stdout`, and so that it never
//!   ends by itself: when systemd says that the unit is at rest, no writer is left, and the pipe is read until it is
//!   empty.
//! - **Input**: a nameless pipe, and a symlink to it in the agent's `/proc/PID/fd` at the configured path. A named pipe
//!   would not do: once the input has ended, an app that opens `/dev/stdin` would wait there for another writer.
//!   Once the app has it, the path leads to nothing to read, which is what its `post-stop` handler gets.
//!
//!
//! An app with a [`terminal`](crate::apps::terminal) has that in place of all three.
//!
//! A pipe that its reader on the host leaves full blocks just the app that writes into it.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use isopod_contract::config::GuestApp;
use isopod_protocol::mux::MuxStream;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixDatagram;
use tokio::net::unix::pipe::{OpenOptions, Receiver, Sender};
use tokio::sync::watch;

use crate::apps::notify;
use crate::apps::streams::{link, send};
use crate::apps::terminal::Terminal;

/// What goes from a pipe to a stream in one piece: a yamux frame.
const COPY_BYTES: usize = 16 * 1024;

/// Why a standard stream is not there.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the {stream} of app `{app}` at `{}`", .path.display())]
pub(crate) struct PipeError {
    app: String,
    stream: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// An app's pipes, as far as they could be opened.
#[derive(Debug, Default)]
pub(crate) struct AppPipes {
    pub(crate) stdin: Option<Stdin>,
    pub(crate) stdout: Option<Receiver>,
    pub(crate) stderr: Option<Receiver>,
    /// What it has in place of these three.
    pub(crate) terminal: Option<Terminal>,
    /// Where it says that it is ready.
    pub(crate) notify: Option<UnixDatagram>,
}

/// An app's standard input.
#[derive(Debug)]
pub(crate) struct Stdin {
    /// Where the host's bytes go.
    pub(crate) writer: Sender,
    /// What the symlink leads to: kept until systemd has opened it for the app.
    pub(crate) reader: StdinReader,
}

/// The end of the input that the app reads.
#[derive(Debug)]
pub(crate) struct StdinReader {
    path: PathBuf,
    _pipe: OwnedFd,
}

impl StdinReader {
    /// Leaves the pipe to the app; what the unit runs after it finds an empty input.
    pub(crate) fn leave(self) {
        // Where that fails, the handler does, and that is reported.
        let _ = link(&self.path, Path::new("/dev/null"));
    }
}

/// Opens the pipes of an app; returns them and what could not be opened.
pub(crate) fn open(app: &GuestApp) -> (AppPipes, Vec<PipeError>) {
    let mut errors = Vec::new();
    let mut note = |stream, path: &str, source| {
        errors.push(PipeError {
            app: app.name.clone(),
            stream,
            path: path.into(),
            source,
        });
    };
    let mut pipes = AppPipes {
        notify: app.notify.as_deref().and_then(|path| {
            notify::open(Path::new(path))
                .map_err(|source| note("notification socket", path, source))
                .ok()
        }),
        ..AppPipes::default()
    };
    if let Some(path) = &app.terminal {
        let terminal = Terminal::make(app, Path::new(path));
        pipes.terminal = terminal.map_err(|source| note("terminal", path, source)).ok();
        return (pipes, errors);
    }
    let mut output = |stream, path: &str| {
        let pipe = OpenOptions::new().read_write(true).open_receiver(path);
        pipe.map_err(|source| note(stream, path, source)).ok()
    };
    pipes.stdout = output("standard output", &app.stdout);
    pipes.stderr = output("standard error", &app.stderr);
    pipes.stdin = app.stdin.as_deref().and_then(|path| {
        Stdin::create(Path::new(path))
            .map_err(|source| note("standard input", path, source))
            .ok()
    });
    (pipes, errors)
}

impl Stdin {
    /// Makes the pipe, and the symlink to it at `path`.
    fn create(path: &Path) -> io::Result<Self> {
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // The app, whatever its user, may open `/dev/stdin`.
        rustix::fs::fchmod(&reader, Mode::from_raw_mode(0o444))?;
        let target = format!("/proc/{}/fd/{}", std::process::id(), reader.as_raw_fd());
        link(path, Path::new(&target))?;
        Ok(Self {
            writer: Sender::from_owned_fd(writer)?,
            reader: StdinReader {
                path: path.to_owned(),
                _pipe: reader,
            },
        })
    }
}

/// Moves what the app writes to the host, until the app has ended and the pipe is empty; then ends the stream. When
/// the host has no use for it any more, the rest is read and dropped, so that the app continues.
pub(crate) async fn forward_output(
    pipe: Option<Receiver>,
    mut stream: MuxStream,
    mut ended: watch::Receiver<bool>,
) {
    if let Some(pipe) = pipe {
        let mut host = Some(&mut stream);
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            tokio::select! {
                ready = pipe.readable() => if ready.is_err() { break },
                // Closing the channel is the end, too.
                _ = ended.wait_for(|ended| *ended) => break,
            }
            match pipe.try_read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => send(&mut host, &buffer[..n]).await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
        drain(&pipe, &mut host, &mut buffer).await;
    }
    let _ = stream.shutdown().await;
}

/// Reads until the pipe is empty, past tokio, which may not have seen yet what came last.
async fn drain(pipe: &Receiver, host: &mut Option<&mut MuxStream>, buffer: &mut [u8]) {
    loop {
        match rustix::io::read(pipe, &mut *buffer) {
            Ok(0) => return,
            Ok(n) => send(host, &buffer[..n]).await,
            Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Moves what the host sends to the app, until the host ends the input or the app no longer reads it. Closing the pipe
/// is the end of the app's input; what is still in it stays there to be read.
pub(crate) async fn forward_input(mut stream: MuxStream, mut pipe: Sender) {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(n) => {
                if pipe.write_all(&buffer[..n]).await.is_err() {
                    return; // Dropping the stream shows the host that it is over.
                }
            }
        }
    }
}
