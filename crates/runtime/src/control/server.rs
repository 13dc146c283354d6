//! The supervisor's side: requests as they come in, for the supervisor to act on.

use std::collections::VecDeque;
use std::error::Error as _;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use isopod_contract::change::AppChange;
use isopod_contract::exec::WindowSize;
use isopod_contract::message::HostStream;
use isopod_plan::apps::update::Update;
use isopod_protocol::codec::{ReadMessageError, read_message, write_message};
use isopod_protocol::mux::MuxStream;
use isopod_spec::VolumeName;
use isopod_vm::agent::Agent;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::AbortHandle;

use super::{
    AddApp, Answer, Attach, ControlError, MAX_FILES_BYTES, NetworkChange, PIECE_BYTES, QUEUE, Refusal,
    Request, through,
};
use crate::logs::Stream;
use crate::pods::files::ArrivedRecord;

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
    /// An app is to run in another way.
    App {
        app: u16,
        change: AppChange,
        done: Done,
    },
    /// An app gets other limits, or another restart policy.
    Update {
        app: u16,
        update: Update,
        done: Done,
    },
    /// A volume comes or goes.
    Volume {
        change: VolumeChange,
        done: Done,
    },
    /// A network is joined or left.
    Network {
        change: NetworkChange,
        done: Done,
    },
    /// An app comes, goes, is started or stopped.
    OneApp {
        order: AppOrder,
        done: Done,
    },
    /// Somebody wants to speak with the agent.
    Agent(oneshot::Sender<Agent>),
    /// Somebody wants to write what an app reads.
    Stdin {
        app: usize,
        reply: oneshot::Sender<Option<SharedInput>>,
    },
    /// Somebody wants to have what an app writes.
    Output {
        app: usize,
        stream: Stream,
        to: UnixStream,
        done: Done,
    },
}

/// A change of what has come to a pod that runs.
#[derive(Debug)]
pub(crate) enum VolumeChange {
    Attach(Box<Attach>),
    Detach {
        name: VolumeName,
        force: bool,
    },
    /// What comes with an app, whose files go to the guest when that is bound.
    Bind(Box<AddApp>, Vec<u8>),
    /// What was bound for an app that has not come.
    Unbind(Vec<u32>),
    /// The app of that number goes, with all that came with it.
    Remove {
        app: usize,
        arrived: Box<ArrivedRecord>,
    },
}

/// What is to become of one app.
#[derive(Debug)]
pub(crate) enum AppOrder {
    Add(Box<AddApp>, Vec<u8>),
    Start(usize),
    Stop(usize, Option<Duration>),
    Remove(usize),
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
    /// An answer that nobody waits for.
    pub(crate) fn unanswered() -> (Self, oneshot::Receiver<Result<(), Refusal>>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }

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
            let reason = "this version of isopod does not know the request".to_owned();
            let _ = write_message(&mut stream, &Answer::Refused { reason, hint: None }).await;
            return Err(ControlError::Read(error));
        }
    };
    let (sender, done) = oneshot::channel();
    let Some((order, mut stream)) = order_of(request, stream, &orders, Done(sender)).await? else {
        return Ok(());
    };
    let outcome = match orders.send(order).await {
        Ok(()) => done.await.ok(),
        Err(_) => None,
    };
    let answer = match outcome.unwrap_or_else(|| Err("the pod is ending".to_owned().into())) {
        Ok(()) => Answer::Done,
        Err(Refusal::Reason(reason, hint)) => Answer::Refused { reason, hint },
        Err(Refusal::Busy(reason)) => Answer::Busy { reason },
        Err(Refusal::Outdated) => Answer::Outdated,
    };
    write_message(&mut stream, &answer)
        .await
        .map_err(ControlError::Write)
}

