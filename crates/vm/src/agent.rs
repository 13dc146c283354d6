//! The host's side of the conversation with the agent in the guest: [`connect`] on the socket of QEMU's serial port,
//! then [`Events`] to receive and [`Agent`] to send.
//!
//! Every byte that the guest sends is hostile. What is checked here, so that no caller need think of it: a frame's
//! and a message's length; the number of streams (three per app at most); that an app's number is one that has come;
//! that nothing is said twice or after an app's end, and no app
//! restarted but as its policy has it. Texts arrive with their control characters escaped. The first
//! breach ends the conversation with [`AgentError::Breach`].
//!
//! An app's [`AppReport::Exited`] (or [`AppReport::Failed`]) comes only after its [`Output`]s were read to their end or
//! dropped: whoever has seen [`Event::AllEnded`] has seen all output. An output that is neither read nor dropped
//! holds back the end of its app, and nothing else.
//!
//! The guest's beats are answered here with the time ([`Event::Beat`] reports each). Not done here: no deadline after
//! [`connect`] but for the first answer on a stream (a paused VM is silent, and not lost), no restart of a lost
//! conversation (it ends with the VM), and no interpretation of what the apps write.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use isopod_contract::arrival::ArrivalAnswer;
use isopod_contract::exec::WindowSize;
use isopod_contract::message::{
    AppIndex, ENTROPY_BYTES, GuestMessage, HostMessage, HostStream, StreamAnswer, WriteBack,
};
use isopod_protocol::codec::{ReadMessageError, WriteMessageError, read_message, write_message};
use isopod_protocol::handshake;
use isopod_protocol::mux::{self, Accept, Grant, Limits, MuxError, MuxStream, OpenError, Opener, Side};
use isopod_spec::RestartPolicy;
use tokio::io::{AsyncRead, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinHandle};

mod error;
mod receiving;
mod stdio;
#[cfg(test)]
mod tests;

pub use error::{AgentError, ArriveError, Breach, StreamError};
use receiving::{MorePolicies, Receiving};
pub use stdio::{Input, Output};

pub use isopod_contract::arrival::ArrivalTimes;
pub use isopod_contract::message::{
    AppReport, BootTimes, ExitStatus, FailureCause, Health, MemoryBound, SyncFailure,
};
pub use isopod_contract::{MAX_APPS, MAX_HOST_STREAMS};

/// Events, and messages to the agent, that wait for their taker; then the sender waits. A few per app are normal.
const QUEUE: usize = 32;

/// How long the multiplexer may take to say why the control stream ended.
const ENDING_GRACE: Duration = Duration::from_secs(1);

/// How long the agent may take for its first word on a stream, which it says at once. An emulated guest on a busy host may
/// stand still for seconds.
pub const FIRST_ANSWER: Duration = Duration::from_secs(10);

/// The streams that an app can have: standard input, output and error.
const STREAMS_PER_APP: usize = 3;

/// What the agent reports.
#[derive(Debug)]
pub enum Event {
    /// The agent serves; always the first.
    Ready(BootTimes),
    /// Something about an app, by its position in the pod: what the agent may report of it now, with texts that can be shown
    /// ([`AppReport::LastWords`] left out). [`AppReport::Exited`] and [`AppReport::Failed`] come when all of the app's output was read.
    App(usize, AppReport),
    /// What an app reads as its standard input is to be written here.
    Stdin {
        app: usize,
        /// Its standard input.
        input: Input,
    },
    /// An app's standard output.
    Stdout {
        app: usize,
        /// What it writes.
        output: Output,
    },
    /// An app's standard error.
    Stderr {
        app: usize,
        /// What it writes.
        output: Output,
    },
    /// Every app has ended or failed.
    AllEnded,
    /// The guest has written everything back, but for what is listed: the VM may be ended.
    Synced {
        /// The shares that could not be written back.
        failed: Vec<SyncFailure>,
    },
    /// Something that the agent could not do and that keeps no app from running.
    Warning(String),
    /// The agent runs, and received the time.
    Beat,
}

