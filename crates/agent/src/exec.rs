//! The agent's side of an exec stream: starts the command through [`enter`](crate::exec::enter), moves its standard streams,
//! carries out the client's requests, and sees to it that a command without a client ends.
//!
//! ```text
//!   client ──> receive ── Stdin ──> queue (a window's worth) ──> feed ──> pipe or terminal
//!               │ Resize, Signal: at once                       └── StdinTaken ──┐
//!               └ the end: kill                  pipe or terminal ── Stdout... ──┴──> send_messages ──> client
//! ```
//!
//! A client that detaches leaves the command to itself, and what it writes then is read and dropped.
//!
//! When the command has ended, what it wrote is sent, and no more is waited for: a process that it left behind continues
//! in the app's cgroup, and nobody reads it.

pub(crate) mod copy;
pub(crate) mod enter;
pub(crate) mod environment;

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus as ProcessStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use isopod_contract::exec::{
    FromCommand, MAX_PIECE_BYTES, STATUS_FAILED, STDIN_WINDOW_BYTES, ToCommand, WindowSize,
};
use isopod_contract::in_one_line;
use isopod_contract::message::ExitStatus;
use isopod_protocol::codec::{read_message, write_message};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::device::Device;
use crate::exec::enter::{Job, Report};
use crate::process::pty;
use streams::{Sink, Source, Streams};

mod streams;

/// Messages to the client that wait for it.
const QUEUE: usize = 4;

/// The longest report of `enter`'s that is read.
const MAX_REPORT_BYTES: u64 = 8 * 1024;

/// How long a command may take to end when its terminal has gone.
const HANGUP_GRACE: Duration = Duration::from_secs(5);

/// What the command's standard streams are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WantedStreams {
    /// A terminal for all three.
    Terminal {
        size: WindowSize,
        /// The device that makes it: of the app's own terminals, so that it has a name there.
        ptmx: PathBuf,
    },
    Pipes {
        /// Whether there is an input.
        stdin: bool,
    },
}

