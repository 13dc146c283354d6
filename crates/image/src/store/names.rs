//! The names of images: one small file, replaced whole.
//!
//! One image may have come by several manifests, whose layers are compressed differently or whose form is another: a name
//! says by which one it came.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Image, LoadError};
use crate::digest::Digest;

/// The version of `names.json` that is written.
const VERSION: u32 = 2;
/// The version before, which is read too: a name was an ID alone.
const VERSION_OF_IDS: u32 = 1;
/// The longest name, in bytes. Docker's repository names have at most 255, tags 128.
const MAX_NAME_BYTES: usize = 400;

/// Why an image cannot be named.
#[derive(Debug, thiserror::Error)]
pub enum SetNameError {
    /// The name is not one.
    #[error("invalid image name `{name}`: {reason}")]
    Invalid {
        /// The name, control characters escaped.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The names cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The names cannot be written.
    #[error("cannot write to the image store: `{path}`")]
    Store {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl SetNameError {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Load(error) => error.hint(),
            Self::Invalid { .. } | Self::Store { .. } => None,
        }
    }
}

/// Checks that `name` cannot be taken for an ID and can be shown.
pub(super) fn check(name: &str) -> Result<(), SetNameError> {
    let fail = |reason| {
        Err(SetNameError::Invalid {
            name: name.escape_debug().to_string(),
            reason,
        })
    };
    if name.is_empty() {
        return fail("it is empty");
    }
    if name.len() > MAX_NAME_BYTES {
        return fail("it is longer than 400 bytes");
    }
    if name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return fail("it must not contain blanks or control characters");
    }
    if name.starts_with("sha256:") || name.starts_with("sha256-") {
        return fail("it looks like an image ID");
    }
    Ok(())
}

/// Where the file that replaces `path` is written.
fn new_path(path: &Path) -> PathBuf {
    path.with_extension("json.new")
}

/// Removes what a process left that was killed while it replaced `path`. The caller holds the lock.
pub(super) fn remove_leftover(path: &Path) -> io::Result<()> {
    match fs::remove_file(new_path(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What a name means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    /// The image's ID.
    pub(super) image: Digest,
    /// The manifest that it came by under this name; `None`: see the image.
    pub(super) manifest: Option<Digest>,
    /// The layers of that manifest which the store keeps.
    pub(super) layers: Vec<Digest>,
}

impl Named {
    /// What `image` is.
    pub(super) fn of(image: &Image) -> Self {
        Self {
            image: image.id,
            manifest: image.manifest,
            layers: image.layers.clone(),
        }
    }
}

/// Which image each name means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Names {
    version: u32,
    names: BTreeMap<String, Named>,
}

/// [`VERSION_OF_IDS`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ids {
    #[serde(rename = "version")]
    _version: u32,
    names: BTreeMap<String, Digest>,
}

impl From<Ids> for Names {
    fn from(ids: Ids) -> Self {
        let named = |image| Named {
            image,
            manifest: None,
            layers: Vec::new(),
        };
        let names = ids.names.into_iter().map(|(name, id)| (name, named(id)));
        Self {
            version: VERSION,
            names: names.collect(),
        }
    }
}

impl Names {
    /// Reads `path`; when it is not there, there are no names.
    pub(super) fn read(path: &Path) -> Result<Self, LoadError> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Ok(Self {
                    version: VERSION,
                    names: BTreeMap::new(),
                });
            }
            Err(source) => {
                return Err(LoadError::File {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        match super::stored::parse::<Ids>(path, &text, VERSION_OF_IDS) {
            Err(LoadError::Version { .. }) => super::stored::parse(path, &text, VERSION),
            ids => ids.map(Self::from),
        }
    }

    /// Replaces `path`. The caller holds the lock.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let new = new_path(path);
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        path.parent().map_or(Ok(()), super::sync_dir)
    }

    pub(super) fn set(&mut self, name: &str, named: Named) {
        self.names.insert(name.to_owned(), named);
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.names.remove(name);
    }

    /// Removes every name of the image `id`.
    pub(super) fn remove_all(&mut self, id: Digest) {
        self.names.retain(|_, other| other.image != id);
    }

    /// Removes the names of other images than `ids`.
    pub(super) fn retain(&mut self, ids: &BTreeSet<Digest>) {
        self.names.retain(|_, named| ids.contains(&named.image));
    }

    pub(super) fn get(&self, name: &str) -> Option<&Named> {
        self.names.get(name)
    }

    pub(super) fn find(&self, name: &str) -> Option<&Named> {
        self.get(name).or_else(|| self.get(&format!("{name}:latest")))
    }

    /// The names of the image `id`, sorted.
    pub(super) fn of(&self, id: Digest) -> Vec<String> {
        self.entries_of(id).map(|(name, _)| name.clone()).collect()
    }

    /// The names of the image `id` with what they mean, sorted.
    pub(super) fn entries_of(&self, id: Digest) -> impl Iterator<Item = (&String, &Named)> {
        self.names.iter().filter(move |(_, named)| named.image == id)
    }
}
