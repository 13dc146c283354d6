//! Whether what is kept is still what was kept: every file of an image against its digest.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::{Image, MANIFEST, ROOTFS, Store};
use crate::digest::{Digest, HashingReader};

/// A file that is not what it was.
#[derive(Debug)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl Store {
    /// Reads every file of `image`, and gives those that are damaged. [`Store::find`] checked its config already.
    #[must_use]
    pub fn verify(&self, image: &Image) -> Vec<Damage> {
        let dir = self.image_dir(image.id);
        let mut files = vec![(dir.join(ROOTFS), image.rootfs_digest)];
        files.extend(
            image
                .manifest
                .filter(|_| dir.join(MANIFEST).exists())
                .map(|digest| (dir.join(MANIFEST), digest)),
        );
        files.extend(image.layers.iter().map(|layer| (self.blob_path(*layer), *layer)));
        let damage = files.into_iter().filter_map(|(path, expected)| {
            let reason = match hash(&path) {
                Ok(actual) if actual == expected => return None,
                Ok(actual) => format!("it has digest `{actual}`, not `{expected}`"),
                Err(error) => error.to_string(),
            };
            Some(Damage { path, reason })
        });
        damage.collect()
    }
}

/// The digest of a file.
pub(crate) fn hash(path: &Path) -> io::Result<Digest> {
    HashingReader::new(File::open(path)?).finish()
}