/// What the supervisor is to do about a request, and the connection on which its answer goes out. `None` for a request that is a
/// conversation, which has been held then.
async fn order_of(
    request: Request,
    mut stream: UnixStream,
    orders: &mpsc::Sender<Order>,
    done: Done,
) -> Result<Option<(Order, UnixStream)>, ControlError> {
    let order = match request {
        Request::Stop { grace_ms } => Order::Stop {
            grace: grace_ms.map(Duration::from_millis),
            done,
        },
        Request::Signal { app, signal } => Order::Signal {
            app: app.map(usize::from),
            signal,
            done,
        },
        Request::Resize { app, size } => Order::Resize {
            app: app.into(),
            size,
            done,
        },
        Request::ChangeApp { app, change } => Order::App { app, change, done },
        Request::UpdateApp { app, update } => Order::Update { app, update, done },
        Request::Attach(attach) => Order::Volume {
            change: VolumeChange::Attach(attach),
            done,
        },
        Request::Detach { name, force } => Order::Volume {
            change: VolumeChange::Detach { name, force },
            done,
        },
        Request::AddApp { app, files } => {
            let add = read_json(&app)?;
            let files = read_files(&mut stream, files).await.map_err(unread)?;
            Order::OneApp {
                order: AppOrder::Add(add, files),
                done,
            }
        }
        Request::Network { change } => Order::Network {
            change: read_json(&change)?,
            done,
        },
        Request::StartApp { app } => Order::OneApp {
            order: AppOrder::Start(app.into()),
            done,
        },
        Request::StopApp { app, grace_ms } => Order::OneApp {
            order: AppOrder::Stop(app.into(), grace_ms.map(Duration::from_millis)),
            done,
        },
        Request::RemoveApp { app } => Order::OneApp {
            order: AppOrder::Remove(app.into()),
            done,
        },
        Request::Agent(header) => return splice(stream, &header, orders).await.map(|()| None),
        Request::Stdin { app, ends } => {
            return feed(stream, app.into(), ends, orders).await.map(|()| None);
        }
        Request::Output { app, stream: which } => {
            let (back, to) = twice(stream).map_err(ControlError::Own)?;
            stream = back;
            Order::Output {
                app: app.into(),
                stream: which,
                to,
                done,
            }
        }
    };
    Ok(Some((order, stream)))
}

fn unread(error: io::Error) -> ControlError {
    ControlError::Read(ReadMessageError::Io(error))
}

fn read_json<T: DeserializeOwned>(text: &str) -> Result<T, ControlError> {
    serde_json::from_str(text).map_err(|error| unread(error.into()))
}

/// The two handles of one connection.
fn twice(stream: UnixStream) -> io::Result<(UnixStream, UnixStream)> {
    let stream = stream.into_std()?;
    let second = stream.try_clone()?;
    Ok((UnixStream::from_std(stream)?, UnixStream::from_std(second)?))
}

/// What follows a request for an app.
async fn read_files(stream: &mut UnixStream, bytes: u64) -> io::Result<Vec<u8>> {
    if bytes > MAX_FILES_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut files = Vec::new();
    match stream.take(bytes).read_to_end(&mut files).await? {
        read if u64::try_from(read).is_ok_and(|read| read == bytes) => Ok(files),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Connects the client with the agent, until either has ended.
async fn splice(
    mut client: UnixStream,
    header: &HostStream,
    orders: &mpsc::Sender<Order>,
) -> Result<(), ControlError> {
    let opened = match header {
        HostStream::Control => Err("the agent has one control stream, which is the supervisor's".to_owned()),
        HostStream::AddVolume(_)
        | HostStream::RemoveVolume { .. }
        | HostStream::Arrive { .. }
        | HostStream::Open { .. }
        | HostStream::AddInterface { .. }
        | HostStream::RemoveInterface { .. }
        | HostStream::Nameservers { .. }
        | HostStream::Depart(_) => Err("only the supervisor adds apps to the VM and removes them".to_owned()),
        HostStream::ChangeApp { .. } => Err("apps are changed by the supervisor".to_owned()),
        _ => open_stream(header, orders).await,
    };
    let mut stream = match opened {
        Ok(stream) => stream,
        Err(reason) => {
            let answer = Answer::Refused { reason, hint: None };
            return write_message(&mut client, &answer)
                .await
                .map_err(ControlError::Write);
        }
    };
    write_message(&mut client, &Answer::Done)
        .await
        .map_err(ControlError::Write)?;
    // Either side's end is the other's to see; there is nobody to report more to.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut stream).await;
    Ok(())
}

/// Gives the app what the client writes, a piece at a time.
async fn feed(
    mut client: UnixStream,
    app: usize,
    ends: bool,
    orders: &mpsc::Sender<Order>,
) -> Result<(), ControlError> {
    let (reply, input) = oneshot::channel();
    let asked = match orders.send(Order::Stdin { app, reply }).await {
        Ok(()) => input.await.ok(),
        Err(_) => None,
    };
    let (input, answer) = match asked {
        Some(Some(input)) => (Some(input), Ok(())),
        Some(None) => (None, Err("the app has no standard input that is kept open")),
        None => (None, Err("the pod is ending")),
    };
    let answer = answer.map_or_else(
        |reason| Answer::Refused {
            reason: reason.into(),
            hint: None,
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
            return Ok(());
        }
    }
    if ends {
        let _ = input.0.lock().await.shutdown().await;
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
