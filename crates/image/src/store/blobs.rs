//! The layers of images that came from registries, as they came: what a second image shares is not downloaded again,
//! and an image can be exported as it was.
//!
//! A blob is downloaded into `.part-HEX`, which is locked meanwhile, and gets its name when its digest was checked. A
//! killed download leaves its beginning behind for the next one, or for gc. Blobs are not synced to disk: whoever uses
//! one checks its digest, and what a crash of the host damaged is downloaded again.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;

use super::Store;
use crate::digest::Digest;
use crate::section::Section;

/// What the name of an unfinished blob begins with.
pub(super) const PART: &str = ".part-";

impl Store {
    pub(super) fn blobs_dir(&self) -> PathBuf {
        self.dir.join("blobs")
    }

    pub(crate) fn blob_path(&self, digest: Digest) -> PathBuf {
        self.blobs_dir().join(digest.hex())
    }

    /// The size of a layer that the store keeps, in bytes; `None` when it is gone.
    #[must_use]
    pub fn layer_bytes(&self, layer: Digest) -> Option<u64> {
        Some(fs::metadata(self.blob_path(layer)).ok()?.len())
    }

    /// The blob `digest` of `size` bytes if the store has it; its content is still to be checked.
    pub(crate) fn blob(&self, digest: Digest, size: u64) -> Option<Section> {
        let section = Section::open(&self.blob_path(digest)).ok()?;
        (section.len() == size).then_some(section)
    }

    /// The blob `digest`, which `download` writes unless the store has it; of several processes that want it one
    /// downloads and the others wait.
    pub(crate) fn blob_or<E>(
        &self,
        digest: Digest,
        size: u64,
        failed: impl Fn(PathBuf, io::Error) -> E,
        download: impl FnOnce(&mut File) -> Result<(), E>,
    ) -> Result<Section, E> {
        let path = self.blob_path(digest);
        let part = self.blobs_dir().join(format!("{PART}{}", digest.hex()));
        let at_part = |error| failed(part.clone(), error);
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.blobs_dir());
        made.map_err(at_part)?;
        let mut file = loop {
            if let Some(section) = self.blob(digest, size) {
                return Ok(section);
            }
            let mut options = File::options();
            let options = options.create(true).truncate(false).read(true).write(true);
            let file = options.open(&part).map_err(at_part)?;
            file.lock().map_err(at_part)?;
            // Whoever held the lock may have finished, and the name may be another file's by now.
            if is_at(&file, &part).map_err(at_part)? {
                break file;
            }
        };
        download(&mut file)?;
        fs::rename(&part, &path).map_err(|error| failed(path.clone(), error))?;
        Section::open(&path).map_err(|error| failed(path.clone(), error))
    }
}

fn is_at(file: &File, path: &std::path::Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match fs::metadata(path) {
        Ok(other) => Ok((own.dev(), own.ino()) == (other.dev(), other.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
