//! The state directory, and whether it can be trusted.
//!
//! ```text
//! images/      the image store, with its names and layers   isopod_image::store
//! locks/       its locks
//! guest/KEY/   guest images                                 isopod_guest
//! pods/        pods by what can be done with them, events   pods.rs
//! volumes/     named volumes and claims                     named_volume.rs
//! networks/    networks with names                          networks.rs
//! templates/   VMs that others are restored from             templates.rs
//! kvm          whether KVM works, once per boot of the host isopod_vm::kvm
//! ```
//!
//! It can be trusted where nobody else has a say in it: what is in it is executed and shown, so nobody else may write to it, or put
//! another in its place.
//!
//! A directory in `/tmp` is fine where it is the user's own: the sticky bit keeps others from renaming it. Who owns the
//! directories above is asked of an ordinary user's only: root is free to work in a user's home.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// In the state directory: images.
pub const IMAGES: &str = isopod_image::store::IMAGES;

/// In the state directory: guest images.
pub const GUEST: &str = isopod_guest::DIRECTORY;

/// In the state directory: pods and their events.
pub const PODS: &str = "pods";
/// There: those that were started.
pub(crate) const STARTED: &str = "started";

/// In the state directory: named volumes.
pub const VOLUMES: &str = "volumes";

/// In the state directory: networks with names.
pub const NETWORKS: &str = "networks";

/// There: the file systems that writable disks begin with.
pub const WRITABLE: &str = "writable";

/// In the state directory: what is known of KVM.
pub const KVM: &str = "kvm";

/// Others may write (inode(7)).
const OTHERS_WRITE: u32 = 0o002;

/// The group may write.
const GROUP_WRITES: u32 = 0o020;

/// Nobody but its owner renames or removes what is in the directory.
const STICKY: u32 = 0o1000;

/// Why a state directory is not used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// It cannot be looked at.
    #[error("cannot use the state directory `{}`", path.display())]
    Look { path: PathBuf, source: io::Error },
    /// It is a file, or something else.
    #[error("the state directory `{}` is not a directory", .0.display())]
    NoDirectory(PathBuf),
    /// It is another user's, or below a directory of another user.
    #[error("the state directory is not safe: `{}` belongs to uid {owner}, and this command runs as uid {user}", path.display())]
    Owner { path: PathBuf, owner: u32, user: u32 },
    /// Others can write to it, or to a directory above.
    #[error("the state directory is not safe: other users can write to `{}` (mode {mode:04o})", path.display())]
    Writable {
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

impl StateDirError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Writable { path, .. } => Some(format!(
                "`chmod go-w {}`, or name a directory of your own: `--dir DIR`",
                path.display()
            )),
            _ => Some("name a directory of your own: `--dir DIR`".into()),
        }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
struct User {
    uid: u32,
    gid: u32,
    /// Whose is what has no owner in this user namespace (user_namespaces(7)): nobody knows, and it is not the user's to change.
    unmapped: Option<u32>,
}

impl User {
    fn current() -> Self {
        let unmapped = fs::read_to_string("/proc/sys/kernel/overflowuid").ok();
        Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            unmapped: unmapped.and_then(|text| text.trim().parse().ok()),
        }
    }
}

/// Checks the state directory `dir`, which need not be there yet.
///
/// # Errors
/// [`StateDirError`] where another user could change what is in it.
pub fn check(dir: &Path) -> Result<(), StateDirError> {
    check_for(dir, User::current())
}

fn check_for(dir: &Path, user: User) -> Result<(), StateDirError> {
    let failed = |path: &Path, source| StateDirError::Look {
        path: path.to_owned(),
        source,
    };
    // Links are followed: what counts is where it really is.
    let mut there = dir;
    let real = loop {
        match there.canonicalize() {
            Ok(real) => break real,
            Err(error) if error.kind() == io::ErrorKind::NotFound => match there.parent() {
                Some(parent) => there = parent,
                None => return Err(failed(dir, error)),
            },
            Err(error) => return Err(failed(dir, error)),
        }
    };
    for path in real.ancestors() {
        let found = path.metadata().map_err(|error| failed(path, error))?;
        if there == dir && path == real {
            check_own(path, &found, user)?;
        } else {
            check_above(path, &found, user)?;
        }
    }
    Ok(())
}

