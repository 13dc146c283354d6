//! Whoever asks a supervisor.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use isopod_contract::message::HostStream;
use isopod_plan::layout;
use isopod_protocol::codec::{WriteMessageError, read_message, write_message};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use crate::logs::Stream;
use crate::process::number_is_stopped;

use super::{ANSWER_WITHIN, AddApp, Answer, BEGINNING, CHANGED_WITHIN, ControlError, Request, through};

/// Asks the supervisor of the pod at `dir`. It has its time to answer: more for what takes some.
///
/// # Errors
/// [`ControlError`].
pub async fn ask(dir: &Path, request: &Request) -> Result<(), ControlError> {
    let patience = match request {
        Request::Attach(_) | Request::Detach { .. } | Request::RemoveApp { .. } | Request::Network { .. } => {
            CHANGED_WITHIN
        }
        _ => ANSWER_WITHIN,
    };
    ask_within(dir, request, patience).await
}

/// Asks the supervisor of the pod at `dir` to add an app, with the files that come to the guest.
///
/// # Errors
/// [`ControlError`].
pub async fn add_app(dir: &Path, add: &AddApp, files: &[u8]) -> Result<(), ControlError> {
    let conversation = async {
        let mut stream = connect(dir).await?;
        let bytes = u64::try_from(files.len()).unwrap_or(u64::MAX);
        let failed = |error| ControlError::Write(WriteMessageError::Io(error));
        let app = serde_json::to_string(add).map_err(|error| failed(error.into()))?;
        let request = Request::AddApp { app, files: bytes };
        write_message(&mut stream, &request)
            .await
            .map_err(ControlError::Write)?;
        stream.write_all(files).await.map_err(failed)?;
        receive(&mut stream).await
    };
    tokio::time::timeout(CHANGED_WITHIN, conversation)
        .await
        .unwrap_or(Err(ControlError::Silent(CHANGED_WITHIN)))
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
    receive(stream).await
}

async fn receive(stream: &mut UnixStream) -> Result<(), ControlError> {
    match read_message(stream).await.map_err(ControlError::Read)? {
        Some(Answer::Done) => Ok(()),
        Some(Answer::Refused { reason, hint }) => Err(ControlError::Refused { reason, hint }),
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

/// Opens the standard input of an app of the pod at `dir` that runs and has one: the only app of a pod that keeps it open
/// ([`Stdin::Attached`](crate::pods::files::Stdin)), or one that came later. Where `ends` says so, the end of what is written is
/// the input's. It is closed by the other side when nobody reads it any more.
///
/// # Errors
/// [`ControlError`].
pub async fn open_stdin(dir: &Path, app: u16, ends: bool) -> Result<UnixStream, ControlError> {
    begin(dir, &Request::Stdin { app, ends }, ANSWER_WITHIN).await
}

/// Opens what an app of the pod at `dir` writes to one of its streams from now on. It ends with that.
///
/// # Errors
/// [`ControlError`].
pub async fn open_output(dir: &Path, app: u16, stream: Stream) -> Result<UnixStream, ControlError> {
    begin(dir, &Request::Output { app, stream }, ANSWER_WITHIN).await
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

pub(super) async fn connect(dir: &Path) -> Result<UnixStream, ControlError> {
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
