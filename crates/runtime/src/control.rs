//! How other processes speak with a pod's supervisor: a socket in the pod's directory, which only its owner can enter.
//!
//! ```text
//! client                                  supervisor
//!   ── Request ──────────────────────────>
//!   <───────────────────────── Answer ────      one of each on a connection
//!   <══════ a stream of the agent's ═════>      behind a Request::Agent that was not refused
//!   ══ what the app is to read ══════════>      behind a Request::Stdin that was not refused
//! ```
//!
//! The supervisor does not look at what goes through such a stream: it is between the client and the agent, and both
//! bound what they read.
//!
//! Messages are those of [`isopod_protocol::codec`]: a length, then postcard. Both ends are the same user's and of one
//! build; a client of another build is refused by its first byte.

use std::collections::VecDeque;
use std::error::Error as _;
use std::fmt;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use isopod_contract::exec::WindowSize;
use isopod_contract::hotplug::HotplugVolume;
use isopod_contract::message::HostStream;
use isopod_plan::layout;
use isopod_protocol::codec::{ReadMessageError, WriteMessageError, read_message, write_message};
use isopod_protocol::mux::MuxStream;
use isopod_spec::VolumeName;
use isopod_vm::agent::Agent;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::pods::volumes::AttachedRecord;
use crate::process::number_is_stopped;

/// How long a supervisor may take until it listens.
const BEGINNING: Duration = Duration::from_secs(1);

/// How long a supervisor may take for an answer that waits for nothing else, the guest's first answer included.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// How long a volume's change may take: the guest's mounts, and those of other changes before.
const CHANGED_WITHIN: Duration = Duration::from_secs(300);

/// What is taken of a client's input at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// Orders that wait for the supervisor; more wait in their connections.
const QUEUE: usize = 16;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// 0: stop the pod.
    Stop {
        /// How long the apps have, in milliseconds; `None`: as long as the pod was started with.
        grace_ms: Option<u64>,
    },
    /// 1: send a signal to the main process of one app or of all.
    Signal {
        /// The app's number; `None`: every app that runs.
        app: Option<u16>,
        /// The signal's number (signal(7)).
        signal: u8,
    },
    /// 2: open a stream to the agent; from then on the connection is that stream.
    Agent(HostStream),
    /// 3: write to the standard input of the pod's app; from then on the connection is that. Its end is not the
    /// input's: others may write more.
    Stdin,
    /// 4: a volume comes.
    Attach(Box<Attach>),
    /// 5: one that came so goes.
    Detach {
        /// Its name.
        name: VolumeName,
        /// Also where it is in use.
        force: bool,
    },
    /// 6: the size of the client's terminal, for an app's.
    Resize {
        /// The app's number.
        app: u16,
        /// The size.
        size: WindowSize,
    },
}

/// A volume that comes to a pod which runs, as it was planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// What is recorded of it.
    pub record: AttachedRecord,
    /// What the guest is told.
    pub guest: HotplugVolume,
}

/// What the supervisor answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// 0: it is done, or on its way.
    Done,
    /// 1: it cannot be done.
    Refused {
        /// Why.
        reason: String,
    },
    /// 2: it cannot be done while something is in use.
    Busy {
        /// What, and by whom.
        reason: String,
    },
    /// 3: it was planned on what is not so any more.
    Outdated,
}

/// Why something is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Reason(String),
    Busy(String),
    Outdated,
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Reason(reason)
    }
}

/// Why a pod's supervisor could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error("cannot reach the pod's supervisor at `{}`", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The question could not be sent.
    #[error("cannot speak with the pod's supervisor")]
    Write(#[source] WriteMessageError),
    /// The answer could not be read.
    #[error("cannot understand the pod's supervisor")]
    Read(#[source] ReadMessageError),
    /// It says nothing.
    #[error("the pod's supervisor has not answered for {} s", .0.as_secs())]
    Silent(Duration),
    /// Its process is stopped.
    #[error("the pod's supervisor, process {0}, is stopped (SIGSTOP)")]
    Stopped(u32),
    /// It hung up.
    #[error("the pod's supervisor ended before it answered")]
    Ended,
    /// It said no.
    #[error("the pod's supervisor refuses: {0}")]
    Refused(String),
    /// Something is in use.
    #[error("{0}")]
    Busy(String),
    /// The pod is not any more what the request was planned on.
    #[error("the pod has changed meanwhile")]
    Outdated,
}

impl ControlError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Stopped(pid) => Some(format!(
                "`kill -CONT {pid}` lets it continue; `isopod stop --force` ends the pod"
            )),
            Self::Silent(_) => Some("`isopod stop --force` ends the pod whatever its supervisor does".into()),
            _ => None,
        }
    }
}

