//! What the guest's kernel and systemd say: from QEMU's standard output into files of a bounded size.
//!
//! ```text
//! guest ── serial port ──> QEMU ── pipe ──> this ──> console.log ── full ──> console.log.1 (the one before goes)
//! ```
//!
//! A guest may write without end: what it wrote last is kept. QEMU waits for no room in the pipe: while nobody reads,
//! the guest's serial port is slow and then loses what is written to it, and the guest goes on.

use std::fs::{self, File};
use std::io::{self, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use isopod_plan::layout;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

use crate::private;
use crate::tail::tail;

/// How long one of the two files may be.
const MAX_BYTES: usize = 1 << 20;

/// What is read at a time.
const READ_BYTES: usize = 16 * 1024;

/// How long the rest may take that is in the pipe when QEMU has ended.
const DRAIN: Duration = Duration::from_secs(1);

/// The console of a running guest.
pub(super) struct Console {
    dir: PathBuf,
    reader: JoinHandle<()>,
}

impl Console {
    /// Makes the file in the pod directory `dir`, in place of an earlier run's, and gives what is to be QEMU's
    /// standard output.
    ///
    /// # Errors
    /// What making the pipe or the file failed with.
    pub(super) fn begin(dir: &Path) -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = io::pipe()?;
        let reader = pipe::Receiver::from_owned_fd(reader.into())?;
        let log = Log::new(dir, MAX_BYTES)?;
        let reader = tokio::spawn(copy(reader, log));
        let dir = dir.to_owned();
        Ok((Self { dir, reader }, writer.into()))
    }

    /// The last `count` lines; when QEMU has ended, of all that the guest said.
    pub(super) async fn last(&mut self, count: usize) -> Vec<String> {
        if !self.reader.is_finished() {
            let _ = tokio::time::timeout(DRAIN, &mut self.reader).await;
        }
        let [older, current] = paths(&self.dir);
        tail(&[&older, &current], count)
    }
}

async fn copy(mut from: pipe::Receiver, mut log: Log) {
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        log.write(&buffer[..n]);
    }
}

/// The older file and the one that is written.
fn paths(dir: &Path) -> [PathBuf; 2] {
    [
        format!("{}.1", layout::CONSOLE_LOG),
        layout::CONSOLE_LOG.to_owned(),
    ]
    .map(|name| dir.join(name))
}

/// The two files. What cannot be written is lost: a guest's console is no reason to end it.
struct Log {
    paths: [PathBuf; 2],
    file: File,
    length: usize,
    max_bytes: usize,
}

impl Log {
    fn new(dir: &Path, max_bytes: usize) -> io::Result<Self> {
        let paths = paths(dir);
        match fs::remove_file(&paths[0]) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = private::file(&paths[1])?;
        Ok(Self {
            paths,
            file,
            length: 0,
            max_bytes,
        })
    }

    fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.length == self.max_bytes {
                self.rotate();
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.max_bytes - self.length));
            // Counted whether it was written or not: the bound holds for what is on disk.
            let _ = self.file.write_all(now);
            self.length += now.len();
            bytes = later;
        }
    }

    fn rotate(&mut self) {
        let [older, current] = &self.paths;
        // Without room for another file, this one is begun anew.
        let begun = fs::rename(current, older).and_then(|()| private::file(current));
        match begun {
            Ok(file) => self.file = file,
            Err(_) => drop(self.file.set_len(0).and_then(|()| self.file.rewind())),
        }
        self.length = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_within_the_bound() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::new(dir.path(), 100).unwrap();
        for n in 0..1000 {
            log.write(format!("line {n}\n").as_bytes());
            for path in paths(dir.path()) {
                assert!(fs::metadata(path).map_or(0, |file| file.len()) <= 100);
            }
        }
        let [older, current] = paths(dir.path());
        assert_eq!(tail(&[&older, &current], 3), ["line 997", "line 998", "line 999"]);
        // A write larger than both files leaves its end, and another run nothing of this one.
        log.write(&[b"x".repeat(250), b"end".to_vec()].concat());
        assert!(tail(&[&older, &current], 1)[0].ends_with("xend"));
        Log::new(dir.path(), 100).unwrap();
        assert!(tail(&[&older, &current], 1).is_empty());
    }

    /// Nobody waits for the pipe's end while QEMU lives, and all of it is there when QEMU has ended.
    #[tokio::test]
    async fn what_was_said_last_is_there_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let (mut console, writer) = Console::begin(dir.path()).unwrap();
        let mut qemu = File::from(writer);
        let writer = std::thread::spawn(move || {
            for n in 0..50_000 {
                writeln!(qemu, "said {n}").unwrap();
            }
        });
        let begun = std::time::Instant::now();
        while !writer.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        writer.join().unwrap();
        assert_eq!(console.last(1).await, ["said 49999"]);
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}
