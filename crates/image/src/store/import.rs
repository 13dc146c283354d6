//! Imports an image into the store:
//!
//! 1. find the manifest and the config, check them ([`crate::source`]);
//! 2. lock the image; when the store has it, that is all;
//! 3. remove what killed imports left;
//! 4. merge the layers, file contents going straight to the new root filesystem ([`crate::layer`]);
//! 5. write the rest of it ([`crate::erofs`]), the config and the record, sync them, rename the directory.
//!
//! What fails in between leaves nothing behind. Nothing is resumed. Layers are not copied: who has the file has them.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread;

use isopod_spec::{LocalReference, RegistryReference};

use crate::digest::{self, Digest};
use crate::erofs;
use crate::layer::{self, LayerError, Usage};
use crate::registry::PullError;
use crate::source::{Source, SourceError};
use crate::store::{CONFIG, FindError, Image, LoadError, ROOTFS, Record, SetNameError, Store, sync_dir};
use crate::tree::Tree;

/// Why an image cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It cannot be found or is not an image for this host.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A layer cannot be applied.
    #[error("cannot apply layer {number} of {count} of image `{id}`")]
    Layer {
        id: Digest,
        /// The layer, counted from 1 at the bottom.
        number: u32,
        /// How many there are.
        count: usize,
        #[source]
        source: LayerError,
    },
    /// The store cannot be written to.
    #[error("cannot write to the image store: `{path}`")]
    Store {
        /// The file or directory.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The store does not have it, and no registry was to be asked.
    #[error("the image store has no image `{0}`")]
    NotStored(RegistryReference),
    /// It cannot be looked for in the store.
    #[error(transparent)]
    Find(FindError),
    /// The image's name in the source cannot be its name in the store.
    #[error(transparent)]
    Name(#[from] SetNameError),
}

impl From<PullError> for ImportError {
    fn from(error: PullError) -> Self {
        Self::Source(error.into())
    }
}

impl ImportError {
    /// Whether another registry may do better.
    pub(crate) fn is_about_one_registry(&self) -> bool {
        matches!(self, Self::Source(SourceError::Pull(error)) if error.is_about_one_registry())
    }

    /// Whether a registry was not reached, or could not answer.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(self, Self::Source(SourceError::Pull(error)) if error.is_silence())
    }

    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            let full = error
                .downcast_ref::<io::Error>()
                .is_some_and(|e| e.kind() == io::ErrorKind::StorageFull);
            if full {
                return Some("free some space on the disk of the image store".to_owned());
            }
            cause = error.source();
        }
        match self {
            Self::Source(error) => error.hint(),
            Self::Load(error) => error.hint(),
            Self::Find(error) => error.hint(),
            Self::Name(error) => error.hint(),
            Self::NotStored(image) => Some(format!("`isopod image fetch {image}` fetches it")),
            _ => None,
        }
    }
}

/// An image on its way into the store.
pub(crate) struct IncomingImage {
    pub(crate) id: Digest,
    /// The names that it gets.
    pub(crate) names: Vec<String>,
    /// The manifest that it comes by, where there is one.
    pub(crate) manifest: Option<(Digest, Vec<u8>)>,
    /// The layers of that manifest, as far as they have digests, with their sizes.
    pub(crate) layers: Vec<(Digest, u64)>,
}

impl Store {
    /// Imports the image that `reference` means; one that is there already costs no more than a look at its
    /// manifest. What the source calls it becomes its name in the store when it is more than a tag (`NAME:TAG`).
    ///
    /// # Errors
    /// [`ImportError`]; nothing is left in the store then.
    pub fn import(&self, reference: &LocalReference) -> Result<Image, ImportError> {
        let _store = self.share().map_err(|source| ImportError::Store {
            path: self.lock_path("store"),
            source,
        })?;
        let source = Source::open(reference, &self.limits, &self.images_dir())?;
        let names = source.names.iter().filter(|name| name.contains([':', '/']));
        let layers = source.layers.iter();
        let coming = IncomingImage {
            id: source.id,
            names: names.cloned().collect(),
            manifest: source.manifest.zip(source.manifest_document.clone()),
            layers: layers
                .filter_map(|layer| Some((layer.digest?, layer.blob.len())))
                .collect(),
        };
        self.keep(coming, || self.write_image(source, Vec::new()))
    }

