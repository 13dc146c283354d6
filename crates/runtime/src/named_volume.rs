//! Named volumes (`-v NAME:TARGET`, and the claims of pod files): directories that outlive their pods.
//!
//! ```text
//! STATE/volumes/NAME       a volume: its files, as apps see them
//! STATE/volumes/.new-...   one that is being filled; what a killed process left of it is nobody's
//! ```
//!
//! An empty one begins as an image has the directory at which it is mounted, as with docker. It is filled beside its place
//! and comes there by one rename, so that no pod ever finds half of it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use isopod_image::extract::{ExtractError, Owners, extract};
use isopod_plan::PodPlan;
use isopod_plan::facts::HostUser;
use isopod_spec::{PodSpec, SourceRule, VolumeKind};
use rustix::io::Errno;

use crate::gather::Gathered;

/// The directory of all of them.
#[must_use]
pub fn dir(state_dir: &Path) -> PathBuf {
    state_dir.join("volumes")
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

/// Why a volume could not be filled.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// The image's files cannot be copied.
    #[error(transparent)]
    Copy(#[from] ExtractError),
    /// A directory cannot be made, or come to its place.
    #[error("cannot make `{}`", path.display())]
    Place {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Fills the named volumes of `spec` that are empty or not there with what the image of the first app that mounts each one
/// has at its mount.
///
/// # Errors
/// [`FillError`]; the volume is as it was then.
pub(crate) fn fill(spec: &PodSpec, plan: &PodPlan, gathered: &Gathered) -> Result<(), FillError> {
    let owners = match gathered.facts.host.user {
        HostUser::Root => Owners::Kept,
        _ => Owners::Caller,
    };
    for volume in &spec.volumes {
        let copies = match &volume.kind {
            VolumeKind::Host(host) => host.must_be == SourceRule::Named { copies: true },
            _ => false,
        };
        let Some(source) = gathered.facts.sources.get(&volume.name).filter(|_| copies) else {
            continue;
        };
        let mut mounts = plan.apps.iter().flat_map(|app| {
            let own = app.mounts.iter().map(move |mount| (app.image, mount));
            own.filter(|(_, mount)| mount.sub_path.as_os_str().is_empty())
        });
        let first = mounts.find(|(_, mount)| mount.volume == volume.name);
        if let Some((image, mount)) = first
            && is_empty(&source.path)
        {
            fill_one(&source.path, &plan.images[image].rootfs, &mount.place, owners)?;
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
}