/// Asks the supervisor of the pod at `dir`. It has its time to answer: more for what takes some.
///
/// # Errors
/// [`ControlError`].
pub async fn ask(dir: &Path, request: &Request) -> Result<(), ControlError> {
    let patience = match request {
        Request::Attach(_) | Request::Detach { .. } => CHANGED_WITHIN,
        _ => ANSWER_WITHIN,
    };
    ask_within(dir, request, patience).await
}

/// Asks it with other patience.
///
/// # Errors
/// [`ControlError`].
pub async fn ask_within(dir: &Path, request: &Request, patience: Duration) -> Result<(), ControlError> {
    begin(dir, request, patience).await.map(drop)
}

/// Asks the supervisor, and gives the connection.
async fn begin(dir: &Path, request: &Request, patience: Duration) -> Result<UnixStream, ControlError> {
    let conversation = async {
        let mut stream = connect(dir).await?;
        if let Some(pid) = peer(&stream).and_then(|pid| u32::try_from(pid).ok())
            && number_is_stopped(pid)
        {
            return Err(ControlError::Stopped(pid));
        }
        converse(&mut stream, request).await?;
        Ok(stream)
    };
    tokio::time::timeout(patience, conversation)
        .await
        .unwrap_or(Err(ControlError::Silent(patience)))
}

async fn converse(stream: &mut UnixStream, request: &Request) -> Result<(), ControlError> {
    write_message(stream, request)
        .await
        .map_err(ControlError::Write)?;
    match read_message(stream).await.map_err(ControlError::Read)? {
        Some(Answer::Done) => Ok(()),
        Some(Answer::Refused { reason }) => Err(ControlError::Refused(reason)),
        Some(Answer::Busy { reason }) => Err(ControlError::Busy(reason)),
        Some(Answer::Outdated) => Err(ControlError::Outdated),
        None => Err(ControlError::Ended),
    }
}

/// Opens a stream to the agent of the pod at `dir`.
///
/// # Errors
/// [`ControlError`].
pub async fn open(dir: &Path, header: HostStream) -> Result<UnixStream, ControlError> {
    begin(dir, &Request::Agent(header), ANSWER_WITHIN).await
}

/// Opens the standard input of the app of the pod at `dir`, one that keeps it open
/// ([`Stdin::Attached`](crate::pods::files::Stdin)). It is closed by the other side when nobody reads it any more.
///
/// # Errors
/// [`ControlError`].
pub async fn open_stdin(dir: &Path) -> Result<UnixStream, ControlError> {
    begin(dir, &Request::Stdin, ANSWER_WITHIN).await
}

/// The process that supervises the pod at `dir`, as the kernel says (unix(7), `SO_PEERCRED`).
///
/// # Errors
/// [`ControlError::Connect`].
pub async fn supervisor(dir: &Path) -> Result<Option<i32>, ControlError> {
    Ok(peer(&connect(dir).await?))
}

fn peer(stream: &UnixStream) -> Option<i32> {
    stream.peer_cred().ok().and_then(|peer| peer.pid())
}

async fn connect(dir: &Path) -> Result<UnixStream, ControlError> {
    let path = dir.join(layout::CONTROL_SOCKET);
    let failed = |source| ControlError::Connect {
        path: path.clone(),
        source,
    };
    // By way of a descriptor: the path may be longer than the 107 bytes that an address takes.
    let handle = std::fs::File::open(dir).map_err(failed)?;
    let begun = Instant::now();
    loop {
        match UnixStream::connect(through(&handle)).await {
            // A supervisor that has just begun, or one that another has just taken over from.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) && begun.elapsed() < BEGINNING =>
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            connected => return connected.map_err(failed),
        }
    }
}

