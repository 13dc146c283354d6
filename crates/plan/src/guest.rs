//! The guest: the mounts that systemd makes in it and their units, and every file that comes to it.

pub(crate) mod config;
pub mod entry;
pub(crate) mod files;
pub(crate) mod mounts;
pub(crate) mod network_names;
pub(crate) mod sysctl;
pub mod tree;
pub mod units;