/// Why a command could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("cannot make the command's standard streams")]
    Streams(#[source] io::Error),
    #[error("cannot encode the command")]
    Encode(#[source] serde_json::Error),
    #[error("cannot start a process for the command")]
    Spawn(#[source] io::Error),
    #[error("cannot send the new process its task")]
    Tell(#[source] io::Error),
}

/// Executes what `job` says by way of the agent's program, `agent`, and serves the client until it has ended.
pub(crate) async fn run<S>(stream: S, agent: &Path, job: &Job, wanted: WantedStreams)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (reader, mut writer) = tokio::io::split(stream);
    let started = match start(agent, job, wanted).await {
        // A client that is gone is noticed by whoever reads.
        Ok(started) => match write_message(&mut writer, &FromCommand::Started).await {
            Ok(()) | Err(_) => started,
        },
        Err(Report { status, text }) => return fail(&mut writer, status, text).await,
    };
    converse(reader, writer, started).await;
}

/// Reports to the client that nothing was executed.
pub(crate) async fn fail<W: AsyncWrite + Unpin>(writer: &mut W, status: u8, text: String) {
    let _ = write_message(writer, &FromCommand::Failed { status, text }).await;
    let _ = writer.shutdown().await;
}

/// A command that is executing.
struct Started {
    /// `enter`, which ends as the command does.
    child: Child,
    /// The command's process group.
    group: Option<Pid>,
    streams: Streams,
}

async fn start(agent: &Path, job: &Job, wanted: WantedStreams) -> Result<Started, Report> {
    let failed = |error: StartError| Report {
        status: STATUS_FAILED,
        text: in_one_line(&error),
    };
    let made = Streams::make(wanted).map_err(StartError::Streams);
    let (streams, theirs) = made.map_err(failed)?;
    let mut process = spawn(agent, job, theirs).await.map_err(failed)?;
    match process.report().await {
        None => Ok(Started {
            child: process.child,
            group: process.command,
            streams,
        }),
        Some(report) => {
            let _ = process.child.wait().await;
            Err(report)
        }
    }
}

/// A process of `enter`'s that has its job; killed when this goes.
pub(crate) struct Entering {
    child: Child,
    socket: UnixStream,
    /// Whether it is to start a command.
    is_command: bool,
    /// The command's process, and its process group; known when it is on its way.
    command: Option<Pid>,
}

impl Entering {
    /// Waits until it has done its job (a command: until it is executed) or says why not.
    async fn report(&mut self) -> Option<Report> {
        let mut report = Vec::new();
        let socket = (&mut self.socket).take(MAX_REPORT_BYTES);
        let _ = { socket }.read_to_end(&mut report).await;
        if !self.is_command {
            return Report::parse(&report);
        }
        let (command, rest) = enter::split_number(&report);
        self.command = command;
        Report::parse(rest)
    }

    /// Waits until it has ended; the report of why it could not do its job.
    pub(crate) async fn done(mut self) -> Result<(), Report> {
        let report = self.report().await;
        let status = self.child.wait().await;
        match (report, status) {
            (Some(report), _) => Err(report),
            (None, Ok(status)) if status.success() => Ok(()),
            _ => Err(Report {
                status: STATUS_FAILED,
                text: "the process for it was ended".to_owned(),
            }),
        }
    }

    /// Waits until it has ended; with why it could not do its job, or where it could, a warning.
    pub(crate) async fn ended(mut self) -> (io::Result<ProcessStatus>, Option<String>) {
        let report = self.report().await;
        (self.child.wait().await, report.map(|report| report.text))
    }

    /// Has its whole process group killed when it goes before its end.
    pub(crate) fn in_group(self) -> Leader {
        Leader(self)
    }
}

/// A command that is killed with its process group where it is dropped before it was waited for.
pub(crate) struct Leader(Entering);

impl Leader {
    /// Waits until it is executed, or says why it cannot be.
    pub(crate) async fn refused(&mut self) -> Option<String> {
        self.0.report().await.map(|report| report.text)
    }

    /// Waits until it has ended.
    pub(crate) async fn wait(&mut self) -> io::Result<ProcessStatus> {
        self.0.child.wait().await
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        // Where `enter` was waited for, the command has no number any more.
        let group = self.0.command.filter(|_| self.0.child.id().is_some());
        let _ = group.map(|group| kill_process_group(group, Signal::KILL));
    }
}

/// Spawns `enter` with a job, and the file descriptors that the job needs.
pub(crate) async fn spawn<const N: usize>(
    agent: &Path,
    job: &Job,
    fds: [OwnedFd; N],
) -> Result<Entering, StartError> {
    let is_command = matches!(job.action, enter::Action::Execute(_));
    let job = serde_json::to_vec(job).map_err(StartError::Encode)?;
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(StartError::Spawn)?;
    ours.set_nonblocking(true).map_err(StartError::Spawn)?;
    let mut socket = UnixStream::from_std(ours).map_err(StartError::Spawn)?;
    let child = Command::new(agent)
        .arg("enter")
        .env_clear()
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(StartError::Spawn)?;
    let borrowed: [_; N] = std::array::from_fn(|i| fds[i].as_fd());
    enter::send_fds(socket.as_fd(), &borrowed).map_err(StartError::Tell)?;
    drop(fds);
    // What ends before it has read all says why.
    if socket.write_all(&job).await.is_ok() {
        let _ = socket.shutdown().await;
    }
    Ok(Entering {
        child,
        socket,
        is_command,
        command: None,
    })
}

/// Serves the client until the command has ended or the client has.
async fn converse<R, W>(reader: R, writer: W, started: Started)
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let Started {
        mut child,
        group,
        streams,
    } = started;
    let hangup = streams.master.is_some();
    let (sender, mut messages) = mpsc::channel(QUEUE);
    let (ended_by, end) = watch::channel(false);
    let (queue, queued) = mpsc::unbounded_channel();
    let unread = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    let feeding = tasks.spawn(feed(streams.stdin, queued, unread.clone(), sender.clone()));
    let receiver = ClientReceiver {
        queue: Some(queue),
        unread,
        master: streams.master,
        group,
        end: end.clone(),
    };
    let (gone, client_gone) = oneshot::channel();
    tasks.spawn(async move {
        let _ = gone.send(receiver.run(reader).await);
    });
    let mut outputs = JoinSet::new();
    if let Some(stderr) = streams.stderr {
        outputs.spawn(forward(stderr, FromCommand::Stderr, sender.clone(), end.clone()));
    }
    outputs.spawn(forward(streams.stdout, FromCommand::Stdout, sender, end));

    let running = async {
        let status = child.wait().await;
        ended_by.send_replace(true);
        while outputs.join_next().await.is_some() {}
        // It holds the last sender.
        feeding.abort();
        status
    };
    let ended = tokio::select! {
        ended = async { tokio::join!(running, send_messages(writer, &mut messages)) } => Ok(ended),
        left = client_gone => Err(left.unwrap_or(Left::Gone)),
    };
    if ended.as_ref().is_err_and(|left| *left == Left::Detached) {
        // Not among the host's streams any more.
        tokio::spawn(go_on(child, ended_by, messages, (tasks, outputs)));
        return;
    }
    // Closes the terminal and the pipes.
    drop((tasks, outputs));
    match ended {
        Ok((status, Some(mut writer))) => {
            let status = status.map_or(ExitStatus::Code(STATUS_FAILED.into()), exit_status);
            let _ = write_message(&mut writer, &FromCommand::Exited(status)).await;
            let _ = writer.shutdown().await;
        }
        Ok((_, None)) => {}
        Err(_) => end_command(&mut child, group, hangup).await,
    }
}

/// How a client left before the command's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// Its stream has ended, or it said what it must not.
    Gone,
    /// It said that the command is to continue without it.
    Detached,
}