fn through(dir: &std::fs::File) -> PathBuf {
    Path::new("/proc/self/fd")
        .join(dir.as_raw_fd().to_string())
        .join(layout::CONTROL_SOCKET)
}

/// Something for the supervisor to do.
#[derive(Debug)]
pub(crate) enum Order {
    Stop {
        grace: Option<Duration>,
        done: Done,
    },
    Signal {
        app: Option<usize>,
        signal: u8,
        done: Done,
    },
    /// An app's terminal has another size.
    Resize {
        app: usize,
        size: WindowSize,
        done: Done,
    },
    /// A volume comes or goes.
    Volume {
        change: VolumeChange,
        done: Done,
    },
    /// Somebody wants to speak with the agent.
    Agent(oneshot::Sender<Agent>),
    /// Somebody wants to write what the app reads.
    Stdin(oneshot::Sender<Option<SharedInput>>),
}

/// A change of the volumes of a pod that runs.
#[derive(Debug)]
pub(crate) enum VolumeChange {
    Attach(Box<Attach>),
    Detach { name: VolumeName, force: bool },
}

/// The standard input of an app, for one writer at a time.
#[derive(Clone)]
pub(crate) struct SharedInput(Arc<Mutex<Box<dyn AsyncWrite + Send + Unpin>>>);

impl SharedInput {
    pub(crate) fn new(input: impl AsyncWrite + Send + Unpin + 'static) -> Self {
        Self(Arc::new(Mutex::new(Box::new(input))))
    }
}

impl fmt::Debug for SharedInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedInput")
    }
}

/// Where the answer to an order goes.
#[derive(Debug)]
pub(crate) struct Done(oneshot::Sender<Result<(), Refusal>>);

impl Done {
    /// Answers; the client may have gone.
    pub(crate) fn answer(self, result: Result<(), Refusal>) {
        let _ = self.0.send(result);
    }
}

/// The orders that come in; dropping this closes the socket.
#[derive(Debug)]
pub(crate) struct Orders {
    received: mpsc::Receiver<Order>,
    deferred: VecDeque<Order>,
    listening: AbortHandle,
}

impl Orders {
    /// The next one. May be cancelled.
    pub(crate) async fn next(&mut self) -> Option<Order> {
        match self.deferred.pop_front() {
            Some(order) => Some(order),
            None => self.received.recv().await,
        }
    }

    /// Waits until somebody orders a stop; what else is ordered meanwhile comes later. May be cancelled.
    pub(crate) async fn stop(&mut self) -> Done {
        while let Some(order) = self.received.recv().await {
            match order {
                Order::Stop { done, .. } => return done,
                order => self.deferred.push_back(order),
            }
        }
        std::future::pending().await
    }
}

