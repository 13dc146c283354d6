//! Messages of the name system over TCP: two bytes of length, then the message (RFC 1035, 4.2.2).

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Reads a message.
///
/// # Errors
/// The connection's, and its end.
pub async fn read<R: AsyncRead + Unpin>(connection: &mut R) -> io::Result<Vec<u8>> {
    let mut message = vec![0; connection.read_u16().await?.into()];
    connection.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes a message, in one write where the connection takes it.
///
/// # Errors
/// The connection's, and that the message is longer than 65,535 bytes.
pub async fn write<W: AsyncWrite + Unpin>(connection: &mut W, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    connection
        .write_all(&[&length.to_be_bytes(), message].concat())
        .await?;
    connection.flush().await
}
