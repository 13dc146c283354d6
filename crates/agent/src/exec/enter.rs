//! `enter`: joins the world of a running app and becomes a command there. A fresh process with one thread, because
//! that is what a change of namespaces, root and identity takes. The agent spawns it for each exec and each copy.
//!
//! ```text
//!   agent ── socket (standard input) ──> enter      one byte with the file descriptors, then a Job in JSON
//!   agent <─ socket ──────────────────── enter      nothing and its end: it did it; otherwise a Report, also with a
//!                                                   warning of what it did (exit status 0)
//! ```
//!
//! In order: the app's cgroup (so that what runs here ends with the app and is counted with it), its namespaces, its
//! root, and for a command also the session, the terminal, the working directory, limits, capabilities, user and filter
//! of system calls ([`assume`]). What is written by root, such as a user's name in
//! the app's database, is looked up inside of the app's root, so that no link leads out of it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use isopod_archive::{Keep, PackError, UnpackError};
use isopod_contract::exec::{STATUS_FAILED, STATUS_NOT_EXECUTABLE, STATUS_NOT_FOUND};
use isopod_contract::in_one_line;
use isopod_contract::launch::GuestProcess;
use rustix::fs::{Mode, OFlags, open};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Pid, PidfdFlags, chroot, fchdir, ioctl_tiocsctty, pidfd_open, setsid, umask};
use rustix::stdio;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use serde::{Deserialize, Serialize};

use crate::apps::assume::{self, AssumeError};

mod mount;
mod user;

/// The most file descriptors that come with a job: standard input, output and error.
const MAX_FDS: usize = 3;

/// What goes between an archive and its pipe in one piece.
const COPY_BYTES: usize = 64 * 1024;

/// What to do, and where.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    /// The app's main process.
    pub(crate) pid: i32,
    /// Its cgroup, as `/proc/PID/cgroup` names it.
    pub(crate) cgroup: String,
    /// How gladly the kernel kills what runs here, as it does the app.
    pub(crate) oom_score_adj: i16,
    pub(crate) action: Action,
}

/// What to do in the app's world.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Action {
    /// Becomes a command; the file descriptors are its standard streams.
    Execute(Execute),
    /// Writes the archive of what is at a path to the second file descriptor.
    Pack { path: String },
    /// Reads an archive from the first file descriptor and unpacks it at a path.
    Unpack { path: String },
    /// Mounts what is mounted at a place of the guest, as it is there, at a place of the app.
    Mount { from: String, at: String },
    /// Unmounts what is at these places of the app's (bytes of paths), in this order.
    Unmount { places: Vec<Vec<u8>>, lazy: bool },
}

impl Action {
    fn is_mount(&self) -> bool {
        matches!(self, Action::Mount { .. } | Action::Unmount { .. })
    }
}

/// An app's process.
pub(crate) struct Target {
    /// The app's main process.
    pub(crate) pid: i32,
    /// Its cgroup, as `/proc/PID/cgroup` names it.
    pub(crate) cgroup: String,
}

/// What `enter` answers where nothing was mounted or unmounted since the app's process has ended.
pub(crate) const STATUS_GONE: u8 = 3;
/// What it answers where something is in use that was to be unmounted.
pub(crate) const STATUS_BUSY: u8 = 16;

