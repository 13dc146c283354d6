//! A pod in the foreground whose app has a terminal, connected with the caller's, or which continues when this command is ended
//! (`--sig-proxy=false`). Its supervisor is a process of its own, as in the background.
//!
//! ```text
//! isopod run -it ── spawns ──> isopod internal-supervise UUID
//!      │ <── [`Said`]: datagrams ──  standard output: a socket for as long as somebody reads it
//!      │ ── what is typed, sizes ──> control.sock
//!      └ ends with the supervisor, and its exit status, or before it
//! ```
//!
//! What the app writes goes from datagram to datagram, as fast as it is printed; when this command has gone, to the log alone.

use std::io::{self, IsTerminal as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram as Socket;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{ExitCode, Stdio};
use std::task::{Context, Poll, ready};

use isopod_runtime::Settings;
use isopod_runtime::control;
use isopod_runtime::pods::files::{PodRecord, Stdin};
use isopod_runtime::pods::{Claim, Pods};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_type;
use rustix::process::{Pid, kill_process};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixDatagram;
use tokio::process::Child;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::args::Outputs;
use crate::detach_keys::DetachKeys;
use crate::failure::Failure;
use crate::output::{self, Report};
use crate::supervisor;
use crate::terminal::{Raw, TypingEnd, follow_size, type_to};

/// The most bytes of output in one datagram.
const PIECE_BYTES: usize = 32 * 1024;

/// How many seconds a message waits for room.
const TRIES: u32 = 5;

/// What a supervisor sends to the command that is connected with it: the first byte of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum MessageKind {
    /// What the apps wrote to standard output follows, or to a terminal.
    Output = b'o',
    /// What the apps wrote to standard error follows.
    Error = b'e',
    /// The app has started, or a text says why not.
    Started = b's',
    /// A text for the user follows, as it is printed.
    Remark = b'r',
}

impl MessageKind {
    fn of(byte: u8) -> Option<Self> {
        [Self::Output, Self::Error, Self::Started, Self::Remark]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }

    /// Sends such a message, whoever receives it.
    pub(crate) fn send(self, socket: &Socket, text: &str) {
        let mut message = vec![self as u8];
        message.extend(text.bytes().take(PIECE_BYTES));
        for _ in 0..TRIES {
            match socket.send(&message) {
                // There is no room for it, which whoever reads makes at once.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let second = Timespec {
                        tv_sec: 1,
                        tv_nsec: 0,
                    };
                    let _ = poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&second));
                }
                _ => return,
            }
        }
    }
}

/// The supervisor's end, where its standard output is one.
pub(crate) fn end_of(stdout: &OwnedFd) -> Option<Socket> {
    socket_type(stdout).ok()?;
    stdout.try_clone().ok().map(Socket::from)
}

/// Where an app's output goes: to the command that is connected, and nowhere when it has gone.
pub(crate) struct Sink(Option<UnixDatagram>, MessageKind);

impl Sink {
    /// To whoever holds the other end of `socket`, in messages of that kind.
    pub(crate) fn of(socket: &Socket, kind: MessageKind) -> Self {
        let ours = socket.try_clone().and_then(|ours| {
            ours.set_nonblocking(true)?;
            UnixDatagram::from_std(ours)
        });
        Self(ours.ok(), kind)
    }
}

impl AsyncWrite for Sink {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let piece = &bytes[..bytes.len().min(PIECE_BYTES)];
        if let Some(socket) = &self.0 {
            let message = [&[self.1 as u8], piece].concat();
            if ready!(socket.poll_send(cx, &message)).is_err() {
                self.0 = None;
            }
        }
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// How this command and a pod in the foreground are connected.
pub(crate) struct Connection<'a> {
    /// Which of the apps' outputs are shown.
    pub(crate) outputs: Outputs,
    /// What is typed to end this command alone.
    pub(crate) keys: &'a DetachKeys,
    /// Whether what ends this command ends the pod (`--sig-proxy`).
    pub(crate) sig_proxy: bool,
}

/// Whether that pod is to have a supervisor of its own: its app is to be connected with the caller's terminal, or it is to go on
/// when this command has ended.
pub(crate) fn is_for(record: &PodRecord, connection: &Connection<'_>) -> bool {
    !connection.sig_proxy || types(record)
}

/// Whether what is typed goes to the pod's app.
fn types(record: &PodRecord) -> bool {
    let [app] = &record.apps[..] else { return false };
    app.tty && record.stdin == Stdin::Attached && io::stdin().is_terminal()
}

/// Runs the pod to its end, or until the caller detaches; the exit status is its own.
///
/// # Errors
/// A [`Failure`] when there is no supervisor.
pub(crate) fn run(
    mut claim: Claim,
    connection: &Connection<'_>,
    settings: &Settings,
) -> Result<ExitCode, Failure> {
    let uuid = claim.uuid().to_owned();
    let record = claim.record()?;
    let failed = |e: io::Error| Report::text(format!("cannot start the pod's supervisor: {e}"));
    let (ours, theirs) = Socket::pair().map_err(failed)?;
    ours.set_nonblocking(true).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        let command = supervisor::command(&mut claim, settings, Stdio::from(OwnedFd::from(theirs)))?;
        let child = tokio::process::Command::from(command).spawn().map_err(failed)?;
        // From here on the lock is the supervisor's alone.
        drop(claim);
        let pods = Pods::open(&settings.state_dir)?;
        let path = pods.entry(&uuid).map(|pod| pod.path).unwrap_or_default();
        let connected = Connected {
            path,
            socket: UnixDatagram::from_std(ours).map_err(failed)?,
            child,
            raw: None,
            detached: None,
            keys: connection.keys.clone(),
            outputs: connection.outputs,
            sig_proxy: connection.sig_proxy,
            input: match record.stdin {
                Stdin::Empty => None,
                Stdin::Attached => Some(types(&record)),
            },
            unread: false,
        };
        connected.follow().await
    });
    // A read of the terminal cannot be cancelled, and must not be waited for.
    runtime.shutdown_background();
    result
}

