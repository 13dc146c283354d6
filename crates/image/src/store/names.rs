//! The names of images: one small file, replaced whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::LoadError;
use crate::digest::Digest;

/// The version of `names.json`.
const VERSION: u32 = 1;
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
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
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

/// Which image each name means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Names {
    version: u32,
    names: BTreeMap<String, Digest>,
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
        super::stored::parse(path, &text, VERSION)
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

    pub(super) fn set(&mut self, name: &str, id: Digest) {
        self.names.insert(name.to_owned(), id);
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.names.remove(name);
    }

    /// Removes every name of the image `id`.
    pub(super) fn remove_all(&mut self, id: Digest) {
        self.names.retain(|_, other| *other != id);
    }

    /// Removes the names of other images than `ids`.
    pub(super) fn retain(&mut self, ids: &BTreeSet<Digest>) {
        self.names.retain(|_, id| ids.contains(id));
    }

    pub(super) fn get(&self, name: &str) -> Option<Digest> {
        self.names.get(name).copied()
    }

    pub(super) fn find(&self, name: &str) -> Option<Digest> {
        self.get(name).or_else(|| self.get(&format!("{name}:latest")))
    }

    /// The names of the image `id`, sorted.
    pub(super) fn of(&self, id: Digest) -> Vec<String> {
        self.names
            .iter()
            .filter(|(_, other)| **other == id)
            .map(|(name, _)| name.clone())
            .collect()
    }
}
