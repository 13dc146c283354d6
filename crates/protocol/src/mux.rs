//! Many streams over one port: yamux, with the limits that keep the memory bounded whatever the other side sends.
//!
//! [`start`] splits a port into three: an [`Opener`] and an [`Incoming`] to hold on to, and a [`Driver`] to run as a
//! task of its own. The driver alone touches the port; while it runs, streams make progress independently: one that
//! nobody reads stops after its window of 256 KiB (yamux's default, and here also its maximum) and holds up no other.
//!
//! Any error of the port or of yamux ends the driver, and with it every stream: there is no way to resynchronise.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, BufStream, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};

use crate::codec::{WriteMessageError, write_message};

/// The bytes that a stream may hold unread: yamux's initial window, which [`start`] does not let grow. Sent in frames
/// of one byte they cost the receiver 17 MiB of memory (measured), the worst that one stream can do.
pub const STREAM_WINDOW_BYTES: usize = yamux::DEFAULT_CREDIT as usize;

/// One read or write of the port: a full yamux frame (16 KiB) with its header goes in one piece, which on a
/// virtio-serial port is one exit of the VM in place of two.
const PORT_BUFFER_BYTES: usize = 32 * 1024;

/// Requests for new streams that wait for the driver; more wait in their callers.
const OPEN_QUEUE: usize = 8;

/// Streams that were ended on one side and not yet on the other count with the multiplexer of the other: room for so
/// many times the streams that may be open at once.
const LINGERING: usize = 64;

/// A stream, in both directions. Closing it (`shutdown`) ends this side's direction; dropping it before that resets
/// it.
#[derive(Debug)]
pub struct MuxStream {
    inner: Compat<yamux::Stream>,
    /// Its place among the streams that this side may have open, where this side opened it.
    _place: Option<OwnedSemaphorePermit>,
}

impl MuxStream {
    /// Whether it is closed altogether: in both directions, by a reset, or because the conversation has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.get_ref().is_closed()
    }
}

impl AsyncRead for MuxStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for MuxStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Which side of the port this is; it decides who numbers streams how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Host,
    Guest,
}

/// How many streams there may be.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Streams that the other side may open.
    pub incoming: Accept,
    /// Streams that this side may have open at once.
    pub outgoing: usize,
}

/// Which streams of the other side's are accepted.
#[derive(Clone, Debug)]
pub enum Accept {
    /// So many all in all: each has its place in the protocol, so an honest side never opens one too many, and the
    /// conversation ends with one that does.
    Total(Grant),
    /// So many that [`Incoming::next`] has not yet given; more are reset. Who takes them bounds how many are open.
    AtOnce(usize),
}

/// How many streams the other side may open all in all, which may become more.
#[derive(Clone, Debug)]
pub struct Grant {
    granted: Arc<AtomicUsize>,
    at_once: usize,
}

impl Grant {
    /// So many.
    #[must_use]
    pub fn of(streams: usize) -> Self {
        Self {
            granted: Arc::new(AtomicUsize::new(streams)),
            at_once: streams,
        }
    }

    /// None yet, and never more than that are open at once.
    #[must_use]
    pub fn growing(at_once: usize) -> Self {
        Self {
            at_once,
            ..Self::of(0)
        }
    }

    /// So many more, before the other side learns of it.
    pub fn add(&self, streams: usize) {
        self.granted.fetch_add(streams, Ordering::Relaxed);
    }

    fn now(&self) -> usize {
        self.granted.load(Ordering::Relaxed)
    }
}

