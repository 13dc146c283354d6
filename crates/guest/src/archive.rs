//! A list of files as the kernel's initramfs reads it: an uncompressed cpio archive in the `newc` format.
//!
//! The same entries give the same bytes: they are sorted, inode numbers count up from one, and every time is zero. Every
//! regular file is an inode of its own (no hard links). Archives can be appended to each other: each ends with a trailer
//! and zeros up to a multiple of [`ALIGNMENT`]. Source: the kernel's
//! Documentation/driver-api/early-userspace/buffer-format.rst.

use std::collections::BTreeMap;
use std::io::{self, Write};

use cpio::newc;

/// What an archive's length is a multiple of: cpio's block. The kernel needs four.
const ALIGNMENT: usize = 512;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Directory,
    /// A regular file with its content.
    File(Vec<u8>),
    /// A symbolic link with its target.
    Symlink(String),
    /// A character device with its major and minor number.
    CharDevice(u32, u32),
    /// A named pipe.
    Fifo,
}

#[derive(Clone, Debug)]
struct Entry {
    node: Node,
    permissions: u32,
    uid: u32,
    gid: u32,
}

/// Files on their way into an archive, by path.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    entries: BTreeMap<String, Entry>,
}

/// Why an archive could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The format has four bytes for a length.
    #[error("`/{path}` has {size} bytes, more than a cpio archive can hold")]
    TooLarge {
        /// The file's path in the guest, without the leading slash.
        path: String,
        /// Its length in bytes.
        size: usize,
    },
    /// The writer failed.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
}

impl Archive {
    /// Adds an entry that belongs to root, and the directories above it (mode 0755) that are not there yet. An entry of
    /// the same path is replaced.
    pub fn add(&mut self, path: &str, node: Node, permissions: u32) {
        self.add_owned(path, node, permissions, 0, 0);
    }

    /// [`Archive::add`] with an owner.
    pub fn add_owned(&mut self, path: &str, node: Node, permissions: u32, uid: u32, gid: u32) {
        let path = path.trim_matches('/');
        for (end, _) in path.match_indices('/') {
            let parent = Entry {
                node: Node::Directory,
                permissions: 0o755,
                uid: 0,
                gid: 0,
            };
            self.entries.entry(path[..end].to_owned()).or_insert(parent);
        }
        self.entries.insert(
            path.to_owned(),
            Entry {
                node,
                permissions,
                uid,
                gid,
            },
        );
    }

    /// What the archive has at a path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.entries.get(path.trim_matches('/')).map(|entry| &entry.node)
    }

    /// Every path, sorted, without the leading slash.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The archive's bytes.
    ///
    /// # Errors
    /// A file of 4 GiB or more, which the format cannot express.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ArchiveError> {
        let mut out = Vec::new();
        // A parent is a prefix of its children, so sorting by path puts it first, as the kernel needs.
        for (number, (path, entry)) in self.entries.iter().enumerate() {
            out = write_entry(out, path, entry, number as u32 + 1)?;
        }
        let mut out = newc::trailer(out).map_err(ArchiveError::Write)?;
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        Ok(out)
    }
}

fn write_entry(out: Vec<u8>, path: &str, entry: &Entry, inode: u32) -> Result<Vec<u8>, ArchiveError> {
    let (kind, content) = match &entry.node {
        Node::Directory => (newc::ModeFileType::Directory, &[][..]),
        Node::File(content) => (newc::ModeFileType::Regular, content.as_slice()),
        Node::Symlink(target) => (newc::ModeFileType::Symlink, target.as_bytes()),
        Node::CharDevice(..) => (newc::ModeFileType::Char, &[][..]),
        Node::Fifo => (newc::ModeFileType::Fifo, &[][..]),
    };
    let size = u32::try_from(content.len()).map_err(|_| ArchiveError::TooLarge {
        path: path.to_owned(),
        size: content.len(),
    })?;
    let mut header = newc::Builder::new(path)
        .ino(inode)
        .mode(entry.permissions)
        .set_mode_file_type(kind)
        .uid(entry.uid)
        .gid(entry.gid)
        .nlink(if entry.node == Node::Directory { 2 } else { 1 });
    if let Node::CharDevice(major, minor) = entry.node {
        header = header.rdev_major(major).rdev_minor(minor);
    }
    let mut writer = header.write(out, size);
    writer.write_all(content).map_err(ArchiveError::Write)?;
    writer.finish().map_err(ArchiveError::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything in an archive as `path mode rdev content`, up to and including the first trailer.
    fn list(mut rest: &[u8]) -> (Vec<String>, &[u8]) {
        let mut seen = Vec::new();
        loop {
            let reader = newc::Reader::new(rest).unwrap();
            let entry = reader.entry().clone();
            let mut content = Vec::new();
            rest = reader.to_writer(&mut content).unwrap();
            if entry.is_trailer() {
                return (seen, rest);
            }
            let device = format!("{},{}", entry.rdev_major(), entry.rdev_minor());
            let content = String::from_utf8(content).unwrap();
            seen.push(format!(
                "{} {:o} {} {} {device} {content}",
                entry.name(),
                entry.mode(),
                entry.uid(),
                entry.ino()
            ));
        }
    }

    fn sample() -> Archive {
        let mut archive = Archive::default();
        archive.add_owned("/run/pipe", Node::Fifo, 0o600, 7, 8);
        archive.add("tmp", Node::Directory, 0o1777);
        archive.add("dev/null", Node::CharDevice(1, 3), 0o666);
        archive.add("etc/a", Node::File(b"abcde".to_vec()), 0o644);
        archive.add("lib", Node::Symlink("usr/lib".into()), 0o777);
        archive
    }

    #[test]
    fn every_kind_is_written_with_its_parents_in_front() {
        let bytes = sample().to_bytes().unwrap();
        let (seen, rest) = list(&bytes);
        assert_eq!(
            seen,
            [
                "dev 40755 0 1 0,0 ",
                "dev/null 20666 0 2 1,3 ",
                "etc 40755 0 3 0,0 ",
                "etc/a 100644 0 4 0,0 abcde",
                "lib 120777 0 5 0,0 usr/lib",
                "run 40755 0 6 0,0 ",
                "run/pipe 10600 7 7 0,0 ",
                "tmp 41777 0 8 0,0 ",
            ]
        );
        assert!(rest.iter().all(|byte| *byte == 0));
        assert_eq!(bytes.len() % ALIGNMENT, 0);
    }

    #[test]
    fn the_bytes_do_not_depend_on_the_order_of_adding() {
        let mut other = Archive::default();
        other.add("lib", Node::Symlink("usr/lib".into()), 0o777);
        other.add("etc/a", Node::File(b"old".to_vec()), 0o600);
        other.add("etc/a", Node::File(b"abcde".to_vec()), 0o644);
        other.add("dev/null", Node::CharDevice(1, 3), 0o666);
        other.add("tmp", Node::Directory, 0o1777);
        other.add_owned("run/pipe", Node::Fifo, 0o600, 7, 8);
        assert_eq!(other.to_bytes().unwrap(), sample().to_bytes().unwrap());
    }

    #[test]
    fn archives_can_be_appended() {
        let mut bytes = sample().to_bytes().unwrap();
        let first = bytes.len();
        bytes.extend(sample().to_bytes().unwrap());
        assert_eq!(list(&bytes[first..]).0, list(&bytes).0);
    }
}
