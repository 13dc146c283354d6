//! Writes an image: file contents first, one after the other, then everything that is known only at the end.
//!
//! The part of a file's contents that fills no block waits in a second, temporary file until the inodes are written.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use super::format::{BLOCK, DataLayout, Superblock};
use super::layout::{self, Layout, Place, Reachable};
use crate::tree::{Content, Kind, Tree};

/// How much is written at a time, in bytes.
const BUFFER_BYTES: usize = 1 << 20;
/// Contents that no file has any more (a later layer replaced it) are left in the image up to one in this many
/// blocks; beyond, the others are moved together, which costs a copy of all that lies behind.
const MAX_DEAD_SHARE: u64 = 16;

impl Content {
    pub(super) fn layout(&self) -> DataLayout {
        if self.tail.is_some() {
            DataLayout::Inline
        } else {
            DataLayout::Plain
        }
    }

    fn blocks(&self) -> u64 {
        match self.tail {
            Some(_) => self.size / BLOCK,
            None => self.size.div_ceil(BLOCK),
        }
    }
}

/// Which side of a copy failed.
#[derive(Debug)]
pub(crate) enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

/// An image in the making.
pub(crate) struct Writer {
    out: BufWriter<File>,
    next_block: u64,
    tails: BufWriter<File>,
    tails_bytes: u64,
    buffer: Vec<u8>,
}

impl Writer {
    /// Begins an image in the empty file `out`; `tails` is an empty file for the time being. Both are open for
    /// reading and writing.
    pub(crate) fn new(out: File, tails: File) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
        out.write_all(&[0; BLOCK as usize])?;
        let tails = BufWriter::with_capacity(BUFFER_BYTES, tails);
        Ok(Self {
            out,
            next_block: 1,
            tails,
            tails_bytes: 0,
            buffer: vec![0; 64 << 10],
        })
    }

    /// Adds the contents of a file, `size` bytes of `data`, whose inode will have `xattr_bytes` of attributes.
    pub(crate) fn add_file(
        &mut self,
        data: &mut impl Read,
        size: u64,
        xattr_bytes: usize,
    ) -> Result<Content, CopyError> {
        let mut content = Content {
            size,
            block: 0,
            tail: None,
        };
        if layout::layout_of(size, xattr_bytes as u64) == DataLayout::Inline {
            content.tail = Some(self.tails_bytes);
        }
        let blocks = content.blocks();
        if blocks > 0 {
            content.block = block_number(self.next_block).map_err(CopyError::Write)?;
            block_number(self.next_block + blocks).map_err(CopyError::Write)?;
        }
        let in_blocks = size.min(blocks * BLOCK);
        copy(data, &mut self.out, in_blocks, &mut self.buffer, write_sparsely)?;
        let padding = (blocks * BLOCK - in_blocks) as usize;
        self.out
            .write_all(&[0; BLOCK as usize][..padding])
            .map_err(CopyError::Write)?;
        copy(
            data,
            &mut self.tails,
            size - in_blocks,
            &mut self.buffer,
            write_all,
        )?;
        self.next_block += blocks;
        self.tails_bytes += size - in_blocks;
        Ok(content)
    }

    /// Writes all the rest. The image is complete, but not synced.
    pub(crate) fn finish(self, tree: &mut Tree, uuid: [u8; 16]) -> io::Result<File> {
        let mut file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        let tails = self.tails.into_inner().map_err(io::IntoInnerError::into_error)?;
        // The last contents may end in a hole.
        file.set_len(self.next_block * BLOCK)?;
        let reachable = Reachable::walk(tree);
        let end = compact(&file, tree, &reachable, self.next_block, self.buffer)?;
        let layout = Layout::new(tree, reachable, end);
        let blocks = block_number(layout.meta_block + layout.meta_blocks)?;
        file.seek(SeekFrom::Start(end * BLOCK))?;
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
        write_blocks(&mut out, tree, &layout)?;
        let superblock = Superblock {
            root: layout.root(),
            inodes: layout.places.len() as u64,
            blocks,
            meta_block: block_number(layout.meta_block)?,
            uuid,
        };
        write_inodes(&mut out, tree, layout, &tails)?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.write_all_at(&superblock.encode(), 0)?;
        file.set_len(u64::from(blocks) * BLOCK)?;
        Ok(file)
    }
}

fn block_number(block: u64) -> io::Result<u32> {
    u32::try_from(block).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))
}

/// Writes `data`, but leaves a hole where there are nothing but zeros.
fn write_sparsely(to: &mut BufWriter<File>, data: &[u8]) -> io::Result<()> {
    if data.len() as u64 >= BLOCK && data.iter().all(|&byte| byte == 0) {
        return to.seek_relative(data.len().cast_signed() as i64);
    }
    to.write_all(data)
}

fn write_all(to: &mut BufWriter<File>, data: &[u8]) -> io::Result<()> {
    to.write_all(data)
}

