//! Manifests, as they came: by their digests, since one image may have come by several.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use super::stored::MANIFEST;
use super::{Image, LoadError, Store, sync_dir};
use crate::digest::Digest;

impl Store {
    pub(super) fn manifests_dir(&self) -> PathBuf {
        self.dir.join("manifests")
    }

    fn manifest_path(&self, manifest: Digest) -> PathBuf {
        self.manifests_dir().join(manifest.hex())
    }

    /// Where the manifest of the image `id` is: an earlier version of Isopod kept it beside the image.
    pub(super) fn find_manifest(&self, id: Digest, manifest: Digest) -> PathBuf {
        let path = self.manifest_path(manifest);
        match path.exists() {
            true => path,
            false => self.image_dir(id).join(MANIFEST),
        }
    }

    /// Keeps a manifest, unless it is kept already.
    ///
    /// # Errors
    /// The file that cannot be written, and why.
    pub(crate) fn write_manifest(
        &self,
        manifest: Digest,
        document: &[u8],
    ) -> Result<(), (PathBuf, io::Error)> {
        let path = self.manifest_path(manifest);
        let write = || {
            let _lock = self.lock("names")?;
            if path.exists() {
                return Ok(());
            }
            let dir = self.manifests_dir();
            DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
            // What a killed process left of another is overwritten.
            let new = dir.join(".new");
            let mut file = File::create(&new)?;
            file.write_all(document)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            sync_dir(&dir)
        };
        write().map_err(|error: io::Error| (path.clone(), error))
    }

    /// The manifest of `image` as it came; `None` when it came without one.
    ///
    /// # Errors
    /// [`LoadError`] when it cannot be read, or is damaged.
    pub fn manifest(&self, image: &Image) -> Result<Option<Vec<u8>>, LoadError> {
        let Some(digest) = image.manifest else {
            return Ok(None);
        };
        let path = self.find_manifest(image.id, digest);
        match fs::read(&path) {
            Ok(text) if Digest::of(&text) == digest => Ok(Some(text)),
            Ok(_) => Err(LoadError::Damaged {
                path,
                reason: "its digest is not the one that the image or its name has",
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LoadError::File { path, source }),
        }
    }
}
