//! `/bin/mount` and `/bin/umount`, as far as systemd calls them for the planner's mount units:
//! `mount WHAT WHERE [-t TYPE] [-o OPTIONS]` and `umount WHERE [-c] [-f]`.
//!
//! Not mount(8): no fstab, no labels, no helpers, no loop devices. It is here because a static program starts in a third
//! of the time of one with libraries, and because it follows no symbolic link to where something is mounted: the planner
//! resolved them all, and one that is there now was put there to lead elsewhere. In what is mounted it follows them within
//! the volume ([`part`]).
//!
//! Options of its own, the first two with mount(8)'s names; paths in them are percent-encoded:
//!
//! | option | meaning |
//! |---|---|
//! | `X-mount.subdir=PATH` | that part of it is mounted, and made where it is missing and the volume may be written to |
//! | `X-mount.mkdir` | the planner saw no mount point: an empty directory that is there is nobody's, and may become a file |
//! | `X-isopod.upper=PATH` | an overlay: what is mounted is the lower layer, and what is written goes below that directory |
//! | `X-isopod.workdir=PATH` | a directory that is made in what was mounted |

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use isopod_contract::config::MountAhead;
use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, ResolveFlags, Uid, fchmod, fchown, fstat, mkdirat, openat, openat2,
    unlinkat,
};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use crate::mounts::mount_point::{self, PlaceError};
use crate::mounts::mountinfo;

mod part;

use part::Missing;

