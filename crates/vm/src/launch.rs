//! Spawns a process of the machine through the stage.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};

use crate::stage::Stage;

/// How long a process of an earlier run may take to end after its supervisor was killed: the kernel frees a machine's
/// memory before the process is gone.
const ENDING: Duration = Duration::from_secs(30);

/// A process's standard streams.
pub struct Streams<'a> {
    /// Its standard input; it has none otherwise.
    pub stdin: Option<OwnedFd>,
    /// Its standard output; it cannot write to it otherwise.
    pub stdout: Option<OwnedFd>,
    /// Its standard error.
    pub stderr: OwnedFd,
    /// The file in the pod directory whose lock it holds until it has died; empty.
    pub lock: &'a str,
}

/// Starts `stage` in the pod directory `dir`.
/// The process has a process group of its own: a terminal's Ctrl-C is for the supervisor to act on.
///
/// It dies with the thread that calls this, which must therefore live as long as the pod. It holds a lock until it has died, by way of a standard
/// stream that is free (so at least one of standard input and output must be), so that no second one begins beside it, on the same disks: one that is still ending is waited for.
///
/// # Errors
/// What creating the lock or the process failed with.
pub fn spawn(isopod: &Path, stage: &Stage, dir: &Path, streams: Streams<'_>) -> io::Result<Child> {
    let lock = open_lock(&dir.join(streams.lock), ENDING)?;
    let or_lock = |stream: Option<OwnedFd>| match stream {
        Some(stream) => Ok(Stdio::from(stream)),
        None => lock.try_clone().map(Stdio::from),
    };
    Command::new(isopod)
        .args(stage.argv())
        .current_dir(dir)
        .stdin(or_lock(streams.stdin)?)
        .stdout(or_lock(streams.stdout)?)
        .stderr(streams.stderr)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Opens a lock and takes it: nothing can be written to it, and nothing is read from it.
fn open_lock(path: &Path, patience: Duration) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // std asks for writing where a file is to be made.
    let create = rustix::fs::OFlags::CREATE.bits().cast_signed();
    let lock = options.read(true).custom_flags(create).mode(0o600).open(path)?;
    let begun = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if begun.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    "its process of an earlier run has not ended yet",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A child that holds the lock as its standard input keeps the next one from beginning, until it has ended.
    #[test]
    fn a_process_that_lives_keeps_its_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qemu.lock");
        let lock = open_lock(&path, Duration::ZERO).unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .stdin(lock)
            .spawn()
            .unwrap();
        let busy = open_lock(&path, Duration::from_millis(50)).unwrap_err();
        assert_eq!(busy.kind(), io::ErrorKind::ResourceBusy);
        child.kill().unwrap();
        child.wait().unwrap();
        open_lock(&path, ENDING).unwrap();
    }
}
