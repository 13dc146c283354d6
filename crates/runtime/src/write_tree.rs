//! Writes a guest tree to a directory of the host's, for `isopod plan --write`.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use isopod_plan::guest_tree::{EntryKind, GuestTree};
use isopod_plan::path;
use rustix::fs::{CWD, FileType, Mode};

/// Why a tree could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteTreeError {
    /// The directory holds something.
    #[error("`{}` is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// A file could not be written.
    #[error("cannot write `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl WriteTreeError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotEmpty(_) => Some("name a new or an empty directory: nothing is overwritten".into()),
            Self::Io { .. } => None,
        }
    }
}

/// Writes `tree` below `dir`, which is made if it is missing and must be empty. Owners are kept by root only.
///
/// # Errors
/// [`WriteTreeError`]; what was written before it stays.
pub fn write_tree(tree: &GuestTree, dir: &Path) -> Result<(), WriteTreeError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| WriteTreeError::Io { path, source }
    };
    fs::create_dir_all(dir).map_err(failed(dir))?;
    if fs::read_dir(dir).map_err(failed(dir))?.next().is_some() {
        return Err(WriteTreeError::NotEmpty(dir.to_owned()));
    }
    let root = rustix::process::geteuid().is_root();
    for (inner, entry) in &tree.entries {
        let path = path::below(dir, inner);
        let made = match &entry.kind {
            EntryKind::Directory => fs::create_dir(&path),
            EntryKind::File(content) => fs::write(&path, content),
            EntryKind::Symlink(target) => symlink(target, &path),
            EntryKind::Fifo => {
                rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(entry.mode), 0)
                    .map_err(Into::into)
            }
        };
        made.map_err(failed(&path))?;
        if matches!(entry.kind, EntryKind::Symlink(_)) {
            continue;
        }
        if root {
            chown(&path, Some(entry.uid), Some(entry.gid)).map_err(failed(&path))?;
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(entry.mode)).map_err(failed(&path))?;
    }
    Ok(())
}
