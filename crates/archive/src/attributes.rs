//! Extended attributes: those that the files of an image have, as the keys of extended headers (pax(1)) with values, and
//! those by which overlayfs says what an entry of its upper layer is (Linux, `Documentation/filesystems/overlayfs.rst`).

use std::io;
use std::path::Path;

use rustix::fs::{lgetxattr, llistxattr};
use rustix::io::Errno;

/// The longest list of names, and the longest value (xattr(7)).
const MAX_BYTES: usize = 64 * 1024;

/// The attributes of the file at `path` that belong to an image's file: its capabilities and the user's own.
///
/// # Errors
/// As the kernel's. A file system without attributes has none.
pub(crate) fn of_image(path: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for name in names(path)? {
        if (name == "security.capability" || name.starts_with("user."))
            && let Some(value) = value(path, &name)?
        {
            found.push((format!("SCHILY.xattr.{name}"), value));
        }
    }
    Ok(found)
}

/// What overlayfs says of an entry of an upper layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Overlay {
    /// A directory that hides those of lower layers.
    pub(crate) opaque: bool,
    /// Something whose content or name is that of another place.
    pub(crate) elsewhere: bool,
}

/// Reads it.
///
/// # Errors
/// As the kernel's.
pub(crate) fn of_overlay(path: &Path) -> io::Result<Overlay> {
    let mut found = Overlay::default();
    for name in names(path)? {
        let Some(key) = name.strip_prefix("trusted.overlay.") else {
            continue;
        };
        match key {
            "opaque" => found.opaque = value(path, &name)?.is_some_and(|value| value == b"y"),
            "redirect" | "metacopy" => found.elsewhere = true,
            _ => {}
        }
    }
    Ok(found)
}

/// The names of its attributes; one that is not UTF-8 belongs to nobody who is asked here.
fn names(path: &Path) -> io::Result<Vec<String>> {
    let mut list = vec![0_u8; MAX_BYTES];
    let length = match llistxattr(path, &mut list[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(errno) => return Err(errno.into()),
    };
    let names = list[..length].split(|byte| *byte == 0);
    Ok(names
        .filter_map(|name| std::str::from_utf8(name).ok())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect())
}

/// The value of one; `None` where it went meanwhile.
fn value(path: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0_u8; MAX_BYTES];
    match lgetxattr(path, name, &mut value[..]) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(Errno::NODATA) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