/// Begins the conversation on the socket of the agent's serial port, with a VM to which nothing has come yet. It waits, up to
/// `deadline`, until the agent serves: so call it as soon as QEMU listens.
///
/// # Errors
/// [`AgentError`]; never later than the deadline.
pub async fn connect(port: UnixStream, deadline: Duration) -> Result<(Agent, Events), AgentError> {
    tokio::time::timeout(deadline, greet(port))
        .await
        .unwrap_or(Err(AgentError::Silent { after: deadline }))
}

async fn greet(mut port: UnixStream) -> Result<(Agent, Events), AgentError> {
    let mut nonce = handshake::Nonce::default();
    rustix::rand::getrandom(&mut nonce, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| AgentError::Random(errno.into()))?;
    handshake::host(&mut port, nonce, unix_ns)
        .await
        .map_err(AgentError::Handshake)?;

    let streams = Grant::growing(STREAMS_PER_APP * MAX_APPS);
    let limits = Limits {
        incoming: Accept::Total(streams.clone()),
        outgoing: 1 + MAX_HOST_STREAMS,
    };
    let (opener, incoming, driver) = mux::start(port, Side::Host, limits);
    let mut tasks = Tasks::default();
    let driver = Ending(tasks.spawn(driver.run()));
    let control = match opener.open(&HostStream::Control).await {
        Ok(control) => control,
        // What ended it came at once.
        Err(OpenError::Ended | OpenError::Yamux(_) | OpenError::Header(WriteMessageError::Io(_))) => {
            return Err(driver.why().await);
        }
        Err(error) => return Err(AgentError::Control(error)),
    };
    let (mut reader, writer) = tokio::io::split(control);
    let times = match next_message(&mut reader).await {
        Ok(Some(GuestMessage::Ready(times))) => times,
        Ok(Some(other)) => return Err(AgentError::Breach(receiving::out_of_turn(&other))),
        Ok(None) => return Err(driver.why().await),
        Err(error) => return Err(error),
    };

    let (events, received) = mpsc::channel(QUEUE);
    let (commands, to_write) = mpsc::channel(QUEUE);
    let (messages, to_judge) = mpsc::channel(QUEUE);
    tasks.spawn(read_control(reader, messages));
    tasks.spawn(write_control(writer, to_write));
    let finishing = Arc::new(AtomicBool::new(false));
    let policies = MorePolicies::default();
    let (expect, expected) = mpsc::channel(1);
    let receiving = Receiving::new(
        expected,
        policies.clone(),
        events,
        commands.clone(),
        finishing.clone(),
    );
    tasks.spawn(receiving.run(incoming, to_judge, driver, times));
    Ok((
        Agent {
            commands,
            opener,
            finishing,
            streams,
            expect,
            policies,
        },
        Events {
            received,
            _tasks: tasks,
        },
    ))
}

/// The host's time, in nanoseconds since 1970.
fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

/// The next message of the control stream; `None` when the connection has ended, however it did.
async fn next_message(control: &mut ReadHalf<MuxStream>) -> Result<Option<GuestMessage>, AgentError> {
    match read_message(control).await {
        Ok(message) => Ok(message),
        Err(ReadMessageError::Io(_) | ReadMessageError::Truncated) => Ok(None),
        Err(error) => Err(AgentError::Message(error)),
    }
}

/// Reads messages until the first error or the end; a task of its own because reading one cannot be cancelled.
async fn read_control(
    mut control: ReadHalf<MuxStream>,
    messages: mpsc::Sender<Result<GuestMessage, AgentError>>,
) {
    while let Some(message) = next_message(&mut control).await.transpose() {
        let last = message.is_err();
        if messages.send(message).await.is_err() || last {
            return;
        }
    }
}

async fn write_control(mut control: WriteHalf<MuxStream>, mut messages: mpsc::Receiver<HostMessage>) {
    while let Some(message) = messages.recv().await {
        if write_message(&mut control, &message).await.is_err() {
            return; // The reading side receives the reason.
        }
    }
    // Keep the stream: without an `Agent` to send, there may still be events to receive.
    std::future::pending::<()>().await;
}

/// The tasks of a conversation; they end with this.
#[derive(Debug, Default)]
struct Tasks(Vec<AbortHandle>);

