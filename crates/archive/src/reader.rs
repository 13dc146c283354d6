//! A tar reader for streams: ustar, PAX, GNU long names, star and V7, headers and contents in one pass.
//!
//! Image layers and copies are read by it. The `tar` crate is not used for this, since it splits PAX records at newlines,
//! which binary extended attributes hold, and bounds neither long names nor extended headers. Multi-volume archives and everything else that no image has
//! are refused by name. Names are passed on as they stand: what they may not be is the
//! caller's business.

mod header;
mod pax;
mod sparse;

use std::io::{self, Read};

use header::{BLOCK, Header, until_nul};
use pax::Records;
use sparse::{BlockMap, Expansion, LineMap, Next, SparseRecords};

/// The longest extended header or long name, in bytes: what Go's archive/tar, which container tools use, allows
/// (`maxSpecialFileSize`).
const MAX_EXTENSION_BYTES: i64 = 1 << 20;

/// A time since the epoch; `nanoseconds` count forward, also before the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanoseconds: u32,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    File,
    /// Another name of a file that came before.
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    /// A named pipe.
    Fifo,
}

/// One entry, without its contents.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name, as it stands.
    pub name: Vec<u8>,
    pub kind: EntryKind,
    /// What a link leads to, as it stands.
    pub link: Vec<u8>,
    /// The permission bits alone (`07777`).
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    /// When it was modified.
    pub mtime: Time,
    /// The size of the contents in bytes, 0 but for files.
    pub size: u64,
    /// How much of them the archive leaves out, in bytes: the holes of a sparse file.
    pub holes: u64,
    /// Major and minor number.
    pub device: (u32, u32),
    /// The extended attributes, names and values.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the contents begin in the stream.
    pub offset: u64,
}

