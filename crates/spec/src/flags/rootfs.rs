//! The directory of `--rootfs`, which stands where an image would: `DIR`, or podman's `DIR:O`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use super::{FlagFault, InvalidFlag};
use crate::{AppName, RootDirectory, RootWrites};

/// Reads `DIR` or `DIR:O`.
///
/// # Errors
/// [`InvalidFlag`] for an empty path, and for podman's `idmap`.
pub fn read_rootfs(text: &OsStr) -> Result<RootDirectory, InvalidFlag> {
    let form = |fault: &'static str, hint| FlagFault::Form {
        fault,
        hint: Some(hint),
    };
    let bytes = text.as_bytes();
    let (path, writes) = match bytes.strip_suffix(b":O") {
        Some(path) => (path, RootWrites::Layer),
        None => (bytes, RootWrites::Through),
    };
    let option = path.rsplit(|byte| *byte == b':').next().unwrap_or_default();
    let fault = if path.is_empty() {
        Some(form("the directory has no name", "such as `--rootfs ./root sh`"))
    } else if option.starts_with(b"idmap") && option.len() < path.len() {
        Some(form(
            "`idmap` is not supported",
            "root's pod has the directory's owners by number, another user's has the caller's files as root's: leave it out",
        ))
    } else {
        None
    };
    match fault {
        Some(fault) => Err(InvalidFlag::new("--rootfs", text, fault)),
        None => Ok(RootDirectory {
            path: OsString::from_vec(path.to_vec()).into(),
            writes,
        }),
    }
}

/// The name of an app that nobody named: after its directory, or the one above where that is called as those of OCI's bundles
/// are.
#[must_use]
pub fn rootfs_app_name(directory: &RootDirectory) -> Option<AppName> {
    let mut names = directory
        .path
        .ancestors()
        .filter_map(|path| path.file_name()?.to_str())
        .filter(|name| *name != "rootfs");
    AppName::nearest(names.next().unwrap_or("rootfs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_and_who_takes_the_writes() {
        let read = |text: &str| {
            let read = read_rootfs(text.as_ref()).map_err(|fault| fault.fault.to_string());
            read.map(|root| (root.path.display().to_string(), root.writes))
        };
        assert_eq!(read("./root"), Ok(("./root".into(), RootWrites::Through)));
        assert_eq!(read("/a:b:O"), Ok(("/a:b".into(), RootWrites::Layer)));
        assert_eq!(read("/a:b"), Ok(("/a:b".into(), RootWrites::Through)));
        assert_eq!(read("idmap"), Ok(("idmap".into(), RootWrites::Through)));
        for bad in ["", ":O"] {
            assert!(read(bad).unwrap_err().contains("no name"), "{bad}");
        }
        for bad in ["/a:idmap", "/a:idmap=uids=0-1-10", "/a:idmap:O"] {
            assert!(read(bad).unwrap_err().contains("idmap"), "{bad}");
        }
    }

    #[test]
    fn an_app_is_named_after_its_directory() {
        let name = |path: &str| {
            let directory = read_rootfs(path.as_ref()).unwrap();
            rootfs_app_name(&directory).map(|name| name.to_string())
        };
        assert_eq!(name("/srv/Debian_12/"), Some("debian-12".into()));
        assert_eq!(name("/bundles/web/rootfs:O"), Some("web".into()));
        assert_eq!(name("rootfs"), Some("rootfs".into()));
    }
}
