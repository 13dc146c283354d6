//! The EROFS image format: a writer of uncompressed images and a reader that trusts nothing.
//!
//! ```text
//! block 0      1024 zeros, superblock (128 bytes), zeros
//! block 1..    whole blocks of file contents, in the order of the layers
//! then         blocks of large directories and long symbolic links
//! then         inodes: 64 bytes, extended attributes, the rest of the contents that fills no block (`tail`);
//!              an inode with a tail lies within one block
//! ```
//!
//! The format is what Linux 5.4 and later mount (`fs/erofs/erofs_fs.h`): no feature that is newer, no compression, no
//! shared extended attributes. All inodes are extended ones, the only kind with a time of its own, nanoseconds
//! and 32-bit owners. The same tree gives the same bytes. Images of other writers are not read.

mod format;
mod layout;
mod node;
mod read;
mod write;
mod xattr;

pub use node::{DirEntry, Node, NodeKind, ReadError};
pub use read::Reader;
pub(crate) use write::{CopyError, Writer};
pub use xattr::XattrError;
pub(crate) use xattr::{encode as encode_xattrs, is_linux as is_linux_xattr};

#[cfg(test)]
mod tests;
