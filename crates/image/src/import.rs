//! Imports an image into the store:
//!
//! 1. find the manifest and the config, check them ([`crate::source`]);
//! 2. lock the image; when the store has it, that is all;
//! 3. remove what killed imports left;
//! 4. merge the layers, file contents going straight to the new root filesystem ([`crate::layer`]);
//! 5. write the rest of it ([`crate::erofs`]), the config and the record, sync them, rename the directory.
//!
//! What fails in between leaves nothing behind. Nothing is resumed.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use isopod_spec::{ImageReference, LocalReference, PullPolicy, RegistryReference};

use crate::digest::Digest;
use crate::erofs;
use crate::layer::{self, LayerError, Usage};
use crate::source::{Source, SourceError};
use crate::store::{CONFIG, Image, LoadError, ROOTFS, Record, SetNameError, Store, sync_dir};
use crate::tree::Tree;

/// Why an image cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It cannot be found or is not an image for this machine.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A layer cannot be applied.
    #[error("cannot apply layer {number} of {count} of image `{id}`")]
    Layer {
        /// The image.
        id: Digest,
        /// The layer, counted from 1 at the bottom.
        number: u32,
        /// How many there are.
        count: usize,
        /// The cause.
        #[source]
        source: LayerError,
    },
    /// The store cannot be written to.
    #[error("cannot write to the image store: `{path}`")]
    Store {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The store does not have it, and no registry was to be asked.
    #[error("the image store has no image `{0}`")]
    NotStored(RegistryReference),
    /// It would have to be pulled.
    #[error("cannot pull `{0}`: images are not pulled from registries yet")]
    Registry(RegistryReference),
    /// The image's name in the source cannot be its name in the store.
    #[error(transparent)]
    Name(#[from] SetNameError),
}

impl ImportError {
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
            Self::Registry(image) => Some(format!(
                "`skopeo copy docker://{image} oci:DIR` makes a directory that `isopod image import oci:DIR` reads"
            )),
            _ => None,
        }
    }
}

impl Store {
    /// The image that `reference` means: from its place, or for a name, from the store.
    ///
    /// # Errors
    /// [`ImportError`]; nothing is left in the store then.
    pub fn obtain(&self, reference: &ImageReference, pull: PullPolicy) -> Result<Image, ImportError> {
        let image = match reference {
            ImageReference::Local(local) => return self.import(local),
            ImageReference::Registry(image) => image,
        };
        let stored = match pull {
            PullPolicy::Missing | PullPolicy::Never => self.find_named(image)?,
            PullPolicy::Always | PullPolicy::Newer => None,
        };
        stored.ok_or_else(|| match pull {
            PullPolicy::Never => ImportError::NotStored(image.clone()),
            _ => ImportError::Registry(image.clone()),
        })
    }

    /// Imports the image that `reference` means; one that is there already costs no more than a look at its
    /// manifest. What the source calls it becomes its name in the store when it is more than a tag (`NAME:TAG`).
    ///
    /// # Errors
    /// [`ImportError`]; nothing is left in the store then.
    pub fn import(&self, reference: &LocalReference) -> Result<Image, ImportError> {
        let source = Source::open(reference, &self.limits)?;
        let (id, names) = (source.id, source.names.clone());
        let lock_path = self.lock_path(&id.hex());
        let lock = self.lock(&id.hex()).map_err(|source| ImportError::Store {
            path: lock_path,
            source,
        })?;
        let mut image = match self.stored(id) {
            Ok(image) => image,
            Err(error) if error.is_damage() => {
                self.remove_leftovers();
                self.write_image(source)?;
                self.stored(id)?
            }
            Err(error) => return Err(error.into()),
        };
        drop(lock);
        let new: Vec<_> = names
            .into_iter()
            .filter(|name| name.contains([':', '/']))
            .collect();
        for name in new.iter().filter(|name| !image.names.contains(name)) {
            self.set_name(name, &image)?;
        }
        if new.iter().any(|name| !image.names.contains(name)) {
            image = self.stored(id)?;
        }
        Ok(image)
    }

    /// Writes the image's directory. The caller holds its lock.
    fn write_image(&self, source: Source) -> Result<(), ImportError> {
        let final_dir = self.image_dir(source.id);
        let temporary = Temporary::create(self.new_image_dir(source.id))?;
        let rootfs = temporary.path.join(ROOTFS);
        let store_error = |path: &Path, source| ImportError::Store {
            path: path.to_owned(),
            source,
        };
        let (document, manifest) = (source.document.clone(), source.manifest);
        let bytes = write_rootfs(self, source, &temporary.path)?;
        let record = Record::new(manifest, bytes)
            .to_file()
            .map_err(|e| store_error(&rootfs, e))?;
        for (name, text) in [(CONFIG, document), record] {
            let path = temporary.path.join(name);
            write_file(&path, &text).map_err(|e| store_error(&path, e))?;
        }
        temporary
            .rename(&final_dir)
            .map_err(|e| store_error(&final_dir, e))
    }
}

/// Merges the layers into the root filesystem file in `dir` and gives its size, in bytes.
fn write_rootfs(store: &Store, source: Source, dir: &Path) -> Result<u64, ImportError> {
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
    file.sync_all().map_err(failed)?;
    Ok(file.metadata().map_err(failed)?.len())
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