fn copy(
    from: &mut impl Read,
    to: &mut BufWriter<File>,
    count: u64,
    buffer: &mut [u8],
    write: fn(&mut BufWriter<File>, &[u8]) -> io::Result<()>,
) -> Result<(), CopyError> {
    let mut left = count;
    while left > 0 {
        let limit = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let n = match from.read(&mut buffer[..limit]) {
            Ok(0) => return Err(CopyError::Read(io::ErrorKind::UnexpectedEof.into())),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(CopyError::Read(e)),
        };
        write(to, &buffer[..n]).map_err(CopyError::Write)?;
        left -= n as u64;
    }
    Ok(())
}

/// Moves the contents of the reachable files together when too much between them belongs to none. Gives the first
/// block behind them.
fn compact(
    file: &File,
    tree: &mut Tree,
    reachable: &Reachable,
    end: u64,
    mut buffer: Vec<u8>,
) -> io::Result<u64> {
    let content = |tree: &Tree, id| match tree.inode(id).kind {
        Kind::File(content) if content.blocks() > 0 => Some(content),
        _ => None,
    };
    let mut files: Vec<_> = reachable
        .inodes
        .iter()
        .filter_map(|&id| Some((content(tree, id)?.block, id)))
        .collect();
    let live: u64 = files
        .iter()
        .filter_map(|(_, id)| Some(content(tree, *id)?.blocks()))
        .sum();
    if (end - 1 - live) * MAX_DEAD_SHARE <= end {
        return Ok(end);
    }
    files.sort_unstable_by_key(|(block, _)| *block);
    let mut next = 1;
    for (_, id) in files {
        let Kind::File(content) = &mut tree.inode_mut(id).kind else {
            continue;
        };
        move_down(
            file,
            u64::from(content.block) * BLOCK,
            next * BLOCK,
            content.blocks() * BLOCK,
            &mut buffer,
        )?;
        content.block = block_number(next)?;
        next += content.blocks();
    }
    Ok(next)
}

/// Copies `count` bytes from `from` to `to`, which is not behind it.
fn move_down(file: &File, from: u64, to: u64, count: u64, buffer: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < count && from != to {
        let n = (count - done).min(buffer.len() as u64) as usize;
        file.read_exact_at(&mut buffer[..n], from + done)?;
        file.write_all_at(&buffer[..n], to + done)?;
        done += n as u64;
    }
    Ok(())
}

/// The contents of a directory or symbolic link; nothing for the rest.
fn contents(tree: &Tree, layout: &Layout, place: &Place) -> Vec<u8> {
    match &tree.inode(place.id).kind {
        Kind::Directory(_) => layout.directory(tree, place.id),
        Kind::Symlink(target) => target.to_vec(),
        _ => Vec::new(),
    }
}

/// Writes the blocks of directories and long symbolic links.
fn write_blocks(out: &mut impl Write, tree: &Tree, layout: &Layout) -> io::Result<()> {
    for place in &layout.places {
        if place.blocks() == 0 || matches!(tree.inode(place.id).kind, Kind::File(_)) {
            continue;
        }
        let mut data = contents(tree, layout, place);
        data.resize((place.blocks() * BLOCK) as usize, 0);
        out.write_all(&data)?;
    }
    Ok(())
}

/// Writes the inodes, each with its attributes and the tail of its contents.
fn write_inodes(out: &mut impl Write, tree: &Tree, layout: Layout, tails: &File) -> io::Result<()> {
    let mut order: Vec<usize> = (0..layout.places.len()).collect();
    order.sort_unstable_by_key(|&i| layout.places[i].offset);
    let mut at = 0;
    for place in order.into_iter().map(|i| &layout.places[i]) {
        pad(out, &mut at, place.offset)?;
        let inode = tree.inode(place.id);
        let record = place.record.encode();
        let tail = tail(tree, &layout, place, tails)?;
        for part in [&record[..], &inode.meta.xattrs, &tail] {
            out.write_all(part)?;
            at += part.len() as u64;
        }
    }
    pad(out, &mut at, layout.meta_blocks * BLOCK)
}

fn tail(tree: &Tree, layout: &Layout, place: &Place, tails: &File) -> io::Result<Vec<u8>> {
    let count = place.tail_bytes() as usize;
    if count == 0 {
        return Ok(Vec::new());
    }
    if let Kind::File(Content {
        tail: Some(offset), ..
    }) = tree.inode(place.id).kind
    {
        let mut tail = vec![0; count];
        tails.read_exact_at(&mut tail, offset)?;
        return Ok(tail);
    }
    let mut data = contents(tree, layout, place);
    Ok(data.split_off(data.len() - count))
}

fn pad(out: &mut impl Write, at: &mut u64, to: u64) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(to - *at), out)?;
    *at = to;
    Ok(())
}
