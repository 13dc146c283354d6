//! How other processes speak with a pod's supervisor: a socket in the pod's directory, which only its owner can enter.
//!
//! ```text
//! client                                  supervisor
//!   ── Request ──────────────────────────>
//!   <───────────────────────── Answer ────      one of each on a connection
//!   <══════ a stream of the agent's ═════>      behind a Request::Agent that was not refused
//!   ══ what the app is to read ══════════>      behind a Request::Stdin that was not refused
//!   <══ what the app writes ══════════════      behind a Request::Output that was not refused
//! ```
//!
//! The supervisor does not look at what goes through such a stream: it is between the client and the agent, and both
//! bound what they read.
//!
//! Messages are those of [`isopod_protocol::codec`]: a length, then postcard. Both ends are the same user's and of one
//! build; a client of another build is refused by its first byte.

mod client;
mod server;

use std::fmt;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use isopod_contract::change::AppChange;
use isopod_contract::exec::WindowSize;
use isopod_contract::hotplug::HotplugVolume;
use isopod_contract::message::HostStream;
use isopod_plan::apps::update::Update;
use isopod_plan::fault::Fault;
use isopod_plan::layout;
use isopod_protocol::codec::{ReadMessageError, WriteMessageError};
use isopod_spec::{JoinedNetwork, NetworkName, VolumeName};
use serde::{Deserialize, Serialize};

use crate::logs::Stream;
use crate::pods::files::ArrivedRecord;
use crate::pods::os_text::OsText;
use crate::pods::volumes::{AttachedRecord, VolumeRecord};

pub use client::{add_app, ask, ask_within, open, open_output, open_stdin, supervisor};
pub(crate) use server::{AppOrder, Done, Order, Orders, SharedInput, VolumeChange, listen};

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
    /// 3: write to the standard input of an app; from then on the connection is that.
    Stdin {
        /// The app's number.
        app: u16,
        /// Whether the connection's end is the input's; otherwise others may write more.
        ends: bool,
    },
    /// 4: a volume comes.
    Attach(Box<Attach>),
    /// 5: one that came so goes.
    Detach {
        name: VolumeName,
        /// Also where it is in use.
        force: bool,
    },
    /// 6: the size of the client's terminal, for an app's.
    Resize {
        /// The app's number.
        app: u16,
        size: WindowSize,
    },
    /// 7: an app is to run in another way.
    ChangeApp {
        /// The app's number.
        app: u16,
        /// What becomes of it.
        change: AppChange,
    },
    /// 8: an app gets other limits, or another restart policy.
    UpdateApp {
        /// The app's number.
        app: u16,
        /// What is other.
        update: Update,
    },
    /// 9: an app comes.
    AddApp {
        /// The [`AddApp`] as JSON: records leave out what says nothing, which postcard cannot.
        app: String,
        /// How many bytes follow, which are what comes to the guest.
        files: u64,
    },
    /// 10: an app that waits is to start.
    StartApp {
        /// The app's number.
        app: u16,
    },
    /// 11: stop one app for good.
    StopApp {
        /// The app's number.
        app: u16,
        /// How long it has, in milliseconds; `None`: as long as the pod was started with.
        grace_ms: Option<u64>,
    },
    /// 12: an app that came while the pod runs and has ended goes.
    RemoveApp {
        /// The app's number.
        app: u16,
    },
    /// 13: the pod joins a network, or leaves one.
    Network {
        /// The [`NetworkChange`] as JSON: records leave out what says nothing, which postcard cannot.
        change: String,
    },
    /// 14: have what an app that waits to be started will write to one of its streams, besides its log; from then on the
    /// connection is that, and ends with the stream. The app waits for whoever does not read.
    Output {
        /// The app's number.
        app: u16,
        /// Which stream; a terminal has the output alone.
        stream: Stream,
    },
}

/// A network that a pod joins, as it was planned, or leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkChange {
    Connect(Box<JoinedNetwork>),
    /// It leaves the one of that name.
    Disconnect(NetworkName),
}

