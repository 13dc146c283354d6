//! The greeting that comes before everything else on the port.
//!
//! A virtio-serial port has no notion of a connection: it may hold bytes of an earlier one, and either side may open
//! it long before the other. So nothing is sent unasked, and each side proves that it heard *this* greeting:
//!
//! ```text
//!   host ── HELLO  version, host nonce ──────────────> guest
//!   host <─ REPLY  version, host nonce, guest nonce ── guest
//!   host ── READY  guest nonce ──────────────────────> guest      then yamux, both ways
//! ```
//!
//! Each side skips what comes before the frame that it waits for, up to [`MAX_SKIPPED_BYTES`]; a frame that was cut off
//! or is of an earlier greeting is skipped byte by byte, so that one that begins inside it is found. The guest answers
//! every HELLO, since a host may begin anew, and one of another version too: the host is the one to give up then. No
//! byte is read beyond the last frame. There is no deadline in here: the caller sets one.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::PROTOCOL_VERSION;

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

const HELLO_BYTES: usize = 8 + 4 + NONCE_BYTES;
const REPLY_BYTES: usize = 8 + 4 + 2 * NONCE_BYTES;
const READY_BYTES: usize = 8 + NONCE_BYTES;

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
    #[error(
        "the other side speaks version {theirs} of the protocol, this one speaks version {PROTOCOL_VERSION}"
    )]
    Version {
        /// Its version.
        theirs: u32,
    },
    /// No greeting within the limit.
    #[error("no greeting within {MAX_SKIPPED_BYTES} bytes")]
    Noise,
}

/// Greets the guest and waits for its answer.
///
/// # Errors
/// [`HandshakeError`]; the port is of no further use then.
pub async fn host<T>(port: &mut T, nonce: Nonce) -> Result<(), HandshakeError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    write(port, &[&HELLO, &PROTOCOL_VERSION.to_le_bytes(), &nonce]).await?;
    let mut search = Search::default();
    loop {
        search.find(port, &[(REPLY, REPLY_BYTES)]).await?;
        let (theirs, echo, guest) = (search.version(), search.nonce(12), search.nonce(12 + NONCE_BYTES));
        if echo != nonce {
            search.skip_byte(); // The answer to an earlier greeting.
            continue;
        }
        if theirs != PROTOCOL_VERSION {
            return Err(HandshakeError::Version { theirs });
        }
        return write(port, &[&READY, &guest]).await;
    }
}

/// Waits for the host's greeting and answers it.
///
/// # Errors
/// [`HandshakeError`], but never of a version: a host of another one is answered, and gives up.
pub async fn guest<T>(port: &mut T, nonce: Nonce) -> Result<(), HandshakeError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut search = Search::default();
    loop {
        search
            .find(port, &[(HELLO, HELLO_BYTES), (READY, READY_BYTES)])
            .await?;
        if search.window.starts_with(&HELLO) {
            let host = search.nonce(12);
            write(port, &[&REPLY, &PROTOCOL_VERSION.to_le_bytes(), &host, &nonce]).await?;
        } else if search.nonce(8) == nonce {
            return Ok(());
        }
        search.skip_byte();
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

    /// Skips the first byte of the frame that was found, to go on behind it.
    fn skip_byte(&mut self) {
        self.window.remove(0);
        self.skipped += 1;
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
