//! The mounts of the agent itself: the images and the apps' root filesystems. One system call each,
//! where a mount unit would cost a process. What fails is found again, and reported, by `verify` before the app counts as started.

use std::ffi::CString;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown};
use std::path::Path;

use isopod_contract::config::{BIND, EarlyMount, NewDirectory};
use rustix::mount::{MountFlags, mount};

use crate::mounts::{laid, loop_device, mountinfo};

/// How the log says that one of these failed.
pub(crate) const FAILED: &str = "isopod-agent: cannot mount";

/// Why an early mount is not there.
#[derive(Debug, thiserror::Error)]
#[error("cannot mount `{source_name}` of type `{fs_type}` at `{mount_point}`")]
pub(crate) struct EarlyMountError {
    source_name: String,
    fs_type: String,
    mount_point: String,
    #[source]
    source: io::Error,
}

/// Mounts the kernel's own file systems that process 1 needs; systemd leaves alone what it finds, with these flags,
/// which are its own (src/shared/mount-setup.c).
pub(crate) fn mount_api() -> Vec<EarlyMountError> {
    let proc = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    let dev = MountFlags::NOSUID | MountFlags::STRICTATIME;
    let mounts = [("proc", "/proc", proc, ""), ("devtmpfs", "/dev", dev, "mode=755")];
    mounts
        .into_iter()
        .filter_map(|(kind, at, flags, options)| one(kind, at, kind, flags, options).err())
        .collect()
}

/// Makes the mounts in their order, those left out that are there, up to the first error: an overlay on an image that is not there would be mounted,
/// and empty.
pub(crate) fn mount_all(mounts: &[EarlyMount]) -> Result<(), EarlyMountError> {
    let there = mountinfo::read().unwrap_or_default();
    mounts.iter().try_for_each(|mount| {
        let flags = if mount.read_only {
            MountFlags::RDONLY
        } else {
            MountFlags::empty()
        };
        // The writable disk is, where the pod has come before.
        let is_there = |there: &mountinfo::Mount| there.mount_point == Path::new(&mount.mount_point);
        if !there.iter().any(is_there) {
            one(
                &mount.source,
                &mount.mount_point,
                &mount.fs_type,
                flags,
                &mount.options,
            )?;
            let laid = mount.laid.as_ref().map_or(Ok(()), |seed| {
                laid::lay(Path::new(seed), Path::new(&mount.mount_point))
            });
            laid.map_err(|error| {
                let error = io::Error::new(error.kind(), format!("cannot make its mount points: {error}"));
                failed(&mount.source, &mount.mount_point, &mount.fs_type)(error)
            })?;
        }
        let directories = mount.directories.iter();
        directories
            .map(|directory| (directory, make(directory)))
            .find_map(|(directory, made)| Some((directory, made.err()?)))
            .map_or(Ok(()), |(directory, error)| {
                let error = format!("cannot make `{}` in it: {error}", directory.path);
                Err(failed(&mount.source, &mount.mount_point, &mount.fs_type)(
                    io::Error::other(error),
                ))
            })
    })
}

/// Makes a directory, where it is not there yet or is to begin without what is in it.
fn make(directory: &NewDirectory) -> io::Result<()> {
    let path = Path::new(&directory.path);
    if directory.emptied {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
    }
    chown(path, Some(directory.uid), Some(directory.gid))?;
    fs::set_permissions(path, Permissions::from_mode(directory.mode))
}

fn one(
    source: &str,
    at: &str,
    fs_type: &str,
    flags: MountFlags,
    options: &str,
) -> Result<(), EarlyMountError> {
    if fs_type == BIND {
        let bound = rustix::mount::mount_bind(source, at).map_err(io::Error::from);
        return bound.map_err(failed(source, at, fs_type));
    }
    let made = CString::new(options)
        .map_err(io::Error::from)
        .and_then(|options| {
            // An image that came later is a file.
            let held = match fs::metadata(source) {
                Ok(metadata) if metadata.is_file() => Some(loop_device::attach(Path::new(source))?),
                _ => None,
            };
            let device = held.as_ref().map_or(Path::new(source), |(device, _)| device);
            Ok(mount(device, at, fs_type, flags, options.as_c_str())?)
        });
    made.map_err(failed(source, at, fs_type))
}

fn failed(source_name: &str, at: &str, fs_type: &str) -> impl FnOnce(io::Error) -> EarlyMountError {
    let (source_name, mount_point, fs_type) = (source_name.to_owned(), at.to_owned(), fs_type.to_owned());
    move |source| EarlyMountError {
        source_name,
        fs_type,
        mount_point,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_mounted_is_named() {
        for options in ["", "a\0b"] {
            let mount = EarlyMount {
                source: "/nonexistent/device".to_owned(),
                mount_point: "/nonexistent/place".to_owned(),
                fs_type: "erofs".to_owned(),
                options: options.to_owned(),
                read_only: true,
                directories: Vec::new(),
                laid: None,
            };
            let error = mount_all(&[mount]).unwrap_err();
            let what = "cannot mount `/nonexistent/device` of type `erofs` at `/nonexistent/place`";
            assert_eq!(error.to_string(), what);
        }
    }

    /// What is there keeps its content, mode and owner, unless it is to begin empty.
    #[test]
    fn a_directory_is_made_once_or_emptied() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        let own = fs::metadata(dir.path()).unwrap();
        let directory = |name: &str, mode, emptied| NewDirectory {
            path: dir.path().join(name).display().to_string(),
            mode,
            uid: own.uid(),
            gid: own.gid(),
            emptied,
        };
        let [kept, emptied] = [
            directory("kept", 0o1751, false),
            directory("emptied", 0o755, true),
        ];
        for life in 0..2 {
            for directory in [&kept, &emptied] {
                make(directory).unwrap();
                let path = Path::new(&directory.path);
                let there = fs::read_dir(path).unwrap().count();
                assert_eq!(
                    there,
                    if directory.emptied { 0 } else { life },
                    "{}",
                    directory.path
                );
                assert_eq!(fs::metadata(path).unwrap().mode() & 0o7777, directory.mode);
                fs::create_dir_all(path.join(format!("left-{life}/deep"))).unwrap();
            }
        }
        let error = make(&directory("missing/x", 0o755, false)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
