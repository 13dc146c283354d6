//! A disk that can be filled: a tmpfs in a mount namespace of its own, which a sleeping process keeps.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::{Bench, Output, Pod};

/// The disk, until this is dropped.
pub struct SmallDisk {
    dir: PathBuf,
    holder: Child,
}

impl SmallDisk {
    /// A disk of so many MiB, for root only.
    ///
    /// # Panics
    /// When it cannot be mounted.
    #[must_use]
    pub fn new(bench: &Bench, mib: u32) -> Self {
        let dir = bench.dir().join("small");
        fs::create_dir(&dir).expect("a directory");
        let script = format!(
            "mount -t tmpfs -o size={mib}m,mode=0700 tmpfs \"$0\" && echo mounted && exec sleep 1000"
        );
        let mut holder = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .arg(&dir)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a holder of the disk");
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a word of it");
        assert_eq!(line, "mounted\n");
        Self { dir, holder }
    }

    /// Where it is for those who are within its namespace.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where it is for everybody else.
    #[must_use]
    pub fn from_outside(&self) -> PathBuf {
        let root = format!("/proc/{}/root", self.holder.id());
        Path::new(&root).join(self.dir.strip_prefix("/").expect("an absolute path"))
    }

    /// The words that bring a command into its namespace.
    pub(crate) fn prefix(&self) -> Vec<String> {
        vec![
            "nsenter".to_owned(),
            format!("--mount=/proc/{}/ns/mnt", self.holder.id()),
        ]
    }

    /// Runs `isopod` with its state there.
    #[must_use]
    pub fn isopod(&self, bench: &Bench, line: &str) -> Output {
        self.pod(bench)
            .other(line.split_whitespace().map(Into::into).collect())
    }

    /// A pod with its state there.
    #[must_use]
    pub fn pod<'a>(&self, bench: &'a Bench) -> Pod<'a> {
        bench.pod().state(&self.dir).within(self.prefix())
    }

    /// Takes all of the room but so many KiB.
    ///
    /// # Panics
    /// When there is less.
    pub fn fill(&self, but_kib: u64) {
        let path = self.from_outside().join("filler");
        let mut filler = File::create(path).expect("a file");
        let piece = vec![1; 64 * 1024];
        while filler.write_all(&piece).is_ok() {}
        let length = filler.metadata().expect("its length").len();
        filler
            .set_len(length.saturating_sub(but_kib * 1024))
            .expect("a shorter file");
    }

    /// Gives the room back.
    ///
    /// # Panics
    /// When it was not taken.
    pub fn empty(&self) {
        fs::remove_file(self.from_outside().join("filler")).expect("the filler goes");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
