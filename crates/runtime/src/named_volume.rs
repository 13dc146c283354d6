//! Named volumes (`-v NAME:TARGET`, and the claims of pod files): directories that outlive their pods.
//!
//! ```text
//! STATE/volumes/NAME       a volume: its files, as apps see them
//! STATE/volumes/.labels/NAME   its labels ([`labels`])
//! STATE/volumes/.new-...   one that is being filled or removed; what a killed process left of it is nobody's
//! ```
//!
//! An empty one begins as an image has the directory at which it is mounted, as with docker. It is filled beside its place
//! and comes there by one rename, so that no pod ever finds half of it.

mod labels;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use isopod_image::extract::{ExtractError, Owners, extract};
use isopod_plan::AppPlan;
use isopod_plan::facts::{Facts, HostUser};
use isopod_spec::{PodSpec, SourceRule, VolumeKind};
use rustix::io::Errno;

use crate::pods::PodsError;
pub use labels::labels;

/// The directory of all of them.
#[must_use]
pub fn dir(state_dir: &Path) -> PathBuf {
    state_dir.join(crate::state_dir::VOLUMES)
}

/// The names of all of them, sorted.
///
/// # Errors
/// The error of the file system.
pub fn names(state_dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir(state_dir)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name().into_string();
        names.extend(name.ok().filter(|name| !name.starts_with('.')));
    }
    names.sort_unstable();
    Ok(names)
}

/// The mode of a volume that begins empty: whoever an app runs as may write to it.
const MODE: u32 = 0o777;