/// A command.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Execute {
    pub(crate) argv: Vec<String>,
    /// Its whole environment.
    pub(crate) env: Vec<(String, String)>,
    /// Who it is and what it may do, as the app.
    pub(crate) process: GuestProcess,
    /// Who it runs as instead, as the caller wrote it.
    pub(crate) user: Option<String>,
    /// Whether the caller set `HOME`, which is then not taken from the user's entry.
    pub(crate) own_home: bool,
    /// Whether the standard streams are a terminal, to be the session's.
    pub(crate) terminal: bool,
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnterError {
    #[error("cannot read what to do")]
    Job(#[source] io::Error),
    #[error("cannot read what to do")]
    Parse(#[source] serde_json::Error),
    #[error("the app is not running")]
    Gone,
    #[error("cannot {step}")]
    Step {
        step: &'static str,
        #[source]
        source: io::Error,
    },
    /// Likewise, where another may be in its place.
    #[error("the app is not running")]
    Left,
    #[error("it is in use")]
    Busy,
    #[error("{0}")]
    User(String),
    #[error("there is no program to execute")]
    NoProgram,
    #[error(transparent)]
    Assume(AssumeError),
    #[error(transparent)]
    Pack(PackError),
    #[error("{0}")]
    Incomplete(String),
    #[error(transparent)]
    Unpack(UnpackError),
    #[error("cannot start in `{}`", .dir.escape_debug())]
    WorkingDir {
        dir: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot execute `{}`", .program.escape_debug())]
    Execute {
        program: String,
        #[source]
        source: io::Error,
    },
}

impl EnterError {
    /// What a shell would exit with.
    fn status(&self) -> u8 {
        match self {
            Self::Execute { source, .. } if source.kind() == io::ErrorKind::NotFound => STATUS_NOT_FOUND,
            Self::Execute { .. } | Self::WorkingDir { .. } | Self::User(_) => STATUS_NOT_EXECUTABLE,
            Self::Busy => STATUS_BUSY,
            Self::Left => STATUS_GONE,
            _ => STATUS_FAILED,
        }
    }
}

/// What `enter` answers when it could not.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// What a shell would exit with.
    pub(crate) status: u8,
    pub(crate) text: String,
}

impl Report {
    /// Reads what came out of the socket; `None` where nothing did.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (&status, text) = bytes.split_first()?;
        Some(Self {
            status,
            text: String::from_utf8_lossy(text).into_owned(),
        })
    }
}

/// Sends the first byte of a job, with the file descriptors; the JSON is the caller's to send.
pub(crate) fn send_fds(socket: BorrowedFd<'_>, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(socket, &[IoSlice::new(&[1])], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Does what standard input says; comes back only when it is done or has failed.
pub(crate) fn run() -> ExitCode {
    // The number 0 is the command's, and the socket's end must end with the command's beginning.
    let Ok(socket) = rustix::io::fcntl_dupfd_cloexec(stdio::stdin(), 3) else {
        return ExitCode::FAILURE;
    };
    let mut socket = UnixStream::from(socket);
    let entered = enter(&mut socket);
    let mut tell = |status: u8, text: String| {
        let mut report = vec![status];
        report.extend(text.into_bytes());
        let _ = socket.write_all(&report);
    };
    match entered {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(warning)) => {
            tell(0, warning);
            ExitCode::SUCCESS
        }
        Err(error) => {
            tell(error.status(), in_one_line(&error));
            ExitCode::FAILURE
        }
    }
}

/// Does what comes; with a warning of what it did.
fn enter(socket: &mut UnixStream) -> Result<Option<String>, EnterError> {
    let (job, fds) = receive(socket)?;
    let tree = match &job.action {
        Action::Mount { from, .. } => Some(mount::copy(from)?),
        _ => None,
    };
    join(&job).map_err(|error| match error {
        EnterError::Gone if job.action.is_mount() => EnterError::Left,
        other => other,
    })?;
    match job.action {
        Action::Mount { at, .. } => mount::attach(tree, &at)?,
        Action::Unmount { places, lazy } => mount::unmount(&places, lazy)?,
        Action::Execute(execute) => return Err(become_command(execute, &fds)?),
        Action::Pack { path } => {
            let mut archive = BufWriter::with_capacity(COPY_BYTES, File::from(fd(fds, 1)?));
            let packed = isopod_archive::pack(&in_root(&path), &mut archive, Keep::Everything)
                .map_err(EnterError::Pack)?;
            step("write the archive", archive.flush())?;
            return match packed.fault() {
                Some(fault) => Err(EnterError::Incomplete(fault)),
                None => Ok(packed.warning()),
            };
        }
        Action::Unpack { path } => {
            let mut archive = BufReader::with_capacity(COPY_BYTES, File::from(fd(fds, 0)?));
            isopod_archive::unpack(&in_root(&path), &mut archive, Keep::Everything, None)
                .map_err(EnterError::Unpack)?;
            // What pads an archive is not read, and whoever writes it is not to fail.
            step(
                "read the archive",
                io::copy(&mut archive, &mut io::sink()).map(drop),
            )?;
        }
    }
    Ok(None)
}

/// A path of the app, from its root.
fn in_root(path: &str) -> PathBuf {
    Path::new("/").join(path)
}

/// The file descriptor of that number among those of the job.
fn fd(fds: Vec<OwnedFd>, number: usize) -> Result<OwnedFd, EnterError> {
    let missing = || EnterError::Job(io::ErrorKind::InvalidInput.into());
    fds.into_iter().nth(number).ok_or_else(missing)
}

fn receive(socket: &mut UnixStream) -> Result<(Job, Vec<OwnedFd>), EnterError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(
        &*socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )
    .map_err(|errno| EnterError::Job(errno.into()))?;
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    let mut text = Vec::new();
    socket.read_to_end(&mut text).map_err(EnterError::Job)?;
    Ok((serde_json::from_slice(&text).map_err(EnterError::Parse)?, fds))
}

