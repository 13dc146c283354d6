//! The mounts that are there before systemd begins: the images and the apps' root filesystems. One system call each,
//! where a mount unit would cost a process. What fails is found again, and reported, by `verify` before the app counts as started.

use std::ffi::CString;
use std::io;

use isopod_contract::config::EarlyMount;
use rustix::mount::{MountFlags, mount};

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

/// Makes the mounts in their order, up to the first error: an overlay on an image that is not there would be mounted,
/// and empty.
pub(crate) fn mount_all(mounts: &[EarlyMount]) -> Result<(), EarlyMountError> {
    mounts.iter().try_for_each(|mount| {
        let flags = if mount.read_only {
            MountFlags::RDONLY
        } else {
            MountFlags::empty()
        };
        one(
            &mount.source,
            &mount.mount_point,
            &mount.fs_type,
            flags,
            &mount.options,
        )
    })
}

fn one(
    source: &str,
    at: &str,
    fs_type: &str,
    flags: MountFlags,
    options: &str,
) -> Result<(), EarlyMountError> {
    let options = CString::new(options).map_err(io::Error::from);
    options
        .and_then(|options| mount(source, at, fs_type, flags, options.as_c_str()).map_err(io::Error::from))
        .map_err(|source_error| EarlyMountError {
            source_name: source.to_owned(),
            fs_type: fs_type.to_owned(),
            mount_point: at.to_owned(),
            source: source_error,
        })
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
            };
            let error = mount_all(&[mount]).unwrap_err();
            let what = "cannot mount `/nonexistent/device` of type `erofs` at `/nonexistent/place`";
            assert_eq!(error.to_string(), what);
        }
    }
}
