//! A layer blob as a tar stream: read, checked and decompressed in one thread, taken apart in another.
//!
//! ```text
//! thread:  blob ─ SHA-256 (digest) ─ gzip | zstd | xz | plain ─> chunks ─┐
//! caller:  SHA-256 (diff_id) <─ LayerStream <───────────────────────┘ at most 4 waiting
//! ```
//!
//! The compression is known by the first bytes, not by the media type, as containers/image does.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::digest::{Digest, Hasher, HashingReader};
use crate::layer::{Entries, LayerError};
use crate::section::Section;
use isopod_archive::reader::Skip;

/// The size of a chunk, in bytes.
const CHUNK_BYTES: usize = 256 << 10;
/// What xz may take to decompress, in bytes: its highest level takes 65 MiB.
const XZ_MEMORY_BYTES: u64 = 128 << 20;
/// How many chunks may wait.
const CHUNKS: usize = 4;

/// A layer of an image, not read yet.
#[derive(Debug)]
pub(crate) struct LayerBlob {
    pub(crate) blob: Section,
    /// Its digest, where the image says one (`docker save` does not).
    pub(crate) digest: Option<Digest>,
    /// The digest of the tar stream in it.
    pub(crate) diff_id: Digest,
    /// Which of its entries are the image's.
    pub(crate) entries: Entries,
}

/// How much of [`crate::Limits::uncompressed_bytes`] is left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// For this layer and those above it, in bytes.
    pub(crate) left: u64,
    /// For all layers, in bytes.
    pub(crate) limit: u64,
}

/// The tar stream of a layer.
pub(crate) struct LayerStream {
    chunks: Receiver<io::Result<Vec<u8>>>,
    chunk: Vec<u8>,
    at: usize,
    hasher: Hasher,
    bytes: u64,
    budget: Budget,
}

impl LayerStream {
    /// Receives the next chunk when the last one is used up. `false` at the end.
    fn fill(&mut self) -> io::Result<bool> {
        while self.at == self.chunk.len() {
            let Ok(chunk) = self.chunks.recv() else {
                return Ok(false);
            };
            (self.chunk, self.at) = (chunk?, 0);
            self.bytes += self.chunk.len() as u64;
            if self.bytes > self.budget.left {
                return Err(io::Error::other(TooLarge {
                    limit: self.budget.limit,
                }));
            }
            self.hasher.update(&self.chunk);
        }
        Ok(true)
    }

    /// Reads what is left; the digest and size of the whole.
    fn finish(mut self) -> io::Result<(Digest, u64)> {
        loop {
            self.at = self.chunk.len();
            if !self.fill()? {
                return Ok((self.hasher.finish(), self.bytes));
            }
        }
    }
}

impl Read for LayerStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if !self.fill()? {
            return Ok(0);
        }
        let n = buf.len().min(self.chunk.len() - self.at);
        buf[..n].copy_from_slice(&self.chunk[self.at..][..n]);
        self.at += n;
        Ok(n)
    }
}

impl Skip for &mut LayerStream {
    fn skip(&mut self, mut count: u64) -> io::Result<()> {
        while count > 0 {
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let n = count.min((self.chunk.len() - self.at) as u64);
            self.at += n as usize;
            count -= n;
        }
        Ok(())
    }
}

/// More was unpacked than [`crate::Limits::uncompressed_bytes`] allows.
#[derive(Debug, thiserror::Error)]
#[error("the layers of the image have more than {limit} bytes uncompressed")]
struct TooLarge {
    limit: u64,
}

/// Gives `apply` the tar stream of `layer`, then checks every digest. Gives the size of the stream in bytes too.
///
/// When a digest is wrong, that is the error, whatever else the wrong bytes led to.
pub(crate) fn with_stream<T>(
    layer: LayerBlob,
    budget: Budget,
    apply: impl FnOnce(&Entries, &mut LayerStream) -> Result<T, LayerError>,
) -> Result<(T, u64), LayerError> {
    let LayerBlob {
        blob,
        digest,
        diff_id,
        entries,
    } = layer;
    thread::scope(|scope| {
        let (sender, chunks) = sync_channel(CHUNKS);
        let producer = scope.spawn(move || produce(blob, &sender));
        let (chunk, hasher) = (Vec::new(), Hasher::default());
        let mut stream = LayerStream {
            chunks,
            chunk,
            at: 0,
            hasher,
            bytes: 0,
            budget,
        };
        let applied = match apply(&entries, &mut stream) {
            Ok(value) => stream
                .finish()
                .map(|end| (value, end))
                .map_err(LayerError::Decompress),
            Err(error) => {
                // The producer waits for nobody any more and hashes the rest of the blob.
                drop(stream);
                Err(error)
            }
        };
        let produced = producer
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let actual = produced.map_err(LayerError::Blob)?;
        if let Some(expected) = digest.filter(|expected| *expected != actual) {
            return Err(LayerError::Digest { expected, actual });
        }
        let (value, (actual, bytes)) = applied?;
        if actual != diff_id {
            return Err(LayerError::DiffId {
                expected: diff_id,
                actual,
            });
        }
        Ok((value, bytes))
    })
}

/// Sends the decompressed chunks of `blob` and gives its digest.
fn produce(blob: Section, sender: &SyncSender<io::Result<Vec<u8>>>) -> io::Result<Digest> {
    let mut hashing = HashingReader::new(blob);
    if let Err(error) = send_chunks(&mut hashing, sender) {
        // Nobody listens any more when this fails.
        let _ = sender.send(Err(error));
    }
    hashing.finish()
}

fn send_chunks(blob: impl Read, sender: &SyncSender<io::Result<Vec<u8>>>) -> io::Result<()> {
    let mut decoder = decoder(BufReader::with_capacity(CHUNK_BYTES, blob))?;
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        decoder
            .by_ref()
            .take(CHUNK_BYTES as u64)
            .read_to_end(&mut chunk)?;
        if chunk.is_empty() || sender.send(Ok(chunk)).is_err() {
            return Ok(());
        }
    }
}

/// The decompressor for what `blob` begins with.
///
/// # Errors
/// What cannot be read, and a compression that is not known here.
pub(crate) fn decoder<'a, R: Read + 'a>(mut blob: BufReader<R>) -> io::Result<Box<dyn Read + 'a>> {
    let unsupported = |what| {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("{what} is not supported"),
        ))
    };
    match blob.fill_buf()? {
        [0x1f, 0x8b, ..] => Ok(Box::new(flate2::bufread::MultiGzDecoder::new(blob))),
        // A frame, or a skippable one (RFC 8878, 3.1.1 and 3.1.2).
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            Ok(Box::new(zstd::stream::read::Decoder::with_buffer(blob)?))
        }
        [b'B', b'Z', b'h', ..] => unsupported("bzip2 compression"),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            let stream =
                liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_BYTES, liblzma::stream::CONCATENATED)
                    .map_err(io::Error::other)?;
            Ok(Box::new(liblzma::bufread::XzDecoder::new_stream(blob, stream)))
        }
        _ => Ok(Box::new(blob)),
    }
}
