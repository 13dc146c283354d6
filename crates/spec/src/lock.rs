//! Locks: which images a pod file's references were when they were looked at, so that just those are run.
//!
//! A lock is a file beside the pod file. Its form is versioned JSON, sorted, so that it can be kept in a repository and
//! changes by a line where an image changes. Nothing is fetched or read here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::words::shown;
use crate::{App, AppRoot, ImageReference, ImageSource, PodSpec, VolumeKind};

/// The version that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// The images of a pod file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Lock {
    /// [`VERSION`].
    pub version: u32,
    /// The images, by the references of the pod file.
    pub images: BTreeMap<String, LockedImage>,
}

/// An image that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LockedImage {
    /// Its ID: the digest of its config, which the digests of its layers are in.
    pub id: String,
    /// The digest of its manifest, by which a registry is asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
}

/// Why a pod cannot be run by a lock.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockFault {
    /// The lock is no lock.
    #[error("it is not a lock of this version of isopod: {0}")]
    Form(String),
    /// The pod has an image that the lock does not have.
    #[error("image `{0}` is not in the lock")]
    Missing(String),
    /// The lock has an image that the pod does not have.
    #[error("the lock has image `{0}`, which the pod does not")]
    Stale(String),
}

impl Lock {
    /// Reads a lock.
    ///
    /// # Errors
    /// [`LockFault::Form`].
    pub fn read(text: &str) -> Result<Self, LockFault> {
        let lock: Self = serde_json::from_str(text).map_err(|error| LockFault::Form(error.to_string()))?;
        let is_digest = |text: &str| {
            let hex = text.strip_prefix("sha256:");
            hex.is_some_and(|hex| {
                hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            })
        };
        if lock.version != VERSION {
            return Err(LockFault::Form(format!("its version is {}", lock.version)));
        }
        for image in lock.images.values() {
            for digest in std::iter::once(&image.id).chain(&image.manifest) {
                if !is_digest(digest) {
                    return Err(LockFault::Form(format!("`{}` is not a digest", shown(digest))));
                }
            }
        }
        Ok(lock)
    }

    /// The lock as a file.
    ///
    /// # Errors
    /// Never in practice: every part of it is text.
    pub fn write(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Makes `pods`, all of a file, run just the images of the lock.
    ///
    /// # Errors
    /// Every [`LockFault`]: the references of both must be the same ones.
    pub fn apply<'p>(&self, pods: impl IntoIterator<Item = &'p mut PodSpec>) -> Result<(), Vec<LockFault>> {
        let mut faults = Vec::new();
        let mut used = Vec::new();
        for source in pods.into_iter().flat_map(sources_mut) {
            let ImageSource::Reference(reference) = source else {
                continue;
            };
            let name = reference.to_string();
            match self.images.get(&name) {
                Some(image) => *source = image.lock(reference),
                None => faults.push(LockFault::Missing(name.clone())),
            }
            used.push(name);
        }
        let stale = self.images.keys().filter(|name| !used.contains(*name));
        faults.extend(stale.map(|name| LockFault::Stale(name.clone())));
        faults.dedup();
        match faults.is_empty() {
            true => Ok(()),
            false => Err(faults),
        }
    }
}

impl LockedImage {
    fn lock(&self, reference: &ImageReference) -> ImageSource {
        let mut reference = reference.clone();
        if let (ImageReference::Registry(image), Some(manifest)) = (&mut reference, &self.manifest) {
            image.digest = Some(manifest.clone());
        }
        ImageSource::Locked {
            reference,
            id: self.id.clone(),
        }
    }
}

/// Where a pod's images come from: its apps' in order, then its volumes'.
#[must_use]
pub fn sources(pod: &PodSpec) -> Vec<&ImageSource> {
    let volumes = pod.volumes.iter().filter_map(|volume| match &volume.kind {
        VolumeKind::Image(image) => Some(&image.image),
        _ => None,
    });
    pod.apps.iter().filter_map(App::image).chain(volumes).collect()
}

fn sources_mut(pod: &mut PodSpec) -> impl Iterator<Item = &mut ImageSource> {
    let volumes = pod
        .volumes
        .iter_mut()
        .filter_map(|volume| match &mut volume.kind {
            VolumeKind::Image(image) => Some(&mut image.image),
            _ => None,
        });
    let apps = pod.apps.iter_mut().filter_map(|app| match &mut app.root {
        AppRoot::Image(image) => Some(image),
        AppRoot::Directory(_) => None,
    });
    apps.chain(volumes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AppName;

    fn pod(images: &[&str]) -> PodSpec {
        let app = |(index, image): (usize, &&str)| {
            let reference = ImageReference::parse(image.as_ref()).unwrap();
            App::new(
                AppName::new(format!("a{index}")).unwrap(),
                ImageSource::Reference(reference),
            )
        };
        PodSpec::new(images.iter().enumerate().map(app).collect())
    }

    fn lock(images: &[&str]) -> Lock {
        let digest = |n: usize| format!("sha256:{n:064x}");
        let image = |(n, name): (usize, &&str)| {
            let image = LockedImage {
                id: digest(n),
                manifest: Some(digest(n + 100)),
            };
            ((*name).to_owned(), image)
        };
        Lock {
            version: VERSION,
            images: images.iter().enumerate().map(image).collect(),
        }
    }

    #[test]
    fn a_lock_fits_its_pod_and_no_other() {
        let names = ["oci:/a", "docker.io/library/nginx:1.27"];
        let lock = lock(&names);
        let mut locked = pod(&names);
        lock.apply([&mut locked]).unwrap();
        let Some(ImageSource::Locked { reference, id }) = locked.apps[1].image() else {
            panic!()
        };
        assert!(
            reference.to_string().ends_with(&format!("@sha256:{:064x}", 101)),
            "{reference}"
        );
        assert_eq!(*id, format!("sha256:{:064x}", 1));
        let faults = lock.apply([&mut pod(&["oci:/a", "oci:/b"])]).unwrap_err();
        assert_eq!(
            faults,
            [
                LockFault::Missing("oci:/b".into()),
                LockFault::Stale("docker.io/library/nginx:1.27".into())
            ]
        );
    }

    #[test]
    fn a_lock_is_of_all_pods_of_its_file() {
        let lock = lock(&["oci:/a", "oci:/b"]);
        let (mut one, mut other) = (pod(&["oci:/a"]), pod(&["oci:/b", "oci:/a"]));
        lock.apply([&mut one, &mut other]).unwrap();
        assert!(matches!(other.apps[0].image(), Some(ImageSource::Locked { .. })));
        assert_eq!(
            lock.apply([&mut pod(&["oci:/a"])]),
            Err(vec![LockFault::Stale("oci:/b".into())])
        );
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let lock = lock(&["oci:/b", "oci:/a"]);
        let text = lock.write().unwrap();
        assert!(text.find("oci:/a").unwrap() < text.find("oci:/b").unwrap());
        assert_eq!(Lock::read(&text), Ok(lock));
        for text in [
            "",
            "{}",
            r#"{"version": 2, "images": {}}"#,
            r#"{"version": 1, "images": {}, "more": 1}"#,
            r#"{"version": 1, "images": {"a": {"id": "sha256:00"}}}"#,
        ] {
            assert!(Lock::read(text).is_err(), "{text}");
        }
    }
}