impl Tasks {
    fn spawn<T: Send + 'static>(&mut self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let handle = tokio::spawn(task);
        self.0.push(handle.abort_handle());
        handle
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// The multiplexer's driver, which knows why the streams ended.
struct Ending(JoinHandle<Result<(), MuxError>>);

impl Ending {
    /// Why the control stream ended. A guest that ended just that one keeps the driver running, and has left all
    /// the same.
    async fn why(self) -> AgentError {
        match tokio::time::timeout(ENDING_GRACE, self.0).await {
            Ok(Ok(Err(error))) => AgentError::Lost(error),
            _ => AgentError::Ended,
        }
    }
}

/// Speaks to the agent. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Agent {
    commands: mpsc::Sender<HostMessage>,
    opener: Opener,
    /// Whether the guest was asked to write everything back.
    finishing: Arc<AtomicBool>,
    /// How many streams the guest may open.
    streams: Grant,
    /// Which apps it may speak of.
    expect: mpsc::Sender<Expected>,
    /// The restart policies that apps got since.
    policies: MorePolicies,
}

/// Apps that the guest may speak of from now on, by their policies; the answer is the number of the first.
struct Expected {
    apps: Vec<RestartPolicy>,
    first: oneshot::Sender<Option<usize>>,
}

impl Agent {
    /// Lets an app be restarted by this policy, too: it is about to get it.
    pub fn allow_restarts(&self, app: usize, policy: RestartPolicy) {
        let mut policies = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
        policies.push((app, policy));
    }

    /// Brings apps with these policies to the VM, with what they need; `files` is what
    /// [`isopod_contract::arrival`] says. Returns the number of the first of them, behind those that came before. What
    /// becomes of them, the events report, which may come before this returns.
    ///
    /// # Errors
    /// [`ArriveError`]; the numbers are not used again then either.
    pub async fn arrive(
        &self,
        apps: Vec<RestartPolicy>,
        files: impl AsyncRead + Unpin,
    ) -> Result<(usize, ArrivalTimes), ArriveError> {
        self.bring(apps, files, |first, entropy| HostStream::Arrive {
            first,
            entropy,
        })
        .await
    }

    /// Brings a pod to a VM that nothing has come to, so that its apps' roots and volumes can be read and written; no app starts.
    ///
    /// # Errors
    /// [`ArriveError`].
    pub async fn open_pod(
        &self,
        apps: Vec<RestartPolicy>,
        files: impl AsyncRead + Unpin,
    ) -> Result<(usize, ArrivalTimes), ArriveError> {
        self.bring(apps, files, |_, entropy| HostStream::Open { entropy })
            .await
    }

    async fn bring(
        &self,
        apps: Vec<RestartPolicy>,
        mut files: impl AsyncRead + Unpin,
        header: impl FnOnce(AppIndex, [u8; ENTROPY_BYTES]) -> HostStream,
    ) -> Result<(usize, ArrivalTimes), ArriveError> {
        self.streams.add(STREAMS_PER_APP * apps.len());
        let (first, answer) = oneshot::channel();
        let expected = Expected { apps, first };
        self.expect.send(expected).await.map_err(|_| ArriveError::Ended)?;
        let first = answer.await.map_err(|_| ArriveError::Ended)?;
        let first = first.ok_or(ArriveError::TooManyApps)?;
        let first_app = AppIndex::try_from(first).map_err(|_| ArriveError::TooManyApps)?;
        let mut entropy = [0; ENTROPY_BYTES];
        rustix::rand::getrandom(&mut entropy, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| ArriveError::Random(errno.into()))?;
        let mut stream = self.open(&header(first_app, entropy)).await?;
        let sent = tokio::io::copy(&mut files, &mut stream).await;
        // Where the guest has taken no more of it, its answer says why.
        let sent = match sent {
            Ok(_) => stream.shutdown().await,
            Err(error) => Err(error),
        };
        match read_message(&mut stream).await {
            Ok(Some(ArrivalAnswer::Done(times))) => sent.map(|()| (first, times)).map_err(ArriveError::Send),
            Ok(Some(ArrivalAnswer::Failed { text })) => Err(ArriveError::Failed(receiving::printable(&text))),
            Ok(None) | Err(ReadMessageError::Io(_) | ReadMessageError::Truncated) => {
                sent.map_err(ArriveError::Send)?;
                Err(ArriveError::Ended)
            }
            Err(error) => Err(ArriveError::Answer(error)),
        }
    }

