//! What the reader gives: a node of an image, a name in a directory, or why there is none.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use super::format::InodeRecord;
use isopod_archive::reader::Time;

/// Why an image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be opened or read.
    #[error("cannot read image file `{path}`")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It is not an image of Isopod's, or damaged.
    #[error("invalid image file `{path}`: {reason}")]
    Format {
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A path that can lead out of where it starts.
    #[error("path `{0}` in an image must not contain `..`")]
    Path(PathBuf),
    /// A node of another kind than the operation needs.
    #[error("a node in `{path}` is not a {expected}")]
    Kind {
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// A file is larger than the caller wants to read.
    #[error("a file of {size} bytes is larger than {max} bytes")]
    TooLarge {
        /// Its size, in bytes.
        size: u64,
        /// The most that the caller takes, in bytes.
        max: u64,
    },
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeKind {
    Directory,
    File,
    Symlink {
        /// Where it points, as it stands.
        target: PathBuf,
    },
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// A file, directory or other thing in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub kind: NodeKind,
    /// The permission bits (`07777`), without the type.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    /// The size of a file or of a link's target, in bytes.
    pub size: u64,
    /// The time of the last change.
    pub mtime: Time,
    /// How many names it has.
    pub links: u32,
    /// Its number: the same for two names of one file.
    pub inode: u64,
    pub(super) record: InodeRecord,
}

impl Node {
    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.kind == NodeKind::Directory
    }
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    pub name: OsString,
    /// The number of the node that it names ([`super::Reader::node`]).
    pub inode: u64,
}
