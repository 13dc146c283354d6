//! Gives all files of a volume to one user, as `chown -R -h` does. No link is followed: who can write to the volume while this
//! runs can lead it nowhere else.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use isopod_plan::facts::Owner;
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, fstat, openat2};
use rustix::io::Errno;

/// How far it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Into what is mounted below, too.
    All,
    /// To the file system's own files.
    OneFileSystem,
}

/// Gives `source`, which may be open as a path only, and all that is in it. Files that are `owner`'s already are left as they are.
pub(super) fn give(source: impl AsFd, owner: Owner, depth: Depth) -> Result<(), Errno> {
    let resolve = match depth {
        Depth::All => ResolveFlags::NO_SYMLINKS,
        Depth::OneFileSystem => ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
    };
    // One open directory for each level.
    let mut above: Vec<Dir> = Vec::new();
    above.extend(take(source.as_fd(), owner)?);
    while let Some(dir) = above.last_mut() {
        let Some(entry) = dir.read() else {
            above.pop();
            continue;
        };
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let found = match open(dir.fd()?, name, OFlags::PATH | OFlags::NOFOLLOW, resolve) {
            // Of another file system, or removed since.
            Err(Errno::XDEV | Errno::NOENT) => continue,
            found => found?,
        };
        above.extend(take(found.as_fd(), owner)?);
    }
    Ok(())
}

/// Gives that file; if it is a directory, to be read.
fn take(file: BorrowedFd<'_>, owner: Owner) -> Result<Option<Dir>, Errno> {
    let found = fstat(file)?;
    if (found.st_uid, found.st_gid) != (owner.uid, owner.gid) {
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        chownat(file, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    }
    if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
        return Ok(None);
    }
    let readable = OFlags::RDONLY | OFlags::DIRECTORY;
    Dir::new(open(file, c".", readable, ResolveFlags::NO_SYMLINKS)?).map(Some)
}

fn open(dir: BorrowedFd<'_>, name: &CStr, how: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    openat2(dir, name, how | OFlags::CLOEXEC, Mode::empty(), resolve)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    /// Only root can give files away.
    #[test]
    fn all_of_a_directory_is_given_and_nothing_that_it_links_to() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let home = tempfile::tempdir().unwrap();
        let (data, other) = (home.path().join("data"), home.path().join("other"));
        fs::create_dir_all(data.join("a/b")).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(other.join("file"), "").unwrap();
        fs::write(data.join("a/b/file"), "").unwrap();
        symlink(&other, data.join("a/link")).unwrap();
        symlink("/nowhere", data.join("dangling")).unwrap();
        let owner = Owner { uid: 33, gid: 44 };
        give(fs::File::open(&data).unwrap(), owner, Depth::OneFileSystem).unwrap();
        let owner_of = |path: std::path::PathBuf| {
            let found = fs::symlink_metadata(path).unwrap();
            (found.uid(), found.gid())
        };
        for given in ["", "a", "a/b", "a/b/file", "a/link", "dangling"] {
            assert_eq!(owner_of(data.join(given)), (33, 44), "{given}");
        }
        assert_eq!(owner_of(other.join("file")), (0, 0));
        assert_eq!(owner_of(other), (0, 0));

        let file = data.join("a/b/file");
        let path_only = openat2(
            rustix::fs::CWD,
            &file,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::empty(),
        );
        give(path_only.unwrap(), Owner { uid: 5, gid: 6 }, Depth::All).unwrap();
        assert_eq!(owner_of(file), (5, 6));
        assert_eq!(owner_of(data), (33, 44));
    }
}
