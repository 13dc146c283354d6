//! What the pod has in an app's root, where that root is a directory of the host and no overlay: directories that are missing
//! are made there, files are bound over those of their names.
//!
//! No link is followed: the planner resolved those that the directory has, and a file that is one is covered as it is. What
//! stays on the host is mount points: directories, and empty files.

use std::fs::{self, DirEntry, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;

/// Lays what is in `seed` over what is in `root`.
///
/// # Errors
/// The first error, with the path that it is about.
pub(crate) fn lay(seed: &Path, root: &Path) -> io::Result<()> {
    let at = openat(CWD, root, DIRECTORY, Mode::empty())?;
    lay_in(seed, &at, root)
}

const DIRECTORY: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

fn lay_in(seed: &Path, at: &OwnedFd, shown: &Path) -> io::Result<()> {
    for entry in fs::read_dir(seed)? {
        let entry = entry?;
        let path = shown.join(entry.file_name());
        let failed =
            |error: io::Error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display()));
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            let below = directory(at, &entry).map_err(failed)?;
            lay_in(&entry.path(), &below, &path)?;
        } else if kind.is_file() {
            file(at, &entry).map_err(failed)?;
        }
    }
    Ok(())
}

/// The directory of that name, made where it is missing.
fn directory(at: &OwnedFd, entry: &DirEntry) -> io::Result<OwnedFd> {
    let name = entry.file_name();
    match openat(at, &name, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => {}
        opened => return Ok(opened?),
    }
    match mkdirat(at, &name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(openat(at, &name, DIRECTORY, Mode::empty())?),
        Err(errno) => Err(errno.into()),
    }
}

/// Has the file of that name, and binds what is in `entry` over it. An empty one is nothing but a mount point.
fn file(at: &OwnedFd, entry: &DirEntry) -> io::Result<()> {
    let name = entry.file_name();
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let there = match openat(at, &name, flags, Mode::empty()) {
        Err(Errno::NOENT) => {
            let new = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            let made = openat(at, &name, new, Mode::from_raw_mode(0o644));
            if let Err(errno) = made
                && errno != Errno::EXIST
            {
                return Err(errno.into());
            }
            openat(at, &name, flags, Mode::empty())?
        }
        opened => opened?,
    };
    if entry.metadata()?.len() == 0 {
        return Ok(());
    }
    let content = File::open(entry.path())?;
    Ok(rustix::mount::mount_bind(named(&content), named(&there))?)
}

fn named(file: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Empty files are mount points; binding others needs a namespace, and is shown in VMs.
    #[test]
    fn mount_points_are_made_and_no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (seed, root) = (dir.path().join("seed"), dir.path().join("root"));
        fs::create_dir_all(seed.join("run/systemd")).unwrap();
        fs::write(seed.join("run/systemd/notify"), "").unwrap();
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/mine"), "stays").unwrap();
        for _ in 0..2 {
            lay(&seed, &root).unwrap();
        }
        assert_eq!(fs::read(root.join("run/systemd/notify")).unwrap(), b"");
        assert_eq!(fs::read(root.join("etc/mine")).unwrap(), b"stays");

        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::create_dir(seed.join("srv")).unwrap();
        fs::write(seed.join("srv/file"), "").unwrap();
        symlink("../outside", root.join("srv")).unwrap();
        let error = lay(&seed, &root).unwrap_err().to_string();
        assert!(error.contains("root/srv`: "), "{error}");
        assert_eq!(fs::read_dir(dir.path().join("outside")).unwrap().count(), 0);
    }
}
