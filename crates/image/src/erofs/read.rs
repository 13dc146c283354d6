//! Reads an image that [`super::Writer`] wrote: a node by its path, a directory's names, a small file.
//!
//! Every number is checked before it is used, so a damaged image gives an error and never a panic, a loop or more
//! memory than the image is large. Nothing but the records asked for is read. Symbolic links are not followed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

use super::format::{
    BLOCK, DIRENT_BYTES, DataLayout, INODE_BYTES, INODE_SLOT, InodeRecord, Superblock, decode_device,
    file_type, u16_at, u64_at,
};
use super::node::{DirEntry, Node, NodeKind, ReadError};
use super::xattr;
use isopod_archive::reader::Time;

/// The longest target of a symbolic link, in bytes (`PATH_MAX` with its NUL).
const MAX_TARGET_BYTES: u64 = 4095;

/// An open image.
#[derive(Debug)]
pub struct Reader {
    file: File,
    path: PathBuf,
    bytes: u64,
    superblock: Superblock,
}

impl Reader {
    /// Opens the image file `path`.
    ///
    /// # Errors
    /// [`ReadError`] when it cannot be read or its superblock is not one that Isopod wrote.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let file_error = |source| ReadError::File {
            path: path.to_owned(),
            source,
        };
        let format_error = |reason| ReadError::Format {
            path: path.to_owned(),
            reason,
        };
        let file = File::open(path).map_err(file_error)?;
        let bytes = file.metadata().map_err(file_error)?.len();
        if bytes < BLOCK {
            return Err(format_error("it is shorter than a block"));
        }
        let mut block = [0; BLOCK as usize];
        file.read_exact_at(&mut block, 0).map_err(file_error)?;
        let superblock = Superblock::decode(&block).map_err(format_error)?;
        if u64::from(superblock.blocks) * BLOCK != bytes {
            return Err(format_error("its size is not what its superblock says"));
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            bytes,
            superblock,
        })
    }

    /// The root directory.
    ///
    /// # Errors
    /// [`ReadError`] when the image is damaged.
    pub fn root(&self) -> Result<Node, ReadError> {
        self.node(u64::from(self.superblock.root))
    }

    /// The node with this number.
    ///
    /// # Errors
    /// [`ReadError`] when there is none or the image is damaged.
    pub fn node(&self, inode: u64) -> Result<Node, ReadError> {
        let bytes = self.bytes_at(self.inode_offset(inode)?, INODE_BYTES as u64)?;
        let bytes = bytes
            .first_chunk()
            .ok_or_else(|| self.format("an inode is cut off"))?;
        let record = InodeRecord::decode(bytes).map_err(|reason| self.format(reason))?;
        if record.nanoseconds >= 1_000_000_000 {
            return Err(self.format("an inode has an invalid time"));
        }
        let (major, minor) = decode_device(record.block_or_device);
        let kind = match record.mode & file_type::MASK {
            file_type::DIRECTORY => NodeKind::Directory,
            file_type::FILE => NodeKind::File,
            file_type::SYMLINK => NodeKind::Symlink {
                target: PathBuf::new(),
            },
            file_type::CHAR_DEVICE => NodeKind::CharDevice { major, minor },
            file_type::BLOCK_DEVICE => NodeKind::BlockDevice { major, minor },
            file_type::FIFO => NodeKind::Fifo,
            _ => return Err(self.format("an inode has an unknown type")),
        };
        let mut node = Node {
            kind,
            mode: record.mode & 0o7777,
            uid: record.uid,
            gid: record.gid,
            size: record.size,
            mtime: Time {
                seconds: record.seconds,
                nanoseconds: record.nanoseconds,
            },
            links: record.links,
            inode,
            record,
        };
        if let NodeKind::Symlink { .. } = node.kind {
            if node.size > MAX_TARGET_BYTES {
                return Err(self.format("a symbolic link is longer than 4095 bytes"));
            }
            node.kind = NodeKind::Symlink {
                target: OsString::from_vec(self.data(&node)?).into(),
            };
        }
        Ok(node)
    }

    /// The node at `path`, from the root on; `None` when there is none, also when something on the way is not a
    /// directory. A symbolic link is not followed, wherever it stands.
    ///
    /// # Errors
    /// [`ReadError`] for a path with `..`, or when the image is damaged.
    pub fn lookup(&self, path: &Path) -> Result<Option<Node>, ReadError> {
        let mut node = self.root()?;
        for component in path.components() {
            let name = match component {
                Component::Normal(name) => name,
                Component::RootDir | Component::CurDir => continue,
                Component::ParentDir | Component::Prefix(_) => return Err(ReadError::Path(path.to_owned())),
            };
            match node
                .is_dir()
                .then(|| self.child(&node, name))
                .transpose()?
                .flatten()
            {
                Some(child) => node = child,
                None => return Ok(None),
            }
        }
        Ok(Some(node))
    }

    /// The node that `name` means in `directory`.
    ///
    /// # Errors
    /// [`ReadError`] when `directory` is none, or the image is damaged.
    pub fn child(&self, directory: &Node, name: &OsStr) -> Result<Option<Node>, ReadError> {
        self.check_directory(directory)?;
        // Blocks are sorted by their first name; the name can only be in the last block that begins at or before it.
        let (mut low, mut high) = (0, directory.size.div_ceil(BLOCK));
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let block = self.directory_block(directory, middle)?;
            match block.first() {
                Some(first) if first.name.as_os_str() <= name => low = middle,
                _ => high = middle,
            }
        }
        let block = if high > 0 {
            self.directory_block(directory, low)?
        } else {
            Vec::new()
        };
        let found = block
            .into_iter()
            .find(|entry| entry.name == name && name != "." && name != "..");
        found.map(|entry| self.node(entry.inode)).transpose()
    }

    /// The names in `directory`, sorted, without `.` and `..`.
    ///
    /// # Errors
    /// [`ReadError`] when `directory` is none, or the image is damaged.
    pub fn read_dir(&self, directory: &Node) -> Result<Vec<DirEntry>, ReadError> {
        self.check_directory(directory)?;
        let mut entries = Vec::new();
        for index in 0..directory.size.div_ceil(BLOCK) {
            entries.extend(self.directory_block(directory, index)?);
        }
        entries.retain(|entry| entry.name != "." && entry.name != "..");
        Ok(entries)
    }

    /// The contents of the file `node`, which may have up to `max_bytes`.
    ///
    /// # Errors
    /// [`ReadError`] when it is larger, is not a file, or the image is damaged.
    pub fn read(&self, node: &Node, max_bytes: u64) -> Result<Vec<u8>, ReadError> {
        if node.kind != NodeKind::File {
            return Err(ReadError::Kind {
                path: self.path.clone(),
                expected: "file",
            });
        }
        if node.size > max_bytes {
            return Err(ReadError::TooLarge {
                size: node.size,
                max: max_bytes,
            });
        }
        self.data(node)
    }

    /// The extended attributes of `node`, names and values, sorted by name.
    ///
    /// # Errors
    /// [`ReadError`] when the image is damaged.
    pub fn xattrs(&self, node: &Node) -> Result<Vec<(OsString, Vec<u8>)>, ReadError> {
        let offset = self.inode_offset(node.inode)? + INODE_BYTES as u64;
        let bytes = self.bytes_at(offset, u64::from(node.record.xattr_bytes))?;
        let xattrs = xattr::decode(&bytes).ok_or_else(|| self.format("extended attributes are malformed"))?;
        Ok(xattrs
            .into_iter()
            .map(|(name, value)| (OsString::from_vec(name), value))
            .collect())
    }

    /// Contents of the file `node` from `offset` on, at most `max_bytes`, which are whole blocks; nothing at its end.
    ///
    /// # Errors
    /// [`ReadError`] when the image is damaged.
    pub(crate) fn part(&self, node: &Node, offset: u64, max_bytes: u64) -> Result<Vec<u8>, ReadError> {
        let whole = match node.record.layout {
            DataLayout::Plain => node.size,
            DataLayout::Inline => node.size - node.size % BLOCK,
        };
        let end = if offset < whole { whole } else { node.size };
        self.data_range(node, offset, end.saturating_sub(offset).min(max_bytes))
    }

    fn check_directory(&self, node: &Node) -> Result<(), ReadError> {
        match node.is_dir() {
            true => Ok(()),
            false => Err(ReadError::Kind {
                path: self.path.clone(),
                expected: "directory",
            }),
        }
    }

    fn directory_block(&self, directory: &Node, index: u64) -> Result<Vec<DirEntry>, ReadError> {
        let offset = index * BLOCK;
        let block = self.data_range(
            directory,
            offset,
            BLOCK.min(directory.size.saturating_sub(offset)),
        )?;
        parse_directory_block(&block).ok_or_else(|| self.format("a directory is malformed"))
    }

    fn data(&self, node: &Node) -> Result<Vec<u8>, ReadError> {
        let whole = match node.record.layout {
            DataLayout::Plain => node.size,
            DataLayout::Inline => node.size - node.size % BLOCK,
        };
        let mut data = self.data_range(node, 0, whole)?;
        if node.size > whole {
            data.extend(self.data_range(node, whole, node.size - whole)?);
        }
        Ok(data)
    }

    /// Bytes of a node's contents that all lie in its blocks or all behind its inode.
    fn data_range(&self, node: &Node, offset: u64, count: u64) -> Result<Vec<u8>, ReadError> {
        let whole = node.size - node.size % BLOCK;
        let base = if node.record.layout == DataLayout::Inline && offset >= whole {
            let tail = INODE_BYTES as u64 + u64::from(node.record.xattr_bytes) + offset - whole;
            self.inode_offset(node.inode)? + tail
        } else {
            (u64::from(node.record.block_or_device) * BLOCK)
                .checked_add(offset)
                .ok_or_else(|| self.format("contents lie outside the file"))?
        };
        self.bytes_at(base, count)
    }

    fn inode_offset(&self, inode: u64) -> Result<u64, ReadError> {
        let offset = inode
            .checked_mul(INODE_SLOT)
            .filter(|offset| *offset < self.bytes);
        let offset = offset.ok_or_else(|| self.format("an inode lies outside the file"))?;
        Ok(u64::from(self.superblock.meta_block) * BLOCK + offset)
    }

    fn bytes_at(&self, offset: u64, count: u64) -> Result<Vec<u8>, ReadError> {
        if offset.checked_add(count).is_none_or(|end| end > self.bytes) {
            return Err(self.format("a record lies outside the file"));
        }
        let mut bytes = vec![0; count as usize];
        self.file
            .read_exact_at(&mut bytes, offset)
            .map_err(|source| ReadError::File {
                path: self.path.clone(),
                source,
            })?;
        Ok(bytes)
    }

    fn format(&self, reason: &'static str) -> ReadError {
        ReadError::Format {
            path: self.path.clone(),
            reason,
        }
    }
}

/// The entries of one block of a directory; `None` when they are malformed.
fn parse_directory_block(block: &[u8]) -> Option<Vec<DirEntry>> {
    let names_start = usize::from(u16_at(block.get(..DIRENT_BYTES)?, 8));
    if names_start < DIRENT_BYTES || names_start % DIRENT_BYTES != 0 || names_start > block.len() {
        return None;
    }
    let heads: Vec<&[u8]> = block[..names_start].chunks_exact(DIRENT_BYTES).collect();
    let mut entries = Vec::with_capacity(heads.len());
    for (i, head) in heads.iter().enumerate() {
        let start = usize::from(u16_at(head, 8));
        let name = match heads.get(i + 1) {
            Some(next) => block.get(start..usize::from(u16_at(next, 8)))?,
            None => block.get(start..)?.split(|&b| b == 0).next()?,
        };
        if name.is_empty() || name.iter().any(|b| matches!(b, 0 | b'/')) {
            return None;
        }
        entries.push(DirEntry {
            name: OsStr::from_bytes(name).to_owned(),
            inode: u64_at(head, 0),
        });
    }
    Some(entries)
}