impl Drop for Orders {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Listens in the pod's directory; a socket that an earlier supervisor left is replaced.
pub(crate) fn listen(dir: &Path) -> io::Result<Orders> {
    let handle = std::fs::File::open(dir)?;
    let path = through(&handle);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    let (orders, received) = mpsc::channel(QUEUE);
    let listening = tokio::spawn(accept(listener, orders)).abort_handle();
    Ok(Orders {
        received,
        deferred: VecDeque::new(),
        listening,
    })
}

async fn accept(listener: UnixListener, orders: mpsc::Sender<Order>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let orders = orders.clone();
                tokio::spawn(async move {
                    if let Err(error) = serve(stream, orders).await {
                        tracing::debug!("a client of the supervisor: {error}");
                    }
                });
            }
            // No descriptors left: later there may be.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn serve(mut stream: UnixStream, orders: mpsc::Sender<Order>) -> Result<(), ControlError> {
    let request = match read_message(&mut stream).await {
        Ok(Some(request)) => request,
        Ok(None) => return Ok(()),
        Err(error) => {
            let reason = "the request is none of this version of isopod's".to_owned();
            let _ = write_message(&mut stream, &Answer::Refused { reason }).await;
            return Err(ControlError::Read(error));
        }
    };
    let (sender, done) = oneshot::channel();
    let done_sender = Done(sender);
    let order = match request {
        Request::Stop { grace_ms } => Order::Stop {
            grace: grace_ms.map(Duration::from_millis),
            done: done_sender,
        },
        Request::Signal { app, signal } => Order::Signal {
            app: app.map(usize::from),
            signal,
            done: done_sender,
        },
        Request::Resize { app, size } => Order::Resize {
            app: app.into(),
            size,
            done: done_sender,
        },
        Request::Attach(attach) => Order::Volume {
            change: VolumeChange::Attach(attach),
            done: done_sender,
        },
        Request::Detach { name, force } => Order::Volume {
            change: VolumeChange::Detach { name, force },
            done: done_sender,
        },
        Request::Agent(header) => return splice(stream, &header, &orders).await,
        Request::Stdin => return feed(stream, &orders).await,
    };
    let answer = match orders.send(order).await {
        Ok(()) => done
            .await
            .unwrap_or_else(|_| Err("the pod is ending".to_owned().into())),
        Err(_) => Err("the pod is ending".to_owned().into()),
    };
    let answer = match answer {
        Ok(()) => Answer::Done,
        Err(Refusal::Reason(reason)) => Answer::Refused { reason },
        Err(Refusal::Busy(reason)) => Answer::Busy { reason },
        Err(Refusal::Outdated) => Answer::Outdated,
    };
    write_message(&mut stream, &answer)
        .await
        .map_err(ControlError::Write)
}

/// Connects the client with the agent, until either has ended.
async fn splice(
    mut client: UnixStream,
    header: &HostStream,
    orders: &mpsc::Sender<Order>,
) -> Result<(), ControlError> {
    let opened = match header {
        HostStream::Control => Err("the agent has one control stream, which is the supervisor's".to_owned()),
        HostStream::AddVolume(_) | HostStream::RemoveVolume { .. } => {
            Err("volumes are brought and taken by the supervisor".to_owned())
        }
        _ => open_stream(header, orders).await,
    };
    let mut stream = match opened {
        Ok(stream) => stream,
        Err(reason) => {
            let answer = Answer::Refused { reason };
            return write_message(&mut client, &answer)
                .await
                .map_err(ControlError::Write);
        }
    };
    write_message(&mut client, &Answer::Done)
        .await
        .map_err(ControlError::Write)?;
    // Either side's end is the other's to see; there is nobody to tell more.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut stream).await;
    Ok(())
}

