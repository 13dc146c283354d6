//! Makes a mount point below an app's root while the app runs, as far as one is missing.
//!
//! The planner resolved every link that the image has. One that is there now was put there by the app: it is refused, and
//! never followed, neither here nor when something is mounted ([`crate::mounts::mount`]).

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;

/// Why there is no mount point.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    #[error("cannot reach `{}`, on which the volume is to be mounted: a link was made there", .0.display())]
    Link(PathBuf),
    #[error("cannot reach `{}`, on which the volume is to be mounted", .path.display())]
    Reach {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot make `{}`, on which the volume is to be mounted", .path.display())]
    Make {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Makes what is missing of `place` below `root`: directories, and at its end a file where `file` says so.
pub(crate) fn make(root: &Path, place: &Path, file: bool) -> Result<(), PlaceError> {
    let names: Vec<&OsStr> = place
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect();
    let mut at = open(None, root.as_os_str(), place)?;
    for (i, name) in names.iter().enumerate() {
        let last = i + 1 == names.len();
        let below = match open(Some(&at), name, place) {
            Err(PlaceError::Reach { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            other => Some(other?),
        };
        at = match below {
            Some(below) => below,
            None => {
                make_one(&at, name, last && file).map_err(|source| PlaceError::Make {
                    path: place.to_owned(),
                    source,
                })?;
                open(Some(&at), name, place)?
            }
        };
    }
    Ok(())
}

fn make_one(dir: &OwnedFd, name: &OsStr, file: bool) -> io::Result<()> {
    if file {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        openat(dir, name, flags, Mode::from_raw_mode(0o644))?;
        Ok(())
    } else {
        Ok(mkdirat(dir, name, Mode::from_raw_mode(0o755))?)
    }
}

fn open(dir: Option<&OwnedFd>, name: &OsStr, place: &Path) -> Result<OwnedFd, PlaceError> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let opened = match dir {
        Some(dir) => openat2(dir, name, flags, Mode::empty(), resolve | ResolveFlags::BENEATH),
        None => openat2(CWD, name, flags, Mode::empty(), resolve),
    };
    opened.map_err(|errno| match errno {
        Errno::LOOP => PlaceError::Link(place.to_owned()),
        errno => PlaceError::Reach {
            path: place.to_owned(),
            source: errno.into(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_made_and_no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        make(&root, Path::new("/a/b %/c"), false).unwrap();
        make(&root, Path::new("/a/b %/c"), false).unwrap();
        assert!(root.join("a/b %/c").is_dir());
        make(&root, Path::new("/a/file"), true).unwrap();
        make(&root, Path::new("/a/file"), true).unwrap();
        assert!(root.join("a/file").is_file());
        std::os::unix::fs::symlink("/", root.join("out")).unwrap();
        std::os::unix::fs::symlink("a", root.join("in")).unwrap();
        for place in ["/out/x", "/in/x", "/in", "/out"] {
            let error = make(&root, Path::new(place), false).unwrap_err();
            assert!(matches!(error, PlaceError::Link(_)), "{place}: {error}");
        }
        let error = make(&root, Path::new("/a/file/x"), false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot reach `/a/file/x`, on which the volume is to be mounted"
        );
    }
}
