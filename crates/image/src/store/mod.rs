//! The store: a directory of images, each kept once under its ID.
//!
//! ```text
//! DIR/                       mode 0700
//!   images/
//!     HEX/                   an image; HEX is the digest of its config, the ID that docker and podman show
//!       rootfs.erofs         its root filesystem: all layers merged
//!       config.json          its config, as it came
//!       image.json           {"version":1,"manifest":...,"rootfsBytes":...,"rootfs":...,"layers":[...]}
//!     .new-HEX/              an import under way, or what a killed one left
//!   manifests/
//!     HEX                    a manifest, as it came; HEX is its digest
//!     .new                   one that is being written, or what a killed process left
//!   blobs/
//!     HEX                    a layer, as its registry has it
//!     .part-HEX              a download under way (locked), or what a killed one left
//!   locks/
//!     store                  shared by whoever imports, fetches or begins a pod; gc has it alone
//!     HEX                    had alone by the import or removal of that image, shared while a pod with it begins
//!     names                  locked while names.json is replaced or a manifest written
//!   names.json               {"version":2,"names":{NAME:{"image":...,"manifest":...,"layers":[...]}}}
//! ```
//!
//! An image's directory appears with one rename, when all in it is on disk, and nothing in it changes afterwards. So
//! readers take no lock. An image may come by several manifests: `image.json` has the first, and each name the one that it came by.
//! Of what comes later the layers are not downloaded, since the image is there. Locks are flock(2)s: they end with the process that holds them, and a `.new-HEX` whose lock
//! is free belongs to nobody; the next import or gc removes it. Which pods use an image is not known here.

mod blobs;
mod collect;
mod commit;
mod export;
mod flatten;
pub mod import;
mod manifests;
mod names;
mod stored;
mod verify;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use isopod_spec::{Architecture, RegistryReference, RunConfig};

pub use collect::{Collected, RemoveError};
pub use commit::CommitError;
pub use export::ExportError;
pub use flatten::FlattenError;
pub use names::SetNameError;
pub use stored::LoadError;
pub(crate) use stored::{CONFIG, ROOTFS, Record};
pub use verify::Damage;

use crate::digest::Digest;
use crate::limits::Limits;
use crate::registry::{PullError, Registries};
use names::{Named, Names};

/// A store of images. Holds no lock and no open file.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
    pub(crate) limits: Limits,
}

/// An image in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its ID: the digest of its config, as docker and podman show it.
    pub id: Digest,
    /// The digest of the manifest that it came by, under the name by which it was found; `docker save` archives have none.
    pub manifest: Option<Digest>,
    /// Its names in the store, sorted.
    pub names: Vec<String>,
    /// How to run it.
    pub config: RunConfig,
    /// The EROFS file with its root filesystem. Never changes.
    pub rootfs: PathBuf,
    /// The size of that file, in bytes.
    pub rootfs_bytes: u64,
    /// The digest of that file when it was written.
    pub rootfs_digest: Digest,
    /// The layers of that manifest, the lowest first, if the store keeps them: those of the manifest by which a registry
    /// gave the image, none of an image from a file.
    pub layers: Vec<Digest>,
    /// The processor architecture, as Go names it (`amd64`).
    pub architecture: String,
    /// The operating system, always `linux`.
    pub os: String,
    /// When it was built, as its config says (RFC 3339).
    pub created: Option<String>,
}

impl Image {
    /// The processor that it is for: a store takes images for no others than these.
    #[must_use]
    pub fn processor(&self) -> Architecture {
        Architecture::read(&self.architecture).unwrap_or(Architecture::HOST)
    }
}

/// An image that cannot be read, and why.
pub type Unreadable = (Digest, LoadError);

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the image store: `{path}`")]
pub struct StoreError {
    /// The directory that cannot be made or read.
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

impl StoreError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some("keep the state elsewhere: `--dir DIR`".to_owned())
    }
}

