//! Whether what is kept is still what was kept: every file of an image against its digest. A root filesystem is recreated
//! where the layers that it was made of are kept and whole.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{Image, ROOTFS, Store, stored};
use crate::digest::{self, Digest};
use crate::section::Section;
use crate::source::Source;
use crate::store::import::ImportError;

/// A file that is not what it was.
#[derive(Debug, PartialEq, Eq)]
pub struct Damage {
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
            let reason = match digest::of_file(&path) {
                Ok(actual) if actual == expected => return None,
                Ok(actual) => format!("it has digest `{actual}`, not `{expected}`"),
                Err(error) => error.to_string(),
            };
            Some(Damage { path, reason })
        });
        damage.collect()
    }
}

impl Store {
    /// Makes the root filesystem of `image` again, from its manifest, its config and its layers, and says whether all of those
    /// are there. A pod that has the image already keeps the root filesystem that it has.
    ///
    /// # Errors
    /// [`ImportError`] when the store cannot be written to, or what is kept does not agree; the image stays as it is then.
    pub fn repair(&self, image: &Image) -> Result<bool, ImportError> {
        let lock = |name: &str| {
            let path = self.lock_path(name);
            move |source| ImportError::Store { path, source }
        };
        let _store = self.share().map_err(lock("store"))?;
        let Some((manifest, document)) = image.manifest.zip(self.manifest(image).ok().flatten()) else {
            return Ok(false);
        };
        let whole = |layer: &Digest| {
            let path = self.blob_path(*layer);
            let is_whole = digest::of_file(&path).is_ok_and(|actual| actual == *layer);
            is_whole.then(|| Section::open(&path).ok()).flatten()
        };
        let blobs: Option<Vec<Section>> = image.layers.iter().map(whole).collect();
        let Some(blobs) = blobs.filter(|blobs| !blobs.is_empty()) else {
            return Ok(false);
        };
        let layers = blobs.into_iter().zip(image.layers.iter().copied().map(Some));
        let config = self.config(image)?;
        let manifest = Some((manifest, document));
        let source = Source::new(manifest, config, image.processor(), layers.collect(), Vec::new())?;
        let _image = self.lock(&image.id.hex()).map_err(lock(&image.id.hex()))?;
        self.write_image(source, image.layers.clone())?;
        Ok(true)
    }
}