/// Gives the app what the client writes, a piece at a time.
async fn feed(mut client: UnixStream, orders: &mpsc::Sender<Order>) -> Result<(), ControlError> {
    let (sender, input) = oneshot::channel();
    let asked = match orders.send(Order::Stdin(sender)).await {
        Ok(()) => input.await.ok(),
        Err(_) => None,
    };
    let (input, answer) = match asked {
        Some(Some(input)) => (Some(input), Ok(())),
        Some(None) => (None, Err("the pod's app has no standard input that is kept open")),
        None => (None, Err("the pod is ending")),
    };
    let answer = answer.map_or_else(
        |reason| Answer::Refused {
            reason: reason.into(),
        },
        |()| Answer::Done,
    );
    write_message(&mut client, &answer)
        .await
        .map_err(ControlError::Write)?;
    let Some(input) = input else { return Ok(()) };
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(n @ 1..) = client.read(&mut piece).await {
        let mut input = input.0.lock().await;
        // Nobody reads it any more, which the client sees by its connection's end.
        if input.write_all(&piece[..n]).await.is_err() || input.flush().await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn open_stream(header: &HostStream, orders: &mpsc::Sender<Order>) -> Result<MuxStream, String> {
    let (sender, agent) = oneshot::channel();
    let ending = || "the pod is ending".to_owned();
    orders.send(Order::Agent(sender)).await.map_err(|_| ending())?;
    let agent = agent.await.map_err(|_| ending())?;
    agent.open(header).await.map_err(|error| {
        let cause = error.source().map(|cause| format!(": {cause}"));
        format!("{error}{}", cause.unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn orders_arrive_and_are_answered() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            ask(dir.path(), &Request::Stop { grace_ms: None }).await,
            Err(ControlError::Connect { .. })
        ));
        // Twice: the second finds the first one's socket.
        drop(listen(dir.path()).unwrap());
        let mut orders = listen(dir.path()).unwrap();
        let server = async {
            match orders.next().await.unwrap() {
                Order::Stop { grace, done } => {
                    assert_eq!(grace, Some(Duration::from_millis(7)));
                    done.answer(Ok(()));
                }
                other => panic!("{other:?}"),
            }
            match orders.next().await.unwrap() {
                Order::Signal { app, signal, done } => {
                    assert_eq!((app, signal), (Some(3), 9));
                    done.answer(Err("no".to_owned().into()));
                }
                other => panic!("{other:?}"),
            }
        };
        let client = async {
            let stop = Request::Stop { grace_ms: Some(7) };
            ask(dir.path(), &stop).await.unwrap();
            let signal = Request::Signal {
                app: Some(3),
                signal: 9,
            };
            let error = ask(dir.path(), &signal).await.unwrap_err();
            assert_eq!(error.to_string(), "the pod's supervisor refuses: no");
            assert_eq!(
                supervisor(dir.path()).await.unwrap(),
                Some(rustix::process::getpid().as_raw_nonzero().get())
            );
        };
        tokio::join!(server, client);
    }

    /// A supervisor that is about to listen is waited for; what comes before a stop is kept for later.
    #[tokio::test]
    async fn a_beginning_is_waited_for_and_orders_keep() {
        let dir = tempfile::tempdir().unwrap();
        let signal = async {
            let signal = Request::Signal { app: None, signal: 1 };
            ask(dir.path(), &signal).await
        };
        let stop = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            ask(dir.path(), &Request::Stop { grace_ms: None }).await
        };
        let server = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let mut orders = listen(dir.path()).unwrap();
            orders.stop().await.answer(Ok(()));
            match orders.next().await.unwrap() {
                Order::Signal { done, .. } => done.answer(Ok(())),
                other => panic!("{other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let (signalled, stopped, ()) = tokio::join!(signal, stop, server);
        signalled.unwrap();
        stopped.unwrap();
    }

    #[tokio::test]
    async fn nonsense_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let _orders = listen(dir.path()).unwrap();
        for nonsense in [
            &b"\xff\xff\xff\xff"[..],
            b"\x01\0\0\0\x63",
            b"GET / HTTP/1.0\r\n\r\n",
        ] {
            let mut stream = connect(dir.path()).await.unwrap();
            stream.write_all(nonsense).await.unwrap();
            let answer: Option<Answer> = read_message(&mut stream).await.unwrap();
            assert!(matches!(answer, Some(Answer::Refused { .. })), "{answer:?}");
            // What it did not read of the request makes the end a reset.
            assert!(matches!(stream.read(&mut [0]).await, Ok(0) | Err(_)));
        }
    }

    /// Two clients write what one app reads; the end of one is not the end of the input.
    #[tokio::test]
    async fn the_apps_input_is_shared() {
        let dir = tempfile::tempdir().unwrap();
        let mut orders = listen(dir.path()).unwrap();
        let (app, mut reader) = tokio::io::duplex(8);
        let input = SharedInput::new(app);
        let server = async {
            for input in [Some(input.clone()), Some(input), None] {
                match orders.next().await.unwrap() {
                    Order::Stdin(reply) => assert!(reply.send(input).is_ok()),
                    other => panic!("{other:?}"),
                }
            }
        };
        let client = async {
            for text in ["first, longer than the pipe\n", "second\n"] {
                let mut stream = open_stdin(dir.path()).await.unwrap();
                stream.write_all(text.as_bytes()).await.unwrap();
                drop(stream);
                let mut read = vec![0; text.len()];
                reader.read_exact(&mut read).await.unwrap();
                assert_eq!(read, text.as_bytes());
            }
            let error = open_stdin(dir.path()).await.unwrap_err();
            assert!(error.to_string().contains("no standard input"), "{error}");
        };
        tokio::join!(server, client);
    }
}
