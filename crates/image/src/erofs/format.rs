//! The records of an EROFS image, byte for byte (`fs/erofs/erofs_fs.h` of Linux). All numbers are little-endian.

/// The block size, in bytes.
pub(super) const BLOCK: u64 = 4096;
/// Where the superblock begins, in bytes.
pub(super) const SUPERBLOCK_OFFSET: u64 = 1024;
/// The size of the superblock, in bytes.
pub(super) const SUPERBLOCK_BYTES: usize = 128;
/// The size of an extended inode, in bytes.
pub(super) const INODE_BYTES: usize = 64;
/// Inodes are numbered by their offset in units of this many bytes.
pub(super) const INODE_SLOT: u64 = 32;
/// The size of a directory entry without its name, in bytes.
pub(super) const DIRENT_BYTES: usize = 12;

const MAGIC: u32 = 0xe0f5_e1e2;
/// `EROFS_FEATURE_COMPAT_SB_CHKSUM | EROFS_FEATURE_COMPAT_MTIME`.
const COMPATIBLE_FEATURES: u32 = 3;

/// `S_IFMT` and the types of inodes below it (inode(7)).
pub(super) mod file_type {
    pub(crate) const MASK: u16 = 0o170_000;
    pub(crate) const FIFO: u16 = 0o010_000;
    pub(crate) const CHAR_DEVICE: u16 = 0o020_000;
    pub(crate) const DIRECTORY: u16 = 0o040_000;
    pub(crate) const BLOCK_DEVICE: u16 = 0o060_000;
    pub(crate) const FILE: u16 = 0o100_000;
    pub(crate) const SYMLINK: u16 = 0o120_000;
}

/// The type in a directory entry (`FT_*` of `fs_types.h`) for the type in a mode.
pub(super) fn dirent_type(mode: u16) -> u8 {
    match mode & file_type::MASK {
        file_type::FILE => 1,
        file_type::DIRECTORY => 2,
        file_type::CHAR_DEVICE => 3,
        file_type::BLOCK_DEVICE => 4,
        file_type::FIFO => 5,
        file_type::SYMLINK => 7,
        _ => 0,
    }
}

/// What the superblock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Superblock {
    /// The number of the root directory's inode; 16 bits, so that it is among the first.
    pub(super) root: u16,
    /// How many inodes there are.
    pub(super) inodes: u64,
    /// How many blocks there are.
    pub(super) blocks: u32,
    /// The block where inode numbers count from.
    pub(super) meta_block: u32,
    pub(super) uuid: [u8; 16],
}

impl Superblock {
    /// Block 0 with the superblock in it and its checksum.
    pub(super) fn encode(&self) -> [u8; BLOCK as usize] {
        let mut block = [0; BLOCK as usize];
        let start = SUPERBLOCK_OFFSET as usize;
        let mut put =
            |at: usize, bytes: &[u8]| block[start + at..start + at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC.to_le_bytes());
        put(8, &COMPATIBLE_FEATURES.to_le_bytes());
        put(12, &[BLOCK.trailing_zeros() as u8]);
        put(14, &self.root.to_le_bytes());
        put(16, &self.inodes.to_le_bytes());
        put(36, &self.blocks.to_le_bytes());
        put(40, &self.meta_block.to_le_bytes());
        put(48, &self.uuid);
        let sum = checksum(&block);
        block[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
        block
    }

    /// Reads block 0 of an image of this crate's writer.
    pub(super) fn decode(block: &[u8; BLOCK as usize]) -> Result<Self, &'static str> {
        let superblock = &block[SUPERBLOCK_OFFSET as usize..][..SUPERBLOCK_BYTES];
        if u32_at(superblock, 0) != MAGIC {
            return Err("it has no EROFS magic number");
        }
        if u64::from(superblock[12]) != u64::from(BLOCK.trailing_zeros()) {
            return Err("its block size is not 4096");
        }
        if u32_at(superblock, 8) != COMPATIBLE_FEATURES || u32_at(superblock, 80) != 0 {
            return Err("it has features that Isopod's writer does not use");
        }
        let mut unsigned = *block;
        unsigned[SUPERBLOCK_OFFSET as usize + 4..][..4].fill(0);
        if checksum(&unsigned) != u32_at(superblock, 4) {
            return Err("its superblock has a wrong checksum");
        }
        Ok(Self {
            root: u16_at(superblock, 14),
            inodes: u64_at(superblock, 16),
            blocks: u32_at(superblock, 36),
            meta_block: u32_at(superblock, 40),
            uuid: std::array::from_fn(|i| superblock[48 + i]),
        })
    }
}

