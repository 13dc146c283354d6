//! The rules between the parts of a pod that need no look at the world: unique names, mounts of volumes that exist,
//! one mount per target.
//!
//! Each reader applies them and says where in its own input the fault is. Targets are compared as they are written,
//! made clean lexically; what an image's symlinks make of them is the planner's to find out.

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use crate::words::{nearest, shown};
use crate::{App, AppName, PodSpec, VolumeName};

/// A rule that a pod breaks. The indices are those of [`PodSpec`]'s lists.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PodFault {
    /// Two apps have one name.
    #[error("two apps are named `{name}`")]
    DoubledApp {
        /// The name.
        name: AppName,
        /// The second app that has it.
        app_index: usize,
    },
    /// Two volumes have one name.
    #[error("two volumes are named `{name}`")]
    DoubledVolume {
        /// The name.
        name: VolumeName,
        /// The second volume that has it.
        volume_index: usize,
    },
    /// A mount names a volume that the pod does not have.
    #[error(
        "app `{app}` mounts volume `{volume}` at `{}`, but the pod has no volume of that name",
        shown(target)
    )]
    UnknownVolume {
        /// The app.
        app: AppName,
        /// The target, as it was written.
        target: PathBuf,
        /// The volume that is missing.
        volume: VolumeName,
        /// The volume that was perhaps meant.
        nearest: Option<VolumeName>,
        /// Which app.
        app_index: usize,
        /// Which of its mounts.
        mount_index: usize,
    },
    /// Two mounts of an app are at one target.
    #[error(
        "app `{app}` mounts both volume `{first}` and volume `{second}` at `{}`",
        shown(target)
    )]
    DoubledTarget {
        /// The app.
        app: AppName,
        /// The target, clean.
        target: PathBuf,
        /// The volume of the first mount.
        first: VolumeName,
        /// The volume of the second mount.
        second: VolumeName,
        /// Which app.
        app_index: usize,
        /// The second mount.
        mount_index: usize,
    },
}

impl PodFault {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownVolume {
                nearest: Some(name), ..
            } => Some(format!("did you mean `{name}`?")),
            Self::DoubledTarget { .. } => {
                Some("mount one of them at another path, or leave it out".to_owned())
            }
            _ => None,
        }
    }
}

/// Applies the rules to `pod` and reports every fault, in the order of declaration.
#[must_use]
pub fn check(pod: &PodSpec) -> Vec<PodFault> {
    let mut faults = Vec::new();
    let mut seen = HashSet::new();
    for (volume_index, volume) in pod.volumes.iter().enumerate() {
        if !seen.insert(&volume.name) {
            faults.push(PodFault::DoubledVolume {
                name: volume.name.clone(),
                volume_index,
            });
        }
    }
    let mut names = HashSet::new();
    for (app_index, app) in pod.apps.iter().enumerate() {
        if !names.insert(&app.name) {
            faults.push(PodFault::DoubledApp {
                name: app.name.clone(),
                app_index,
            });
        }
        check_mounts(pod, app_index, app, &mut faults);
    }
    faults
}

fn check_mounts(pod: &PodSpec, app_index: usize, app: &App, faults: &mut Vec<PodFault>) {
    let mut targets = HashMap::new();
    for (mount_index, mount) in app.mounts.iter().enumerate() {
        if !pod.volumes.iter().any(|volume| volume.name == mount.volume) {
            let names = pod.volumes.iter().map(|volume| volume.name.as_str());
            faults.push(PodFault::UnknownVolume {
                app: app.name.clone(),
                target: mount.target.clone(),
                volume: mount.volume.clone(),
                nearest: nearest(mount.volume.as_str(), names).and_then(VolumeName::nearest),
                app_index,
                mount_index,
            });
        }
        let target = clean(&mount.target);
        if let Some(first) = targets.insert(target.clone(), &mount.volume) {
            faults.push(PodFault::DoubledTarget {
                app: app.name.clone(),
                target,
                first: first.clone(),
                second: mount.volume.clone(),
                app_index,
                mount_index,
            });
        }
    }
}

/// Cleans `path` as seen from a root: absolute, no `.`, no `..`, no doubled or trailing slash; `..` at the root stays
/// there, as in a chroot. Links are not looked at, as in Go's `path.Clean`, which docker and rkt apply to targets.
#[must_use]
pub fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => _ = out.pop(),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans_lexically() {
        for (path, expected) in [
            ("/", "/"),
            ("//a/./b/../c/", "/a/c"),
            ("/../a", "/a"),
            ("a/b", "/a/b"),
            ("/a//b/", "/a/b"),
            ("/a /b", "/a /b"),
        ] {
            assert_eq!(clean(Path::new(path)), Path::new(expected), "{path}");
        }
    }
}
