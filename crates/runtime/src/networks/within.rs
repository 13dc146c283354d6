//! What is done to an ordinary user's networks: by a process that enters the user's namespace of them ([`isopod_vm::rootless`]), does it
//! there as root does on the host, and ends.
//!
//! ```text
//! supervisor ── spawns ──> isopod WITHIN PROCESS
//!    ── Call, the pod's namespace ──>  (standard input, a socket)
//!    <── Reply, namespace, taps ─────
//! ```

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;

use isopod_contract::in_one_line;
use isopod_spec::JoinedNetwork;
use isopod_vm::netns::OwnNetns;
use isopod_vm::rootless::{self, Space};
use isopod_vm::{fd_message, launch};
use serde::{Deserialize, Serialize};

use super::up::{JoiningPod, NetworksError, NetworksRecord, OWN_PROGRAM, Up};

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

/// How it went.
#[derive(Debug, Serialize, Deserialize)]
enum Reply {
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
        let heard = sent.and_then(|()| fd_message::receive(&ours));
        child.wait()?;
        let (reply, made) = heard?;
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
pub(super) fn asked(args: impl IntoIterator<Item = OsString>) -> io::Result<(u32, UnixStream)> {
    let process = args.into_iter().next();
    let process = process.and_then(|word| word.to_str()?.parse().ok());
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    Ok((process.ok_or(io::ErrorKind::InvalidInput)?, socket))
}

/// Is the process that does it; the argument is the process whose namespaces it enters, after [`WITHIN`].
///
/// # Errors
/// The system's: whoever asked has gone.
pub fn serve(args: impl IntoIterator<Item = OsString>) -> io::Result<()> {
    let (process, socket) = asked(args)?;
    let (call, given) = fd_message::receive(&socket)?;
    let call: Call = serde_json::from_slice(&call)?;
    let entered = rootless::enter(process).map_err(NetworksError::Space);
    let done = entered.and_then(|()| perform(call, given.into_iter().next()));
    let (reply, made) = match done {
        Ok(made) => (Reply::Done, made),
        Err(error) => {
            let (words, hint) = (in_one_line(&error), error.hint());
            (Reply::Failed { words, hint }, Vec::new())
        }
    };
    let made: Vec<BorrowedFd<'_>> = made.iter().map(OwnedFd::as_fd).collect();
    fd_message::send(&socket, &serde_json::to_vec(&reply)?, &made)
}

fn perform(call: Call, given: Option<OwnedFd>) -> Result<Vec<OwnedFd>, NetworksError> {
    let up = given.map(|netns| Up::of(netns, None));
    let needed = || up.as_ref().ok_or(NetworksError::Ended);
    match call {
        Call::Up { networks, pod } => {
            let (up, taps) = networks.up_here(&pod)?;
            let netns = up.netns().as_fd().try_clone_to_owned();
            let netns = netns.map_err(|_| NetworksError::Ended)?;
            Ok(std::iter::once(netns)
                .chain(taps.into_iter().map(|(_, tap)| tap))
                .collect())
        }
        Call::UpOne {
            networks,
            pod,
            joined,
        } => Ok(vec![networks.up_one(&pod, needed()?, &joined)?]),
        Call::DownOne {
            networks,
            pod,
            joined,
        } => {
            networks.down_one(&pod, needed()?, &joined)?;
            Ok(Vec::new())
        }
        Call::Down { networks, pod } => {
            networks.take_away_here(&pod, up.as_ref())?;
            Ok(Vec::new())
        }
        Call::Tap => Ok(vec![needed()?.idle_tap()?]),
    }
}