/// CRC-32C from the superblock to the end of its block, without the final inversion.
fn checksum(block: &[u8; BLOCK as usize]) -> u32 {
    !crc32c::crc32c(&block[SUPERBLOCK_OFFSET as usize..])
}

/// Where the contents of an inode are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataLayout {
    /// In blocks alone; the last may be padded.
    Plain,
    /// In whole blocks, the rest behind the inode.
    Inline,
}

/// An extended inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InodeRecord {
    pub(super) layout: DataLayout,
    /// The size of the extended attributes behind it, in bytes: 0, or 12 and a multiple of 4.
    pub(super) xattr_bytes: u32,
    /// Type and permissions.
    pub(super) mode: u16,
    pub(super) size: u64,
    /// The first block of contents, or the device number.
    pub(super) block_or_device: u32,
    /// The inode number for 32-bit programs.
    pub(super) number: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) seconds: i64,
    pub(super) nanoseconds: u32,
    pub(super) links: u32,
}

impl InodeRecord {
    pub(super) fn encode(&self) -> [u8; INODE_BYTES] {
        let mut bytes = [0; INODE_BYTES];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        let layout = match self.layout {
            DataLayout::Plain => 0u16,
            DataLayout::Inline => 2,
        };
        put(0, &(layout << 1 | 1).to_le_bytes());
        put(2, &xattr_count(self.xattr_bytes).to_le_bytes());
        put(4, &self.mode.to_le_bytes());
        put(8, &self.size.to_le_bytes());
        put(16, &self.block_or_device.to_le_bytes());
        put(20, &self.number.to_le_bytes());
        put(24, &self.uid.to_le_bytes());
        put(28, &self.gid.to_le_bytes());
        put(32, &self.seconds.to_le_bytes());
        put(40, &self.nanoseconds.to_le_bytes());
        put(44, &self.links.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; INODE_BYTES]) -> Result<Self, &'static str> {
        let layout = match u16_at(bytes, 0) {
            1 => DataLayout::Plain,
            5 => DataLayout::Inline,
            _ => return Err("an inode has a format that Isopod's writer does not use"),
        };
        Ok(Self {
            layout,
            xattr_bytes: match u16_at(bytes, 2) {
                0 => 0,
                count => 12 + (u32::from(count) - 1) * 4,
            },
            mode: u16_at(bytes, 4),
            size: u64_at(bytes, 8),
            block_or_device: u32_at(bytes, 16),
            number: u32_at(bytes, 20),
            uid: u32_at(bytes, 24),
            gid: u32_at(bytes, 28),
            seconds: u64_at(bytes, 32).cast_signed(),
            nanoseconds: u32_at(bytes, 40),
            links: u32_at(bytes, 44),
        })
    }
}

/// `i_xattr_icount`: 12 bytes count as one, every further 4 as one more.
fn xattr_count(bytes: u32) -> u16 {
    match bytes {
        0 => 0,
        bytes => u16::try_from((bytes - 12) / 4 + 1).expect("the encoder refuses longer attributes"),
    }
}

/// The device number as the kernel's `new_encode_dev` writes it.
pub(super) fn encode_device(major: u32, minor: u32) -> u32 {
    minor & 0xff | major << 8 | (minor & !0xff) << 12
}

/// Major and minor number.
pub(super) fn decode_device(device: u32) -> (u32, u32) {
    (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xf_ff00)
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}
