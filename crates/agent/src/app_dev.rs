//! Every app's own `/dev`: a copy of the guest image's ([`TEMPLATE`]), which the app may change as it likes.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

/// What apps find as `/dev`: nodes, links, and directories to mount on.
pub(crate) const TEMPLATE: &str = "/isopod/dev";

/// Copies what is in `from` into the directory `to`.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        one(&entry.path(), &entry.metadata()?, &to.join(entry.file_name()))?;
    }
    Ok(())
}

fn one(from: &Path, metadata: &Metadata, to: &Path) -> io::Result<()> {
    let kind = metadata.file_type();
    if kind.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(from)?, to);
    }
    if kind.is_dir() {
        fs::create_dir(to)?;
    } else if kind.is_char_device() {
        mknodat(CWD, to, FileType::CharacterDevice, Mode::empty(), metadata.rdev())?;
    } else {
        return Err(io::ErrorKind::Unsupported.into());
    }
    fs::set_permissions(to, Permissions::from_mode(metadata.mode() & 0o7777))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_links_and_directories_are_copied() {
        let dir = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| dir.path().join(name));
        fs::create_dir_all(from.join("shm")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::set_permissions(from.join("shm"), Permissions::from_mode(0o1777)).unwrap();
        std::os::unix::fs::symlink("/proc/self/fd", from.join("fd")).unwrap();
        let null = fs::metadata("/dev/null").unwrap();
        let made = one(Path::new("/dev/null"), &null, &from.join("null"));
        if rustix::process::geteuid().is_root() {
            made.unwrap();
        }
        copy(&from, &to).unwrap();
        assert_eq!(fs::metadata(to.join("shm")).unwrap().mode() & 0o7777, 0o1777);
        assert_eq!(fs::read_link(to.join("fd")).unwrap(), Path::new("/proc/self/fd"));
        if rustix::process::geteuid().is_root() {
            let copied = fs::metadata(to.join("null")).unwrap();
            assert_eq!((copied.rdev(), copied.mode()), (null.rdev(), null.mode()));
        }
        fs::write(from.join("file"), "").unwrap();
        assert!(copy(&from, &dir.path().join("to")).is_err());
    }
}
