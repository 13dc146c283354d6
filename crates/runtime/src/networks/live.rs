//! The interfaces of a pod that runs, as they come and go, shared by what does one change after the other and what takes all away in
//! the end.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use isopod_plan::vm::network::TAP_FD;
use isopod_plan::vm::network::named::publishing;
use isopod_spec::{JoinedNetwork, NetworkName, PortForward};

use super::forward::Forwarder;
use crate::joining::members;
use crate::joining::up::Up;
use crate::joining::{JoiningPod, NetworksError, NetworksRecord, failed};
use crate::pods::files::PodRecord;
use crate::ports::{self, Listening, PortError};

/// What a pod has of its networks while it runs. It is taken away when the last of these goes.
#[derive(Clone, Debug)]
pub(crate) struct Live(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    /// What it is in now.
    networks: NetworksRecord,
    pod: JoiningPod,
    up: Option<Up>,
    /// Its ports of the host.
    ports: Ports,
}

/// What QEMU is started with, and what comes after.
pub(crate) struct Begun {
    pub(crate) live: Live,
    /// The taps of the interfaces that the VM starts with, by the numbers that QEMU knows them by.
    pub(crate) taps: Vec<(OwnedFd, i32)>,
    /// What the pod has joined since it was prepared, with its tap.
    pub(crate) later: Vec<(JoinedNetwork, OwnedFd)>,
    /// The interfaces of networks that it has left since.
    pub(crate) left: Vec<String>,
}

/// A pod's networks, what it has joined since it was prepared, with its tap, and the interfaces of those that it has left since.
pub(crate) type Memberships = (Live, Vec<(JoinedNetwork, OwnedFd)>, Vec<String>);

/// Why they could not be had.
#[derive(Debug)]
pub(crate) enum BeginError {
    Port(PortError),
    Networks(NetworksError),
}

impl Live {
    /// Has the interfaces made of all networks that the pod at `dir` is in.
    ///
    /// # Errors
    /// [`BeginError`]; nothing is left then.
    pub(crate) fn begin(record: &PodRecord, first: &NetworksRecord, dir: &Path) -> Result<Begun, BeginError> {
        let bound = match first.pasta {
            None => BoundPorts::Held(ports::hold(&record.ports).map_err(BeginError::Port)?),
            Some(_) => BoundPorts::Listening(ports::listen(&record.ports).map_err(BeginError::Port)?),
        };
        let pod = JoiningPod {
            uuid: record.uuid.clone(),
            dir: dir.to_owned(),
            ports: record.ports.clone(),
        };
        let networks = first.now(dir);
        let (up, mut taps) = networks.up(&pod).map_err(BeginError::Networks)?;
        let mut inner = Inner {
            networks,
            pod,
            up: Some(up),
            ports: Ports::None,
        };
        inner.ports = inner.lead(bound).map_err(BeginError::Networks)?;
        let live = Self(Arc::new(Mutex::new(inner)));
        // From here on what was made goes with that.
        let mut of_qemu = Vec::new();
        let mut left = Vec::new();
        for (joined, number) in first.joined.iter().zip(TAP_FD..) {
            let at = taps.iter().position(|(made, _)| is_same(made, joined));
            let tap = match at {
                Some(at) => taps.remove(at).1,
                // The device is there, and leads nowhere.
                None => {
                    left.push(joined.interface.clone());
                    live.idle_tap().map_err(BeginError::Networks)?
                }
            };
            of_qemu.push((tap, number));
        }
        Ok(Begun {
            live,
            taps: of_qemu,
            later: taps,
            left,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle_tap(&self) -> Result<OwnedFd, NetworksError> {
        match &self.lock().up {
            Some(up) => up.idle_tap(),
            None => Err(NetworksError::Ended),
        }
    }

    /// Has the interface to one more network made, and gives its tap. It is written down before.
    ///
    /// # Errors
    /// [`NetworksError`]; nothing has changed then.
    pub(crate) fn connect(&self, joined: &JoinedNetwork) -> Result<OwnedFd, NetworksError> {
        let inner = &mut *self.lock();
        let up = inner.up.as_ref().ok_or(NetworksError::Ended)?;
        inner.networks.joined.push(joined.clone());
        let made = inner
            .write()
            .and_then(|()| inner.networks.up_one(&inner.pod, up, joined));
        made.inspect_err(|_| {
            inner.networks.joined.pop();
            if let Err(error) = inner.write() {
                tracing::warn!("{}", isopod_contract::in_one_line(&error));
            }
        })
    }

    /// Takes the interface to a network away.
    ///
    /// # Errors
    /// [`NetworksError`].
    pub(crate) fn disconnect(&self, network: &NetworkName) -> Result<(), NetworksError> {
        let inner = &mut *self.lock();
        let up = inner.up.as_ref().ok_or(NetworksError::Ended)?;
        let is_it = |joined: &JoinedNetwork| joined.network.name == *network;
        if let Some(at) = inner.networks.joined.iter().position(is_it) {
            let joined = inner.networks.joined[at].clone();
            inner.networks.down_one(&inner.pod, up, &joined)?;
            inner.networks.joined.remove(at);
        }
        inner.write()
    }

    /// What the pod is in now.
    pub(crate) fn joined(&self) -> Vec<JoinedNetwork> {
        self.lock().networks.joined.clone()
    }
}

/// Whether the guest, which received the one, has the other.
fn is_same(made: &JoinedNetwork, reported: &JoinedNetwork) -> bool {
    let of = |joined: &JoinedNetwork| {
        let name = joined.network.name.clone();
        (
            joined.interface.clone(),
            name,
            joined.mac,
            joined.addresses.clone(),
        )
    };
    of(made) == of(reported)
}

/// The host's ports that lead into the pod.
#[derive(Debug)]
enum Ports {
    None,
    /// The firewall leads them; these keep others from them.
    Held(#[expect(dead_code, reason = "held until the pod has ended")] Vec<OwnedFd>),
    /// That process does.
    Carried(#[expect(dead_code, reason = "it ends with this")] Forwarder),
}

/// Sockets of the host's ports.
enum BoundPorts {
    Held(Vec<OwnedFd>),
    Listening(Vec<(PortForward, Listening)>),
}

impl Inner {
    /// Lets the ports lead into the pod.
    fn lead(&self, bound: BoundPorts) -> Result<Ports, NetworksError> {
        let bound = match bound {
            BoundPorts::Held(held) => return Ok(Ports::Held(held)),
            BoundPorts::Listening(bound) => bound,
        };
        let space = self.up.as_ref().and_then(Up::space);
        let (Some(space), Some(joined)) = (space, publishing(&self.networks.joined)) else {
            return Ok(Ports::None);
        };
        if bound.is_empty() {
            return Ok(Ports::None);
        }
        let started = Forwarder::start(space, bound, joined);
        started
            .map(Ports::Carried)
            .map_err(|error| NetworksError::Within {
                words: format!("cannot lead the host's ports into the pod: {error}"),
                hint: None,
            })
    }

    fn write(&self) -> Result<(), NetworksError> {
        let written = members::write(&self.pod.dir, &self.networks.joined);
        written.map_err(failed("write to", &self.pod.dir))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.networks.down(&self.pod, self.up.take());
    }
}
