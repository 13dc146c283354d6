//! The apps' standard streams as the host holds them: bytes through, and the news of their end. It interprets nothing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use isopod_protocol::mux::MuxStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

/// Which of an app's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutputKind {
    Stdout,
    Stderr,
}

/// Reports that an output is of no more interest, when it is dropped.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) app: usize,
    pub(super) kind: OutputKind,
    pub(super) ended: mpsc::UnboundedSender<(usize, OutputKind)>,
}

impl Drop for Done {
    fn drop(&mut self) {
        let _ = self.ended.send((self.app, self.kind));
    }
}

/// What an app writes to its standard output or error. The end of it is the app's end; a connection that is lost
/// before that is [`io::ErrorKind::ConnectionAborted`]. Dropping it discards the rest, and the app does not notice.
#[derive(Debug)]
pub struct Output(Option<(MuxStream, Done)>);

impl Output {
    pub(super) fn new(stream: MuxStream, done: Done) -> Self {
        Self(Some((stream, done)))
    }
}

impl AsyncRead for Output {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some((stream, _)) = &mut self.0 else {
            return Poll::Ready(Ok(()));
        };
        let before = buf.filled().len();
        ready!(Pin::new(&mut *stream).poll_read(cx, buf))?;
        if buf.filled().len() > before || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        // yamux ends a stream alike when it was closed and when it was reset or lost; but one that only the guest
        // has closed is not closed altogether.
        let lost = stream.is_closed();
        self.0 = None;
        Poll::Ready(if lost { Err(aborted()) } else { Ok(()) })
    }
}

fn aborted() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "the agent was lost before the output's end",
    )
}

/// What an app reads as its standard input: write here, and shut down for the end of input. When nobody in the guest
/// reads it any more, writing fails with [`io::ErrorKind::BrokenPipe`].
#[derive(Debug)]
pub struct Input(pub(super) MuxStream);

/// yamux says `WriteZero` of a stream that was reset.
fn broken_pipe(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WriteZero => io::ErrorKind::BrokenPipe.into(),
        _ => error,
    }
}

impl AsyncWrite for Input {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf).map_err(broken_pipe)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx).map_err(broken_pipe)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx).map_err(broken_pipe)
    }
}