/// Why no image was found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// Neither an ID nor a name was given.
    #[error("neither an image ID nor an image name is given")]
    Nothing,
    /// The ID is not one.
    #[error(
        "invalid image ID `{0}`: it must be `sha256-` or `sha256:` and hexadecimal digits, or their beginning"
    )]
    InvalidId(String),
    /// No image has this ID.
    #[error("no image in the store has the ID `{0}`")]
    NoId(String),
    /// Several images have IDs that begin like this.
    #[error("several images in the store have IDs that begin with `{id}`: {}", show(.candidates))]
    Ambiguous {
        /// The beginning that was given.
        id: String,
        /// The IDs, sorted.
        candidates: Vec<Digest>,
    },
    /// No image has this name.
    #[error("no image in the store has the name `{0}`")]
    NoName(String),
    /// ID and name are those of two images.
    #[error("the image named `{name}` has the ID `{actual}`, not `{id}`")]
    Mismatch {
        /// The name that was given.
        name: String,
        /// The ID that was given.
        id: String,
        /// The ID of the image of that name.
        actual: Digest,
    },
    /// The image is damaged, or the store cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// What a short name means cannot be found out.
    #[error(transparent)]
    Registries(#[from] PullError),
}

/// Why the images cannot be listed.
#[derive(Debug, thiserror::Error)]
#[error("cannot list the images in the store")]
pub struct ListError(#[from] LoadError);

impl ListError {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        self.0.hint()
    }
}

