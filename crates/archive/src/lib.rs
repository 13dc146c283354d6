//! A tree of files to a tar archive ([`pack`]) and back ([`unpack`]), by docker's rules for `docker cp`: what a copy
//! into or out of an app does at either end.
//!
//! The archive holds one tree. Its root is named as the copied file is, or `.` where only a directory's contents were
//! asked for (`DIR/.`). When the target is a directory, the tree comes into it under its own name; otherwise it becomes
//! the target, whose parent must exist.
//!
//! Kept are names, modes, modification times, symbolic and hard links, and with [`Keep::Everything`] owners, set-ID
//! bits and devices. Not kept: extended attributes, holes, sockets, which [`Packed`] lists. The archive is not trusted: nothing is written
//! outside of the target, no link is followed below it, and memory is bounded.
//!
//! [`reader`] reads the entries, those of image layers too. What an app changed in its root, an overlay, is listed
//! ([`changes`]) and packed as an image's layer ([`pack_layer`]), and the root as a whole ([`pack_root`]).

mod attributes;
mod layer;
mod overlay;
mod pack;
pub mod reader;
mod unpack;

pub use layer::{pack_layer, pack_root};
pub use overlay::{Change, ChangeKind, changes};

pub use pack::{LastLink, PackError, Packed, pack, tree_name};
pub use unpack::{Keep, UnpackError, unpack};