fn step<T>(step: &'static str, result: Result<T, impl Into<io::Error>>) -> Result<T, EnterError> {
    result.map_err(|source| EnterError::Step {
        step,
        source: source.into(),
    })
}

/// Enters the app's cgroup, namespaces and root.
fn join(job: &Job) -> Result<(), EnterError> {
    let pid = Pid::from_raw(job.pid).ok_or(EnterError::Gone)?;
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| EnterError::Gone)?;
    // From here on the number is this process's, and no other's; whether it is the app's, its cgroup says.
    let proc = Path::new("/proc").join(job.pid.to_string());
    let cgroup = std::fs::read_to_string(proc.join("cgroup")).map_err(|_| EnterError::Gone)?;
    if !cgroup
        .lines()
        .any(|line| line.strip_prefix("0::") == Some(&job.cgroup))
    {
        return Err(EnterError::Gone);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = open(proc.join("root"), flags, Mode::empty()).map_err(|_| EnterError::Gone)?;
    refuse_own_root(&root)?;
    // A mount is the pod's doing, and not to be counted as the app's.
    if !job.action.is_mount() {
        join_cgroup(job)?;
    }
    let spaces = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::NETWORK;
    step(
        "join the app's namespaces",
        move_into_thread_name_spaces(process.as_fd(), spaces),
    )?;
    step("enter the app's root", fchdir(&root).and_then(|()| chroot(".")))
}

/// Enters the app's cgroup, without the agent's own protection.
fn join_cgroup(job: &Job) -> Result<(), EnterError> {
    if job.cgroup != "/" {
        let procs = Path::new("/sys/fs/cgroup")
            .join(job.cgroup.trim_start_matches('/'))
            .join("cgroup.procs");
        step("join the app's cgroup", std::fs::write(procs, "0"))?;
    }
    // The agent is not to be killed when memory is short; a command is.
    let adjusted = std::fs::write("/proc/self/oom_score_adj", job.oom_score_adj.to_string());
    step("take the agent's protection off", adjusted)
}

/// A process that has the agent's root is one that systemd has forked and that has not become the app yet.
fn refuse_own_root(root: &OwnedFd) -> Result<(), EnterError> {
    let theirs = step("look at the app's root", rustix::fs::fstat(root))?;
    let ours = step("look at the root", std::fs::metadata("/"))?;
    if (theirs.st_dev, theirs.st_ino) == (ours.dev(), ours.ino()) {
        return Err(EnterError::Gone);
    }
    Ok(())
}

/// Executes the command; comes back only with the error.
fn become_command(execute: Execute, fds: &[OwnedFd]) -> Result<EnterError, EnterError> {
    let [stdin, stdout, stderr] = fds else {
        return Err(EnterError::Job(io::ErrorKind::InvalidInput.into()));
    };
    let (identity, home) = match &execute.user {
        None => (execute.process.identity.clone(), None),
        Some(user) => {
            let (identity, home) = user::find(user).map_err(EnterError::User)?;
            (identity, Some(home))
        }
    };
    step("begin a session", setsid())?;
    if execute.terminal {
        step("take the terminal", ioctl_tiocsctty(stdin))?;
    }
    for fd in fds.iter().filter(|_| assume::is_id(identity.uid)) {
        // So that the command may open /dev/stdout again, whoever it is. What is no pipe or terminal of ours keeps
        // its owner.
        let _ = rustix::fs::fchown(fd, Some(rustix::process::Uid::from_raw(identity.uid)), None);
    }
    let process = &execute.process;
    // As root, who may enter more; where root may not, the user perhaps may.
    let entered = std::env::set_current_dir(&process.working_dir);
    umask(Mode::from_raw_mode(0o022));
    assume::assume(process, &identity).map_err(EnterError::Assume)?;
    entered
        .or_else(|_| std::env::set_current_dir(&process.working_dir))
        .map_err(|source| EnterError::WorkingDir {
            dir: process.working_dir.clone(),
            source,
        })?;
    let streams = stdio::dup2_stdin(stdin)
        .and_then(|()| stdio::dup2_stdout(stdout))
        .and_then(|()| stdio::dup2_stderr(stderr));
    step("take the standard streams", streams)?;

    let Some((program, args)) = execute.argv.split_first() else {
        return Err(EnterError::NoProgram);
    };
    let mut command = Command::new(program);
    command.args(args).env_clear().envs(execute.env);
    if let Some(home) = home.filter(|_| !execute.own_home) {
        command.env("HOME", OsString::from(home));
    }
    if let Some(syscalls) = &process.syscalls {
        assume::confine(syscalls).map_err(EnterError::Assume)?;
    }
    Ok(EnterError::Execute {
        program: program.clone(),
        source: command.exec(),
    })
}
