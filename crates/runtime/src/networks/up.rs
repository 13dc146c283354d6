//! A pod's interfaces to its networks, while it runs: netavark makes them in a network namespace that only the supervisor has, so that
//! they end with it. What does not end with it, rules of the firewall, names, the host's interface, is taken away when the pod has
//! ended, and of a killed supervisor's pod when it is removed or started again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use isopod_contract::in_one_line;
use isopod_plan::vm::network::named::publishing;
use isopod_spec::{JoinedNetwork, NetworkName, PortForward};
use isopod_vm::netavark::{self, Netavark, NetavarkError, Verb};
use isopod_vm::netns::{self, NetnsError, OwnNetns, Reach};
use serde::{Deserialize, Serialize};

use crate::pods::files::boot_id;
use crate::pods::state as pods;
use crate::{private, state_dir};

/// In the pod directory: that netavark was told of the pod, in the boot that is named there.
const UP: &str = "networks.up";

/// How long the kernel may take to end a namespace whose last process has ended.
const NAMESPACE_ENDS: Duration = Duration::from_secs(3);

/// What a pod has of networks with names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NetworksRecord {
    /// netavark(1).
    pub netavark: PathBuf,
    /// aardvark-dns, where there is one.
    pub aardvark: Option<PathBuf>,
    /// What it has of each, in the order of its interfaces.
    pub joined: Vec<JoinedNetwork>,
}

/// Why a pod is not in its networks.
#[derive(Debug, thiserror::Error)]
pub enum NetworksError {
    /// Files cannot be written.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// netavark failed.
    #[error("cannot join network `{network}`")]
    Netavark {
        /// The network.
        network: NetworkName,
        /// Why not.
        source: NetavarkError,
    },
    /// The namespace, or a tap in it.
    #[error("cannot make the pod's interfaces")]
    Namespace(#[from] NetnsError),
}

impl NetworksError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Namespace(error) => error.hint(),
            Self::Netavark { .. } => Some(
                "it needs root, and of the host's kernel bridges, veth and a firewall (`iptables`)".into(),
            ),
            Self::Io { .. } => None,
        }
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> NetworksError {
    let path = path.to_owned();
    move |source| NetworksError::Io { action, path, source }
}

/// The interfaces of a pod that runs.
#[derive(Debug)]
pub(crate) struct Up {
    netns: OwnNetns,
}

/// Where what is about one pod is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The pod's UUID.
    pub(crate) uuid: &'a str,
    /// Its directory, two below all pods' and three below the state directory.
    pub(crate) dir: &'a Path,
    /// The host's ports that lead into it.
    pub(crate) ports: &'a [PortForward],
}

impl Place<'_> {
    fn networks(&self) -> PathBuf {
        let state = self.dir.ancestors().nth(3).unwrap_or(self.dir);
        state.join(state_dir::NETWORKS)
    }
}

impl NetworksRecord {
    /// Has them made, and gives a tap's descriptor for each.
    ///
    /// # Errors
    /// [`NetworksError`]; nothing is left then.
    pub(crate) fn up(&self, place: Place<'_>) -> Result<(Up, Vec<std::os::fd::OwnedFd>), NetworksError> {
        self.down(place, None);
        let networks = place.networks();
        let up = Up {
            netns: OwnNetns::new()?,
        };
        let path = place.dir.join(UP);
        fs::write(&path, boot_id()).map_err(failed("write", &path))?;
        let made = self.make(place, &networks, &up);
        match made {
            Ok(taps) => Ok((up, taps)),
            Err(error) => {
                // netavark expects those that it did not come to.
                for joined in &self.joined {
                    let _ = up.netns.add_a_stand_in(&joined.interface);
                }
                self.down(place, Some(up));
                Err(error)
            }
        }
    }

    fn make(
        &self,
        place: Place<'_>,
        networks: &Path,
        up: &Up,
    ) -> Result<Vec<std::os::fd::OwnedFd>, NetworksError> {
        let netns = up.netns.path();
        {
            let _lock = lock(networks)?;
            let config = config(networks)?;
            for joined in &self.joined {
                let made = self.netavark(&config, place, joined, Verb::Setup, &netns);
                made.map_err(|source| NetworksError::Netavark {
                    network: joined.network.name.clone(),
                    source,
                })?;
            }
        }
        let tap = |joined: &JoinedNetwork| {
            let network = &joined.network;
            let reach = match network.internal {
                true => Reach::Within(network.subnets.iter().map(|subnet| subnet.subnet).collect()),
                false => Reach::AllButLoopback,
            };
            Ok(netns::join(&netns, &joined.interface, &reach)?)
        };
        self.joined.iter().map(tap).collect()
    }

