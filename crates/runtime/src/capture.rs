//! What the processes of a VM say, the guest's kernel and systemd among them: from their standard streams into files
//! of a bounded size.
//!
//! ```text
//! guest ── serial port ──> QEMU ── standard output ──> pipe ──> this ──> console.log  (crate::bounded_log)
//!                          QEMU ── standard error ───> pipe ──> this ──> qemu.log
//!                     virtiofsd ── standard error ───> pipe ──> this ──> virtiofsd.log
//!                         passt ── standard error ───> pipe ──> this ──> passt.log
//! ```
//!
//! A guest may write to its console without end, and may make QEMU and virtiofsd complain without end: what was said last is
//! kept. QEMU waits for no room in the console's pipe: while nobody reads, the guest's serial port is slow and then loses
//! what is written to it, and the guest continues.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

use crate::bounded_log::{self, BoundedLog};
use crate::tail::tail;

/// What is read at a time.
const READ_BYTES: usize = 16 * 1024;

/// How long the rest may take that is in the pipe when its process has ended.
const DRAIN: Duration = Duration::from_secs(1);

/// What a stream of a process takes to a log.
pub(crate) struct Capture {
    /// The log's two files.
    paths: [PathBuf; 2],
    reader: JoinHandle<()>,
}

impl Capture {
    /// Makes the log `name` in the pod directory `dir`, in place of an earlier run's, and gives what is to be the
    /// process's stream.
    ///
    /// # Errors
    /// What making the pipe or the file failed with.
    pub(crate) fn begin(dir: &Path, name: &str) -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = io::pipe()?;
        let reader = pipe::Receiver::from_owned_fd(reader.into())?;
        let log = BoundedLog::new(dir, name)?;
        let reader = tokio::spawn(copy(reader, log));
        let paths = bounded_log::paths(dir, name);
        Ok((Self { paths, reader }, writer.into()))
    }

    /// The last `count` lines; when the process has ended, of all that was said.
    pub(crate) async fn last(&mut self, count: usize) -> Vec<String> {
        if !self.reader.is_finished() {
            let _ = tokio::time::timeout(DRAIN, &mut self.reader).await;
        }
        let [older, current] = &self.paths;
        tail(&[older, current], count)
    }
}

async fn copy(mut from: pipe::Receiver, mut log: BoundedLog) {
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        log.write(&buffer[..n]);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;

    use super::*;

    /// Nobody waits for the pipe's end while QEMU lives, and all of it is there when QEMU has ended.
    #[tokio::test]
    async fn what_was_said_last_is_there_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let (mut console, writer) = Capture::begin(dir.path(), "console.log").unwrap();
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