/// The directory itself.
fn check_own(path: &Path, found: &Metadata, user: User) -> Result<(), StateDirError> {
    if !found.is_dir() {
        return Err(StateDirError::NoDirectory(path.to_owned()));
    }
    if found.uid() != user.uid {
        return Err(owner(path, found, user));
    }
    // Many distributions give each user a group of the same number, and a umask that lets it write.
    let own_group = found.gid() == user.gid && user.gid == user.uid;
    let writers = if own_group {
        OTHERS_WRITE
    } else {
        OTHERS_WRITE | GROUP_WRITES
    };
    if found.mode() & writers != 0 {
        return Err(writable(path, found));
    }
    Ok(())
}

/// One above: who can rename what is in it can put another directory there.
fn check_above(path: &Path, found: &Metadata, user: User) -> Result<(), StateDirError> {
    let trusted = [0, user.uid].contains(&found.uid()) || Some(found.uid()) == user.unmapped;
    if user.uid != 0 && !trusted {
        return Err(owner(path, found, user));
    }
    if found.mode() & OTHERS_WRITE != 0 && found.mode() & STICKY == 0 {
        return Err(writable(path, found));
    }
    Ok(())
}

fn owner(path: &Path, found: &Metadata, user: User) -> StateDirError {
    StateDirError::Owner {
        path: path.to_owned(),
        owner: found.uid(),
        user: user.uid,
    }
}

fn writable(path: &Path, found: &Metadata) -> StateDirError {
    StateDirError::Writable {
        path: path.to_owned(),
        mode: found.mode() & 0o7777,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_what_nobody_else_can_change_is_used() {
        let above = tempfile::tempdir().unwrap();
        let above = above.path().canonicalize().unwrap();
        let dir = above.join("state");
        let user = User::current();
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        // It need not be there, nor those above.
        check_for(&above.join("a/b"), user).unwrap();
        fs::create_dir(&dir).unwrap();
        let link = above.join("link");
        std::os::unix::fs::symlink(&dir, &link).unwrap();
        for (mode, fine) in [(0o700, true), (0o755, true), (0o757, false), (0o1777, false)] {
            set(&dir, mode);
            for dir in [&dir, &link] {
                let checked = check_for(dir, user);
                assert_eq!(checked.is_ok(), fine, "{mode:o} {checked:?}");
            }
        }
        // A group's members may write only where it is the user's own group.
        set(&dir, 0o775);
        let with = |uid, gid| User { uid, gid, ..user };
        let group = dir.metadata().unwrap().gid();
        assert_eq!(check_for(&dir, with(user.uid, group)).is_ok(), user.uid == group);
        let error = check_for(&dir, with(user.uid, group + 1)).unwrap_err();
        assert!(matches!(error, StateDirError::Writable { .. }), "{error}");
        assert!(error.hint().unwrap().starts_with("`chmod go-w "));
        // Another user's; and above, for an ordinary user.
        set(&dir, 0o700);
        let error = check_for(&dir, with(user.uid + 7, group)).unwrap_err();
        assert!(matches!(error, StateDirError::Owner { .. }), "{error}");
        // Whoever can rename it above can put another there.
        for (mode, fine) in [(0o777, false), (0o1777, true), (0o700, true)] {
            set(&above, mode);
            for dir in [&dir, &above.join("none")] {
                assert_eq!(check_for(dir, user).is_ok(), fine, "{mode:o}");
            }
        }
        let file = above.join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(
            check_for(&file, user),
            Err(StateDirError::NoDirectory(_))
        ));
    }
}