/// Lets a command continue whose client detached: what it writes is read, so that it can, and goes nowhere.
async fn go_on(
    mut child: Child,
    ended: watch::Sender<bool>,
    mut messages: mpsc::Receiver<FromCommand>,
    tasks: (JoinSet<()>, JoinSet<()>),
) {
    let closed = async { while messages.recv().await.is_some() {} };
    tokio::select! {
        _ = child.wait() => {}
        // All of its streams have ended, and it may not have.
        () = closed => drop(child.wait().await),
    }
    ended.send_replace(true);
    drop(tasks);
}

/// Writes messages until nobody has one; gives the stream back where it still works.
async fn send_messages<W: AsyncWrite + Unpin>(
    mut writer: W,
    messages: &mut mpsc::Receiver<FromCommand>,
) -> Option<W> {
    while let Some(message) = messages.recv().await {
        // A stream that does not work ends for the receiving side, too.
        write_message(&mut writer, &message).await.ok()?;
    }
    Some(writer)
}

/// Receives from the client.
struct ClientReceiver {
    /// Where input goes, until its end.
    queue: Option<mpsc::UnboundedSender<Vec<u8>>>,
    /// The bytes in the queue.
    unread: Arc<AtomicUsize>,
    master: Option<Device>,
    group: Option<Pid>,
    end: watch::Receiver<bool>,
}

impl ClientReceiver {
    /// Receives from the client until it leaves.
    async fn run<R: AsyncRead + Unpin>(mut self, mut reader: R) -> Left {
        while let Ok(Some(message)) = read_message(&mut reader).await {
            match message {
                ToCommand::Stdin(bytes) => {
                    let unread = self.unread.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
                    if unread > STDIN_WINDOW_BYTES {
                        return Left::Gone;
                    }
                    if let Some(queue) = &self.queue {
                        let _ = queue.send(bytes);
                    }
                }
                ToCommand::StdinEnd => self.queue = None,
                ToCommand::Resize(size) => {
                    if let Some(master) = &self.master {
                        let _ = pty::resize(master.file(), size);
                    }
                }
                // After its end the number may be another's.
                ToCommand::Signal(signal) if !*self.end.borrow() => send_signal(self.group, signal),
                ToCommand::Signal(_) => {}
                ToCommand::Detach => return Left::Detached,
            }
        }
        Left::Gone
    }
}

/// Sends a signal to the command and its children, as a terminal would; a number that is no signal goes to nobody.
fn send_signal(group: Option<Pid>, signal: u8) {
    if let (Some(group), Some(signal)) = (group, Signal::from_named_raw(signal.into())) {
        let _ = kill_process_group(group, signal);
    }
}

/// Gives the command its input, and reports how much of it was read; what nobody reads is dropped.
async fn feed(
    mut stdin: Option<Sink>,
    mut queued: mpsc::UnboundedReceiver<Vec<u8>>,
    unread: Arc<AtomicUsize>,
    sender: mpsc::Sender<FromCommand>,
) {
    while let Some(bytes) = queued.recv().await {
        if let Some(pipe) = &mut stdin
            && pipe.write_all(&bytes).await.is_err()
        {
            stdin = None;
        }
        unread.fetch_sub(bytes.len(), Ordering::Relaxed);
        let taken = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if sender.send(FromCommand::StdinTaken(taken)).await.is_err() {
            return;
        }
    }
}

/// Sends what comes out of `source` until its end, or until the command has ended and there is no more.
async fn forward(
    mut source: Source,
    message: fn(Vec<u8>) -> FromCommand,
    sender: mpsc::Sender<FromCommand>,
    mut end: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; MAX_PIECE_BYTES];
    loop {
        let read = tokio::select! {
            read = source.read(&mut buffer) => read,
            _ = end.wait_for(|ended| *ended) => break,
        };
        match read {
            Ok(n @ 1..) if sender.send(message(buffer[..n].to_vec())).await.is_ok() => {}
            _ => return,
        }
    }
    while let Some(n) = source.rest(&mut buffer).await {
        if sender.send(message(buffer[..n].to_vec())).await.is_err() {
            return;
        }
    }
}

fn exit_status(status: ProcessStatus) -> ExitStatus {
    match status.signal() {
        Some(signal) => ExitStatus::Signal {
            signal,
            core: status.core_dumped(),
        },
        None => ExitStatus::Code(status.code().unwrap_or_default()),
    }
}

/// Ends a command that has no client any more, and waits until it has ended: as a terminal that hangs up, or at once.
async fn end_command(child: &mut Child, group: Option<Pid>, hangup: bool) {
    if hangup {
        for signal in [Signal::HUP, Signal::CONT] {
            let _ = group.map(|group| kill_process_group(group, signal));
        }
        if timeout(HANGUP_GRACE, child.wait()).await.is_ok() {
            return;
        }
    }
    let _ = group.map(|group| kill_process_group(group, Signal::KILL));
    let _ = child.wait().await;
}

#[cfg(test)]
mod tests;