/// This command, connected with a supervisor.
struct Connected {
    path: PathBuf,
    socket: UnixDatagram,
    child: Child,
    /// The terminal, once the app has started.
    raw: Option<Raw>,
    /// Completed when the user detaches.
    detached: Option<oneshot::Receiver<()>>,
    keys: DetachKeys,
    outputs: Outputs,
    sig_proxy: bool,
    /// Whether what its app reads is typed, where it reads something.
    input: Option<bool>,
    /// Whether nobody reads what this command prints any more.
    unread: bool,
}

impl Connected {
    async fn follow(mut self) -> Result<ExitCode, Failure> {
        let mut ends = Ends::new()?;
        let mut message = vec![0; 1 + PIECE_BYTES];
        let status = loop {
            let detached = async {
                match &mut self.detached {
                    Some(detached) => detached.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                received = self.socket.recv(&mut message) => match received {
                    Ok(n) => self.receive(&message[..n]).await?,
                    Err(error) => return Err(Report::text(format!("cannot receive from the pod's supervisor: {error}")).into()),
                },
                left = detached => match left {
                    Ok(()) => return Ok(ExitCode::SUCCESS),
                    Err(_) => self.detached = None,
                },
                number = ends.asked() => match self.sig_proxy {
                    true => self.stop(),
                    false => return Err(left(number)),
                },
                status = self.child.wait() => break status,
            }
        };
        while let Ok(n) = self.socket.try_recv(&mut message) {
            self.receive(&message[..n]).await?;
        }
        let code = status.ok().and_then(|status| status.code());
        let code = code.and_then(|code| u8::try_from(code).ok());
        let code = code.ok_or_else(|| Report::text("the pod's supervisor was killed"))?;
        Ok(ExitCode::from(code))
    }

    async fn receive(&mut self, message: &[u8]) -> Result<(), Report> {
        let Some((kind, text)) = message.split_first() else {
            return Ok(());
        };
        match MessageKind::of(*kind) {
            Some(MessageKind::Output) if self.outputs.stdout => self.write(tokio::io::stdout(), text).await?,
            Some(MessageKind::Error) if self.outputs.stderr => self.write(tokio::io::stderr(), text).await?,
            Some(MessageKind::Output | MessageKind::Error) => {}
            Some(MessageKind::Remark) => {
                // At the beginning of a line, whatever the terminal makes of one's end.
                let raw = self.raw.take().is_some();
                output::notice(&String::from_utf8_lossy(text));
                self.raw = if raw { Some(Raw::enter()?) } else { None };
            }
            Some(MessageKind::Started) => self.connect(&String::from_utf8_lossy(text)).await?,
            None => {}
        }
        Ok(())
    }

    /// Writes what the apps wrote; where nobody reads it, the pod is to end.
    async fn write(&mut self, mut to: impl AsyncWrite + Unpin, text: &[u8]) -> Result<(), Report> {
        if self.unread {
            return Ok(());
        }
        let written = async {
            to.write_all(text).await?;
            to.flush().await
        };
        let Err(error) = written.await else { return Ok(()) };
        self.unread = true;
        self.stop();
        match error.kind() {
            io::ErrorKind::BrokenPipe => Ok(()),
            _ => Err(Report::text(format!("cannot write the app's output: {error}"))),
        }
    }

    /// The app has started: connects the terminal with it, or gives it this command's input.
    async fn connect(&mut self, failures: &str) -> Result<(), Report> {
        if !failures.is_empty() {
            output::notice(failures.trim_end());
            return Ok(());
        }
        let Some(typed) = self.input else { return Ok(()) };
        // An app that has ended already takes nothing.
        let Ok(mut input) = control::open_stdin(&self.path, 0, !typed).await else {
            return Ok(());
        };
        if !typed {
            tokio::spawn(async move {
                let copied = tokio::io::copy(&mut tokio::io::stdin(), &mut input).await;
                // It ends early when the app reads no more, which is no fault.
                drop(copied);
                let _ = input.shutdown().await;
            });
            return Ok(());
        }
        self.raw = Some(Raw::enter()?);
        let (detach, detached) = oneshot::channel();
        self.detached = Some(detached);
        let keys = self.keys.clone();
        tokio::spawn(follow_size(self.path.clone(), 0));
        tokio::spawn(async move {
            if type_to(tokio::io::stdin(), input, keys).await == TypingEnd::Detached {
                let _ = detach.send(());
            }
        });
        Ok(())
    }

    /// Asks the supervisor to stop the pod: the first time in order, the second at once, the third whatever the guest does.
    fn stop(&self) {
        // It has no number any more when it was waited for.
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let _ = pid.map(|pid| kill_process(pid, rustix::process::Signal::TERM));
    }
}

/// This command ends, and the pod continues.
fn left(signal: u8) -> Failure {
    Report::text("given up waiting for the pod, which continues")
        .exit_status(128 + signal)
        .into()
}

/// The signals that ask for a stop.
struct Ends {
    signals: [Signal; 3],
}

impl Ends {
    fn new() -> io::Result<Self> {
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self {
            signals: [interrupt?, terminate?, hangup?],
        })
    }

    /// Waits for the next one, and gives its number (signal(7)).
    async fn asked(&mut self) -> u8 {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => 2,
            _ = terminate.recv() => 15,
            _ = hangup.recv() => 1,
        }
    }
}
