//! Writes a plan as a pod directory, which is removed with its value.
//!
//! ```text
//! STATE/pods/lock        held while a directory is made or looked for leftovers
//! STATE/pods/UUID/lock   held by the supervisor as long as it lives
//! STATE/pods/UUID/...    isopod_plan::layout draws the rest
//! ```

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use isopod_guest::GuestImage;
use isopod_plan::{PodPlan, layout};

use crate::{Settings, disk, initrd, private};

/// Why a pod could not be prepared.
#[derive(Debug, thiserror::Error)]
#[error("cannot prepare the pod: cannot {action} `{}`", path.display())]
pub struct PrepareError {
    /// What was done.
    action: &'static str,
    /// To which file.
    path: PathBuf,
    /// What came of it.
    source: io::Error,
}

impl PrepareError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Some("make room there, or keep the state elsewhere: `--dir DIR`".into())
            }
            io::ErrorKind::PermissionDenied => Some("keep the state where you may write: `--dir DIR`".into()),
            _ => None,
        }
    }
}

/// A pod's directory; removed with everything in it when this is dropped.
#[derive(Debug)]
pub struct PodDir {
    path: PathBuf,
    uuid: String,
    _lock: File,
}

impl PodDir {
    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The pod's UUID.
    #[must_use]
    pub fn uuid(&self) -> &str {
        &self.uuid
    }
}

impl Drop for PodDir {
    fn drop(&mut self) {
        // Nothing is mounted below it in this namespace, so this removes files of the pod's only.
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!("cannot remove `{}`: {error}", self.path.display());
        }
    }
}

/// Writes `plan` as a pod directory; `mkfs` makes the file systems of volumes on disk.
///
/// # Errors
/// [`PrepareError`]; nothing is left behind then.
pub fn prepare(
    plan: &PodPlan,
    guest: &GuestImage,
    mkfs: Option<&Path>,
    settings: &Settings,
) -> Result<PodDir, PrepareError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| PrepareError { action, path, source }
    };
    let dir = make_dir(&settings.state_dir.join("pods"))?;
    for name in [layout::HOST_SHARE_DIR, "images", "disks"] {
        let path = dir.path.join(name);
        private::dir(&path).map_err(failed("create", &path))?;
    }
    for (i, image) in plan.images.iter().enumerate() {
        let path = dir.path.join(layout::host_image(i));
        // A second name keeps the file even if the image is removed from the store meanwhile.
        let linked = fs::hard_link(&image.rootfs, &path).or_else(|_| symlink(&image.rootfs, &path));
        linked.map_err(failed("link the image to", &path))?;
    }
    for disk in &plan.disk_volumes {
        let path = dir.path.join(layout::host_disk(&disk.name));
        disk::make(&path, disk, mkfs).map_err(failed("make the file system of", &path))?;
    }
    let path = dir.path.join(layout::INITRD);
    initrd::write(&path, &guest.initrd, &plan.guest).map_err(failed("write", &path))?;
    Ok(dir)
}

/// Makes a new pod directory and takes its lock, and removes those whose supervisor was killed.
fn make_dir(pods: &Path) -> Result<PodDir, PrepareError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| PrepareError { action, path, source }
    };
    private::dir(pods).map_err(failed("create", pods))?;
    let guard = pods.join("lock");
    let guard_file = private::file(&guard).map_err(failed("create", &guard))?;
    guard_file.lock().map_err(failed("lock", &guard))?;
    remove_leftovers(pods);
    let uuid = uuid::Uuid::new_v4().to_string();
    let path = pods.join(&uuid);
    private::dir(&path).map_err(failed("create", &path))?;
    let lock_path = path.join("lock");
    let locked = private::file(&lock_path).and_then(|file| file.lock().map(|()| file));
    match locked {
        Ok(lock) => Ok(PodDir {
            path,
            uuid,
            _lock: lock,
        }),
        Err(source) => {
            let _ = fs::remove_dir_all(&path);
            Err(failed("lock", &lock_path)(source))
        }
    }
}

/// Removes the directories of pods whose supervisor is gone: nobody holds their lock.
fn remove_leftovers(pods: &Path) {
    let entries = fs::read_dir(pods).into_iter().flatten().flatten();
    for dir in entries.map(|entry| entry.path()).filter(|path| path.is_dir()) {
        let held = match File::open(dir.join("lock")) {
            Ok(lock) => matches!(lock.try_lock(), Err(TryLockError::WouldBlock)),
            Err(_) => false,
        };
        if !held {
            tracing::info!("removing `{}`, whose supervisor is gone", dir.display());
            let _ = fs::remove_dir_all(&dir);
        }
    }
}
