//! A part of a file that is read from its beginning to its end: a blob in an archive, or a whole file.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use isopod_archive::reader::Skip;

/// Reads `file` between two offsets. Clones read for themselves.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Section {
    /// The whole of the regular file `path`; anything else (a pipe would block) is refused.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Self::of(File::open(path)?)
    }

    /// The whole of a regular file.
    pub(crate) fn of(file: File) -> io::Result<Self> {
        let end = file.metadata()?.len();
        Ok(Self {
            file: Arc::new(file),
            at: 0,
            end,
        })
    }

    /// The `count` bytes from `offset` on, counted from the beginning of the file; `None` where it has not as many.
    pub(crate) fn part(&self, offset: u64, count: u64) -> Option<Self> {
        let end = offset.checked_add(count).filter(|end| *end <= self.end)?;
        Some(Self {
            file: Arc::clone(&self.file),
            at: offset,
            end,
        })
    }

    /// How many bytes are left.
    pub(crate) fn len(&self) -> u64 {
        self.end - self.at
    }
}

impl Read for Section {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let limit = usize::try_from(self.len()).unwrap_or(usize::MAX).min(buf.len());
        let n = self.file.read_at(&mut buf[..limit], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Skip for Section {
    fn skip(&mut self, count: u64) -> io::Result<()> {
        if count > self.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += count;
        Ok(())
    }
}
