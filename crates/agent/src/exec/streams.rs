//! A command's standard streams, as the agent holds their other ends: a terminal, or a pipe each.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use isopod_contract::exec::WindowSize;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::time::timeout;

use super::WantedStreams;
use crate::device::Device;
use crate::process::pty;

/// The agent's ends.
pub(super) struct Streams {
    pub(super) stdin: Option<Sink>,
    pub(super) stdout: Source,
    pub(super) stderr: Option<Source>,
    /// The terminal, where it is one.
    pub(super) master: Option<Device>,
}

impl Streams {
    /// Makes them, and the command's ends: its standard input, output and error.
    pub(super) fn make(wanted: WantedStreams) -> io::Result<(Self, [OwnedFd; 3])> {
        match wanted {
            WantedStreams::Terminal { size, ptmx } => Self::terminal(size, &ptmx),
            WantedStreams::Pipes { stdin } => Self::pipes(stdin),
        }
    }

    fn terminal(size: WindowSize, ptmx: &Path) -> io::Result<(Self, [OwnedFd; 3])> {
        let master = pty::master(ptmx, size)?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let terminal = ioctl_tiocgptpeer(&master, flags)?;
        let master = Device::new(master)?;
        let theirs = [terminal.try_clone()?, terminal.try_clone()?, terminal];
        let ours = Self {
            stdin: Some(Sink::Terminal(master.clone())),
            stdout: Source::Terminal(master.clone()),
            stderr: None,
            master: Some(master),
        };
        Ok((ours, theirs))
    }

    fn pipes(stdin: bool) -> io::Result<(Self, [OwnedFd; 3])> {
        let (input, stdin) = if stdin {
            let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(&writer, true)?;
            (reader, Some(Sink::Pipe(Sender::from_owned_fd(writer)?)))
        } else {
            (
                open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?,
                None,
            )
        };
        let ((stdout, output), (stderr, errors)) = (Source::pipe()?, Source::pipe()?);
        let ours = Self {
            stdin,
            stdout,
            stderr: Some(stderr),
            master: None,
        };
        Ok((ours, [input, output, errors]))
    }
}

/// Where a command's input goes.
pub(super) enum Sink {
    Pipe(Sender),
    Terminal(Device),
}

impl AsyncWrite for Sink {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Pipe(pipe) => Pin::new(pipe).poll_write(cx, buf),
            Self::Terminal(master) => Pin::new(master).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Where a command's output comes from.
pub(super) enum Source {
    Pipe(Receiver),
    Terminal(Device),
}

impl Source {
    fn pipe() -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&reader, true)?;
        Ok((Self::Pipe(Receiver::from_owned_fd(reader)?), writer))
    }

    /// Reads what is left when the command has ended; `None` when nothing is.
    pub(super) async fn rest(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let read = match self {
            // Past tokio, which may not have seen yet what came last.
            Self::Pipe(pipe) => loop {
                match rustix::io::read(&*pipe, &mut *buffer) {
                    Err(Errno::INTR) => {}
                    read => break read.ok(),
                }
            },
            Self::Terminal(master) => timeout(pty::SILENCE, master.read(buffer)).await.ok()?.ok(),
        };
        read.filter(|n| *n > 0)
    }
}

impl AsyncRead for Source {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Pipe(pipe) => Pin::new(pipe).poll_read(cx, buf),
            Self::Terminal(master) => Pin::new(master).poll_read(cx, buf),
        }
    }
}
