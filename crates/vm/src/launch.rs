//! Spawns a process of the machine through the stage.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::stage::Stage;

/// Starts `stage` in the pod directory `dir`, with `stdin` if it has one and its words going to `log` in that directory.
/// The process has a process group of its own: a terminal's Ctrl-C is for the supervisor to act on.
///
/// It dies with the thread that calls this, which must therefore live as long as the pod.
///
/// # Errors
/// What creating the log or the process failed with.
pub fn spawn(
    isopod: &Path,
    stage: &Stage,
    dir: &Path,
    stdin: Option<OwnedFd>,
    log: &str,
) -> io::Result<Child> {
    let log: PathBuf = dir.join(log);
    let mut options = OpenOptions::new();
    let output = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&log)?;
    Command::new(isopod)
        .args(stage.argv())
        .current_dir(dir)
        .stdin(stdin.map_or_else(Stdio::null, Stdio::from))
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}
