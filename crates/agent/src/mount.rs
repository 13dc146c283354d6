//! `/bin/mount` and `/bin/umount`, as far as systemd calls them for the planner's mount units:
//! `mount WHAT WHERE [-t TYPE] [-o OPTIONS]` and `umount WHERE [-c] [-f]`.
//!
//! Not mount(8): no fstab, no labels, no helpers, no loop devices. It is here because a static program starts in a third
//! of the time of one with libraries, and because it follows no symbolic link, neither to what is mounted nor to where:
//! the planner resolved them all, and one that is there now was put there to lead elsewhere.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use isopod_protocol::config::MountAhead;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

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
    data: String,
}

/// `mount`, with its arguments.
pub(crate) fn mount(args: &[&str]) -> Result<(), MountError> {
    make(&read(args)?)
}

/// Makes the mounts of systemd's units before systemd begins, up to the first that cannot be made: that one and what
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
        self::mount(&words)
    });
}

/// Mounts as asked, or leaves nothing behind.
fn make(request: &Request) -> Result<(), MountError> {
    let failed = |source: io::Error| MountError::Mount {
        source_name: request.source.clone(),
        at: request.at.clone(),
        source,
    };
    let at = reach(&request.at)?;
    if request.bind {
        let source = reach_across(Path::new(&request.source))?;
        rustix::mount::mount_bind(named(&source), named(&at)).map_err(|e| failed(e.into()))?;
    } else {
        let data = CString::new(request.data.as_str()).map_err(|e| failed(e.into()))?;
        let fs_type = request.fs_type.as_deref().unwrap_or_default();
        rustix::mount::mount(
            request.source.as_str(),
            named(&at),
            fs_type,
            request.flags,
            data.as_c_str(),
        )
        .map_err(|e| failed(e.into()))?;
    }
    finish(request).inspect_err(|_| {
        let _ = rustix::mount::unmount(&request.at, UnmountFlags::NOFOLLOW);
    })
}

/// Gives a mount that is there what the call that made it could not.
fn finish(request: &Request) -> Result<(), MountError> {
    let failed = |source: io::Error| MountError::Mount {
        source_name: request.source.clone(),
        at: request.at.clone(),
        source,
    };
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
        data: String::new(),
    };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
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
        (true, _) if !request.data.is_empty() => Err(usage()),
        (false, None) => Err(usage()),
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
        for bad in [
            &["/a"][..],
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
