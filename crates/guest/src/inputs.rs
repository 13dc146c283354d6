//! Reads the host's files and notes which ones, so that an image can be kept until one of them changes.
//!
//! A file counts as changed when its length, its time, its inode or its device does: its content is not compared, which is
//! what makes looking up an image cheap.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Why a file of the host could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read `{}`", .path.display())]
pub struct ReadError {
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

impl ReadError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self.source.kind() {
            io::ErrorKind::PermissionDenied => Some(format!(
                "let every user read it: sudo chmod a+r `{}`",
                self.path.display()
            )),
            _ => None,
        }
    }
}

/// The files that were read so far.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    stamps: BTreeMap<PathBuf, Option<Stamp>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    size: u64,
    mtime: (i64, i64),
    inode: (u64, u64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.len(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            inode: (metadata.dev(), metadata.ino()),
        }
    }
}

impl Inputs {
    /// Looks at files without reading them: the same key as after reading them all.
    pub(crate) fn look(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let stamp = |path: PathBuf| {
            let stamp = std::fs::metadata(&path).ok().map(|metadata| Stamp::of(&metadata));
            (path, stamp)
        };
        Self {
            stamps: paths.into_iter().map(stamp).collect(),
        }
    }

    pub(crate) fn read(&mut self, path: &Path) -> Result<Vec<u8>, ReadError> {
        let error = |source| ReadError {
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(error)?;
        let metadata = file.metadata().map_err(error)?;
        let mut content = Vec::with_capacity(metadata.len() as usize);
        file.read_to_end(&mut content).map_err(error)?;
        self.stamps.insert(path.to_owned(), Some(Stamp::of(&metadata)));
        Ok(content)
    }

    /// Reads a file that need not be there; that it is not is noted too.
    pub(crate) fn read_optional(&mut self, path: &Path) -> Result<Option<Vec<u8>>, ReadError> {
        match self.read(path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => {
                self.stamps.insert(path.to_owned(), None);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Every file that was read or looked for.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.stamps.keys().map(PathBuf::as_path)
    }

    /// A name for this very state of the files, salted with what else the result depends on.
    pub(crate) fn key(&self, salt: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(salt.as_bytes());
        for (path, stamp) in &self.stamps {
            hash.update(format!("\0{}\0{stamp:?}", path.display()).as_bytes());
        }
        hex(&hash.finalize()[..16])
    }
}

/// Bytes as lowercase hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_follows_every_file_and_the_salt() {
        let dir = tempfile::tempdir().unwrap();
        let (there, absent) = (dir.path().join("there"), dir.path().join("absent"));
        std::fs::write(&there, "one").unwrap();
        let mut inputs = Inputs::default();
        assert_eq!(inputs.read(&there).unwrap(), b"one");
        assert_eq!(inputs.read_optional(&absent).unwrap(), None);
        let key = inputs.key("salt");
        let look = || Inputs::look([there.clone(), absent.clone()]);
        assert_eq!(look().key("salt"), key);
        assert_ne!(look().key("other"), key);
        std::fs::write(&absent, "").unwrap();
        assert_ne!(look().key("salt"), key);
        std::fs::remove_file(&absent).unwrap();
        assert_eq!(look().key("salt"), key);
        std::fs::write(&there, "three").unwrap();
        assert_ne!(look().key("salt"), key);
    }

    #[test]
    fn an_unreadable_file_is_named() {
        let error = Inputs::default()
            .read(Path::new("/nonexistent/file"))
            .unwrap_err();
        assert_eq!(error.to_string(), "cannot read `/nonexistent/file`");
        assert_eq!(error.hint(), None);
        let denied = ReadError {
            path: "/boot/k".into(),
            source: io::ErrorKind::PermissionDenied.into(),
        };
        assert_eq!(
            denied.hint().unwrap(),
            "let every user read it: sudo chmod a+r `/boot/k`"
        );
    }
}
