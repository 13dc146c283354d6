//! The processes that the apps of a pod share, where they do: a namespace whose process 1 is the pod's and does nothing but
//! reap. It is made before systemd begins, and mounted where each app's own processes find it.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use isopod_contract::layout::LAUNCH_PIDS;
use rustix::mount::mount_bind;
use rustix::process::{WaitOptions, wait};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, set_name};

use super::{leave_streams, sys};

/// Makes the namespace and mounts it at [`LAUNCH_PIDS`] of each of these directories. In its process 1, which is the guest's
/// child, this does not return.
pub(crate) fn make<'a>(launch_dirs: impl Iterator<Item = &'a str>) -> io::Result<()> {
    let own = File::open("/proc/self/ns/pid")?;
    sys::unshare(UnshareFlags::NEWPID)?;
    let Some(first) = sys::fork()? else {
        match reap()? {}
    };
    // Of the guest's own children, the first alone is in it.
    move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::ProcessID))?;
    let namespace = PathBuf::from(format!("/proc/{}/ns/pid", first.as_raw_nonzero()));
    for dir in launch_dirs {
        mount_bind(&namespace, Path::new(dir).join(LAUNCH_PIDS))?;
    }
    Ok(())
}

/// What process 1 does for good: it has nobody to pass signals on to, and reaps whoever is left behind.
fn reap() -> io::Result<Infallible> {
    sys::hold_all();
    leave_streams()?;
    set_name(c"isopod-init")?;
    loop {
        sys::wait();
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    }
}