/// Makes the volume `name` with those labels; one that is there stays as it is.
///
/// # Errors
/// The error of the file system.
pub fn create(state_dir: &Path, name: &str, labels: &BTreeMap<String, String>) -> io::Result<()> {
    let parent = dir(state_dir);
    DirBuilder::new().recursive(true).mode(0o700).create(&parent)?;
    let path = parent.join(name);
    match DirBuilder::new().mode(MODE).create(&path) {
        // The mode of a new directory is cut by the umask.
        Ok(()) => {
            fs::set_permissions(&path, Permissions::from_mode(MODE))?;
            match labels.is_empty() {
                true => labels::forget(state_dir, name),
                false => labels::set(state_dir, name, labels),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes the volume `name` with all that is in it, unless `is_used` says that a pod has it. It is asked when no pod
/// can find the volume any more, and where it says yes the volume is back as it was.
///
/// # Errors
/// [`RemoveError`]; the volume is as it was then, but where its files could not all be removed.
pub fn remove(
    state_dir: &Path,
    name: &str,
    is_used: impl FnOnce() -> Result<Vec<String>, PodsError>,
) -> Result<(), RemoveError> {
    let parent = dir(state_dir);
    let path = parent.join(name);
    let aside = tempfile::Builder::new().prefix(".new-").tempdir_in(&parent);
    let aside = match aside {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(RemoveError::Missing),
        aside => aside?,
    };
    let gone = aside.path().join("gone");
    match rustix::fs::rename(&path, &gone) {
        Err(Errno::NOENT) => return Err(RemoveError::Missing),
        renamed => renamed.map_err(io::Error::from)?,
    }
    let back = || rustix::fs::rename(&gone, &path).map_err(io::Error::from);
    match is_used() {
        Ok(pods) if pods.is_empty() => {
            aside.close()?;
            Ok(labels::forget(state_dir, name)?)
        }
        Ok(pods) => back()
            .map_err(RemoveError::from)
            .and(Err(RemoveError::Used(pods))),
        Err(error) => back().map_err(RemoveError::from).and(Err(error.into())),
    }
}

/// Why a volume was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// It is not there.
    #[error("there is no such volume")]
    Missing,
    /// Pods have it.
    #[error("{} uses it", .0.join(", "))]
    Used(Vec<String>),
    /// Whether a pod has it is not known.
    #[error(transparent)]
    Pods(#[from] PodsError),
    /// A file cannot be removed.
    #[error("cannot remove its files")]
    Files(#[from] io::Error),
}

/// Why a volume could not be filled.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// The image's files cannot be copied.
    #[error(transparent)]
    Copy(#[from] ExtractError),
    /// A directory cannot be made, or come to its place.
    #[error("cannot make `{}`", path.display())]
    Place {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Fills the named volumes of `spec` that are empty or not there with what the image of the first app that mounts each one
/// has at its mount: `apps` are those with the files of their images.
///
/// # Errors
/// [`FillError`]; the volume is as it was then.
pub(crate) fn fill<'a>(
    spec: &PodSpec,
    facts: &Facts,
    apps: impl Iterator<Item = (&'a AppPlan, Option<&'a Path>)> + Clone,
) -> Result<(), FillError> {
    let owners = match facts.host.user {
        HostUser::Root => Owners::Kept,
        _ => Owners::Caller,
    };
    for volume in &spec.volumes {
        let copies = match &volume.kind {
            VolumeKind::Host(host) => host.must_be == SourceRule::Named { copies: true },
            _ => false,
        };
        let Some(source) = facts.sources.get(&volume.name).filter(|_| copies) else {
            continue;
        };
        let mut mounts = apps.clone().flat_map(|(app, rootfs)| {
            let own = app.mounts.iter().map(move |mount| (rootfs, mount));
            own.filter(|(_, mount)| mount.sub_path.as_os_str().is_empty())
        });
        let first = mounts.find(|(_, mount)| mount.volume == volume.name);
        if let Some((Some(rootfs), mount)) = first
            && is_empty(&source.path)
        {
            fill_one(&source.path, rootfs, &mount.place, owners)?;
        }
    }
    Ok(())
}

/// Whether there is nothing in it, or it is not there.
pub(crate) fn is_empty(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn fill_one(path: &Path, rootfs: &Path, place: &Path, owners: Owners) -> Result<(), FillError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source: io::Error| FillError::Place { path, source }
    };
    let parent = path.parent().unwrap_or(Path::new("/"));
    let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
    made.map_err(failed(parent))?;
    let new = tempfile::Builder::new().prefix(".new-").tempdir_in(parent);
    let new = new.map_err(failed(parent))?;
    let copy = new.path().join("copy");
    if !extract(rootfs, place, &copy, owners)? {
        return Ok(());
    }
    match rustix::fs::rename(&copy, path) {
        // Another pod was faster.
        Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
        Err(error) => Err(failed(path)(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_being_filled_is_no_volume_yet() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(names(state.path()).unwrap(), Vec::<String>::new());
        for name in ["data", ".new-x", "Cache_1"] {
            fs::create_dir_all(dir(state.path()).join(name)).unwrap();
        }
        assert_eq!(names(state.path()).unwrap(), ["Cache_1", "data"]);
    }

    #[test]
    fn a_volume_that_a_pod_has_is_not_removed() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path();
        let missing = remove(state, "data", || Ok(Vec::new()));
        assert!(matches!(missing, Err(RemoveError::Missing)), "{missing:?}");
        let labels = BTreeMap::from([("tier".to_owned(), "db".to_owned())]);
        create(state, "data", &labels).unwrap();
        create(state, "data", &BTreeMap::new()).unwrap();
        assert_eq!(super::labels(state, "data").unwrap(), labels);
        let path = dir(state).join("data");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, MODE);
        fs::write(path.join("file"), "kept").unwrap();
        let used = remove(state, "data", || {
            assert!(!path.exists(), "a new pod would find it");
            Ok(vec!["pod `web`".to_owned()])
        });
        assert_eq!(used.unwrap_err().to_string(), "pod `web` uses it");
        assert_eq!(fs::read(path.join("file")).unwrap(), b"kept");
        remove(state, "data", || Ok(Vec::new())).unwrap();
        assert_eq!(names(state).unwrap(), Vec::<String>::new());
        // Another of that name has none of them.
        create(state, "data", &BTreeMap::new()).unwrap();
        assert_eq!(super::labels(state, "data").unwrap(), BTreeMap::new());
        remove(state, "data", || Ok(Vec::new())).unwrap();
        let missing = remove(state, "data", || Ok(Vec::new()));
        assert!(matches!(missing, Err(RemoveError::Missing)), "{missing:?}");
    }
}
