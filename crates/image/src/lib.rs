//! Images: from a reference to one read-only root filesystem file and its configuration, kept by content.
//!
//! ```text
//! reference ─ source ─> manifest, config, layer blobs    (oci:, oci-archive:, docker-archive:, dir:)
//! name ─ registry ─> manifest, config ─ fetch ─> layer blobs in the store
//!                              │ digest and size checked
//! layer blob ─ layer::stream ─> tar stream ─ tar ─> entries    (plain, gzip, zstd)
//!                              │ diff_id checked
//! entries ─ layer ─> tree of inodes; file contents go straight to the output
//! tree ─ erofs ─> rootfs.erofs                                 (store: images/HEX/)
//! ```
//!
//! Everything that is read is taken for hostile: a path of an image never names anything on the host, and no byte of
//! an image is kept before its digest was checked. Nothing is mounted and no privilege is needed: owners, devices and
//! extended attributes live in the file only.

pub mod config;
pub mod digest;
pub mod erofs;
pub mod extract;
mod fetch;
pub mod layer;
pub mod limits;
mod null;
pub mod registry;
mod section;
pub mod source;
pub mod store;
mod tree;

pub use digest::Digest;
pub use erofs::{DirEntry, Node, NodeKind, ReadError, Reader};
pub use isopod_archive::reader::{TarError, Time};
pub use limits::Limits;
pub use store::import::ImportError;
pub use store::{
    Collected, CommitError, Damage, ExportError, FindError, FlattenError, Held, Image, ListError, LoadError,
    RemoveError, SetNameError, Store, StoreError, Unreadable,
};
