//! The labels of named volumes: `STATE/volumes/.labels/NAME` is a JSON object of those of the volume `NAME`, where it has any.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::dir;

pub(super) fn file(state_dir: &Path, name: &str) -> PathBuf {
    dir(state_dir).join(".labels").join(name)
}

/// The labels of the volume `name`.
///
/// # Errors
/// The error of the file system, or that the file is not what it should be.
pub fn labels(state_dir: &Path, name: &str) -> io::Result<BTreeMap<String, String>> {
    match fs::read(file(state_dir, name)) {
        Ok(text) => Ok(serde_json::from_slice(&text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

pub(super) fn set(state_dir: &Path, name: &str, labels: &BTreeMap<String, String>) -> io::Result<()> {
    let path = file(state_dir, name);
    let parent = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    let mut new = tempfile::Builder::new().prefix(".new-").tempfile_in(parent)?;
    new.write_all(&serde_json::to_vec(labels)?)?;
    new.as_file().sync_all()?;
    new.persist(&path)?;
    Ok(())
}

/// Forgets those of a volume that is gone.
pub(super) fn forget(state_dir: &Path, name: &str) -> io::Result<()> {
    match fs::remove_file(file(state_dir, name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