    fn netavark(
        &self,
        config: &Path,
        place: Place<'_>,
        joined: &JoinedNetwork,
        verb: Verb,
        netns: &Path,
    ) -> Result<(), NetavarkError> {
        let netavark = Netavark {
            program: &self.netavark,
            aardvark: self.aardvark.as_deref(),
            config,
        };
        // They come in where their answers go out.
        let first = publishing(&self.joined).is_some_and(|first| first == joined);
        let ports = if first { place.ports } else { &[] };
        netavark.run(verb, netns, &netavark::input(place.uuid, joined, ports))
    }

    /// Takes away what is left of them: those of `up`, or of a supervisor that was killed. What cannot be taken away is logged.
    pub(crate) fn down(&self, place: Place<'_>, up: Option<Up>) {
        let path = place.dir.join(UP);
        let Ok(boot) = fs::read_to_string(&path) else {
            return;
        };
        // Nothing of a host's interfaces and rules survives its boot.
        if boot == boot_id()
            && let Err(error) = self.take_away(place, up)
        {
            tracing::warn!(
                "cannot clean up the networks of pod `{}`: {}",
                place.uuid,
                in_one_line(&error)
            );
        }
        let _ = fs::remove_file(path);
    }

    fn take_away(&self, place: Place<'_>, up: Option<Up>) -> Result<(), NetworksError> {
        let networks = place.networks();
        let _lock = lock(&networks)?;
        let config = config(&networks)?;
        let up = match up {
            Some(up) => up,
            None => self.stand_in(place)?,
        };
        let netns = up.netns.path();
        let mut first = Ok(());
        for joined in self.joined.iter().rev() {
            let done = self.netavark(&config, place, joined, Verb::Teardown, &netns);
            let done = done.map_err(|source| NetworksError::Netavark {
                network: joined.network.name.clone(),
                source,
            });
            first = first.and(done);
        }
        first
    }

    /// What netavark takes for the pod's namespace, which is gone: it does nothing about the rest where it does not find the interfaces,
    /// and leaves the host's interface where it believes that another pod has it.
    fn stand_in(&self, place: Place<'_>) -> Result<Up, NetworksError> {
        let begun = Instant::now();
        let gone = |joined: &JoinedNetwork| {
            let ports = netns::ports_of(&joined.network.network_interface).unwrap_or(0);
            ports <= others_up(place, &joined.network.name)
        };
        while !self.joined.iter().all(gone) && begun.elapsed() < NAMESPACE_ENDS {
            std::thread::sleep(Duration::from_millis(50));
        }
        let netns = OwnNetns::new()?;
        for joined in &self.joined {
            netns.add_a_stand_in(&joined.interface)?;
        }
        Ok(Up { netns })
    }
}

/// How many other pods are in that network, or were when their supervisors were killed.
fn others_up(place: Place<'_>, network: &NetworkName) -> usize {
    /// What is of interest of a pod's record.
    #[derive(Deserialize)]
    struct Record {
        networks: Option<NetworksRecord>,
    }
    let state = place.networks();
    let started = state
        .with_file_name(state_dir::PODS)
        .join(pods::Place::Started.dir_name());
    let pods = fs::read_dir(started)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    pods.filter(|dir| dir != place.dir && dir.join(UP).exists())
        .filter_map(|dir| fs::read(dir.join(isopod_plan::layout::RECORD)).ok())
        .filter_map(|record| serde_json::from_slice::<Record>(&record).ok()?.networks)
        .filter(|networks| {
            networks
                .joined
                .iter()
                .any(|joined| joined.network.name == *network)
        })
        .count()
}

/// Nobody else lets netavark work meanwhile: it does not see to that itself.
fn lock(networks: &Path) -> Result<fs::File, NetworksError> {
    private::dir(networks).map_err(failed("create", networks))?;
    let path = networks.join("run.lock");
    let file = private::file(&path).map_err(failed("create", &path))?;
    file.lock().map_err(failed("lock", &path))?;
    Ok(file)
}

/// netavark's directory, empty after a boot of the host. It must be there.
fn config(networks: &Path) -> Result<PathBuf, NetworksError> {
    let dir = networks.join("run");
    let boot = dir.join("boot-id");
    if fs::read_to_string(&boot).is_ok_and(|boot| boot == boot_id()) {
        return Ok(dir);
    }
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove", &dir)(error)),
        _ => {}
    }
    private::dir(&dir).map_err(failed("create", &dir))?;
    fs::write(&boot, boot_id()).map_err(failed("write", &boot))?;
    Ok(dir)
}
