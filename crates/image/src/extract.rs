//! A directory of an image as files on the host: what a named volume begins with, as with docker.
//!
//! ```text
//! rootfs.erofs : /var/www ──> TARGET, which is made, owned and filled as the image has it
//! ```
//!
//! Nobody else may reach `target` while it is filled: names are made below it without a look at what is there. Devices,
//! named pipes and extended attributes are left out: a volume is for data.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use crate::erofs::{Node, NodeKind, ReadError, Reader};

/// As much of a file is read at a time, in bytes.
const CHUNK_BYTES: u64 = 1 << 20;

/// Whose files the copies are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// Those of the image; only root can give files away.
    Kept,
    /// The caller's; bits that lend a user's or a group's rights are left out then.
    Caller,
}

/// Why a directory of an image cannot be copied.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The image cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file cannot be written.
    #[error("cannot write `{path}`")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Makes `target` a copy of the directory at `place` of the image whose root filesystem is the file `rootfs`; gives whether
/// there is one: links are not followed. `target` must not be there, and what was written stays there when it fails.
///
/// # Errors
/// [`ExtractError`].
pub fn extract(rootfs: &Path, place: &Path, target: &Path, owners: Owners) -> Result<bool, ExtractError> {
    let reader = Reader::open(rootfs)?;
    let Some(root) = reader.lookup(place)?.filter(Node::is_dir) else {
        return Ok(false);
    };
    let mut copy = Copy {
        reader,
        owners,
        first_names: HashMap::new(),
    };
    copy.directory(&root, target)?;
    Ok(true)
}

struct Copy {
    reader: Reader,
    owners: Owners,
    /// The first copy of what has several names.
    first_names: HashMap<u64, PathBuf>,
}

impl Copy {
    /// Copies a directory and all below it; modes, owners and times come last, for they would change.
    fn directory(&mut self, root: &Node, target: &Path) -> Result<(), ExtractError> {
        let mut left = vec![(root.clone(), target.to_owned())];
        let mut made = Vec::new();
        while let Some((directory, path)) = left.pop() {
            let written = DirBuilder::new().mode(0o700).create(&path);
            written.map_err(failed(&path))?;
            for entry in self.reader.read_dir(&directory)? {
                let node = self.reader.node(entry.inode)?;
                let path = path.join(&entry.name);
                match node.is_dir() {
                    true => left.push((node, path)),
                    false => self.other(&node, &path)?,
                }
            }
            made.push((directory, path));
        }
        for (directory, path) in made.iter().rev() {
            self.finish(directory, path).map_err(failed(path))?;
        }
        Ok(())
    }

    fn other(&mut self, node: &Node, path: &Path) -> Result<(), ExtractError> {
        if let Some(first) = self.first_names.get(&node.inode) {
            return fs::hard_link(first, path).map_err(failed(path));
        }
        match &node.kind {
            NodeKind::File => self.file(node, path)?,
            NodeKind::Symlink { target } => symlink(target, path).map_err(failed(path))?,
            NodeKind::Directory
            | NodeKind::CharDevice { .. }
            | NodeKind::BlockDevice { .. }
            | NodeKind::Fifo => return Ok(()),
        }
        if node.links > 1 {
            self.first_names.insert(node.inode, path.to_owned());
        }
        self.finish(node, path).map_err(failed(path))
    }

    fn file(&self, node: &Node, path: &Path) -> Result<(), ExtractError> {
        let mut file = File::create_new(path).map_err(failed(path))?;
        let mut at = 0;
        while at < node.size {
            let part = self.reader.part(node, at, CHUNK_BYTES)?;
            if part.is_empty() {
                break;
            }
            at += part.len() as u64;
            file.write_all(&part).map_err(failed(path))?;
        }
        Ok(())
    }

    /// Gives a copy its owner, mode and time, in this order: a new owner takes bits of the mode away.
    fn finish(&self, node: &Node, path: &Path) -> io::Result<()> {
        let is_link = matches!(node.kind, NodeKind::Symlink { .. });
        let bits = match self.owners {
            Owners::Kept => {
                let give = if is_link { lchown } else { chown };
                give(path, Some(node.uid), Some(node.gid))?;
                0o7777
            }
            Owners::Caller => 0o1777,
        };
        if !is_link {
            fs::set_permissions(path, Permissions::from_mode(u32::from(node.mode) & bits))?;
        }
        let time = Timespec {
            tv_sec: node.mtime.seconds,
            tv_nsec: node.mtime.nanoseconds.into(),
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ExtractError {
    let path = path.to_owned();
    |source| ExtractError::Write { path, source }
}
