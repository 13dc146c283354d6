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
    /// Its standard output; otherwise that is the log.
    pub stdout: Option<OwnedFd>,
    /// The file in the pod directory that takes its standard error.
    pub log: &'a str,
}

/// Starts `stage` in the pod directory `dir`.
/// The process has a process group of its own: a terminal's Ctrl-C is for the supervisor to act on.
///
/// It dies with the thread that calls this, which must therefore live as long as the pod. It holds the lock of its log
/// until it has died, so that no second one begins beside it, on the same disks: one that is still ending is waited for.
///
/// # Errors
/// What creating the log or the process failed with.
pub fn spawn(isopod: &Path, stage: &Stage, dir: &Path, streams: Streams<'_>) -> io::Result<Child> {
    let log = open_log(&dir.join(streams.log), ENDING)?;
    let stdout = match streams.stdout {
        Some(stdout) => Stdio::from(stdout),
        None => log.try_clone()?.into(),
    };
    Command::new(isopod)
        .args(stage.argv())
        .current_dir(dir)
        .stdin(streams.stdin.map_or_else(Stdio::null, Stdio::from))
        .stdout(stdout)
        .stderr(log)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Opens a log, locked and empty.
fn open_log(path: &Path, patience: Duration) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let log = options
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    let begun = Instant::now();
    loop {
        match log.try_lock() {
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
    log.set_len(0)?;
    Ok(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A child that holds the log as its standard error keeps the next one from beginning, until it has ended.
    #[test]
    fn a_process_that_lives_keeps_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qemu.log");
        let log = open_log(&path, Duration::ZERO).unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .stderr(log)
            .spawn()
            .unwrap();
        let busy = open_log(&path, Duration::from_millis(50)).unwrap_err();
        assert_eq!(busy.kind(), io::ErrorKind::ResourceBusy);
        child.kill().unwrap();
        child.wait().unwrap();
        open_log(&path, ENDING).unwrap();
    }
}
