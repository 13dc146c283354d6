//! An image's root filesystem as one layer (image-spec, layer.md): what is left of an image whose own layers are not kept.
//!
//! The same root filesystem gives the same bytes: names are sorted, and a file with several names is a link to the first of
//! them. What a tar header has no room for (long names, large numbers, nanoseconds, extended attributes) stands in extended
//! headers (pax(1)).

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use tar::{Builder, EntryType, Header};

use crate::erofs::{Node, NodeKind, ReadError, Reader};

/// As much of a file is read at a time, in bytes.
const CHUNK_BYTES: u64 = 1 << 20;
/// The largest user, group and size that a header has room for.
const MAX_ID: u32 = 0o7_777_777;
const MAX_SIZE: u64 = 0o77_777_777_777;
/// The longest name that a header has room for, in bytes.
const MAX_NAME_BYTES: usize = 100;

/// Why a root filesystem cannot be written as a layer.
#[derive(Debug, thiserror::Error)]
pub enum FlattenError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The layer cannot be written.
    #[error("cannot write the layer")]
    Write(#[from] io::Error),
}

/// Writes the root filesystem `rootfs` to `out` as a tar file.
pub(super) fn write_layer(rootfs: &Path, out: impl Write) -> Result<(), FlattenError> {
    let reader = Reader::open(rootfs)?;
    let mut tar = Builder::new(out);
    // The first name of what has several.
    let mut first_names: HashMap<u64, Vec<u8>> = HashMap::new();
    let mut left = vec![(Vec::new(), reader.root()?)];
    while let Some((name, node)) = left.pop() {
        let mut first = None;
        if node.links > 1 && !node.is_dir() {
            first = first_names.get(&node.inode).cloned();
            first_names.entry(node.inode).or_insert_with(|| name.clone());
        }
        add(&mut tar, &reader, &name, &node, first.as_deref())?;
        if node.is_dir() {
            for entry in reader.read_dir(&node)?.into_iter().rev() {
                let mut child = name.clone();
                child.extend(entry.name.as_bytes());
                let node = reader.node(entry.inode)?;
                if node.is_dir() {
                    child.push(b'/');
                }
                left.push((child, node));
            }
        }
    }
    tar.finish()?;
    Ok(())
}

/// Adds `node` as `name`, which is empty for the root; as a link where it has a `first` name.
fn add(
    tar: &mut Builder<impl Write>,
    reader: &Reader,
    name: &[u8],
    node: &Node,
    first: Option<&[u8]>,
) -> Result<(), FlattenError> {
    let name = if name.is_empty() { b"./" } else { name };
    let mut pax: Vec<(String, Vec<u8>)> = Vec::new();
    let mut header = Header::new_ustar();
    let (kind, link) = match (&node.kind, first) {
        (_, Some(first)) => (EntryType::Link, Some(first.to_owned())),
        (NodeKind::Directory, _) => (EntryType::Directory, None),
        (NodeKind::File, _) => (EntryType::Regular, None),
        (NodeKind::Symlink { target }, _) => {
            let target = target.clone().into_os_string().into_vec();
            (EntryType::Symlink, Some(target))
        }
        (NodeKind::CharDevice { .. }, _) => (EntryType::Char, None),
        (NodeKind::BlockDevice { .. }, _) => (EntryType::Block, None),
        (NodeKind::Fifo, _) => (EntryType::Fifo, None),
    };
    header.set_entry_type(kind);
    header.set_mode(u32::from(node.mode));
    if let NodeKind::CharDevice { major, minor } | NodeKind::BlockDevice { major, minor } = node.kind {
        header.set_device_major(major)?;
        header.set_device_minor(minor)?;
    }
    for (key, id) in [("uid", node.uid), ("gid", node.gid)] {
        if id > MAX_ID {
            pax.push((key.to_owned(), id.to_string().into_bytes()));
        }
        match key {
            "uid" => header.set_uid(id.min(MAX_ID).into()),
            _ => header.set_gid(id.min(MAX_ID).into()),
        }
    }
    let size = if kind == EntryType::Regular { node.size } else { 0 };
    if size > MAX_SIZE {
        pax.push(("size".to_owned(), size.to_string().into_bytes()));
    }
    header.set_size(size.min(MAX_SIZE));
    set_time(&mut header, node, &mut pax);
    fill(&mut header.as_old_mut().name, name, "path", &mut pax);
    if let Some(link) = link {
        fill(&mut header.as_old_mut().linkname, &link, "linkpath", &mut pax);
    }
    if kind != EntryType::Link {
        for (name, value) in reader.xattrs(node)? {
            let name: OsString = name;
            pax.push((format!("SCHILY.xattr.{}", name.to_string_lossy()), value));
        }
    }
    tar.append_pax_extensions(pax.iter().map(|(key, value)| (key.as_str(), value.as_slice())))?;
    header.set_cksum();
    tar.append(&header, Contents::of(reader, node, size))?;
    Ok(())
}

/// Seconds from 1970 on stand in the header, what is more in an extended one.
fn set_time(header: &mut Header, node: &Node, pax: &mut Vec<(String, Vec<u8>)>) {
    let (seconds, nanoseconds) = (node.mtime.seconds, node.mtime.nanoseconds);
    match u64::try_from(seconds) {
        Ok(seconds) if seconds <= MAX_SIZE && nanoseconds == 0 => header.set_mtime(seconds),
        _ => {
            header.set_mtime(0);
            // A fraction counts away from zero.
            let text = match (seconds < 0, nanoseconds) {
                (_, 0) => seconds.to_string(),
                (false, fraction) => format!("{seconds}.{fraction:09}"),
                (true, fraction) => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - fraction),
            };
            pax.push(("mtime".to_owned(), text.into_bytes()));
        }
    }
}

/// Puts `text` into a field of the header, and into an extended one where it has no room.
fn fill(field: &mut [u8; MAX_NAME_BYTES], text: &[u8], key: &str, pax: &mut Vec<(String, Vec<u8>)>) {
    let count = text.len().min(field.len());
    field[..count].copy_from_slice(&text[..count]);
    if text.len() > field.len() {
        pax.push((key.to_owned(), text.to_owned()));
    }
}

/// The contents of a file, a part at a time.
struct Contents<'a> {
    reader: &'a Reader,
    node: &'a Node,
    at: u64,
    size: u64,
    part: io::Cursor<Vec<u8>>,
}

impl<'a> Contents<'a> {
    fn of(reader: &'a Reader, node: &'a Node, size: u64) -> Self {
        Self {
            reader,
            node,
            at: 0,
            size,
            part: io::Cursor::default(),
        }
    }
}

impl Read for Contents<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.part.read(buf)? {
                0 if self.at == self.size => return Ok(0),
                0 => {}
                n => return Ok(n),
            }
            let part = self
                .reader
                .part(self.node, self.at, CHUNK_BYTES)
                .map_err(io::Error::other)?;
            if part.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.at += part.len() as u64;
            self.part = io::Cursor::new(part);
        }
    }
}
