//! From the kernel to systemd, and what the guest is set up with.
//!
//! [`init`] is process 1 and calls the others in their order: it unpacks the pod's own files over the guest image
//! ([`guest_overlay`]), loads modules, bounds memory, makes what apps see of the kernel ([`kernel_fs`](crate::mounts::kernel_fs), [`app_dev`]), mounts
//! images and roots ([`early`]), sets up the network, and becomes systemd.

pub(crate) mod app_dev;
pub(crate) mod early;
pub(crate) mod guest_overlay;
pub(crate) mod init;
pub(crate) mod memory;
pub(crate) mod modules;
pub(crate) mod netlink;
pub(crate) mod network;
pub(crate) mod setup;
