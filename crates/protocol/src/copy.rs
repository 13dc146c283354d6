//! Files into and out of an app: the frames of a copy stream, which carry one tar archive.
//!
//! ```text
//!   CopyOut: host <─ Data..., End or Failed ── guest     a Warning may come before End; the host sends nothing
//!   CopyIn:  host ── Data..., End ──> guest;  host <─ End or Failed ── guest
//! ```
//!
//! What the archive holds: one tree, whose root is named as the copied file is, or `.` where only a directory's
//! contents were asked for (`DIR/.`). Where it goes: below the target, when that is a directory; otherwise it becomes
//! the target, whose parent must exist. These are docker's rules. The receiving end of an archive trusts no name in it.

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::codec::{ReadMessageError, WriteMessageError, read_message, write_message};
use crate::exec::MAX_PIECE_BYTES;

/// A piece of a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frame {
    /// 0: the archive's next bytes; at most [`MAX_PIECE_BYTES`].
    Data(#[serde(with = "crate::bytes")] Vec<u8>),
    /// 1: the archive's end, or that everything was written. The last frame.
    End,
    /// 2: it went wrong. The last frame.
    Failed {
        /// Why, in one line.
        text: String,
    },
    /// 3: what a whole archive does not have; before the last frame.
    Warning {
        /// What and why, in one line.
        text: String,
    },
}

/// Why an archive did not come through.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A frame could not be read.
    #[error("cannot read the archive's next piece")]
    Receive(#[source] ReadMessageError),
    /// A frame could not be written.
    #[error("cannot send the archive's next piece")]
    Send(#[source] WriteMessageError),
    /// The stream ended without a last frame.
    #[error("the archive was cut off")]
    CutOff,
    /// A piece is over the limit.
    #[error("a piece of {bytes} bytes is over the limit of {MAX_PIECE_BYTES}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The other side's own words: escape them before a terminal sees them.
    #[error("{0}")]
    Failed(String),
    /// This side's file or archive failed.
    #[error("cannot move the archive's bytes")]
    Local(#[source] std::io::Error),
}

/// Sends what `archive` gives up to its end, as frames; not the last one, which is the caller's.
///
/// # Errors
/// [`CopyError::Send`] and [`CopyError::Local`].
pub async fn send<R, W>(archive: &mut R, stream: &mut W) -> Result<(), CopyError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; MAX_PIECE_BYTES];
    loop {
        let n = archive.read(&mut buffer).await.map_err(CopyError::Local)?;
        if n == 0 {
            return Ok(());
        }
        let frame = Frame::Data(buffer[..n].to_vec());
        write_message(stream, &frame).await.map_err(CopyError::Send)?;
    }
}

/// Writes the frames' bytes to `archive`, up to the last frame; gives the warning that came with it: the other side's
/// own words, to escape before a terminal sees them.
///
/// # Errors
/// [`CopyError`]; [`CopyError::Failed`] where the last frame says so.
pub async fn receive<R, W>(stream: &mut R, archive: &mut W) -> Result<Option<String>, CopyError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut warning = None;
    loop {
        let frame = read_message(stream).await.map_err(CopyError::Receive)?;
        match frame.ok_or(CopyError::CutOff)? {
            Frame::Data(bytes) if bytes.len() > MAX_PIECE_BYTES => {
                return Err(CopyError::TooLong { bytes: bytes.len() });
            }
            Frame::Data(bytes) => archive.write_all(&bytes).await.map_err(CopyError::Local)?,
            Frame::Warning { text } => warning = Some(text),
            Frame::End => {
                archive.flush().await.map_err(CopyError::Local)?;
                return Ok(warning);
            }
            Frame::Failed { text } => {
                // What came is whole where only a file in it is not.
                archive.flush().await.map_err(CopyError::Local)?;
                return Err(CopyError::Failed(text));
            }
        }
    }
}
