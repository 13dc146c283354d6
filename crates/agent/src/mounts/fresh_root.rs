//! A root for an app's next life: what it wrote goes, with the memory that it took, and what its image and the pod have
//! there stays.
//!
//! ```text
//! the root and the volumes in it are unmounted ─> upper and work are put aside and recreated
//!    ─> mounted as when the guest began ─> what was put aside is removed
//! ```
//!
//! Only for an app none of whose processes is left. Volumes lose nothing: what is unmounted is their place in the root.
//! A mount that is made at the app's start and not before is systemd's to make again, as it was the first time.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use isopod_contract::config::{EarlyMount, FreshRoot, MountAhead};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::mounts::early::{self, EarlyMountError};
use crate::mounts::mount;

/// The directory beside the layers that takes what is removed.
const ASIDE: &str = "old";

/// Why an app's root is not recreated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FreshRootError {
    #[error("cannot unmount the root `{at}`")]
    Unmount {
        at: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot empty the layer `{at}`")]
    Empty {
        at: String,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Mount(#[from] EarlyMountError),
}

/// What makes an app's root again.
#[derive(Clone, Debug)]
pub(crate) struct Renewal {
    root: FreshRoot,
    /// How the root is mounted.
    overlay: Vec<EarlyMount>,
    /// What is mounted in it, parents first.
    within: Vec<MountAhead>,
}

impl Renewal {
    /// That of the root `root` of the pod.
    pub(crate) fn of(root: &FreshRoot, early: &[EarlyMount], ahead: &[MountAhead]) -> Self {
        let at = Path::new(&root.mount_point);
        let overlay = early.iter().filter(|mount| Path::new(&mount.mount_point) == at);
        let within = ahead
            .iter()
            .filter(|mount| Path::new(&mount.mount_point).starts_with(at));
        Self {
            root: root.clone(),
            overlay: overlay.cloned().collect(),
            within: within.cloned().collect(),
        }
    }

    /// Makes it. It blocks, for as long as removing what the app wrote takes.
    ///
    /// # Errors
    /// [`FreshRootError`]. Where the root could be mounted again it is, if only as it was.
    pub(crate) fn make(&self) -> Result<(), FreshRootError> {
        let at = &self.root.mount_point;
        let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
        match rustix::mount::unmount(at.as_str(), flags) {
            // It is not mounted, which the last try may have left so.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(errno) => {
                let (at, source) = (at.clone(), errno.into());
                return Err(FreshRootError::Unmount { at, source });
            }
        }
        let emptied = empty(&self.root).map_err(|source| FreshRootError::Empty {
            at: self.root.upper.clone(),
            source,
        });
        early::mount_all(&self.overlay)?;
        mount::ahead(&self.within);
        emptied
    }
}

/// Makes the layers again, like the seed.
fn empty(root: &FreshRoot) -> io::Result<()> {
    let [seed, upper, work] = [&root.seed, &root.upper, &root.work].map(Path::new);
    let aside: PathBuf = upper.with_file_name(ASIDE);
    // What an earlier try left.
    remove(&aside)?;
    // Renamed, where a file system that is full has no room for a directory more.
    fs::rename(upper, &aside)?;
    remove(&aside)?;
    let like = fs::metadata(seed)?;
    fs::create_dir(upper)?;
    chown(upper, Some(like.uid()), Some(like.gid()))?;
    fs::set_permissions(upper, Permissions::from_mode(like.mode() & 0o7777))?;
    remove(work)?;
    DirBuilder::new().mode(0o700).create(work)
}

/// Removes a directory and what is in it; one that is not there is.
fn remove(at: &Path) -> io::Result<()> {
    match fs::remove_dir_all(at) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(dir: &Path) -> FreshRoot {
        let path = |name: &str| dir.join(name).display().to_string();
        FreshRoot {
            mount_point: path("rootfs"),
            seed: path("seed"),
            upper: path("upper"),
            work: path("work"),
        }
    }

    #[test]
    fn nothing_stays_but_the_mode_of_the_seed() {
        let dir = tempfile::tempdir().unwrap();
        let root = layers(dir.path());
        for name in ["seed", "upper", "work"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::set_permissions(&root.seed, Permissions::from_mode(0o1751)).unwrap();
        fs::set_permissions(&root.upper, Permissions::from_mode(0o777)).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/file"), "stays").unwrap();
        for life in 0..2 {
            fs::create_dir_all(dir.path().join("upper/run/deep")).unwrap();
            fs::write(dir.path().join("upper/run/a.pid"), "7").unwrap();
            std::os::unix::fs::symlink("../outside", dir.path().join("upper/link")).unwrap();
            fs::create_dir_all(dir.path().join("work/work/x")).unwrap();
            empty(&root).unwrap_or_else(|error| panic!("life {life}: {error}"));
            assert_eq!(fs::read_dir(&root.upper).unwrap().count(), 0);
            assert_eq!(fs::read_dir(&root.work).unwrap().count(), 0);
            assert_eq!(fs::metadata(&root.upper).unwrap().mode() & 0o7777, 0o1751);
            assert!(dir.path().join("outside/file").exists());
        }
        assert!(!dir.path().join(ASIDE).exists());
    }

    #[test]
    fn only_what_is_in_that_root_is_mounted_again() {
        let ahead = |at: &str| MountAhead {
            source: "/isopod/volumes/v".to_owned(),
            mount_point: at.to_owned(),
            fs_type: "none".to_owned(),
            options: "bind".to_owned(),
        };
        let early = |at: &str| EarlyMount {
            source: "overlay".to_owned(),
            mount_point: at.to_owned(),
            fs_type: "overlay".to_owned(),
            options: String::new(),
            read_only: false,
            directories: Vec::new(),
            laid: None,
        };
        let mounts = ["/mnt", "/opt/a/rootfs/v", "/opt/ab/rootfs/v", "/opt/a/rootfs/v/w"].map(ahead);
        let root = FreshRoot {
            mount_point: "/opt/a/rootfs".to_owned(),
            ..layers(Path::new("/isopod/apps/a"))
        };
        let renewal = Renewal::of(&root, &[early("/opt/a/rootfs"), early("/opt/b/rootfs")], &mounts);
        assert_eq!(renewal.overlay, [early("/opt/a/rootfs")]);
        assert_eq!(
            renewal.within,
            ["/opt/a/rootfs/v", "/opt/a/rootfs/v/w"].map(ahead)
        );
    }
}