fn show(ids: &[Digest]) -> String {
    ids.iter()
        .map(|id| format!("`{id}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

impl FindError {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoId(_) | Self::NoName(_) => {
                Some("fetch or import it first, or name the place to read it from".to_owned())
            }
            Self::Ambiguous { .. } => Some("give more digits".to_owned()),
            Self::Load(error) => error.hint(),
            Self::Registries(error) => error.hint(),
            _ => None,
        }
    }
}

/// Where the images are in the state directory.
pub const IMAGES: &str = "images";

/// There: the locks of images and of the store.
pub const LOCKS: &str = "locks";

impl Store {
    /// Opens the store in the directory `dir`, which is made, for its owner alone, when it is not there.
    ///
    /// # Errors
    /// [`StoreError`] when a directory cannot be made.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        for path in [dir.to_owned(), dir.join(IMAGES), dir.join(LOCKS)] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(|source| StoreError { path, source })?;
        }
        Ok(Self {
            dir: dir.to_owned(),
            limits: Limits::default(),
        })
    }

    /// The same store with other limits for imports.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The same store, which imports and fetches images for that processor.
    #[must_use]
    pub fn for_architecture(mut self, architecture: Architecture) -> Self {
        self.limits.architecture = architecture;
        self
    }

    /// Finds an image by its ID (`sha256-HEX`, `sha256:HEX` or a unique beginning of either, or of `HEX`), its name
    /// (`NAME`, or `NAME` for `NAME:latest`), or both.
    ///
    /// # Errors
    /// [`FindError`] when there is none, there are several, or it is damaged.
    pub fn find(&self, id: Option<&str>, name: Option<&str>) -> Result<Image, FindError> {
        let names = self.names()?;
        match (id, name) {
            (None, None) => Err(FindError::Nothing),
            (Some(id), None) => Ok(self.load(self.find_id(id)?, &names)?),
            (id, Some(name)) => {
                let named = names
                    .find(name)
                    .ok_or_else(|| FindError::NoName(name.to_owned()))?;
                let actual = named.image;
                let is_other =
                    |id: &&str| !id_digits(id).is_some_and(|digits| actual.hex().starts_with(digits));
                if let Some(id) = id.filter(is_other) {
                    return Err(FindError::Mismatch {
                        name: name.to_owned(),
                        id: id.to_owned(),
                        actual,
                    });
                }
                Ok(self.load_named(named, &names)?)
            }
        }
    }

    /// The image that a user means with `reference`: the one of that name; for a short name also the one that has one
    /// of the full names that `registries` give it, and the one whose ID is that or begins so.
    ///
    /// # Errors
    /// [`FindError`] when there is none, there are several, or it is damaged; [`FindError::Registries`] when
    /// registries.conf cannot be read.
    pub fn find_named(
        &self,
        reference: &RegistryReference,
        registries: &Registries,
    ) -> Result<Image, FindError> {
        let names = self.names()?;
        let bare = reference.tag.is_none() && reference.digest.is_none();
        let own = [bare.then(|| reference.name()), Some(reference.stored_name())];
        let mut found = own.into_iter().flatten().find_map(|name| names.get(&name));
        if found.is_none() && reference.is_short() {
            let candidates = registries.candidates(reference)?;
            found = candidates.iter().find_map(|name| names.get(&name.stored_name()));
        }
        if let Some(named) = found {
            return Ok(self.load_named(named, &names)?);
        }
        // `sha256:HEX` reads as a name and a tag.
        let is_id = reference.is_short() && (bare || reference.repository == "sha256");
        let by_id = is_id.then(|| self.find_id(&reference.to_string()));
        match by_id {
            None | Some(Err(FindError::InvalidId(_) | FindError::NoId(_))) => {
                Err(FindError::NoName(reference.to_string()))
            }
            Some(id) => Ok(self.load(id?, &names)?),
        }
    }

    fn find_id(&self, id: &str) -> Result<Digest, FindError> {
        let digits = id_digits(id).ok_or_else(|| FindError::InvalidId(id.to_owned()))?;
        let mut candidates = self.ids()?;
        candidates.retain(|candidate| candidate.hex().starts_with(digits));
        match candidates.as_slice() {
            [only] => Ok(*only),
            [] => Err(FindError::NoId(id.to_owned())),
            _ => Err(FindError::Ambiguous {
                id: id.to_owned(),
                candidates,
            }),
        }
    }

    /// All images, sorted by ID. Damaged ones are left out, with a warning in the log.
    ///
    /// # Errors
    /// [`ListError`] when the store cannot be read.
    pub fn list(&self) -> Result<Vec<Image>, ListError> {
        let (images, unreadable) = self.list_all()?;
        for (id, error) in unreadable {
            tracing::warn!(%id, %error, "left out an image that cannot be read");
        }
        Ok(images)
    }

    /// All images, sorted by ID, and those that cannot be read, with the reason.
    ///
    /// # Errors
    /// [`ListError`] when the store cannot be read.
    pub fn list_all(&self) -> Result<(Vec<Image>, Vec<Unreadable>), ListError> {
        let names = self.names()?;
        let (mut images, mut unreadable) = (Vec::new(), Vec::new());
        for id in self.ids()? {
            match self.load(id, &names) {
                Ok(image) => images.push(image),
                Err(error) => unreadable.push((id, error)),
            }
        }
        Ok((images, unreadable))
    }

    /// The ID of the image that `word` means, its name, its ID or a unique beginning of that, whether the image can be read or
    /// not.
    ///
    /// # Errors
    /// [`FindError`] when there is none, or there are several.
    pub fn identify(&self, word: &str) -> Result<Digest, FindError> {
        match self.names()?.find(word) {
            Some(named) => Ok(named.image),
            None => self.find_id(word),
        }
    }

    /// Gives `image` a name, which keeps its manifest too; an image that had it before loses it.
    ///
    /// # Errors
    /// [`SetNameError`] when the name is not one, or the store cannot be written to.
    pub fn set_name(&self, name: &str, image: &Image) -> Result<(), SetNameError> {
        names::check(name)?;
        self.change_names(|names| names.set(name, Named::of(image)))
    }

    fn change_names(&self, change: impl FnOnce(&mut Names)) -> Result<(), SetNameError> {
        let failed = |path: &Path, source| SetNameError::Store {
            path: path.to_owned(),
            source,
        };
        let lock_path = self.lock_path("names");
        let _lock = self.lock("names").map_err(|source| failed(&lock_path, source))?;
        let before = self.names()?;
        let mut names = before.clone();
        change(&mut names);
        let path = self.names_path();
        let written = match names == before {
            true => names::remove_leftover(&path),
            false => names.write(&path),
        };
        written.map_err(|source| failed(&path, source))
    }

    /// The config of `image` as it came.
    ///
    /// # Errors
    /// [`LoadError`] when it cannot be read.
    pub fn config(&self, image: &Image) -> Result<Vec<u8>, LoadError> {
        let path = self.image_dir(image.id).join(CONFIG);
        fs::read(&path).map_err(|source| LoadError::File { path, source })
    }

    /// The image `id`, which has to be there.
    pub(crate) fn stored(&self, id: Digest) -> Result<Image, LoadError> {
        self.load(id, &self.names()?)
    }

    /// Whether `name` is `image`, by its manifest.
    pub(crate) fn is_named(&self, name: &str, image: &Image) -> Result<bool, LoadError> {
        Ok(self.names()?.get(name) == Some(&Named::of(image)))
    }

    /// The image `id`, as it came first; if its layers are not kept, as it came by a name whose layers are.
    fn load(&self, id: Digest, names: &Names) -> Result<Image, LoadError> {
        let image = stored::load(&self.image_dir(id), id, names.of(id))?;
        let mut named = names.entries_of(id).map(|(_, named)| named);
        match named.find(|named| !named.layers.is_empty() && image.layers.is_empty()) {
            Some(named) => Ok(by_name(image, named)),
            None => Ok(image),
        }
    }

    fn load_named(&self, named: &Named, names: &Names) -> Result<Image, LoadError> {
        Ok(by_name(self.load(named.image, names)?, named))
    }

    /// The IDs of all images, sorted.
    fn ids(&self) -> Result<Vec<Digest>, LoadError> {
        let path = self.images_dir();
        let failed = |source| LoadError::File {
            path: path.clone(),
            source,
        };
        let entries = fs::read_dir(&path)
            .and_then(Iterator::collect::<io::Result<Vec<_>>>)
            .map_err(failed)?;
        let mut ids: Vec<_> = entries
            .iter()
            .filter_map(|entry| Digest::from_hex(entry.file_name().to_str()?))
            .collect();
        ids.sort_unstable();
        Ok(ids)
    }

    fn names(&self) -> Result<Names, LoadError> {
        Names::read(&self.names_path())
    }

    fn names_path(&self) -> PathBuf {
        self.dir.join("names.json")
    }

    pub(crate) fn images_dir(&self) -> PathBuf {
        self.dir.join(IMAGES)
    }

    pub(crate) fn image_dir(&self, id: Digest) -> PathBuf {
        self.images_dir().join(id.hex())
    }

    /// Where an import of `id` works.
    pub(crate) fn new_image_dir(&self, id: Digest) -> PathBuf {
        self.images_dir().join(format!(".new-{}", id.hex()))
    }

    pub(crate) fn lock_path(&self, name: &str) -> PathBuf {
        self.dir.join(LOCKS).join(name)
    }

    /// Waits for the lock `name`; it ends when the file is dropped.
    pub(crate) fn lock(&self, name: &str) -> io::Result<File> {
        let file = self.lock_file(name)?;
        file.lock()?;
        Ok(file)
    }

    /// Keeps gc away, with others.
    pub(crate) fn share(&self) -> io::Result<File> {
        let file = self.lock_file("store")?;
        file.lock_shared()?;
        Ok(file)
    }

    /// Keeps the image `id` from being removed; `None` when it is gone already.
    pub(crate) fn hold(&self, id: Digest) -> io::Result<Option<Held>> {
        let store = self.share()?;
        let image = self.lock_file(&id.hex())?;
        image.lock_shared()?;
        Ok(self.image_dir(id).exists().then_some(Held {
            _store: store,
            _image: image,
        }))
    }

    fn lock_file(&self, name: &str) -> io::Result<File> {
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.lock_path(name))
    }

    /// Removes what killed imports left. Failures are for the log: an import does not need this.
    pub fn remove_leftovers(&self) {
        let entries = fs::read_dir(self.images_dir()).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            let Some(hex) = name.to_str().and_then(|name| name.strip_prefix(".new-")) else {
                continue;
            };
            if Digest::from_hex(hex).is_none() {
                continue;
            }
            let Ok(lock) = self.lock_file(hex) else { continue };
            if lock.try_lock().is_err() {
                continue;
            }
            match fs::remove_dir_all(entry.path()) {
                Ok(()) => tracing::info!(path = %entry.path().display(), "removed what an import left"),
                Err(error) => {
                    tracing::warn!(path = %entry.path().display(), %error, "cannot remove a leftover")
                }
            }
        }
    }
}

/// Keeps an image in the store until it is dropped, so that a pod can link it.
#[derive(Debug)]
pub struct Held {
    _store: File,
    _image: File,
}

/// `image` as it came by a name.
fn by_name(image: Image, named: &Named) -> Image {
    match named.manifest {
        None => image,
        manifest => Image {
            manifest,
            layers: named.layers.clone(),
            ..image
        },
    }
}

/// The hexadecimal digits of an image ID or its beginning.
fn id_digits(id: &str) -> Option<&str> {
    let digits = id
        .strip_prefix("sha256-")
        .or_else(|| id.strip_prefix("sha256:"))
        .unwrap_or(id);
    let is_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    ((1..=64).contains(&digits.len()) && digits.bytes().all(is_hex)).then_some(digits)
}

/// Makes a change of the names in the directory `path` durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
