//! Moves the bytes of a copy stream ([`isopod_contract::copy`]).

use isopod_contract::copy::Frame;
use isopod_contract::exec::MAX_PIECE_BYTES;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::codec::{ReadMessageError, WriteMessageError, read_message, write_message};

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