/// Why something was not mounted, or not unmounted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MountError {
    #[error("called with `{0}`, which systemd does not do")]
    Usage(String),
    #[error("cannot reach `{}`", .path.display())]
    Reach {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot reach `{}` in `{source_name}`", .part.display())]
    Part {
        source_name: String,
        part: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot make the writable layer in `{}`", .path.display())]
    Upper {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("cannot mount `{source_name}` at `{}`", .at.display())]
    Mount {
        source_name: String,
        at: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot unmount `{}`", .at.display())]
    Unmount {
        at: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// What systemd asks for.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    source: String,
    at: PathBuf,
    fs_type: Option<String>,
    flags: MountFlags,
    bind: bool,
    private: bool,
    /// `X-mount.subdir=`.
    part: Option<PathBuf>,
    /// `X-mount.mkdir`.
    replaces: bool,
    /// `X-isopod.upper=`.
    upper: Option<PathBuf>,
    /// `X-isopod.workdir=`.
    working_dir: Option<PathBuf>,
    data: String,
}

/// `mount`, with its arguments. What the agent has made ahead is there already: systemd may not know it yet when it starts
/// the unit.
pub(crate) fn mount(args: &[&str]) -> Result<(), MountError> {
    let request = read(args)?;
    let mounts = mountinfo::read().unwrap_or_default();
    match mounts.iter().any(|mount| mount.mount_point == request.at) {
        true => Ok(()),
        false => make(&request),
    }
}

/// Makes the mounts of systemd's units before systemd reads them, up to the first that cannot be made: that one and what
/// follows, which may lie in it, is left to systemd, whose units say what is wrong.
pub(crate) fn ahead(mounts: &[MountAhead]) {
    let _ = mounts.iter().try_for_each(|mount| {
        let options = (!mount.options.is_empty()).then_some(["-o", mount.options.as_str()]);
        let words = [
            mount.source.as_str(),
            mount.mount_point.as_str(),
            "-t",
            mount.fs_type.as_str(),
        ];
        let words: Vec<&str> = words.into_iter().chain(options.into_iter().flatten()).collect();
        make(&read(&words)?)
    });
}

/// Mounts as asked, or leaves nothing behind.
fn make(request: &Request) -> Result<(), MountError> {
    let failed = |errno: Errno| request.failed(errno.into());
    if request.bind {
        let source = request.opened()?;
        let at = request.mount_point(part::is_directory(&source).unwrap_or(true))?;
        rustix::mount::mount_bind(named(&source), named(&at)).map_err(failed)?;
    } else if let Some(upper) = &request.upper {
        let lower = request.opened()?;
        let layers = UpperLayer::make(&lower, upper).map_err(|source| MountError::Upper {
            path: upper.clone(),
            source,
        })?;
        let at = request.mount_point(true)?;
        let fs_type = request.fs_type.as_deref().unwrap_or_default();
        let options = layers.options(&lower);
        let data = CString::new(options).map_err(|e| request.failed(e.into()))?;
        rustix::mount::mount(fs_type, named(&at), fs_type, request.flags, data.as_c_str()).map_err(failed)?;
    } else {
        let at = reach(&request.at)?;
        let data = CString::new(request.data.as_str()).map_err(|e| request.failed(e.into()))?;
        let fs_type = request.fs_type.as_deref().unwrap_or_default();
        let source = request.source.as_str();
        rustix::mount::mount(source, named(&at), fs_type, request.flags, data.as_c_str()).map_err(failed)?;
    }
    finish(request).inspect_err(|_| {
        let _ = rustix::mount::unmount(&request.at, UnmountFlags::NOFOLLOW);
    })
}

impl Request {
    fn failed(&self, source: io::Error) -> MountError {
        MountError::Mount {
            source_name: self.source.clone(),
            at: self.at.clone(),
            source,
        }
    }

    /// What is mounted, or the lower layer of it.
    fn opened(&self) -> Result<OwnedFd, MountError> {
        let source = reach_across(Path::new(&self.source))?;
        let Some(part) = &self.part else {
            return Ok(source);
        };
        let missing = match self.upper {
            Some(_) => Missing::Refused,
            None => Missing::Made,
        };
        part::open(&source, part, missing).map_err(|error| MountError::Part {
            source_name: self.source.clone(),
            part: part.clone(),
            source: error,
        })
    }

    /// Where it is mounted, made where nothing is.
    fn mount_point(&self, directory: bool) -> Result<OwnedFd, MountError> {
        let at = match reach(&self.at) {
            Err(MountError::Reach { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            found => Some(found?),
        };
        if let Some(at) = at {
            // systemd makes directories only, and before it is known what is mounted.
            let replaced = self.replaces && !directory && part::is_directory(&at).unwrap_or(false);
            if !replaced || unlinkat(CWD, &self.at, AtFlags::REMOVEDIR).is_err() {
                return Ok(at);
            }
        }
        mount_point::make(Path::new("/"), &self.at, !directory)?;
        reach(&self.at)
    }
}

/// The upper layer of an overlay and its working directory.
struct UpperLayer {
    upper: OwnedFd,
    work: OwnedFd,
}

impl UpperLayer {
    /// Makes them in the directory `at`, where they are not there yet. The upper one's root, which is what is seen, has the
    /// mode and owner of `lower`.
    fn make(lower: &OwnedFd, at: &Path) -> io::Result<Self> {
        let like = fstat(lower)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let parent = openat(CWD, at, flags, Mode::empty())?;
        let directory = |name| match mkdirat(&parent, name, Mode::RWXU) {
            Ok(()) => Ok((openat(&parent, name, flags, Mode::empty())?, true)),
            Err(Errno::EXIST) => Ok((openat(&parent, name, flags, Mode::empty())?, false)),
            Err(errno) => Err(io::Error::from(errno)),
        };
        let (upper, new) = directory("upper")?;
        if new {
            let (uid, gid) = (Uid::from_raw(like.st_uid), Gid::from_raw(like.st_gid));
            fchown(&upper, Some(uid), Some(gid))?;
            fchmod(&upper, Mode::from_raw_mode(like.st_mode & 0o7777))?;
        }
        let (work, _) = directory("work")?;
        Ok(Self { upper, work })
    }

    /// By their descriptors, so that no path needs an escape.
    fn options(&self, lower: &OwnedFd) -> String {
        format!(
            "lowerdir={},upperdir={},workdir={}",
            named(lower).display(),
            named(&self.upper).display(),
            named(&self.work).display()
        )
    }
}

/// Gives a mount that is there what the call that made it could not.
fn finish(request: &Request) -> Result<(), MountError> {
    let failed = |source: io::Error| request.failed(source);
    // What is at the path now is the new mount, which no process uses before its unit is active.
    let mounted = reach(&request.at)?;
    if request.bind && !request.flags.is_empty() {
        let flags = MountFlags::BIND | request.flags;
        rustix::mount::mount_remount(named(&mounted), flags, c"").map_err(|e| failed(e.into()))?;
    }
    if request.private {
        let private = MountPropagationFlags::PRIVATE;
        rustix::mount::mount_change(named(&mounted), private).map_err(|e| failed(e.into()))?;
    }
    if let Some(dir) = &request.working_dir {
        // Where it cannot be made the app finds out, as with a directory of the image that is not there.
        let _ = mount_point::make(&request.at, dir, false);
    }
    Ok(())
}

/// `umount`, with its arguments.
pub(crate) fn unmount(args: &[&str]) -> Result<(), MountError> {
    let places: Vec<&&str> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let [at] = places[..] else {
        return Err(MountError::Usage(args.join(" ")));
    };
    let failed = |errno: rustix::io::Errno| MountError::Unmount {
        at: PathBuf::from(at),
        source: errno.into(),
    };
    rustix::mount::unmount(*at, UnmountFlags::NOFOLLOW).map_err(failed)
}

fn read(args: &[&str]) -> Result<Request, MountError> {
    let usage = || MountError::Usage(args.join(" "));
    let (mut words, mut fs_type, mut options) = (Vec::new(), None, "");
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match *arg {
            "-t" => fs_type = Some(rest.next().ok_or_else(usage)?.to_string()),
            "-o" => options = rest.next().ok_or_else(usage)?,
            word if word.starts_with('-') => return Err(usage()),
            word => words.push(word),
        }
    }
    let [source, at] = words[..] else {
        return Err(usage());
    };
    let mut request = Request {
        source: source.to_owned(),
        at: PathBuf::from(at),
        fs_type,
        flags: MountFlags::empty(),
        bind: false,
        private: false,
        part: None,
        replaces: false,
        upper: None,
        working_dir: None,
        data: String::new(),
    };
    let path = |text: &str| part::decoded(text).ok_or_else(usage);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("X-mount.subdir", text)) => {
                request.part = Some(path(text)?);
                continue;
            }
            Some(("X-isopod.upper", text)) => {
                request.upper = Some(path(text)?);
                continue;
            }
            Some(("X-isopod.workdir", text)) => {
                request.working_dir = Some(path(text)?);
                continue;
            }
            _ => {}
        }
        match option {
            "X-mount.mkdir" => request.replaces = true,
            "bind" => request.bind = true,
            "private" => request.private = true,
            "rw" => {}
            "ro" => request.flags |= MountFlags::RDONLY,
            "nosuid" => request.flags |= MountFlags::NOSUID,
            "nodev" => request.flags |= MountFlags::NODEV,
            "noexec" => request.flags |= MountFlags::NOEXEC,
            // Everything else is the file system's own, which refuses what it does not know.
            other => {
                let comma = if request.data.is_empty() { "" } else { "," };
                request.data.push_str(comma);
                request.data.push_str(other);
            }
        }
    }
    match (request.bind, &request.fs_type) {
        (true, _) if !request.data.is_empty() || request.upper.is_some() => Err(usage()),
        (false, None) => Err(usage()),
        (false, _) if request.part.is_some() && request.upper.is_none() => Err(usage()),
        _ => Ok(request),
    }
}

/// Opens what is mounted: where a directory is a file system of its own on the share, that one, which the kernel mounts
/// when a path goes through the directory and not when it ends there.
fn reach_across(path: &Path) -> Result<OwnedFd, MountError> {
    reach(&path.join(".")).or_else(|_| reach(path))
}

/// Opens a path, no part of which may be a symbolic link.
fn reach(path: &Path) -> Result<OwnedFd, MountError> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(CWD, path, flags, Mode::empty(), resolve).map_err(|errno| MountError::Reach {
        path: path.to_owned(),
        source: errno.into(),
    })
}

