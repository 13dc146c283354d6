//! How something is done to an ordinary user's networks: see [`super::within`].

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;

use isopod_spec::JoinedNetwork;
use isopod_vm::netns::OwnNetns;
use isopod_vm::rootless::Space;
use isopod_vm::{fd_message, launch};
use serde::{Deserialize, Serialize};

use super::{JoiningPod, NetworksError, NetworksRecord, OWN_PROGRAM};

/// The first argument that makes `isopod` such a process.
pub const WITHIN: &str = "internal-networks";

/// What is to be done.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Call {
    /// The pod's interfaces are made: its namespace comes back, and a tap for each.
    Up {
        networks: NetworksRecord,
        pod: JoiningPod,
    },
    /// One more, in the namespace that comes with this: its tap comes back.
    UpOne {
        networks: NetworksRecord,
        pod: JoiningPod,
        joined: JoinedNetwork,
    },
    /// One goes.
    DownOne {
        networks: NetworksRecord,
        pod: JoiningPod,
        joined: JoinedNetwork,
    },
    /// All go: of the namespace that comes with this, or of one that is gone.
    Down {
        networks: NetworksRecord,
        pod: JoiningPod,
    },
    /// A tap that leads nowhere.
    Tap,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Done,
    Failed { words: String, hint: Option<String> },
}

/// Has it done in that namespace.
pub(super) fn call(
    space: &Space,
    call: &Call,
    netns: Option<&OwnNetns>,
) -> Result<Vec<OwnedFd>, NetworksError> {
    let asked = || -> io::Result<(Reply, Vec<OwnedFd>)> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut process = launch::command(Path::new(OWN_PROGRAM));
        process.arg(WITHIN).arg(space.process().to_string());
        let mut child = process
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .current_dir("/")
            .spawn()?;
        // The other end is the child's alone.
        drop(process);
        let given: Vec<BorrowedFd<'_>> = netns.iter().map(|netns| netns.as_fd()).collect();
        let sent = fd_message::send(&ours, &serde_json::to_vec(call)?, &given);
        let received = sent.and_then(|()| fd_message::receive(&ours));
        child.wait()?;
        let (reply, made) = received?;
        Ok((serde_json::from_slice(&reply)?, made))
    };
    let (reply, made) = asked().map_err(|error| NetworksError::Within {
        words: format!("cannot change the networks of this user: {error}"),
        hint: None,
    })?;
    match reply {
        Reply::Done => Ok(made),
        Reply::Failed { words, hint } => Err(NetworksError::Within { words, hint }),
    }
}

/// Of a process of `isopod` that is to enter the user's namespace: the process that is in it, by its only argument, and the socket of whoever asks, which is
/// its standard input.
pub(crate) fn asked(args: impl IntoIterator<Item = OsString>) -> io::Result<(u32, UnixStream)> {
    let process = args.into_iter().next();
    let process = process.and_then(|word| word.to_str()?.parse().ok());
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    Ok((process.ok_or(io::ErrorKind::InvalidInput)?, socket))
}