    /// The image that is `coming`, which `write` writes unless the store has it, as it comes by these names.
    pub(crate) fn keep(
        &self,
        coming: IncomingImage,
        write: impl FnOnce() -> Result<(), ImportError>,
    ) -> Result<Image, ImportError> {
        let id = coming.id;
        let mut image = match self.stored(id) {
            Ok(image) => image,
            Err(error) if error.is_damage() => self.write_once(id, write)?,
            Err(error) => return Err(error.into()),
        };
        if let Some((manifest, document)) = coming.manifest
            && (image.manifest != Some(manifest) || image.layers.is_empty())
        {
            self.write_manifest(manifest, &document)
                .map_err(|(path, source)| ImportError::Store { path, source })?;
            image.manifest = Some(manifest);
            let is_kept = |(digest, size): &(Digest, u64)| self.blob(*digest, *size).is_some();
            image.layers = match coming.layers.iter().all(is_kept) {
                true => coming.layers.iter().map(|(digest, _)| *digest).collect(),
                false => Vec::new(),
            };
        }
        for name in &coming.names {
            if !self.is_named(name, &image)? {
                self.set_name(name, &image)?;
            }
            if let Err(at) = image.names.binary_search(name) {
                image.names.insert(at, name.clone());
            }
        }
        Ok(image)
    }

    /// Lets one process after the other write the image `id`; all but the first find it.
    fn write_once(
        &self,
        id: Digest,
        write: impl FnOnce() -> Result<(), ImportError>,
    ) -> Result<Image, ImportError> {
        let _lock = self.lock(&id.hex()).map_err(|source| ImportError::Store {
            path: self.lock_path(&id.hex()),
            source,
        })?;
        match self.stored(id) {
            Ok(image) => Ok(image),
            Err(error) if error.is_damage() => {
                self.remove_leftovers();
                write()?;
                Ok(self.stored(id)?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the image's directory; the store keeps these of its layers. The caller holds its lock.
    pub(crate) fn write_image(&self, source: Source, kept: Vec<Digest>) -> Result<(), ImportError> {
        let final_dir = self.image_dir(source.id);
        let temporary = Temporary::create(self.new_image_dir(source.id))?;
        let rootfs = temporary.path.join(ROOTFS);
        let store_error = |path: &Path, source| ImportError::Store {
            path: path.to_owned(),
            source,
        };
        let document = source.document.clone();
        let manifest = source.manifest.zip(source.manifest_document.clone());
        let written = write_rootfs(self, source, &temporary.path)?;
        let record = Record::new(manifest.as_ref().map(|(digest, _)| *digest), written, kept)
            .to_file()
            .map_err(|e| store_error(&rootfs, e))?;
        for (name, text) in [(CONFIG, document), record] {
            let path = temporary.path.join(name);
            write_file(&path, &text).map_err(|e| store_error(&path, e))?;
        }
        if let Some((digest, document)) = manifest {
            self.write_manifest(digest, &document)
                .map_err(|(path, source)| ImportError::Store { path, source })?;
        }
        temporary
            .rename(&final_dir)
            .map_err(|e| store_error(&final_dir, e))
    }
}

/// Merges the layers into the root filesystem file in `dir` and gives its digest and its size, in bytes.
fn write_rootfs(store: &Store, source: Source, dir: &Path) -> Result<(Digest, u64), ImportError> {
    let path = dir.join(ROOTFS);
    let failed = |source| ImportError::Store {
        path: path.clone(),
        source,
    };
    let out = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .map_err(failed)?;
    let tails = tempfile::tempfile_in(dir).map_err(failed)?;
    let mut writer = erofs::Writer::new(out, tails).map_err(failed)?;
    let mut tree = Tree::new();
    let mut usage = Usage::default();
    let (id, count) = (source.id, source.layers.len());
    for (blob, number) in source.layers.into_iter().zip(1..) {
        layer::apply(blob, number, &mut tree, &mut writer, &mut usage, &store.limits).map_err(|source| {
            ImportError::Layer {
                id,
                number,
                count,
                source,
            }
        })?;
    }
    let file = writer.finish(&mut tree, uuid(id)).map_err(failed)?;
    // The file is in memory still: while the disk is waited for, it is hashed.
    let digest = thread::scope(|scope| {
        let hashing = scope.spawn(|| digest::of_file(&path));
        file.sync_all()?;
        hashing
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    Ok((digest.map_err(failed)?, file.metadata().map_err(failed)?.len()))
}

/// A UUID that belongs to the image: version 8, custom (RFC 9562, 5.8).
fn uuid(id: Digest) -> [u8; 16] {
    let mut uuid = id.prefix();
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

fn write_file(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(text)?;
    file.sync_all()
}

/// A directory that is removed unless it gets its final name.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    /// Makes the directory, in place of what a killed import may have left.
    fn create(path: PathBuf) -> Result<Self, ImportError> {
        let made = remove_dir(&path).and_then(|()| DirBuilder::new().mode(0o700).create(&path));
        match made {
            Ok(()) => Ok(Self { path }),
            Err(source) => Err(ImportError::Store { path, source }),
        }
    }

    /// Gives it its final name, in place of a damaged image that may have it, when all in it is on disk.
    fn rename(self, to: &Path) -> io::Result<()> {
        sync_dir(&self.path)?;
        remove_dir(to)?;
        fs::rename(&self.path, to)?;
        to.parent().map_or(Ok(()), sync_dir)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = remove_dir(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the directory of a failed import");
        }
    }
}

fn remove_dir(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
