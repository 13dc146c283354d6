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

use isopod_contract::in_one_line;
use isopod_vm::fd_message;
use isopod_vm::rootless;

use super::NetworksError;
pub use super::call::WITHIN;
use super::call::{Call, Reply, asked};
use super::up::Up;

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
