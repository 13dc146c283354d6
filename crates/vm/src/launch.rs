//! Starts processes: any program with nothing of the caller's ([`command`]), and those of a pod's VM through the launcher
//! ([`spawn`]).
//!
//! ```text
//! descriptors   what the caller left open is marked when `isopod` begins ([`close_on_exec`]); what it opens itself is born so
//! environment   empty
//! ```
//!
//! A credential helper is the exception, which is the user's own program and finds its secrets by the user's environment.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt as _, FdMapping};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::process::Child;

pub use crate::command::command;
use crate::launcher::{Launcher, sys};

/// How long a process of an earlier run may take to end after its supervisor was killed: the kernel frees a VM's
/// memory before the process is gone.
const ENDING: Duration = Duration::from_secs(30);

/// How long a launcher may take to end when its program has.
const WAITING: Duration = Duration::from_secs(5);

/// The numbers of the descriptors that a program inherits beside its standard streams.
const INHERITED: std::ops::Range<u32> = 900..920;

/// A process's standard streams.
pub struct Streams<'a> {
    /// What it inherits beside them, by the descriptors' numbers, which the plan has in the program's arguments.
    pub inherited: Vec<(OwnedFd, i32)>,
    /// Its standard input; it has none otherwise.
    pub stdin: Option<OwnedFd>,
    /// Its standard output; it cannot write to it otherwise.
    pub stdout: Option<OwnedFd>,
    pub stderr: OwnedFd,
    /// The file in the pod directory whose lock it holds until it has died; empty.
    pub lock: &'a str,
}

/// Keeps every descriptor above standard error that is open now from the programs that this process executes: whoever called
/// `isopod` may have left some open, a directory of the host or another pod's socket, which no process of a pod is to have.
/// They stay open here: `/dev/fd/63` may be a file that an argument names.
///
/// # Errors
/// That of close_range(2), which Linux has since 5.9, and this use of it since 5.11.
pub fn close_on_exec() -> io::Result<()> {
    sys::close_on_exec(3..=u32::MAX)
}

/// The same in a launcher, but for the descriptors that it was given for its program ([`Streams::inherited`]).
///
/// # Errors
/// As those of [`close_on_exec`].
pub fn close_on_exec_in_launcher() -> io::Result<()> {
    sys::close_on_exec(3..=INHERITED.start - 1)?;
    sys::close_on_exec(INHERITED.end..=u32::MAX)
}

/// Starts `launcher` in the pod directory `dir`.
/// The process has a process group of its own: a terminal's Ctrl-C is for the supervisor to act on.
///
/// It dies with the thread that calls this, which must therefore live as long as the pod. It holds a lock until it has died, by way of a standard
/// stream that is free (so at least one of standard input and output must be), so that no second one begins beside it, on the same disks: one that is still ending is waited for.
///
/// # Errors
/// What creating the lock or the process failed with.
pub fn spawn(isopod: &Path, launcher: &Launcher, dir: &Path, streams: Streams<'_>) -> io::Result<Child> {
    let lock = open_lock(&dir.join(streams.lock), ENDING)?;
    let or_lock = |stream: Option<OwnedFd>| match stream {
        Some(stream) => Ok(Stdio::from(stream)),
        None => lock.try_clone().map(Stdio::from),
    };
    let is_kept = |number: i32| u32::try_from(number).is_ok_and(|number| INHERITED.contains(&number));
    if let Some((_, number)) = streams.inherited.iter().find(|(_, number)| !is_kept(*number)) {
        return Err(io::Error::other(format!(
            "no program keeps a descriptor of number {number}"
        )));
    }
    let mappings = streams
        .inherited
        .into_iter()
        .map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd });
    let mut child = command(isopod);
    child.fd_mappings(mappings.collect()).map_err(io::Error::other)?;
    tokio::process::Command::from(child)
        .args(launcher.argv())
        .current_dir(dir)
        .stdin(or_lock(streams.stdin)?)
        .stdout(or_lock(streams.stdout)?)
        .stderr(streams.stderr)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Ends what [`spawn`] started, and waits for it. Where the program is a child of the launcher's, that is killed: the launcher ends with
/// it, and nobody else has to wait for it.
///
/// # Errors
/// What killing it or waiting for it failed with.
pub async fn end(child: &mut Child) -> io::Result<()> {
    if let Some(launcher) = child.id()
        && kill_program(launcher).is_some()
        && let Ok(ended) = tokio::time::timeout(WAITING, child.wait()).await
    {
        return ended.map(drop);
    }
    child.kill().await
}

/// Kills the child of a launcher, where it has one.
fn kill_program(launcher: u32) -> Option<()> {
    let program = program_of(launcher)?;
    let handle = pidfd_open(program, PidfdFlags::empty()).ok()?;
    // Still its child, and so no other process of the same number.
    (program_of(launcher) == Some(program)).then_some(())?;
    pidfd_send_signal(handle, Signal::KILL).ok()
}

/// The child of a launcher (proc_pid_task(5)).
fn program_of(launcher: u32) -> Option<Pid> {
    let children = std::fs::read_to_string(format!("/proc/{launcher}/task/{launcher}/children")).ok()?;
    Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
}

/// Waits until no process holds that lock any more ([`spawn`]), whose processes have ended then, and their memory is free.
///
/// # Errors
/// What opening it failed with, or that it lasts too long.
pub fn await_end(path: &Path) -> io::Result<()> {
    match File::open(path) {
        Ok(lock) => take(&lock, ENDING),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Opens a lock and takes it: nothing can be written to it, and nothing is read from it.
fn open_lock(path: &Path, patience: Duration) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // std asks for writing where a file is to be made.
    let create = rustix::fs::OFlags::CREATE.bits().cast_signed();
    let lock = options.read(true).custom_flags(create).mode(0o600).open(path)?;
    take(&lock, patience)?;
    Ok(lock)
}

fn take(lock: &File, patience: Duration) -> io::Result<()> {
    let begun = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
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
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of what this process has, a program that it starts gets its standard streams.
    #[test]
    fn a_process_gets_no_variable_and_no_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let handle = File::open(dir.path()).unwrap();
        rustix::io::fcntl_setfd(&handle, rustix::io::FdFlags::empty()).unwrap();
        close_on_exec().unwrap();
        let output = command(Path::new("/bin/sh"))
            .args(["-c", "ls -l /proc/self/fd; tr '\\0' ' ' < /proc/self/environ"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(!said.contains(&*dir.path().to_string_lossy()), "{said}");
        // What a shell adds itself.
        assert!(!said.contains("PATH=") && !said.contains("HOME="), "{said}");
        assert!(handle.metadata().unwrap().is_dir(), "it stays open here");
    }

    /// A child that holds the lock as its standard input keeps the next one from beginning, until it has ended.
    #[test]
    fn a_process_that_runs_keeps_its_lock() {
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
