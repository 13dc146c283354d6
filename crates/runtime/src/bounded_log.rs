//! A log of a bounded size, for what a guest has a say in: what was written last is kept.
//!
//! ```text
//! NAME ── full ──> NAME.1 (the one before goes)
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// How long one of the two files may be.
pub const MAX_BYTES: usize = 1 << 20;

/// The two files. What cannot be written is lost: nothing waits for a log.
#[derive(Debug)]
pub struct BoundedLog {
    paths: [PathBuf; 2],
    file: File,
    length: usize,
    max_bytes: usize,
}

impl BoundedLog {
    /// Begins the log `name` in `dir`, in place of one of before.
    ///
    /// # Errors
    /// What making the file failed with.
    pub fn new(dir: &Path, name: &str) -> io::Result<Self> {
        Self::with_bound(dir, name, MAX_BYTES)
    }

    pub(crate) fn with_bound(dir: &Path, name: &str, max_bytes: usize) -> io::Result<Self> {
        let paths = paths(dir, name);
        match fs::remove_file(&paths[0]) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = open(&paths[1])?;
        file.set_len(0)?;
        Ok(Self {
            paths,
            file,
            length: 0,
            max_bytes,
        })
    }

    /// Writes; whether the file is another one since.
    pub fn write(&mut self, mut bytes: &[u8]) -> bool {
        let mut rotated = false;
        while !bytes.is_empty() {
            if self.length == self.max_bytes {
                self.rotate();
                rotated = true;
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.max_bytes - self.length));
            // Counted whether it was written or not: the bound holds for what is on disk.
            let _ = self.file.write_all(now);
            self.length += now.len();
            bytes = later;
        }
        rotated
    }

    /// The file that is written now.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    fn rotate(&mut self) {
        let [older, current] = &self.paths;
        // Without room for another file, this one is begun again.
        let begun = fs::rename(current, older).and_then(|()| open(current));
        match begun {
            Ok(file) => self.file = file,
            Err(_) => drop(self.file.set_len(0)),
        }
        self.length = 0;
    }
}

/// The older file of the log `name` in `dir`, and the one that is written.
pub(crate) fn paths(dir: &Path, name: &str) -> [PathBuf; 2] {
    [format!("{name}.1"), name.to_owned()].map(|name| dir.join(name))
}

/// For appending, so that whoever else has it as a standard stream writes behind.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tail::tail;

    #[test]
    fn the_end_is_kept_within_the_bound() {
        let dir = tempfile::tempdir().unwrap();
        let begin = || BoundedLog::with_bound(dir.path(), "log", 100).unwrap();
        let mut log = begin();
        let mut rotations = 0;
        for n in 0..1000 {
            rotations += u32::from(log.write(format!("line {n}\n").as_bytes()));
            for path in paths(dir.path(), "log") {
                assert!(fs::metadata(path).map_or(0, |file| file.len()) <= 100);
            }
        }
        assert!(rotations > 80, "{rotations}");
        let [older, current] = paths(dir.path(), "log");
        assert_eq!(tail(&[&older, &current], 3), ["line 997", "line 998", "line 999"]);
        // A write larger than both files leaves its end, and another run nothing of this one.
        log.write(&[b"x".repeat(250), b"end".to_vec()].concat());
        assert!(tail(&[&older, &current], 1)[0].ends_with("xend"));
        begin();
        assert!(tail(&[&older, &current], 1).is_empty());
    }
}
