//! What goes: names, images, and what nobody needs any more.
//!
//! The roots are the names and, as the caller says, the pods. An image that neither holds goes, then every manifest and blob of
//! no image, and whatever killed processes left. A pod that runs has a link of its own to its root filesystem, so what
//! goes from the store does not go from under it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::{LoadError, Store, stored};
use crate::digest::Digest;
use crate::store::SetNameError;

/// Why something cannot be removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// A file cannot be removed.
    #[error("cannot remove `{path}` from the image store")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A name cannot be removed.
    #[error(transparent)]
    Name(#[from] SetNameError),
    /// The store cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl RemoveError {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Load(error) => error.hint(),
            Self::Name(error) => error.hint(),
            Self::File { .. } => None,
        }
    }
}

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    pub images: Vec<Digest>,
    /// How many blobs, finished or not.
    pub blobs: usize,
    /// How many bytes there were in all that.
    pub bytes: u64,
}

impl Store {
    /// Takes a name away; its image stays, for gc.
    ///
    /// # Errors
    /// [`SetNameError`] when the store cannot be written to.
    pub fn remove_name(&self, name: &str) -> Result<(), SetNameError> {
        self.change_names(|names| names.remove(name))
    }

    /// Removes the image `id` and its names, when nobody imports it and no pod with it begins: that is waited for. Its
    /// layers stay, for gc: other images may have them too.
    ///
    /// # Errors
    /// [`RemoveError`].
    pub fn remove(&self, id: Digest) -> Result<(), RemoveError> {
        let _store = self.share().map_err(|source| self.lock_error("store", source))?;
        let _image = self.wait_for_lock(&id.hex())?;
        self.change_names(|names| names.remove_all(id))?;
        self.remove_image(id).map(drop)
    }

    /// Removes what nobody needs: images without a name that `is_used` does not know either, and with `all` those
    /// with a name too; blobs of no image; what killed processes left. It waits while somebody imports, fetches or
    /// starts a pod.
    ///
    /// # Errors
    /// [`RemoveError`].
    pub fn collect(&self, all: bool, is_used: impl Fn(Digest) -> bool) -> Result<Collected, RemoveError> {
        let _store = self.wait_for_lock("store")?;
        let ids = self.ids()?;
        let names = self.names()?;
        let mut collected = Collected::default();
        for id in &ids {
            if !is_used(*id) && (all || names.of(*id).is_empty()) {
                self.change_names(|names| names.remove_all(*id))?;
                collected.bytes += self.remove_image(*id)?;
                collected.images.push(*id);
            }
        }
        let kept: BTreeSet<Digest> = ids
            .into_iter()
            .filter(|id| !collected.images.contains(id))
            .collect();
        self.change_names(|names| names.retain(&kept))?;
        for (name, path) in entries(&self.images_dir())? {
            if name.to_string_lossy().starts_with('.') {
                collected.bytes += remove(&path)?;
            }
        }
        self.collect_parts(&kept, &mut collected)?;
        for (name, path) in entries(&self.dir.join(super::LOCKS))? {
            let id = name.to_str().and_then(Digest::from_hex);
            if id.is_some_and(|id| !kept.contains(&id)) {
                remove(&path)?;
            }
        }
        Ok(collected)
    }

    /// Removes the manifests and blobs that none of the images `kept` came by, and what killed processes left of such.
    fn collect_parts(&self, kept: &BTreeSet<Digest>, collected: &mut Collected) -> Result<(), RemoveError> {
        let names = self.names()?;
        let (mut manifests, mut blobs) = (BTreeSet::new(), BTreeSet::new());
        for id in kept {
            match stored::origin(&self.image_dir(*id)) {
                Ok((manifest, layers)) => {
                    manifests.extend(manifest);
                    blobs.extend(layers);
                }
                // A damaged image needs what it cannot name no more; one of a later version may.
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error.into()),
            }
            for (_, named) in names.entries_of(*id) {
                manifests.extend(named.manifest);
                blobs.extend(&named.layers);
            }
        }
        let other = |dir: &Path, needed: &BTreeSet<Digest>| -> Result<Vec<u64>, RemoveError> {
            let is_needed = |name: &OsString| {
                let digest = name.to_str().and_then(Digest::from_hex);
                digest.is_some_and(|digest| needed.contains(&digest))
            };
            let other = entries(dir)?.into_iter().filter(|(name, _)| !is_needed(name));
            other.map(|(_, path)| remove(&path)).collect()
        };
        let removed = other(&self.blobs_dir(), &blobs)?;
        collected.blobs += removed.len();
        collected.bytes += removed.into_iter().sum::<u64>();
        collected.bytes += other(&self.manifests_dir(), &manifests)?.into_iter().sum::<u64>();
        Ok(())
    }

    /// Removes an image's directory; a kill on the way leaves what gc takes for a leftover. Gives its bytes.
    fn remove_image(&self, id: Digest) -> Result<u64, RemoveError> {
        let (path, old) = (self.image_dir(id), self.new_image_dir(id));
        remove(&old)?;
        match fs::rename(&path, &old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(RemoveError::File { path, source: error });
            }
            _ => {}
        }
        remove(&old)
    }

    /// The lock `name`, when no other process holds it.
    fn wait_for_lock(&self, name: &str) -> Result<fs::File, RemoveError> {
        let failed = |source| self.lock_error(name, source);
        let file = self.lock_file(name).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                tracing::warn!(
                    "waiting for another process, which imports or fetches an image, or starts a pod"
                );
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        file.lock().map_err(failed)?;
        Ok(file)
    }

    fn lock_error(&self, name: &str, source: io::Error) -> RemoveError {
        let path = self.lock_path(name);
        RemoveError::File { path, source }
    }
}

/// What is in a directory; nothing where it is not there.
fn entries(dir: &Path) -> Result<Vec<(OsString, PathBuf)>, RemoveError> {
    let failed = |source| RemoveError::File {
        path: dir.to_owned(),
        source,
    };
    match fs::read_dir(dir) {
        Ok(entries) => entries
            .map(|entry| {
                entry
                    .map(|entry| (entry.file_name(), entry.path()))
                    .map_err(failed)
            })
            .collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}

/// Removes a file or a directory of files, and gives the bytes that were in them.
fn remove(path: &Path) -> Result<u64, RemoveError> {
    let run = || -> io::Result<u64> {
        let metadata = fs::symlink_metadata(path)?;
        if !metadata.is_dir() {
            fs::remove_file(path)?;
            return Ok(metadata.len());
        }
        let mut bytes = 0;
        for entry in fs::read_dir(path)? {
            bytes += entry?.metadata()?.len();
        }
        fs::remove_dir_all(path)?;
        Ok(bytes)
    };
    match run() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        result => result.map_err(|source| RemoveError::File {
            path: path.to_owned(),
            source,
        }),
    }
}