/// A path that leads to just what was opened.
fn named(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_systemd_writes() {
        let request = read(&["/mnt/a b", "/x/. ", "-t", "none", "-o", "bind,ro,nosuid,private"]).unwrap();
        assert_eq!(request.source, "/mnt/a b");
        assert!(request.bind && request.private && request.data.is_empty());
        assert_eq!(request.flags, MountFlags::RDONLY | MountFlags::NOSUID);
        let request = read(&["isopod", "/mnt", "-t", "9p", "-o", "trans=virtio,msize=512000,ro"]).unwrap();
        assert_eq!(
            (request.data.as_str(), request.fs_type.as_deref()),
            ("trans=virtio,msize=512000", Some("9p"))
        );
        assert_eq!(request.flags, MountFlags::RDONLY);
        let options = "bind,X-mount.subdir=a/b%2C,X-mount.mkdir,X-isopod.workdir=/w";
        let request = read(&["/v", "/x", "-o", options]).unwrap();
        assert_eq!((request.part, request.replaces), (Some("a/b,".into()), true));
        assert_eq!(request.working_dir, Some("/w".into()));
        let options = "private,X-mount.subdir=var,X-isopod.upper=/v";
        let request = read(&["/i", "/x", "-t", "overlay", "-o", options]).unwrap();
        assert_eq!((request.upper, request.data), (Some("/v".into()), String::new()));
        for bad in [
            &["/a", "/b", "-o", "bind,X-mount.subdir=%"][..],
            &["/a", "/b", "-o", "bind,X-isopod.upper=/v"],
            &["/a", "/b", "-t", "ext4", "-o", "X-mount.subdir=a"],
            &["/a"],
            &["/a", "/b"],
            &["/a", "/b", "-x"],
            &["/a", "/b", "-o", "bind,size=1"],
            &["/a", "/b", "-t"],
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        let root = dir.path().canonicalize().unwrap();
        assert!(reach(&root.join("real")).is_ok());
        let error = reach(&root.join("link")).unwrap_err();
        assert!(error.to_string().starts_with("cannot reach `/"), "{error}");
        assert!(unmount(&["/a", "/b"]).is_err());
    }
}