/// Why a stream is not a tar archive that can be read.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The stream cannot be read.
    #[error("cannot read the tar stream at byte {offset}")]
    Read {
        /// Where in the stream.
        offset: u64,
        #[source]
        source: io::Error,
    },
    /// A header is malformed.
    #[error("invalid tar header at byte {offset}: {reason}")]
    Header {
        /// Where in the stream.
        offset: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An entry holds a value that it may not.
    #[error("invalid tar entry `{name}`: {reason}")]
    Entry {
        /// The entry, control characters escaped.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An entry of a type that is not supported.
    #[error("tar entry `{name}` has the unsupported type `{type_flag}`")]
    Type {
        /// The entry, control characters escaped.
        name: String,
        /// The type, a character.
        type_flag: char,
    },
}

/// A stream that can pass over bytes.
pub trait Skip: Read {
    /// Passes over `count` bytes.
    ///
    /// # Errors
    /// The stream's own, and [`io::ErrorKind::UnexpectedEof`] where it is too short.
    fn skip(&mut self, count: u64) -> io::Result<()> {
        let passed = io::copy(&mut self.take(count), &mut io::sink())?;
        if passed == count {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

impl Skip for &[u8] {}

/// Reads entries one after the other; between two calls of [`TarReader::next_entry`] it reads as the contents of the
/// last one.
#[derive(Debug)]
pub struct TarReader<R> {
    inner: R,
    offset: u64,
    /// Contents of the current entry that were not read yet.
    remaining: u64,
    /// Bytes behind them up to the next header.
    padding: usize,
    /// How the contents of a sparse file become whole.
    expansion: Option<Expansion>,
}

impl<R: Skip> TarReader<R> {
    /// Reads the archive that `inner` is.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            offset: 0,
            remaining: 0,
            padding: 0,
            expansion: None,
        }
    }

    /// The next entry; `None` at the end of the archive, two blocks of zeros or (as Go's reader has it) the end of
    /// the stream between two entries, or within what fills up the last one's block (`umoci insert` writes such).
    ///
    /// # Errors
    /// [`TarError`]; the reader is of no further use then.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        let mut extensions = Extensions::default();
        loop {
            let start = self.skip_contents()?;
            let Some(block) = self.read_header()? else {
                return match extensions.is_empty() {
                    true => Ok(None),
                    false => Err(TarError::Header {
                        offset: start,
                        reason: "an extended header ends the archive",
                    }),
                };
            };
            let invalid = |reason| TarError::Header {
                offset: start,
                reason,
            };
            let header = Header::new(&block).ok_or_else(|| invalid("wrong checksum"))?;
            match header.type_flag() {
                b'x' => {
                    let data = self.read_extension(&header)?;
                    extensions.pax.read(&data).map_err(invalid)?;
                    extensions.has_pax = true;
                }
                b'L' => extensions.name = Some(until_nul(&self.read_extension(&header)?).to_vec()),
                b'K' => extensions.link = Some(until_nul(&self.read_extension(&header)?).to_vec()),
                // Global records are comments in practice (`git archive`); Docker, containerd and umoci ignore them.
                b'g' => drop(self.read_extension(&header)?),
                _ => return self.entry(&header, extensions).map(Some),
            }
        }
    }

    fn skip_contents(&mut self) -> Result<u64, TarError> {
        let (count, padding) = (self.remaining, self.padding);
        self.inner.skip(count).map_err(|e| self.read_error(e))?;
        self.offset += count;
        (self.remaining, self.padding, self.expansion) = (0, 0, None);
        // Where the stream ends here, no header follows, which ends the archive too.
        self.offset += self.read_up_to(&mut [0; BLOCK][..padding])? as u64;
        Ok(self.offset)
    }

    /// The next header block, `None` at the end.
    fn read_header(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let Some(block) = self.read_block()? else {
            return Ok(None);
        };
        if block != [0; BLOCK] {
            return Ok(Some(block));
        }
        match self.read_block()? {
            Some(block) if block != [0; BLOCK] => Err(TarError::Header {
                offset: self.offset - BLOCK as u64,
                reason: "a lone block of zeros",
            }),
            _ => Ok(None),
        }
    }

    fn read_block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        match self.read_up_to(&mut block)? {
            0 => Ok(None),
            BLOCK => {
                self.offset += BLOCK as u64;
                Ok(Some(block))
            }
            _ => Err(self.read_error(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// Fills `buf` as far as the stream goes.
    fn read_up_to(&mut self, buf: &mut [u8]) -> Result<usize, TarError> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.inner.read(&mut buf[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.read_error(e)),
            }
        }
        Ok(filled)
    }

    fn read_error(&self, source: io::Error) -> TarError {
        TarError::Read {
            offset: self.offset,
            source,
        }
    }

    fn read_extension(&mut self, header: &Header) -> Result<Vec<u8>, TarError> {
        let invalid = |reason| TarError::Header {
            offset: self.offset - BLOCK as u64,
            reason,
        };
        let size = header.size().ok_or_else(|| invalid("the size is not a number"))?;
        if !(0..=MAX_EXTENSION_BYTES).contains(&size) {
            return Err(invalid("an extended header is longer than 1 MiB"));
        }
        self.set_size(size.cast_unsigned());
        let mut data = Vec::new();
        self.read_to_end(&mut data).map_err(|e| self.read_error(e))?;
        Ok(data)
    }

    fn set_size(&mut self, size: u64) {
        self.remaining = size;
        self.padding = (BLOCK - (size % BLOCK as u64) as usize) % BLOCK;
    }

    fn entry(&mut self, header: &Header, extensions: Extensions) -> Result<Entry, TarError> {
        let Extensions {
            mut pax, name, link, ..
        } = extensions;
        let real_name = pax.sparse.as_mut().and_then(|sparse| sparse.name.take());
        let name = real_name.or(pax.path).or(name).unwrap_or_else(|| header.name());
        let invalid = |reason| TarError::Entry {
            name: show(&name),
            reason,
        };
        let kind = kind(header.type_flag(), &name).ok_or_else(|| TarError::Type {
            name: show(&name),
            type_flag: char::from(header.type_flag()),
        })?;
        let link = pax
            .link_path
            .or(link)
            .unwrap_or_else(|| header.link_name().to_vec());
        if name.contains(&0) || link.contains(&0) {
            return Err(invalid("a name holds a NUL"));
        }
        let id = |pax: Option<i64>, header: Option<i64>, reason| {
            pax.or(header)
                .and_then(|id| u32::try_from(id).ok())
                .ok_or_else(|| invalid(reason))
        };
        let size = match kind {
            EntryKind::File => pax
                .size
                .or(header.size())
                .and_then(|size| u64::try_from(size).ok()),
            _ => Some(0),
        };
        let stored = size
            .filter(|size| *size < 1 << 62)
            .ok_or_else(|| invalid("the size is not a number"))?;
        self.set_size(stored);
        let expansion = match kind {
            EntryKind::File => self.expansion(header, pax.sparse, &name)?,
            _ => None,
        };
        let size = expansion.as_ref().map_or(stored, |whole| whole.size);
        let mtime = header.mtime().map(|seconds| Time {
            seconds,
            nanoseconds: 0,
        });
        let entry = Entry {
            kind,
            link,
            mode: u16::try_from(header.mode().ok_or_else(|| invalid("the mode is not a number"))? & 0o7777)
                .unwrap_or_default(),
            uid: id(pax.uid, header.uid(), "the owner is not a number of 32 bits")?,
            gid: id(pax.gid, header.gid(), "the group is not a number of 32 bits")?,
            mtime: pax
                .mtime
                .or(mtime)
                .ok_or_else(|| invalid("the time is not a number"))?,
            size,
            holes: expansion.as_ref().map_or(0, |_| size - self.remaining),
            device: device(kind, header).ok_or_else(|| invalid("the device number is out of range"))?,
            xattrs: pax.xattrs,
            offset: self.offset,
            name,
        };
        self.expansion = expansion;
        Ok(entry)
    }

    /// How the contents become whole where the file is sparse. Reads the map where it stands before them.
    fn expansion(
        &mut self,
        header: &Header,
        records: Option<SparseRecords>,
        name: &[u8],
    ) -> Result<Option<Expansion>, TarError> {
        let invalid = |reason| TarError::Entry {
            name: show(name),
            reason,
        };
        if header.type_flag() == b'S' {
            let (mut map, mut more) = BlockMap::new(header.block()).map_err(invalid)?;
            while more {
                let block = self.read_block()?;
                let block = block.ok_or_else(|| self.read_error(io::ErrorKind::UnexpectedEof.into()))?;
                more = map.take(&block).map_err(invalid)?;
            }
            return map.expansion(self.remaining).map(Some).map_err(invalid);
        }
        let Some(records) = records else {
            return Ok(None);
        };
        let mut parts = None;
        if records.map_precedes_contents().map_err(invalid)? {
            let mut map = LineMap::default();
            let mut block = [0; BLOCK];
            loop {
                self.read_exact(&mut block).map_err(|e| self.read_error(e))?;
                if map.take(&block).map_err(invalid)? {
                    break;
                }
            }
            parts = Some(map.parts());
        }
        records
            .expansion(parts, self.remaining)
            .map(Some)
            .map_err(invalid)
    }

    /// Reads what the archive holds of the current entry's contents, at most `count` bytes. A stream that ends too
    /// early is an error, not the end.
    fn read_stored(&mut self, buf: &mut [u8], count: u64) -> io::Result<usize> {
        let limit = at_most(count.min(self.remaining), buf);
        if limit == 0 {
            return Ok(0);
        }
        let n = self.inner.read(&mut buf[..limit])?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.remaining -= n as u64;
        self.offset += n as u64;
        Ok(n)
    }
}

impl<R: Skip> Read for TarReader<R> {
    /// Reads contents of the current entry, holes as zeros.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = match self.expansion.as_ref().map(Expansion::next) {
            None => return self.read_stored(buf, u64::MAX),
            Some(Next::End) => return Ok(0),
            Some(Next::Stored(count)) => self.read_stored(buf, count)?,
            Some(Next::Zeros(count)) => {
                let n = at_most(count, buf);
                buf[..n].fill(0);
                n
            }
        };
        if let Some(expansion) = &mut self.expansion {
            expansion.advance(n as u64);
        }
        Ok(n)
    }
}

