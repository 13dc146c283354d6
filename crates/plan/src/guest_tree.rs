//! The pod's part of the guest: every file that its cpio archive brings, as a value.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A tree of files, by absolute path. Parents come before children.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestTree {
    /// The entries.
    pub entries: BTreeMap<PathBuf, Entry>,
}

/// A file of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// The kinds of file in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file with its content.
    File(Vec<u8>),
    /// A symbolic link to that path.
    Symlink(PathBuf),
    /// A named pipe.
    Fifo,
}

impl GuestTree {
    /// Adds a directory of root's, and with `0o755` those above it that are not there yet.
    pub fn directory(&mut self, path: &Path, mode: u32) {
        self.add(path, EntryKind::Directory, mode);
    }

    /// Adds a file of root's.
    pub fn file(&mut self, path: &Path, content: impl Into<Vec<u8>>, mode: u32) {
        self.add(path, EntryKind::File(content.into()), mode);
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &Path, target: impl Into<PathBuf>) {
        self.add(path, EntryKind::Symlink(target.into()), 0o777);
    }

    /// Adds an entry of root's and the directories above it.
    pub fn add(&mut self, path: &Path, kind: EntryKind, mode: u32) {
        self.insert(
            path,
            Entry {
                kind,
                mode,
                uid: 0,
                gid: 0,
            },
        );
    }

    /// Adds an entry and, of root's and with `0o755`, the directories above it.
    pub fn insert(&mut self, path: &Path, entry: Entry) {
        for parent in path.ancestors().skip(1).take_while(|p| p.parent().is_some()) {
            if self.entries.contains_key(parent) {
                break;
            }
            self.entries.insert(
                parent.to_owned(),
                Entry {
                    kind: EntryKind::Directory,
                    mode: 0o755,
                    uid: 0,
                    gid: 0,
                },
            );
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// The text of a file, for tests and for people.
    #[must_use]
    pub fn text(&self, path: &Path) -> Option<&str> {
        match &self.entries.get(path)?.kind {
            EntryKind::File(content) => std::str::from_utf8(content).ok(),
            _ => None,
        }
    }
}
