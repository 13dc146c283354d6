//! Applies a layer to the tree: its entries, its whiteouts, and nothing outside the image.
//!
//! What an entry means is what the OCI image specification says (layer.md) and, where it is silent, what umoci and
//! containerd do:
//!
//! - Names are relative to the image's root, also those that begin with `/` (ko writes such). `..` is refused.
//! - The directory that an entry goes to is looked up within the root, following symbolic links; what is missing
//!   on the way is made (0755, owner 0, time 0).
//! - A directory over a directory changes its owner, mode, time and attributes; everything else replaces what was
//!   there. A file is always a new inode: other names of the old one keep it.
//! - Whiteouts (`.wh.NAME`, `.wh..wh..opq`) act on lower layers alone, wherever in the layer they stand.
//! - A hard link shares the inode that its target names at that moment; the entry's own metadata are ignored.
//! - Extended attributes outside Linux's name spaces (macOS's) are left out with a warning, since no file can have
//!   them.

mod entries;
mod merge;
mod stream;

use std::io;

pub(crate) use entries::Entries;
pub use merge::EntryError;
pub(crate) use merge::{Merger, Usage};
use stream::{Budget, with_stream};
pub(crate) use stream::{LayerBlob, decoder};

use crate::digest::Digest;
use crate::erofs::Writer;
use crate::limits::Limits;
use crate::tree::Tree;
use isopod_archive::reader::{self, TarError, TarReader};

/// Why a layer cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The blob cannot be read.
    #[error("cannot read the blob")]
    Blob(#[source] io::Error),
    /// The blob is not what the manifest says.
    #[error("the blob has digest `{actual}`, the manifest says `{expected}`")]
    Digest {
        /// What the manifest says.
        expected: Digest,
        /// What the blob has.
        actual: Digest,
    },
    /// The tar stream is not what the config says.
    #[error("the uncompressed layer has digest `{actual}`, the config says `{expected}`")]
    DiffId {
        /// What the config's `rootfs.diff_ids` says.
        expected: Digest,
        /// What the layer has.
        actual: Digest,
    },
    /// The blob cannot be decompressed.
    #[error("cannot decompress the blob")]
    Decompress(#[source] io::Error),
    /// The tar stream is malformed.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// An entry cannot be applied.
    #[error("cannot apply entry `{name}`")]
    Entry {
        /// Its name, control characters escaped.
        name: String,
        #[source]
        source: EntryError,
    },
}

/// Applies `layer`, the `number`th from the bottom, counted from 1.
pub(crate) fn apply(
    layer: LayerBlob,
    number: u32,
    tree: &mut Tree,
    writer: &mut Writer,
    usage: &mut Usage,
    limits: &Limits,
) -> Result<(), LayerError> {
    let limit = limits.uncompressed_bytes;
    let budget = Budget {
        left: limit.saturating_sub(usage.uncompressed_bytes),
        limit,
    };
    let ((), bytes) = with_stream(layer, budget, |entries, stream| {
        let mut reader = TarReader::new(stream);
        let mut merger = Merger {
            tree,
            writer,
            usage,
            limits,
            layer: number,
        };
        while let Some(entry) = reader.next_entry()? {
            let name = reader::show(&entry.name);
            let Some(entry) = entries.admit(entry) else {
                continue;
            };
            merger
                .apply(entry, &mut reader)
                .map_err(|source| LayerError::Entry { name, source })?;
        }
        entries.prune(tree);
        Ok(())
    })?;
    usage.uncompressed_bytes += bytes;
    Ok(())
}

#[cfg(test)]
mod tests;
