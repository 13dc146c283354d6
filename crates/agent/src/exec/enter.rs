//! `enter`: joins the world of a running app and becomes a command there. A fresh process with one thread, because
//! that is what a change of namespaces, root and identity takes. The agent spawns it for each exec and each copy, and for what
//! is read of an app's root ([`root`]), for which it enters nothing.
//!
//! ```text
//!   agent ── socket (standard input) ──> enter      one byte with the file descriptors, then a Job in JSON
//!   agent <─ socket ──────────────────── enter      for a command, 0 and its process's number (4 bytes); then nothing and its
//!                                                   end: it did it; otherwise a Report, also with a warning of what it
//!                                                   did (exit status 0)
//! ```
//!
//! In order: the app's cgroup (so that what runs here ends with the app and is counted with it), its namespaces, its
//! root, and for a command also its processes, the session, the terminal, the working directory, limits, capabilities, user
//! and filter of system calls ([`assume`]). Only a child is among the app's processes (setns(2)): this one says which number
//! the command has in the guest, waits, and ends as the command did. What is written by root, such as a user's name in
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
use std::time::{Duration, Instant};

use isopod_archive::{Keep, LastLink, PackError, UnpackError};
use isopod_contract::exec::{STATUS_FAILED, STATUS_NOT_EXECUTABLE, STATUS_NOT_FOUND};
use isopod_contract::in_one_line;
use isopod_contract::launch::GuestProcess;
use isopod_contract::layout::{LAUNCH_AGENT, LAUNCH_DIR};
use isopod_contract::message::RootPart;
use rustix::fs::{Mode, OFlags, open};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use rustix::process::{
    Pid, PidfdFlags, Signal, chroot, fchdir, ioctl_tiocsctty, pidfd_open, set_parent_process_death_signal,
    setsid, umask,
};
use rustix::stdio;
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
};
use serde::{Deserialize, Serialize};

use crate::process::assume::{self, AssumeError};
use crate::process::processes;

mod mount;
mod root;
mod user;

/// How long an app may take to begin when it has a process, and how often that is looked at.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The most file descriptors that come with a job: standard input, output and error.
const MAX_FDS: usize = 3;

/// What goes between an archive and its pipe in one piece.
const COPY_BYTES: usize = 64 * 1024;

/// What to do, and where.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    /// The app's main process.
    pub(crate) pid: i32,
    /// Its cgroup, as `/proc/PID/cgroup` names it.
    pub(crate) cgroup: String,
    /// How readily the kernel kills what runs here, as it does the app.
    pub(crate) oom_score_adj: i16,
    /// Where its root is mounted in the guest: that is entered in place of its world, so there need be no process.
    #[serde(default)]
    pub(crate) root: Option<String>,
    pub(crate) action: Action,
}

