//! The VM: its devices and how host volumes reach them, QEMU's switches, the network, and what its processes see of the host.

pub mod accelerator;
pub mod board;
pub mod confinement;
pub mod disks;
pub mod file_server;
pub(crate) mod giving;
pub mod hardware;
pub mod kernel;
pub(crate) mod memory;
pub mod network;
pub mod qemu;
pub mod sharing;
pub mod template;
pub mod user_maps;
pub mod user_namespaces;
