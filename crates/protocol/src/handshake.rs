//! The greeting that comes before everything else on the port.
//!
//! A virtio-serial port has no notion of a connection: it may hold bytes of an earlier one, and either side may open
//! it long before the other. So nothing is sent unasked, and each side proves that it received *this* greeting:
//!
//! ```text
//!   host ── HELLO  version, host nonce ──────────────> guest
//!   host <─ REPLY  version, host nonce, guest nonce ── guest
//!   host ── READY  guest nonce, host's time ─────────> guest
//!   host <─ BEGIN  host nonce ──────────────────────── guest      then yamux, both ways
//! ```
//!
//! READY comes as fast as the host can, so that the guest learns what time it is: somewhere between its REPLY and that
//! answer. Where the answer took longer than it should, the guest sends its REPLY again, a few times (Cristian's algorithm).
//!
//! Each side skips what comes before the frame that it waits for, up to [`MAX_SKIPPED_BYTES`]; a frame that was cut off
//! or is of an earlier greeting is skipped byte by byte, so that one that begins inside it is found. The guest answers
//! every HELLO, since a host may begin again, and one of another version too: the host is the one to give up then. No
//! byte is read beyond the last frame. There is no deadline in here: the caller sets one.

use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use isopod_contract::PROTOCOL_VERSION;

/// The length of a nonce: a stale greeting must not match by chance.
pub const NONCE_BYTES: usize = 16;

/// What a side calls its connection by: random, and new for each.
pub type Nonce = [u8; NONCE_BYTES];

/// How much is skipped in the search for a frame: more than the port (4 KiB buffers) and the host's socket (some
/// hundred KiB) can still hold of an earlier connection. Who sends more does not speak this protocol.
pub const MAX_SKIPPED_BYTES: usize = 1024 * 1024;

/// A frame's kind and its payload. The 8 bytes begin with one that text never holds, so that noise seldom looks
/// like the beginning of a frame.
const HELLO: [u8; 8] = *b"\x80IsoHLO\n";
const REPLY: [u8; 8] = *b"\x80IsoRPL\n";
const READY: [u8; 8] = *b"\x80IsoRDY\n";
const BEGIN: [u8; 8] = *b"\x80IsoBGN\n";

const HELLO_BYTES: usize = 8 + 4 + NONCE_BYTES;
const REPLY_BYTES: usize = 8 + 4 + 2 * NONCE_BYTES;
const READY_BYTES: usize = 8 + NONCE_BYTES + 8;
const BEGIN_BYTES: usize = 8 + NONCE_BYTES;

/// An answer that came within this time says what time it is well enough.
const PROMPT: Duration = Duration::from_millis(8);

/// How often the guest asks for a prompt answer.
const MAX_ASKED: u32 = 6;

/// What the host's clock says, as the guest received it.
#[derive(Clone, Copy, Debug)]
pub struct HostTime {
    /// The host's time, in nanoseconds since 1970.
    pub unix_ns: u64,
    /// When that was received.
    pub received: Instant,
    /// How long the answer took: the host said so somewhere within this time before it was received.
    pub round_trip: Duration,
}

/// Why two sides did not come together.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The port failed.
    #[error("cannot use the port")]
    Io(#[source] std::io::Error),
    /// The port was closed.
    #[error("the other side closed the port during the greeting")]
    Closed,
    /// The other side is of another build.
    #[error("the other side uses version {theirs} of the protocol, this one uses version {PROTOCOL_VERSION}")]
    Version {
        /// Its version.
        theirs: u32,
    },
    /// No greeting within the limit.
    #[error("no greeting within {MAX_SKIPPED_BYTES} bytes")]
    Noise,
}

/// Greets the guest, sends it the time of `clock` (nanoseconds since 1970), and waits until it begins.
///
/// # Errors
/// [`HandshakeError`]; the port is of no further use then.
pub async fn host<T>(port: &mut T, nonce: Nonce, mut clock: impl FnMut() -> u64) -> Result<(), HandshakeError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    write(port, &[&HELLO, &PROTOCOL_VERSION.to_le_bytes(), &nonce]).await?;
    let mut search = Search::default();
    let mut ready = false;
    loop {
        search
            .find(port, &[(REPLY, REPLY_BYTES), (BEGIN, BEGIN_BYTES)])
            .await?;
        if search.window.starts_with(&BEGIN) {
            if ready && search.nonce(8) == nonce {
                return Ok(());
            }
            search.skip_byte();
            continue;
        }
        let (theirs, echo, guest) = (search.version(), search.nonce(12), search.nonce(12 + NONCE_BYTES));
        if echo != nonce {
            search.skip_byte(); // The answer to an earlier greeting.
            continue;
        }
        if theirs != PROTOCOL_VERSION {
            return Err(HandshakeError::Version { theirs });
        }
        write(port, &[&READY, &guest, &clock().to_le_bytes()]).await?;
        ready = true;
        search.skip_frame();
    }
}

