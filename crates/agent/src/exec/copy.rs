//! The agent's side of a copy stream. The archive is made and taken by [`enter`](crate::exec::enter) in the app's world: links
//! of the app's lead nowhere else, and read-only is read-only. Here its bytes only pass.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use isopod_contract::copy::Frame;
use isopod_contract::in_one_line;
use isopod_protocol::codec::write_message;
use isopod_protocol::copy::{self, CopyError};
use rustix::fs::{Mode, OFlags, open};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::unix::pipe::{Receiver, Sender};

use crate::exec::enter::Job;
use crate::exec::{StartError, spawn};

/// Why a copy failed.
#[derive(Debug, thiserror::Error)]
enum AgentCopyError {
    #[error("cannot make a pipe")]
    Pipe(#[source] io::Error),
    #[error("cannot start the copy")]
    Start(#[source] StartError),
    #[error("cannot pass the archive on")]
    Pass(#[source] CopyError),
    #[error("the copy was ended")]
    Ended,
    /// The process's own words.
    #[error("{0}")]
    Reported(String),
}

/// Sends the archive that `job` packs, and how it went.
pub(crate) async fn out<S>(mut stream: S, agent: &Path, job: &Job)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let copied = pack(&mut stream, agent, job).await;
    send_result(stream, copied).await;
}

/// Gives the archive that comes to `job`, which unpacks it, and reports how it went.
pub(crate) async fn bring<S>(mut stream: S, agent: &Path, job: &Job)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let copied = unpack(&mut stream, agent, job).await;
    send_result(stream, copied).await;
}

/// Reports to the host that nothing was copied.
pub(crate) async fn fail<W: AsyncWrite + Unpin>(mut stream: W, text: String) {
    let _ = write_message(&mut stream, &Frame::Failed { text }).await;
    let _ = stream.shutdown().await;
}

async fn send_result<S: AsyncWrite + Unpin>(mut stream: S, copied: Result<Option<String>, AgentCopyError>) {
    match copied {
        Ok(warning) => {
            if let Some(text) = warning {
                let _ = write_message(&mut stream, &Frame::Warning { text }).await;
            }
            let _ = write_message(&mut stream, &Frame::End).await;
            let _ = stream.shutdown().await;
        }
        Err(error) => fail(stream, in_one_line(&error)).await,
    }
}

async fn pack<S: AsyncWrite + Unpin>(
    stream: &mut S,
    agent: &Path,
    job: &Job,
) -> Result<Option<String>, AgentCopyError> {
    let (reader, writer) = pipe().map_err(AgentCopyError::Pipe)?;
    let nowhere = || nowhere().map_err(AgentCopyError::Pipe);
    let process = spawn(agent, job, [nowhere()?, writer, nowhere()?]).await;
    // Without a host it is killed, for it is dropped.
    let process = process.map_err(AgentCopyError::Start)?;
    let mut archive = rustix::io::ioctl_fionbio(&reader, true)
        .map_err(io::Error::from)
        .and_then(|()| Receiver::from_owned_fd(reader))
        .map_err(AgentCopyError::Pipe)?;
    copy::send(&mut archive, stream)
        .await
        .map_err(AgentCopyError::Pass)?;
    ended(process.ended().await)
}

async fn unpack<S: AsyncRead + Unpin>(
    stream: &mut S,
    agent: &Path,
    job: &Job,
) -> Result<Option<String>, AgentCopyError> {
    let (reader, writer) = pipe().map_err(AgentCopyError::Pipe)?;
    let nowhere = || nowhere().map_err(AgentCopyError::Pipe);
    let process = spawn(agent, job, [reader, nowhere()?, nowhere()?]).await;
    let process = process.map_err(AgentCopyError::Start)?;
    let mut archive = rustix::io::ioctl_fionbio(&writer, true)
        .map_err(io::Error::from)
        .and_then(|()| Sender::from_owned_fd(writer))
        .map_err(AgentCopyError::Pipe)?;
    let passed = copy::receive(stream, &mut archive).await;
    drop(archive);
    match passed {
        Ok(_) => ended(process.ended().await),
        // It has ended before the archive did, and says why.
        Err(CopyError::Local(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ended(process.ended().await).and(Err(AgentCopyError::Ended))
        }
        Err(error) => Err(AgentCopyError::Pass(error)),
    }
}

/// How it went, with a warning.
fn ended(
    (status, report): (io::Result<std::process::ExitStatus>, Option<String>),
) -> Result<Option<String>, AgentCopyError> {
    match (report, status) {
        (warning, Ok(status)) if status.success() => Ok(warning),
        (Some(text), _) => Err(AgentCopyError::Reported(text)),
        _ => Err(AgentCopyError::Ended),
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC)?)
}

fn nowhere() -> io::Result<OwnedFd> {
    Ok(open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}
