//! A character device as tokio's tasks read and write it: the port to the host, a terminal's master.
//!
//! tokio's own types for pipes and sockets would not do: they take a read that fills less than it could for the last
//! one before the next event, and one read of a port or terminal never gives more than one of its buffers, however many
//! there are.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// An open device: for one task that reads and one that writes, each with its own clone.
#[derive(Clone, Debug)]
pub(crate) struct Device(Arc<AsyncFd<File>>);

impl Device {
    /// Takes a file that was opened without blocking.
    pub(crate) fn new(file: File) -> io::Result<Self> {
        // What is unsound about it is a type that changes its descriptor while it is registered; a file does not.
        #[expect(deprecated, reason = "what replaces it is an unsafe function")]
        let device = AsyncFd::new(file);
        device.map(|device| Self(Arc::new(device)))
    }

    /// The open file.
    pub(crate) fn file(&self) -> &File {
        self.0.get_ref()
    }
}

impl AsyncRead for Device {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            let read = guard.try_io(|file| file.get_ref().read(buf.initialize_unfilled()));
            if let Ok(result) = read {
                return Poll::Ready(result.map(|n| buf.advance(n)));
            }
        }
    }
}

impl AsyncWrite for Device {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            if let Ok(result) = guard.try_io(|file| file.get_ref().write(buf)) {
                return Poll::Ready(result);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
