//! Messages on a stream: four bytes of length, little endian, then the message in postcard.
//!
//! The reader trusts nothing: a length over the limit, a truncated or overlong encoding and an unknown variant are
//! errors, and no length makes it reserve memory beyond [`MAX_MESSAGE_BYTES`].

use isopod_contract::message::MAX_MESSAGE_BYTES;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Why a message could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadMessageError {
    /// The stream failed.
    #[error("cannot read a message")]
    Io(#[source] std::io::Error),
    /// The stream ended inside a message.
    #[error("the stream ended inside a message")]
    Truncated,
    /// The length is over the limit.
    #[error("a message of {bytes} bytes is over the limit of {MAX_MESSAGE_BYTES}")]
    TooLong {
        /// The length that it claims.
        bytes: u32,
    },
    /// The bytes are no message of the expected kind.
    #[error("the bytes are not a message of this protocol")]
    Malformed(#[source] postcard::Error),
    /// Something follows the message within its length.
    #[error("{bytes} bytes follow the message within its length")]
    Trailing { bytes: usize },
}

/// Why a message could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteMessageError {
    /// The stream failed.
    #[error("cannot write a message")]
    Io(#[source] std::io::Error),
    /// The message is over the limit.
    #[error("a message of {bytes} bytes is over the limit of {MAX_MESSAGE_BYTES}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It cannot be encoded.
    #[error("cannot encode a message")]
    Encode(#[source] postcard::Error),
}

/// Encodes a message with its length before it.
///
/// # Errors
/// [`WriteMessageError::TooLong`] over the limit.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, WriteMessageError> {
    let mut bytes = postcard::to_extend(message, vec![0; 4]).map_err(WriteMessageError::Encode)?;
    let body = bytes.len() - 4;
    if body > MAX_MESSAGE_BYTES {
        return Err(WriteMessageError::TooLong { bytes: body });
    }
    bytes[..4].copy_from_slice(&u32::to_le_bytes(body as u32));
    Ok(bytes)
}

/// Decodes a message's body: what follows the four bytes of length.
///
/// # Errors
/// [`ReadMessageError::Malformed`] or [`ReadMessageError::Trailing`].
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, ReadMessageError> {
    let (message, rest) = postcard::take_from_bytes::<T>(body).map_err(ReadMessageError::Malformed)?;
    if rest.is_empty() {
        Ok(message)
    } else {
        Err(ReadMessageError::Trailing { bytes: rest.len() })
    }
}

/// Writes one message, in one write where the stream takes it.
///
/// # Errors
/// [`WriteMessageError`].
pub async fn write_message<W, T>(stream: &mut W, message: &T) -> Result<(), WriteMessageError>
where
    W: AsyncWrite + Unpin,
    T: Serialize,
{
    let bytes = encode(message)?;
    stream.write_all(&bytes).await.map_err(WriteMessageError::Io)?;
    stream.flush().await.map_err(WriteMessageError::Io)
}

/// Reads one message; `None` when the stream has ended before one began. Not to be cancelled half-way: the bytes
/// read so far would be lost.
///
/// # Errors
/// [`ReadMessageError`]; the stream is of no further use then.
pub async fn read_message<R, T>(stream: &mut R) -> Result<Option<T>, ReadMessageError>
where
    R: AsyncRead + Unpin,
    T: DeserializeOwned,
{
    let mut length = [0; 4];
    let mut have = 0;
    while have < length.len() {
        match stream
            .read(&mut length[have..])
            .await
            .map_err(ReadMessageError::Io)?
        {
            0 if have == 0 => return Ok(None),
            0 => return Err(ReadMessageError::Truncated),
            n => have += n,
        }
    }
    let bytes = u32::from_le_bytes(length);
    if bytes as usize > MAX_MESSAGE_BYTES {
        return Err(ReadMessageError::TooLong { bytes });
    }
    let mut body = vec![0; bytes as usize];
    stream
        .read_exact(&mut body)
        .await
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => ReadMessageError::Truncated,
            _ => ReadMessageError::Io(error),
        })?;
    decode(&body).map(Some)
}
