//! From the kernel to systemd, and what the guest is set up with.
//!
//! [`init`] is process 1: it loads [`modules`], makes what apps see of the kernel ([`kernel_fs`](crate::mounts::kernel_fs)), and becomes
//! systemd. The others are for the pod when it [comes](crate::arrival): they bound its [`memory`], fill its apps' `/dev`
//! ([`app_dev`]), mount images and roots ([`early`](crate::mounts::early)) and set up the [`network`], and give a VM that was restored
//! what must be its own ([`chance`]).

pub(crate) mod app_dev;
pub(crate) mod chance;
pub(crate) mod init;
pub(crate) mod memory;
pub(crate) mod modules;
pub(crate) mod netlink;
pub(crate) mod network;
pub(crate) mod setup;