/// An app that comes to a pod which runs, as it was planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddApp {
    /// Its number: how many apps the pod has had.
    pub first: usize,
    /// How often volumes had come or gone.
    pub changes: u32,
    /// The file of its image in the store, where its root is one.
    pub rootfs: Option<OsText>,
    /// What is bound below the share, under which number of a change.
    pub binds: Vec<(u32, VolumeRecord)>,
    /// What is recorded of it.
    pub arrived: ArrivedRecord,
}

/// The most bytes that come to the guest with one app.
const MAX_FILES_BYTES: u64 = 256 << 20;

/// A volume that comes to a pod which runs, as it was planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// What is recorded of it.
    pub record: AttachedRecord,
    /// What the guest receives.
    pub guest: HotplugVolume,
}

/// What the supervisor answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// 0: it is done, or on its way.
    Done,
    /// 1: it cannot be done.
    Refused {
        reason: String,
        /// What to do about it, where that is known.
        hint: Option<String>,
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
    /// Why, and what to do about it.
    Reason(String, Option<String>),
    Busy(String),
    Outdated,
}

/// As a line of a log has it.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reason(reason, Some(hint)) => write!(f, "{reason}; {hint}"),
            Self::Reason(reason, None) | Self::Busy(reason) => f.write_str(reason),
            Self::Outdated => write!(f, "{}", ControlError::Outdated),
        }
    }
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Reason(reason, None)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Reason(fault.to_string(), fault.hint())
    }
}

/// Why a pod's supervisor could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error("cannot reach the pod's supervisor at `{}`", path.display())]
    Connect { path: PathBuf, source: io::Error },
    /// The question could not be sent.
    #[error("cannot send to the pod's supervisor")]
    Write(#[source] WriteMessageError),
    /// The answer could not be read.
    #[error("cannot read the answer of the pod's supervisor")]
    Read(#[source] ReadMessageError),
    /// The connection cannot be used.
    #[error("cannot use the connection")]
    Own(#[source] io::Error),
    /// It says nothing.
    #[error("the pod's supervisor has not answered for {} s", .0.as_secs())]
    Silent(Duration),
    /// Its process is stopped.
    #[error("the pod's supervisor, process {0}, is stopped (SIGSTOP)")]
    Stopped(u32),
    #[error("the pod's supervisor ended before it answered")]
    Ended,
    /// It said no.
    #[error("the pod's supervisor refuses: {reason}")]
    Refused {
        reason: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// Something is in use.
    #[error("{0}")]
    Busy(String),
    /// The pod is not any more what the request was planned on.
    #[error("the pod has changed in the meantime")]
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
            Self::Refused { hint, .. } => hint.clone(),
            Self::Silent(_) => Some("`isopod stop --force` ends the pod whatever its supervisor does".into()),
            Self::Outdated => Some("run the command again".into()),
            _ => None,
        }
    }
}

fn through(dir: &std::fs::File) -> PathBuf {
    Path::new("/proc/self/fd")
        .join(dir.as_raw_fd().to_string())
        .join(layout::CONTROL_SOCKET)
}

#[cfg(test)]
mod tests {
    use isopod_protocol::codec::read_message;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::client::connect;
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
                    Order::Stdin { app: 0, reply } => assert!(reply.send(input).is_ok()),
                    other => panic!("{other:?}"),
                }
            }
        };
        let client = async {
            for text in ["first, longer than the pipe\n", "second\n"] {
                let mut stream = open_stdin(dir.path(), 0, false).await.unwrap();
                stream.write_all(text.as_bytes()).await.unwrap();
                drop(stream);
                let mut read = vec![0; text.len()];
                reader.read_exact(&mut read).await.unwrap();
                assert_eq!(read, text.as_bytes());
            }
            let error = open_stdin(dir.path(), 0, false).await.unwrap_err();
            assert!(error.to_string().contains("no standard input"), "{error}");
        };
        tokio::join!(server, client);
    }
}