/// `count`, or the size of `buf` when that is less.
fn at_most(count: u64, buf: &[u8]) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX).min(buf.len())
}

/// What the special entries before an entry say about it.
#[derive(Default)]
struct Extensions {
    pax: Records,
    has_pax: bool,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Extensions {
    fn is_empty(&self) -> bool {
        !self.has_pax && self.name.is_none() && self.link.is_none()
    }
}

fn kind(type_flag: u8, name: &[u8]) -> Option<EntryKind> {
    Some(match type_flag {
        // V7 archives have no type for directories.
        0 if name.ends_with(b"/") => EntryKind::Directory,
        0 | b'0' | b'7' | b'S' => EntryKind::File,
        b'1' => EntryKind::HardLink,
        b'2' => EntryKind::Symlink,
        b'3' => EntryKind::CharDevice,
        b'4' => EntryKind::BlockDevice,
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        _ => return None,
    })
}

/// The device number, within the 12 and 20 bits that Linux has for it.
fn device(kind: EntryKind, header: &Header) -> Option<(u32, u32)> {
    if !matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice) {
        return Some((0, 0));
    }
    let (major, minor) = header.device()?;
    let (major, minor) = (u32::try_from(major).ok()?, u32::try_from(minor).ok()?);
    (major < 1 << 12 && minor < 1 << 20).then_some((major, minor))
}

/// A name of any bytes, for a message.
#[must_use]
pub fn show(name: &[u8]) -> String {
    String::from_utf8_lossy(name).escape_debug().to_string()
}

#[cfg(test)]
mod build;
#[cfg(test)]
mod tests;
