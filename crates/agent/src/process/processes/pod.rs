//! The processes that the apps of a pod share, where they do: a namespace whose process 1 is the pod's and does nothing but
//! reap. It is made by a process of its own for the first apps that share theirs, and mounted where each app's own processes
//! find it.

use std::convert::Infallible;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use isopod_contract::layout::{LAUNCH_PIDS, PIDS};
use rustix::mount::mount_bind;
use rustix::process::{WaitOptions, wait};
use rustix::thread::{UnshareFlags, set_name};

use super::{leave_streams, sys};
use crate::mounts::mountinfo;

/// The word on the agent's command line for [`make`].
pub(crate) const MAKE: &str = "share-processes";

/// Mounts the namespace in each of these directories that has a place for it.
pub(crate) fn show<'a>(launch_dirs: impl Iterator<Item = &'a str>) -> io::Result<()> {
    let places = launch_dirs.map(|dir| Path::new(dir).join(LAUNCH_PIDS));
    let places: Vec<PathBuf> = places.filter(|place| place.exists()).collect();
    if places.is_empty() {
        return Ok(());
    }
    let mounts = mountinfo::read()?;
    if !mounts.iter().any(|mount| mount.mount_point == Path::new(PIDS)) {
        let made = Command::new("/proc/self/exe")
            .arg(MAKE)
            .stdin(Stdio::null())
            .status()?;
        if !made.success() {
            return Err(io::Error::other(format!("their first process: {made}")));
        }
    }
    places.iter().try_for_each(|place| Ok(mount_bind(PIDS, place)?))
}

/// Makes the namespace and mounts it at [`PIDS`]. In its process 1, which lives on when its parent has ended, this does not
/// return.
pub(crate) fn make() -> io::Result<()> {
    sys::unshare(UnshareFlags::NEWPID)?;
    let Some(first) = sys::fork()? else {
        match reap()? {}
    };
    OpenOptions::new().create(true).append(true).open(PIDS)?;
    Ok(mount_bind(
        format!("/proc/{}/ns/pid", first.as_raw_nonzero()),
        PIDS,
    )?)
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
