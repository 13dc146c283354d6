//! A message with descriptors over a socket (unix(7), `SCM_RIGHTS`): the last that its sender sends.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

/// The most descriptors of a message, which is as many as the kernel takes (`SCM_MAX_FD`).
const MAX: usize = 253;

/// The most bytes of a message.
const MAX_BYTES: u64 = 16 << 20;

/// Sends it; nothing follows.
///
/// # Errors
/// The system's.
pub fn send(mut socket: &UnixStream, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    if !rights.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // Descriptors go with a byte.
    rustix::net::sendmsg(socket, &[IoSlice::new(b"m")], &mut rights, SendFlags::NOSIGNAL)?;
    socket.write_all(message)?;
    socket.shutdown(Shutdown::Write)
}

/// Receives it.
///
/// # Errors
/// The system's, and where the other side has closed the socket without a message.
pub fn receive(socket: &UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut rights,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut descriptors = Vec::new();
    for message in rights.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    let mut bytes = Vec::new();
    socket.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok((bytes, descriptors))
}

#[cfg(test)]
mod tests {
    use std::io::Seek as _;
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn descriptors_come_with_their_message() {
        let (one, other) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"content").unwrap();
        file.rewind().unwrap();
        send(&one, b"words", &[file.as_fd()]).unwrap();
        let (words, mut descriptors) = receive(&other).unwrap();
        assert_eq!(words, b"words");
        let mut text = String::new();
        std::fs::File::from(descriptors.remove(0))
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "content");
        drop(other);
        let (one, other) = UnixStream::pair().unwrap();
        drop(one);
        assert!(receive(&other).is_err());
        let (one, other) = UnixStream::pair().unwrap();
        send(&one, b"", &[]).unwrap();
        assert_eq!(receive(&other).unwrap().0, b"");
    }
}