/// What to do in the app's world.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Action {
    /// Becomes a command; the file descriptors are its standard streams.
    Execute(Execute),
    /// Writes the archive of what is at a path to the second file descriptor.
    Pack { path: String, follow_link: bool },
    /// Reads an archive from the first file descriptor and unpacks it at a path.
    Unpack { path: String },
    /// Mounts what is mounted at a place of the guest, as it is there, at a place of the app.
    Mount { from: String, at: String },
    /// Unmounts what is at these places of the app's (bytes of paths), in this order.
    Unmount { places: Vec<Vec<u8>>, lazy: bool },
    /// Writes what is asked for of the root to the second file descriptor.
    Root { part: RootPart },
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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Execute {
    pub(crate) argv: Vec<String>,
    /// Its whole environment.
    pub(crate) env: Vec<(String, String)>,
    /// Who it is and what it may do, as the app.
    pub(crate) process: GuestProcess,
    /// Who it runs as instead, as the caller wrote it.
    pub(crate) user: Option<String>,
    /// Whether it is who [`Self::process`] says although that is not the app's.
    #[serde(default)]
    pub(crate) exactly: bool,
    /// Whether the caller set `HOME`, which is then not taken from the user's entry.
    pub(crate) own_home: bool,
    /// Whether the standard streams are a terminal, to be the session's.
    pub(crate) terminal: bool,
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnterError {
    #[error("cannot read the command")]
    Job(#[source] io::Error),
    #[error("cannot read the command")]
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
    #[error("{0}")]
    Root(String),
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
    /// Reads what came out of the socket but for a command's number; `None` where nothing did.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (&status, text) = bytes.split_first()?;
        Some(Self {
            status,
            text: String::from_utf8_lossy(text).into_owned(),
        })
    }
}

/// The number of a command's process, and the rest of what came out of the socket. What could not begin one is a report
/// alone, whose status is not 0.
pub(crate) fn split_number(bytes: &[u8]) -> (Option<Pid>, &[u8]) {
    match *bytes {
        [0, a, b, c, d, ref rest @ ..] => (Pid::from_raw(i32::from_le_bytes([a, b, c, d])), rest),
        _ => (None, bytes),
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
    let entered = receive(&mut socket).and_then(|(job, fds)| enter(job, fds, &mut socket));
    let mut send_report = |status: u8, text: String| {
        let mut report = vec![status];
        report.extend(text.into_bytes());
        let _ = socket.write_all(&report);
    };
    match entered {
        Ok(Entered::Action(None)) => ExitCode::SUCCESS,
        Ok(Entered::Action(Some(warning))) => {
            send_report(0, warning);
            ExitCode::SUCCESS
        }
        Ok(Entered::Started(child)) => {
            drop(socket);
            // Standard input is the socket, too.
            let left = processes::leave_streams();
            left.and_then(|()| processes::wait_for(child))
                .map_or(ExitCode::FAILURE, processes::end_as)
        }
        Err(error) => {
            send_report(error.status(), in_one_line(&error));
            ExitCode::FAILURE
        }
    }
}

/// What [`enter`] did.
enum Entered {
    /// What was asked for, with a warning of it.
    Action(Option<String>),
    /// A command is on its way.
    Started(Pid),
}

/// Does what came.
fn enter(job: Job, fds: Vec<OwnedFd>, socket: &mut UnixStream) -> Result<Entered, EnterError> {
    if let (Action::Root { part }, Some(root)) = (&job.action, &job.root) {
        return root::write(root, *part, fd(fds, 1)?).map(Entered::Action);
    }
    let tree = match &job.action {
        Action::Mount { from, .. } => Some(mount::copy(from)?),
        _ => None,
    };
    let joined = match &job.root {
        Some(root) => root::enter_at_rest(root).map(|()| None),
        None => join(&job),
    };
    let cgroup = joined.map_err(|error| match error {
        EnterError::Gone if job.action.is_mount() => EnterError::Left,
        other => other,
    })?;
    match job.action {
        Action::Mount { at, .. } => mount::attach(tree, &at)?,
        Action::Unmount { places, lazy } => mount::unmount(&places, lazy)?,
        Action::Execute(execute) => return start(execute, fds, cgroup, socket),
        Action::Root { .. } => {}
        Action::Pack { path, follow_link } => {
            let mut archive = BufWriter::with_capacity(COPY_BYTES, File::from(fd(fds, 1)?));
            let last_link = match follow_link {
                true => LastLink::Followed,
                false => LastLink::Kept,
            };
            let packed = isopod_archive::pack(&in_root(&path), &mut archive, Keep::Everything, last_link)
                .map_err(EnterError::Pack)?;
            step("write the archive", archive.flush())?;
            return match packed.fault() {
                Some(fault) => Err(EnterError::Incomplete(fault)),
                None => Ok(Entered::Action(packed.warning())),
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
    Ok(Entered::Action(None))
}

/// Starts a command: in the child this comes back only with why it could not be executed.
fn start(
    execute: Execute,
    fds: Vec<OwnedFd>,
    cgroup: Option<File>,
    socket: &mut UnixStream,
) -> Result<Entered, EnterError> {
    let (mut named, mut name) = step("begin a process", io::pipe())?;
    // The kernel's word where the app's processes are ending.
    let gone = |error: &io::Error| error.raw_os_error() == Some(libc::ENOMEM);
    let forked = processes::fork();
    if forked.as_ref().is_err_and(gone) {
        return Err(EnterError::Gone);
    }
    if let Some(child) = step("begin a process", forked)? {
        let [a, b, c, d] = child.as_raw_nonzero().get().to_le_bytes();
        step("report the new process", socket.write_all(&[0, a, b, c, d]))?;
        step("begin a process", name.write_all(&[0]))?;
        return Ok(Entered::Started(child));
    }
    drop(name);
    end_with_parent()?;
    // Not before its number is out: whoever ends the parent until then ends this, too.
    step("begin a process", named.read_exact(&mut [0]))?;
    if let Some(mut cgroup) = cgroup {
        step("join the app's cgroup", cgroup.write_all(b"0"))?;
    }
    Err(become_command(execute, &fds)?)
}

/// Has the kernel kill this process when its parent ends, which the agent kills with the client of a command.
fn end_with_parent() -> Result<(), EnterError> {
    let set = set_parent_process_death_signal(Some(Signal::KILL));
    step("end with the parent", set)
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

/// Enters the app's namespaces and root, and its cgroup, but for a command: its process joins that by what is returned.
fn join(job: &Job) -> Result<Option<File>, EnterError> {
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
    let is_command = matches!(job.action, Action::Execute(_));
    let pids = if is_command { Some(pids_of(&proc)?) } else { None };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = open(proc.join("root"), flags, Mode::empty()).map_err(|_| EnterError::Gone)?;
    let metadata = step("look at the app's root", std::fs::metadata(proc.join("root")))?;
    if is_own_root(&metadata)? {
        return Err(EnterError::Gone);
    }
    let procs = match &job.action {
        // A mount is the pod's doing, and not to be counted as the app's.
        action if action.is_mount() => None,
        _ => cgroup_of(job)?,
    };
    let procs = match procs {
        Some(mut procs) if !is_command => {
            step("join the app's cgroup", procs.write_all(b"0"))?;
            None
        }
        procs => procs,
    };
    let mut spaces = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::NETWORK;
    if is_command {
        spaces |= ThreadNameSpaceType::CONTROL_GROUP;
    }
    let joining = "join the app's namespaces";
    step(joining, move_into_thread_name_spaces(process.as_fd(), spaces))?;
    if let Some(pids) = pids {
        let kind = Some(LinkNameSpaceType::ProcessID);
        step(joining, move_into_link_name_space(pids.as_fd(), kind))?;
    }
    step("enter the app's root", fchdir(&root).and_then(|()| chroot(".")))?;
    Ok(procs)
}

/// The namespace of the app's own processes, whose main process is `proc` (of `/proc`), once the app has begun: until then
/// what its main process needs is mounted in its root.
fn pids_of(proc: &Path) -> Result<File, EnterError> {
    let since = Instant::now();
    let root = proc.join("root");
    let launching = root.join(LAUNCH_DIR.trim_start_matches('/')).join(LAUNCH_AGENT);
    loop {
        let metadata = std::fs::metadata(&root).map_err(|_| EnterError::Gone)?;
        if !is_own_root(&metadata)? && !launching.exists() {
            break;
        }
        if since.elapsed() > PATIENCE {
            return Err(EnterError::Gone);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    File::open(proc.join("ns/pid_for_children")).map_err(|_| EnterError::Gone)
}

/// What a process of the app's cgroup is added by; the agent's own protection is taken off.
fn cgroup_of(job: &Job) -> Result<Option<File>, EnterError> {
    // The agent is not to be killed when memory is short; a command is.
    let adjusted = std::fs::write("/proc/self/oom_score_adj", job.oom_score_adj.to_string());
    step("take the agent's protection off", adjusted)?;
    if job.cgroup == "/" {
        return Ok(None);
    }
    let procs = Path::new("/sys/fs/cgroup")
        .join(job.cgroup.trim_start_matches('/'))
        .join("cgroup.procs");
    let opened = File::options().write(true).open(procs);
    step("join the app's cgroup", opened).map(Some)
}

/// Whether it is the agent's root: a process that has it is one that systemd has forked and that has not become the app yet.
fn is_own_root(theirs: &std::fs::Metadata) -> Result<bool, EnterError> {
    let ours = step("look at the root", std::fs::metadata("/"))?;
    Ok((theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino()))
}

/// Executes the command; comes back only with the error.
fn become_command(execute: Execute, fds: &[OwnedFd]) -> Result<EnterError, EnterError> {
    let [stdin, stdout, stderr] = fds else {
        return Err(EnterError::Job(io::ErrorKind::InvalidInput.into()));
    };
    let (identity, home) = match &execute.user {
        None if execute.exactly => {
            let identity = execute.process.identity.clone();
            // Of a number that no user has there is none.
            let home = user::find(&identity.uid.to_string()).ok().map(|(_, home)| home);
            (identity, home)
        }
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
    // A change of the user takes that back.
    end_with_parent()?;
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