/// Waits for the host's greeting and answers it; gives the host's time.
///
/// # Errors
/// [`HandshakeError`], but never of a version: a host of another one is answered, and gives up.
pub async fn guest<T>(port: &mut T, nonce: Nonce) -> Result<HostTime, HandshakeError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut search = Search::default();
    let mut host = Nonce::default();
    let mut best: Option<HostTime> = None;
    let mut asked = (0, Instant::now());
    loop {
        search
            .find(port, &[(HELLO, HELLO_BYTES), (READY, READY_BYTES)])
            .await?;
        if search.window.starts_with(&HELLO) {
            host = search.nonce(12);
            search.skip_byte();
        } else if search.nonce(8) == nonce {
            let received = Instant::now();
            let time = HostTime {
                unix_ns: search.unix_ns(),
                received,
                round_trip: received.duration_since(asked.1),
            };
            let best = *best.insert(best.map_or(time, |best| {
                if best.round_trip < time.round_trip {
                    best
                } else {
                    time
                }
            }));
            if best.round_trip <= PROMPT || asked.0 >= MAX_ASKED {
                write(port, &[&BEGIN, &host]).await?;
                return Ok(best);
            }
            search.skip_frame();
        } else {
            search.skip_byte();
            continue;
        }
        asked = (asked.0 + 1, Instant::now());
        write(port, &[&REPLY, &PROTOCOL_VERSION.to_le_bytes(), &host, &nonce]).await?;
    }
}

async fn write<T: AsyncWrite + Unpin>(port: &mut T, parts: &[&[u8]]) -> Result<(), HandshakeError> {
    port.write_all(&parts.concat())
        .await
        .map_err(HandshakeError::Io)?;
    port.flush().await.map_err(HandshakeError::Io)
}

/// A search for a frame in a stream of bytes that reads no byte more than the frame.
#[derive(Default)]
struct Search {
    /// What may be the beginning of a frame; after `find`, the whole frame.
    window: Vec<u8>,
    skipped: usize,
}

impl Search {
    /// Reads on until the window is one of the frames, each given by its first 8 bytes and its length.
    async fn find<T>(&mut self, port: &mut T, frames: &[([u8; 8], usize)]) -> Result<(), HandshakeError>
    where
        T: AsyncRead + Unpin,
    {
        loop {
            let missing = self.missing(frames);
            if missing == 0 {
                return Ok(());
            }
            if self.skipped > MAX_SKIPPED_BYTES {
                return Err(HandshakeError::Noise);
            }
            let old = self.window.len();
            self.window.resize(old + missing, 0);
            let n = port
                .read(&mut self.window[old..])
                .await
                .map_err(HandshakeError::Io)?;
            self.window.truncate(old + n);
            if n == 0 {
                return Err(HandshakeError::Closed);
            }
        }
    }

    /// Drops what cannot begin a frame, and returns how many bytes may be read next: never beyond a frame's end.
    fn missing(&mut self, frames: &[([u8; 8], usize)]) -> usize {
        loop {
            let magic = &self.window[..self.window.len().min(8)];
            let candidates = frames.iter().filter(|(kind, _)| kind.starts_with(magic));
            if let Some(shortest) = candidates.map(|(_, bytes)| *bytes).min() {
                return shortest.saturating_sub(self.window.len());
            }
            self.skip_byte();
        }
    }

    /// Skips the first byte of the frame that was found, to continue behind it.
    fn skip_byte(&mut self) {
        self.window.remove(0);
        self.skipped += 1;
    }

    /// Goes on behind the frame that was found, which was good.
    fn skip_frame(&mut self) {
        self.skipped += self.window.len();
        self.window.clear();
    }

    fn unix_ns(&self) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.window[READY_BYTES - 8..READY_BYTES]);
        u64::from_le_bytes(bytes)
    }

    fn version(&self) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.window[8..12]);
        u32::from_le_bytes(bytes)
    }

    fn nonce(&self, at: usize) -> Nonce {
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&self.window[at..at + NONCE_BYTES]);
        nonce
    }
}
