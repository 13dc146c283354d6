//! A part of a volume: found inside it, its links followed with the volume as their root, and made where it is missing.
//!
//! No link leads out, whatever the apps make of the volume meanwhile: the kernel itself resolves the path (openat2(2),
//! `RESOLVE_IN_ROOT`). What is made gets the mode and the group of the volume's root, as the kubelet's
//! `SafeMakeDir(subPath, volumePath, mode of volumePath)` has it.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    FileType, Gid, Mode, OFlags, ResolveFlags, Stat, fchmod, fchown, fstat, mkdirat, openat, openat2,
};
use rustix::io::Errno;

/// How often a path is tried whose directories others rename meanwhile (openat2(2), `EAGAIN`).
const MAX_TRIES: usize = 64;

/// Whether a part that is missing is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Made,
    /// It is an error.
    Refused,
}

/// Opens `part` of the volume whose root is `volume`.
pub(crate) fn open(volume: &OwnedFd, part: &Path, missing: Missing) -> io::Result<OwnedFd> {
    match within_across(volume, part) {
        Err(Errno::NOENT) if missing == Missing::Made => make(volume, part),
        found => found.map_err(Into::into),
    }
}

/// Makes what is missing of `part`, directories all.
fn make(volume: &OwnedFd, part: &Path) -> io::Result<OwnedFd> {
    let like = fstat(volume)?;
    let mut at = PathBuf::new();
    let mut parent = within(volume, Path::new("."))?;
    for name in part.components() {
        let Component::Normal(name) = name else { continue };
        at.push(name);
        parent = match within(volume, &at) {
            Err(Errno::NOENT) => make_one(&parent, name, &like)
                .map_err(|error| io::Error::new(error.kind(), format!("`{}`: {error}", at.display())))?,
            found => found?,
        };
    }
    Ok(parent)
}

/// Makes one directory. Where another app was faster, that one's is taken.
fn make_one(parent: &OwnedFd, name: &OsStr, like: &Stat) -> io::Result<OwnedFd> {
    let mode = Mode::from_raw_mode(like.st_mode & 0o7777);
    let made = mkdirat(parent, name, mode);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match made {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(openat(parent, name, flags, Mode::empty())?),
        Err(errno) => return Err(errno.into()),
    }
    let directory = openat(parent, name, flags, Mode::empty())?;
    // A share whose server is not root has groups that it cannot give.
    if fstat(&directory)?.st_gid != like.st_gid {
        let _ = fchown(&directory, None, Some(Gid::from_raw(like.st_gid)));
    }
    // mkdir(2) heeds the umask and knows no set-group-ID bit; chown(2) takes one away.
    fchmod(&directory, mode)?;
    Ok(directory)
}

/// As [`within`]; where the part is a file system of its own on a share, that one, which the kernel mounts when a path goes
/// through the directory and not when it ends there.
fn within_across(volume: &OwnedFd, part: &Path) -> Result<OwnedFd, Errno> {
    match within(volume, &part.join(".")) {
        Err(Errno::NOTDIR) => within(volume, part),
        found => found,
    }
}

fn within(volume: &impl AsFd, part: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut tries = 0;
    loop {
        match openat2(volume, part, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) if tries < MAX_TRIES => tries += 1,
            found => return found,
        }
    }
}

/// Whether it is a directory.
pub(crate) fn is_directory(file: &OwnedFd) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(fstat(file)?.st_mode) == FileType::Directory)
}

/// A path as an option has it: percent-encoded (RFC 3986), since options have commas between them. `None`: it is not.
pub(crate) fn decoded(text: &str) -> Option<PathBuf> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    use std::os::unix::ffi::OsStringExt as _;
    Some(std::ffi::OsString::from_vec(bytes).into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use rustix::fs::CWD;

    use super::*;

    fn volume(mode: u32) -> (tempfile::TempDir, OwnedFd, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("volume");
        fs::create_dir(&root).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(mode)).unwrap();
        let fd = openat(CWD, &root, OFlags::PATH, Mode::empty()).unwrap();
        (dir, fd, root)
    }

    #[test]
    fn what_is_missing_gets_the_mode_and_group_of_the_volume() {
        for mode in [0o777, 0o2777, 0o1777, 0o750] {
            let (_dir, fd, root) = volume(mode);
            let group = if rustix::process::geteuid().is_root() {
                4711
            } else {
                rustix::process::getegid().as_raw()
            };
            std::os::unix::fs::chown(&root, None, Some(group)).unwrap();
            fs::set_permissions(&root, fs::Permissions::from_mode(mode)).unwrap();
            open(&fd, Path::new("a/b/c"), Missing::Made).unwrap();
            for made in ["a", "a/b", "a/b/c"] {
                let found = fs::metadata(root.join(made)).unwrap();
                assert_eq!((found.mode() & 0o7777, found.gid()), (mode, group), "{made}");
            }
            // What is there keeps its own.
            fs::set_permissions(root.join("a"), fs::Permissions::from_mode(0o700)).unwrap();
            open(&fd, Path::new("a/d"), Missing::Made).unwrap();
            let modes = ["a", "a/d"].map(|path| fs::metadata(root.join(path)).unwrap().mode() & 0o7777);
            assert_eq!(modes, [0o700, mode]);
        }
    }

    #[test]
    fn links_are_followed_in_the_volume_and_never_out_of_it() {
        let (dir, fd, root) = volume(0o755);
        let inode = |file: &OwnedFd| fstat(file).unwrap().st_ino;
        fs::create_dir_all(root.join("real/etc")).unwrap();
        fs::create_dir(root.join("etc")).unwrap();
        fs::create_dir(dir.path().join("secret")).unwrap();
        for (link, to) in [
            ("in", "real"),
            ("absolute", "/etc"),
            ("up", "../../../etc"),
            ("out", "../secret"),
        ] {
            symlink(to, root.join(link)).unwrap();
        }
        let there = |path: &str| fs::metadata(root.join(path)).unwrap().ino();
        for (part, place) in [
            ("in", "real"),
            ("absolute", "etc"),
            ("up", "etc"),
            ("in/etc", "real/etc"),
        ] {
            let found = open(&fd, Path::new(part), Missing::Refused).unwrap();
            assert_eq!(inode(&found), there(place), "{part}");
        }
        let made = open(&fd, Path::new("in/new/deep"), Missing::Made).unwrap();
        assert_eq!(inode(&made), there("real/new/deep"));
        // A link to nothing in the volume, whatever is there outside of it.
        for part in ["out", "out/x"] {
            assert!(open(&fd, Path::new(part), Missing::Made).is_err(), "{part}");
        }
        assert_eq!(fs::read_dir(dir.path().join("secret")).unwrap().count(), 0);
        let missing = open(&fd, Path::new("none"), Missing::Refused).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        fs::write(root.join("file"), "").unwrap();
        assert!(!is_directory(&open(&fd, Path::new("file"), Missing::Made).unwrap()).unwrap());
        assert!(open(&fd, Path::new("file/x"), Missing::Made).is_err());
    }

    #[test]
    fn options_name_any_path() {
        assert_eq!(decoded("a/b%20%25%2C"), Some("a/b %,".into()));
        for bad in ["%", "%2", "%zz"] {
            assert_eq!(decoded(bad), None, "{bad}");
        }
    }
}
