//! Decides where in an image every inode and every directory goes. Pure: a tree goes in, places come out.

use std::collections::{BTreeMap, VecDeque};

use super::format::{self, BLOCK, DIRENT_BYTES, DataLayout, INODE_BYTES, INODE_SLOT, InodeRecord, file_type};
use crate::tree::{Inode, InodeId, Kind, Tree};

/// The inodes that names lead to, in the order of the image: breadth first, so that the inodes of a directory lie
/// together, the root directory first.
pub(super) struct Reachable {
    pub(super) inodes: Vec<InodeId>,
    /// By inode number: how many names it has (a directory: 2 and one for each directory in it).
    links: Vec<u32>,
    /// By inode number: the directory that a directory is in.
    parents: Vec<InodeId>,
}

impl Reachable {
    /// Walks `tree` from its root.
    pub(super) fn walk(tree: &Tree) -> Self {
        let mut links = vec![0u32; tree.len()];
        let mut parents = vec![Tree::ROOT; tree.len()];
        let mut inodes = vec![Tree::ROOT];
        let mut pending = VecDeque::from([Tree::ROOT]);
        links[Tree::ROOT.0 as usize] = 2;
        while let Some(dir) = pending.pop_front() {
            for link in tree
                .directory(dir)
                .iter()
                .flat_map(|directory| directory.links.values())
            {
                let index = link.inode.0 as usize;
                if tree.directory(link.inode).is_some() {
                    links[index] = 2;
                    links[dir.0 as usize] += 1;
                    parents[index] = dir;
                    pending.push_back(link.inode);
                } else {
                    links[index] += 1;
                    if links[index] > 1 {
                        continue;
                    }
                }
                inodes.push(link.inode);
            }
        }
        Self {
            inodes,
            links,
            parents,
        }
    }
}

/// Where an inode goes.
pub(super) struct Place {
    pub(super) id: InodeId,
    /// Its offset in the area of the inodes, in bytes.
    pub(super) offset: u64,
    pub(super) record: InodeRecord,
}

impl Place {
    /// How many blocks of its own the contents take.
    pub(super) fn blocks(&self) -> u64 {
        match self.record.layout {
            DataLayout::Plain => self.record.size.div_ceil(BLOCK),
            DataLayout::Inline => self.record.size / BLOCK,
        }
    }

    /// How many bytes of the contents follow the inode.
    pub(super) fn tail_bytes(&self) -> u64 {
        match self.record.layout {
            DataLayout::Plain => 0,
            DataLayout::Inline => self.record.size % BLOCK,
        }
    }
}

/// Where everything goes.
pub(super) struct Layout {
    /// By the order of [`Reachable`].
    pub(super) places: Vec<Place>,
    /// The first block of the inodes.
    pub(super) meta_block: u64,
    /// How many blocks they take.
    pub(super) meta_blocks: u64,
    /// By inode number: the number in the image.
    numbers: Vec<u64>,
    parents: Vec<InodeId>,
}

impl Layout {
    /// Places the inodes of `reachable`; directories and long links go to the blocks from `next_block` on.
    pub(super) fn new(tree: &Tree, reachable: Reachable, mut next_block: u64) -> Self {
        let Reachable {
            inodes,
            links,
            parents,
        } = reachable;
        let mut space = MetaSpace::new();
        let mut numbers = vec![0; tree.len()];
        let mut places = Vec::with_capacity(inodes.len());
        for (id, number) in inodes.into_iter().zip(1..) {
            let inode = tree.inode(id);
            let mut record = InodeRecord {
                number,
                links: links[id.0 as usize],
                ..record(inode)
            };
            let own_blocks = matches!(inode.kind, Kind::Directory(_) | Kind::Symlink(_));
            if own_blocks {
                record.layout = layout_of(record.size, u64::from(record.xattr_bytes));
            }
            let mut place = Place {
                id,
                offset: 0,
                record,
            };
            place.offset =
                space.take(INODE_BYTES as u64 + u64::from(record.xattr_bytes) + place.tail_bytes());
            if own_blocks && place.blocks() > 0 {
                place.record.block_or_device = truncate(next_block);
                next_block += place.blocks();
            }
            numbers[id.0 as usize] = place.offset / INODE_SLOT;
            places.push(place);
        }
        Self {
            places,
            meta_block: next_block,
            meta_blocks: space.blocks(),
            numbers,
            parents,
        }
    }

    /// The number of the root directory.
    pub(super) fn root(&self) -> u16 {
        truncate16(self.numbers[Tree::ROOT.0 as usize])
    }

    /// The contents of the directory `id`.
    pub(super) fn directory(&self, tree: &Tree, id: InodeId) -> Vec<u8> {
        let entry = |name, id: InodeId| Dirent {
            name,
            number: self.numbers[id.0 as usize],
            file_type: format::dirent_type(type_bits(tree.inode(id))),
        };
        let parent = self.parents[id.0 as usize];
        let mut entries = vec![entry(b".".as_slice(), id), entry(b"..", parent)];
        let links = tree.directory(id).map(|directory| &directory.links);
        entries.extend(
            links
                .into_iter()
                .flatten()
                .map(|(name, link)| entry(name, link.inode)),
        );
        entries.sort_by_key(|entry| entry.name);
        encode_directory(&entries)
    }
}

/// The layout for contents of `size` bytes behind an inode with `xattr_bytes`: inline when they end with a part of
/// a block that fits into one together with the inode.
pub(super) fn layout_of(size: u64, xattr_bytes: u64) -> DataLayout {
    let tail = size % BLOCK;
    match tail > 0 && INODE_BYTES as u64 + xattr_bytes + tail <= BLOCK {
        true => DataLayout::Inline,
        false => DataLayout::Plain,
    }
}

