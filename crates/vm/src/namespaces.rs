//! Namespaces that a supervisor lives in itself, before it has a second thread: a shim of containerd, whose mounts are to end
//! with it, and whose network namespace is its pod's.

use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::launcher::sys;

/// Leaves the host's mount namespace: what is mounted from now on is this process's and its children's, and ends with them. What
/// the host mounts later appears.
///
/// # Errors
/// The system's.
pub fn own_mounts() -> io::Result<()> {
    sys::unshare(UnshareFlags::NEWNS)?;
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", flags).map_err(Into::into)
}

/// Leaves the host's network namespace for a new one, in which there is nothing yet.
///
/// # Errors
/// The system's.
pub fn own_network() -> io::Result<()> {
    sys::unshare(UnshareFlags::NEWNET)
}

/// Enters a network namespace that somebody else made.
///
/// # Errors
/// The system's.
pub fn join_network(path: &Path) -> io::Result<()> {
    let namespace = std::fs::File::open(path)?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).map_err(Into::into)
}
