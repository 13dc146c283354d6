//! What several targets need: a place that nothing may be written outside of, and archives whose headers are believed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A directory in memory: `inside` may be written to, with a link in it to `outside`, which must stay as it is.
pub struct Jail {
    dir: TempDir,
}

impl Jail {
    /// A new one.
    ///
    /// # Panics
    /// When there is no room for it.
    #[must_use]
    pub fn new() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
        for name in ["inside", "outside"] {
            fs::create_dir(dir.path().join(name)).expect("a directory");
        }
        fs::write(dir.path().join("outside/file"), "as it was").expect("a file");
        symlink("../outside", dir.path().join("inside/link")).expect("a link");
        Self { dir }
    }

    /// What may be written to.
    #[must_use]
    pub fn inside(&self) -> PathBuf {
        self.dir.path().join("inside")
    }

    /// Everything around what may be written to.
    ///
    /// # Panics
    /// When it is not what it was.
    pub fn assert_nothing_outside(&self) {
        let (dir, outside) = (self.dir.path(), self.dir.path().join("outside"));
        assert_eq!(names(dir), ["inside", "outside"]);
        assert_eq!(names(&outside), ["file"]);
        assert_eq!(fs::read(outside.join("file")).expect("the file"), b"as it was");
        let metadata = fs::metadata(outside.join("file")).expect("the file");
        assert_eq!((metadata.nlink(), metadata.mode() & 0o7777), (1, 0o644));
    }
}

impl Default for Jail {
    fn default() -> Self {
        Self::new()
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    let names = entries.map(|entry| {
        (
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned(),
            (),
        )
    });
    names.collect::<BTreeMap<_, _>>().into_keys().collect()
}

/// Makes the checksums of tar headers right, wherever one seems to be: otherwise hardly a change would be read.
pub fn seal(archive: &mut [u8]) {
    for block in archive
        .chunks_exact_mut(512)
        .filter(|block| &block[257..262] == b"ustar")
    {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

/// The parts of an input, with `separator` between them.
pub fn parts<'a>(bytes: &'a [u8], separator: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let bytes = rest?;
        let at = bytes
            .windows(separator.len())
            .position(|window| window == separator);
        rest = at.map(|at| &bytes[at + separator.len()..]);
        Some(&bytes[..at.unwrap_or(bytes.len())])
    })
}
