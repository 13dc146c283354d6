//! Mounts in a running app's own mount namespace: carried there from the guest's, or taken away.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree};

use super::{EnterError, step};

/// A copy of the mount at `from`, with its restrictions, that is nowhere yet. What is mounted below it is not part of it.
pub(super) fn copy(from: &str) -> Result<OwnedFd, EnterError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    step("copy the mount", open_tree(CWD, from, flags))
}

/// Mounts it at `at`, no part of which may be a link: the planner resolved those of the image.
pub(super) fn attach(tree: Option<OwnedFd>, at: &str) -> Result<(), EnterError> {
    let Some(tree) = tree else { return Ok(()) };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let at = step(
        "reach the mount point",
        openat2(CWD, at, flags, Mode::empty(), resolve),
    )?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    step("mount there", move_mount(&tree, c"", &at, c"", flags))
}

/// Unmounts what is at `places`, in this order. What is not there any more went with another.
pub(super) fn unmount(places: &[Vec<u8>], lazy: bool) -> Result<(), EnterError> {
    let flags = match lazy {
        true => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
        false => UnmountFlags::NOFOLLOW,
    };
    for place in places {
        match rustix::mount::unmount(OsStr::from_bytes(place), flags) {
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(Errno::BUSY) => return Err(EnterError::Busy),
            other => step("unmount it", other)?,
        }
    }
    Ok(())
}