/// Why the conversation ended.
#[derive(Debug, thiserror::Error)]
pub enum MuxError {
    /// The port or yamux failed, or the other side broke yamux's rules.
    #[error("the connection failed")]
    Yamux(#[source] yamux::ConnectionError),
    /// The other side opened more streams than there can be.
    #[error("the other side opened more than {limit} streams")]
    TooManyStreams {
        /// How many there can be.
        limit: usize,
    },
}

/// Why a stream could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The conversation has ended.
    #[error("the connection has ended")]
    Ended,
    /// This side has as many streams open as it may.
    #[error("there are {limit} streams already, which is the limit")]
    TooMany { limit: usize },
    /// yamux refused.
    #[error("cannot open a stream")]
    Yamux(#[source] yamux::ConnectionError),
    /// Its first message could not be written.
    #[error("cannot announce a stream")]
    Header(#[source] WriteMessageError),
}

type OpenReply = oneshot::Sender<Result<yamux::Stream, yamux::ConnectionError>>;

/// Opens streams.
#[derive(Clone, Debug)]
pub struct Opener {
    requests: mpsc::Sender<OpenReply>,
    places: Arc<Semaphore>,
    limit: usize,
}

impl Opener {
    /// Opens a stream and writes its header.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open<H: serde::Serialize>(&self, header: &H) -> Result<MuxStream, OpenError> {
        let place = self.places.clone().try_acquire_owned();
        let place = place.map_err(|_| OpenError::TooMany { limit: self.limit })?;
        let (reply, stream) = oneshot::channel();
        self.requests.send(reply).await.map_err(|_| OpenError::Ended)?;
        let stream = stream
            .await
            .map_err(|_| OpenError::Ended)?
            .map_err(OpenError::Yamux)?;
        let mut stream = MuxStream {
            inner: stream.compat(),
            _place: Some(place),
        };
        write_message(&mut stream, header)
            .await
            .map_err(OpenError::Header)?;
        Ok(stream)
    }
}

/// The streams that the other side opens, in the order in which it did.
#[derive(Debug)]
pub struct Incoming {
    streams: mpsc::Receiver<yamux::Stream>,
}

impl Incoming {
    /// The next one; `None` when the conversation has ended. May be cancelled.
    pub async fn next(&mut self) -> Option<MuxStream> {
        self.streams.recv().await.map(|stream| MuxStream {
            inner: stream.compat(),
            _place: None,
        })
    }
}

/// What moves the bytes: run it as a task.
#[must_use = "nothing moves until the driver runs"]
pub struct Driver<T> {
    connection: yamux::Connection<Compat<BufStream<T>>>,
    requests: mpsc::Receiver<OpenReply>,
    waiting: Option<OpenReply>,
    streams: mpsc::Sender<yamux::Stream>,
    /// How many may come, where they are counted, and how many have.
    grant: Option<Grant>,
    came: usize,
}

/// Begins a conversation on a port whose handshake is done.
pub fn start<T>(port: T, side: Side, limits: Limits) -> (Opener, Incoming, Driver<T>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut config = yamux::Config::default();
    // Our own count refuses one stream too many with a clear error; yamux's is the net below it.
    let (incoming_limit, lingering, grant) = match limits.incoming {
        Accept::Total(grant) => (grant.at_once, grant.at_once, Some(grant)),
        Accept::AtOnce(limit) => (limit, limit * LINGERING, None),
    };
    let most = lingering + limits.outgoing + 1;
    config.set_max_connection_receive_window(None);
    config.set_max_num_streams(most);
    config.set_max_connection_receive_window(Some(most * STREAM_WINDOW_BYTES));
    let mode = match side {
        Side::Host => yamux::Mode::Client,
        Side::Guest => yamux::Mode::Server,
    };
    let port = BufStream::with_capacity(PORT_BUFFER_BYTES, PORT_BUFFER_BYTES, port).compat();
    let (requests, received) = mpsc::channel(OPEN_QUEUE);
    let (streams, incoming) = mpsc::channel(incoming_limit.max(1));
    let driver = Driver {
        connection: yamux::Connection::new(port, config, mode),
        requests: received,
        waiting: None,
        streams,
        grant,
        came: 0,
    };
    let opener = Opener {
        requests,
        places: Arc::new(Semaphore::new(limits.outgoing)),
        limit: limits.outgoing,
    };
    (opener, Incoming { streams: incoming }, driver)
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    /// Moves bytes until the port ends.
    ///
    /// # Errors
    /// [`MuxError`]; every stream has ended then.
    pub async fn run(mut self) -> Result<(), MuxError> {
        poll_fn(|cx| {
            loop {
                self.poll_requests(cx);
                match self.connection.poll_next_inbound(cx) {
                    Poll::Ready(Some(Ok(stream))) => self.deliver(stream)?,
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(MuxError::Yamux(error))),
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// Opens the streams that were asked for. An error of the connection itself shows up in the next poll of it.
    fn poll_requests(&mut self, cx: &mut Context<'_>) {
        loop {
            if self.waiting.is_none() {
                match self.requests.poll_recv(cx) {
                    Poll::Ready(Some(reply)) => self.waiting = Some(reply),
                    // Without an opener the streams that exist continue.
                    Poll::Ready(None) | Poll::Pending => return,
                }
            }
            let Poll::Ready(result) = self.connection.poll_new_outbound(cx) else {
                return;
            };
            if let Some(reply) = self.waiting.take() {
                // The caller may have given up meanwhile: dropping the stream resets it.
                let _ = reply.send(result);
            }
        }
    }

    fn deliver(&mut self, stream: yamux::Stream) -> Result<(), MuxError> {
        self.came = self.came.saturating_add(1);
        match self.grant.as_ref().map(Grant::now) {
            Some(limit) if self.came > limit => return Err(MuxError::TooManyStreams { limit }),
            _ => {}
        }
        // What has no room, or nobody to take it any more, is reset.
        let _ = self.streams.try_send(stream);
        Ok(())
    }
}