    /// Stops every app: its stop signal first, and after `grace` `SIGKILL` to what is left of it. The events say
    /// when they have ended. A second call may shorten the grace, never lengthen it.
    ///
    /// # Errors
    /// [`AgentError::Ended`]; [`Events::next`] says why.
    pub async fn stop(&self, grace: Duration) -> Result<(), AgentError> {
        let grace_ms = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
        self.send(HostMessage::Stop { grace_ms }).await
    }

    /// Sends a signal to the main process of an app that runs; the agent answers with a [`Event::Warning`] when it
    /// could not.
    ///
    /// # Errors
    /// [`AgentError::Ended`].
    pub async fn signal(&self, app: usize, signal: u8) -> Result<(), AgentError> {
        let app = u16::try_from(app).unwrap_or(u16::MAX);
        self.send(HostMessage::Signal { app, signal }).await
    }

    /// Starts an app that waits for this.
    ///
    /// # Errors
    /// [`AgentError::Ended`].
    pub async fn start_app(&self, app: usize) -> Result<(), AgentError> {
        let app = u16::try_from(app).unwrap_or(u16::MAX);
        self.send(HostMessage::StartApp { app }).await
    }

    /// Stops one app for good: its stop signal first, and after `grace` `SIGKILL` to what is left of it.
    ///
    /// # Errors
    /// [`AgentError::Ended`].
    pub async fn stop_app(&self, app: usize, grace: Duration) -> Result<(), AgentError> {
        let app = u16::try_from(app).unwrap_or(u16::MAX);
        let grace_ms = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
        self.send(HostMessage::StopApp { app, grace_ms }).await
    }

    /// Gives an app's terminal the size of the one that is connected with it.
    ///
    /// # Errors
    /// [`AgentError::Ended`].
    pub async fn resize(&self, app: usize, size: WindowSize) -> Result<(), AgentError> {
        let app = u16::try_from(app).unwrap_or(u16::MAX);
        self.send(HostMessage::Resize { app, size }).await
    }

    /// Asks the guest to write back what `write_back` says; [`Event::Synced`] is the answer.
    ///
    /// # Errors
    /// [`AgentError::Ended`].
    pub async fn finish(&self, write_back: WriteBack) -> Result<(), AgentError> {
        self.finishing.store(true, Ordering::Relaxed);
        self.send(HostMessage::Finish { write_back }).await
    }

    /// Opens a stream to the agent, a command, statistics or a copy, which the agent has taken then. What goes over it is
    /// between the agent and whoever holds the other end; dropping it shows the agent that the client is gone.
    ///
    /// # Errors
    /// [`OpenError::TooMany`] over [`MAX_HOST_STREAMS`] at once, [`OpenError::Header`] for a header that no message
    /// can hold, [`StreamError::Silent`] after [`FIRST_ANSWER`]; none harms the conversation.
    pub async fn open(&self, header: &HostStream) -> Result<MuxStream, StreamError> {
        let opened = async {
            let mut stream = self.opener.open(header).await?;
            match read_message(&mut stream).await {
                Ok(Some(StreamAnswer::Taken)) => Ok(stream),
                Ok(None) | Err(ReadMessageError::Io(_) | ReadMessageError::Truncated) => {
                    Err(StreamError::Ended)
                }
                Err(error) => Err(StreamError::Answer(error)),
            }
        };
        tokio::time::timeout(FIRST_ANSWER, opened)
            .await
            .unwrap_or(Err(StreamError::Silent(FIRST_ANSWER)))
    }

    async fn send(&self, message: HostMessage) -> Result<(), AgentError> {
        self.commands.send(message).await.map_err(|_| AgentError::Ended)
    }
}

/// What the agent reports, in order. Dropping this ends the conversation.
#[derive(Debug)]
pub struct Events {
    received: mpsc::Receiver<Result<Event, AgentError>>,
    _tasks: Tasks,
}

impl Events {
    /// The next event. May be cancelled.
    ///
    /// # Errors
    /// Why the conversation ended, once; then [`AgentError::Ended`] for ever. A VM that was asked to end does so
    /// with [`AgentError::Ended`] too.
    pub async fn next(&mut self) -> Result<Event, AgentError> {
        self.received.recv().await.unwrap_or(Err(AgentError::Ended))
    }
}
