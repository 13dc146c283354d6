//! Whether what is kept is still what was kept: every file of an image against its digest.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::{Image, ROOTFS, Store, stored};
use crate::digest::{Digest, HashingReader};

/// A file that is not what it was.
#[derive(Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl Store {
    /// Reads every file of `image`, whatever it came by, and gives those that are damaged. [`Store::find`] checked its config already.
    #[must_use]
    pub fn verify(&self, image: &Image) -> Vec<Damage> {
        let dir = self.image_dir(image.id);
        let mut files = vec![(dir.join(ROOTFS), image.rootfs_digest)];
        let mut origins = vec![(image.manifest, image.layers.clone())];
        origins.extend(stored::origin(&dir));
        if let Ok(names) = self.names() {
            let named = names.entries_of(image.id);
            origins.extend(named.map(|(_, named)| (named.manifest, named.layers.clone())));
        }
        let manifests: BTreeSet<Digest> = origins.iter().filter_map(|(manifest, _)| *manifest).collect();
        let manifests = manifests
            .into_iter()
            .map(|digest| (self.find_manifest(image.id, digest), digest));
        files.extend(manifests.filter(|(path, _)| path.exists()));
        let layers: BTreeSet<Digest> = origins.into_iter().flat_map(|(_, layers)| layers).collect();
        files.extend(layers.into_iter().map(|layer| (self.blob_path(layer), layer)));
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
