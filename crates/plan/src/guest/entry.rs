//! A file that comes to the guest: what it is, whose, and what it holds.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// A file of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Entry {
    /// A file of root, with the mode that its kind mostly has.
    pub(crate) fn of_root(kind: EntryKind) -> Self {
        let mode = match &kind {
            EntryKind::Directory => 0o755,
            EntryKind::File(_) => 0o644,
            EntryKind::Symlink(_) => 0o777,
            EntryKind::Fifo => 0o666,
        };
        Self {
            kind,
            mode,
            uid: 0,
            gid: 0,
        }
    }
}

/// The kinds of file in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    Directory,
    /// A regular file with its content.
    File(Content),
    /// A symbolic link to that path.
    Symlink(PathBuf),
    /// A named pipe.
    Fifo,
}

/// What a regular file holds.
#[derive(Clone)]
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A text that is made when it is written.
    Deferred(Arc<dyn WriteText>),
}

/// A text that is made when it is written. Whether it can be made is found out while planning.
pub trait WriteText: Send + Sync {
    /// Writes it.
    ///
    /// # Errors
    /// `out`'s, and [`io::ErrorKind::InvalidData`] for what should have been refused.
    fn write(&self, out: &mut dyn Write) -> io::Result<()>;
}

impl Content {
    /// Writes it.
    ///
    /// # Errors
    /// As [`WriteText::write`].
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Bytes(bytes) => out.write_all(bytes),
            Self::Deferred(text) => text.write(out),
        }
    }

    /// The whole of it.
    ///
    /// # Errors
    /// As [`WriteText::write`].
    pub fn bytes(&self) -> io::Result<Cow<'_, [u8]>> {
        match self {
            Self::Bytes(bytes) => Ok(Cow::Borrowed(bytes)),
            Self::Deferred(text) => {
                let mut bytes = Vec::new();
                text.write(&mut bytes).map(|()| Cow::Owned(bytes))
            }
        }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bytes() {
            Ok(bytes) => write!(f, "{:?}", String::from_utf8_lossy(&bytes)),
            Err(error) => write!(f, "{error}"),
        }
    }
}

impl PartialEq for Content {
    /// Whether the files would be equal.
    fn eq(&self, other: &Self) -> bool {
        matches!((self.bytes(), other.bytes()), (Ok(one), Ok(other)) if one == other)
    }
}

impl Eq for Content {}
