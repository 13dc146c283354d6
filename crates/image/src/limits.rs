//! What an import takes: images for one processor, and of a hostile one no more than fits into memory and disk.

use isopod_spec::Architecture;

/// What one import takes: what passes one of its bounds is refused with the name of what passed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The processor that the image is to be for; of several that a reference means, the one that is. This host's.
    pub architecture: Architecture,
    /// The most bytes that all layers together may have when uncompressed. 64 GiB: the largest images in use
    /// (CUDA, model servers) have 20 to 40 GiB, and gzip can turn each MiB into one GiB.
    pub uncompressed_bytes: u64,
    /// The most tar entries of all layers together, and of an archive that holds an image. Four million: a full
    /// desktop distribution has half a million files.
    pub entries: u64,
    /// The most memory for names, link targets and extended attributes, in bytes. 1 GiB: a path and its inode take
    /// about 250 bytes, so this and [`Limits::entries`] are reached together by ordinary trees.
    pub metadata_bytes: u64,
    /// The longest JSON document (index, manifest, config), in bytes. 4 MiB: what registries accept (distribution
    /// specification, "Pushing Manifests").
    pub document_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            architecture: Architecture::HOST,
            uncompressed_bytes: 64 << 30,
            entries: 4_000_000,
            metadata_bytes: 1 << 30,
            document_bytes: 4 << 20,
        }
    }
}