/// The record of an inode as far as it depends on nothing else.
fn record(inode: &Inode) -> InodeRecord {
    let (layout, size, block_or_device) = match &inode.kind {
        Kind::Directory(directory) => (
            DataLayout::Plain,
            directory_bytes(directory.links.keys().map(AsRef::as_ref)),
            0,
        ),
        Kind::File(content) => (content.layout(), content.size, content.block),
        Kind::Symlink(target) => (DataLayout::Plain, target.len() as u64, 0),
        Kind::CharDevice(major, minor) | Kind::BlockDevice(major, minor) => {
            (DataLayout::Plain, 0, format::encode_device(*major, *minor))
        }
        Kind::Fifo => (DataLayout::Plain, 0, 0),
    };
    InodeRecord {
        layout,
        xattr_bytes: u32::try_from(inode.meta.xattrs.len()).expect("the encoder refuses longer attributes"),
        mode: type_bits(inode) | inode.meta.mode,
        size,
        block_or_device,
        number: 0,
        uid: inode.meta.uid,
        gid: inode.meta.gid,
        seconds: inode.meta.mtime.seconds,
        nanoseconds: inode.meta.mtime.nanoseconds,
        links: 0,
    }
}

fn type_bits(inode: &Inode) -> u16 {
    match inode.kind {
        Kind::Directory(_) => file_type::DIRECTORY,
        Kind::File(_) => file_type::FILE,
        Kind::Symlink(_) => file_type::SYMLINK,
        Kind::CharDevice(..) => file_type::CHAR_DEVICE,
        Kind::BlockDevice(..) => file_type::BLOCK_DEVICE,
        Kind::Fifo => file_type::FIFO,
    }
}

/// Block numbers have 32 bits; the writer checks the last one before anything is written.
fn truncate(block: u64) -> u32 {
    u32::try_from(block).unwrap_or(u32::MAX)
}

fn truncate16(number: u64) -> u16 {
    u16::try_from(number).expect("the root directory is placed first")
}

/// The area of the inodes, filled block by block; what a block has left is given to the next inode that fits best.
struct MetaSpace {
    /// The size so far, in bytes, whole blocks.
    end: u64,
    /// Free bytes, and where.
    holes: BTreeMap<u64, Vec<u64>>,
}

impl MetaSpace {
    /// An empty area but for the first slot: 0 is an inode number that some readers of directories take for a
    /// removed file.
    fn new() -> Self {
        Self {
            end: BLOCK,
            holes: BTreeMap::from([(BLOCK - INODE_SLOT, vec![INODE_SLOT])]),
        }
    }

    /// How many blocks it takes. One more than needed when an inode ends the last: `fsck.erofs` 1.5 reads the
    /// attributes' header behind every inode, also of one that has none, and must find something there.
    fn blocks(&self) -> u64 {
        let has_space = self
            .holes
            .iter()
            .any(|(free, offsets)| offsets.iter().any(|o| o + free == self.end));
        self.end / BLOCK + u64::from(!has_space)
    }

    /// The offset of `size` free bytes: within one block, or from the beginning of one when it needs several.
    fn take(&mut self, size: u64) -> u64 {
        let size = size.next_multiple_of(INODE_SLOT);
        let (offset, free) = self.take_hole(size).unwrap_or_else(|| {
            let fresh = self.end;
            let bytes = size.next_multiple_of(BLOCK);
            self.end += bytes;
            (fresh, bytes)
        });
        if free > size {
            self.holes.entry(free - size).or_default().push(offset + size);
        }
        offset
    }

    fn take_hole(&mut self, size: u64) -> Option<(u64, u64)> {
        let (&free, offsets) = self.holes.range_mut(size..).next()?;
        let offset = offsets.pop()?;
        if offsets.is_empty() {
            self.holes.remove(&free);
        }
        Some((offset, free))
    }
}

/// A name in a directory.
struct Dirent<'a> {
    name: &'a [u8],
    number: u64,
    file_type: u8,
}

/// How many names, from the first on, one block holds.
fn names_per_block<'a>(names: impl Iterator<Item = &'a [u8]>) -> (usize, usize) {
    let (mut count, mut bytes) = (0, 0);
    for name in names {
        let more = DIRENT_BYTES + name.len();
        if bytes + more > BLOCK as usize {
            break;
        }
        (count, bytes) = (count + 1, bytes + more);
    }
    (count, bytes)
}

/// The size of a directory with `names`, sorted, and `.` and `..`.
fn directory_bytes<'a>(names: impl Iterator<Item = &'a [u8]>) -> u64 {
    let mut all: Vec<&[u8]> = [b".".as_slice(), b".."].into_iter().chain(names).collect();
    all.sort_unstable();
    let (mut rest, mut total) = (&all[..], 0);
    loop {
        let (count, bytes) = names_per_block(rest.iter().copied());
        rest = &rest[count..];
        if rest.is_empty() {
            return total + bytes as u64;
        }
        total += BLOCK;
    }
}

/// Blocks of entries and their names behind them; all but the last are padded.
fn encode_directory(entries: &[Dirent]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = entries;
    while !rest.is_empty() {
        out.resize(out.len().next_multiple_of(BLOCK as usize), 0);
        let (count, _) = names_per_block(rest.iter().map(|entry| entry.name));
        let (block, after) = rest.split_at(count);
        let mut name_offset = (count * DIRENT_BYTES) as u16;
        for entry in block {
            out.extend_from_slice(&entry.number.to_le_bytes());
            out.extend_from_slice(&name_offset.to_le_bytes());
            out.extend_from_slice(&[entry.file_type, 0]);
            name_offset += entry.name.len() as u16;
        }
        block.iter().for_each(|entry| out.extend_from_slice(entry.name));
        rest = after;
    }
    out
}
