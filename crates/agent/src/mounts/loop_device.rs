//! Files as devices (loop(4)): an image that came later is a file below the share.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

mod sys;

/// How often another device is tried, where somebody else took the free one.
const TRIES: usize = 8;

/// A read-only device that is the file at `path`. The kernel takes it back when nobody has it open or mounted any more: the
/// caller holds what this returns until it is mounted.
pub(crate) fn attach(path: &Path) -> io::Result<(PathBuf, File)> {
    let file = File::open(path)?;
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/loop-control")?;
    let mut last = io::ErrorKind::NotFound.into();
    for _ in 0..TRIES {
        let number = sys::free_device(control.as_raw_fd())?;
        let device = PathBuf::from(format!("/dev/loop{number}"));
        let opened = File::open(&device)?;
        match sys::configure(opened.as_raw_fd(), file.as_raw_fd()) {
            Ok(()) => return Ok((device, opened)),
            Err(error) => last = error,
        }
    }
    Err(last)
}
