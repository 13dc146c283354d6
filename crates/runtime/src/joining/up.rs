//! A pod's interfaces to its networks, while it runs: netavark makes them in a network namespace that only the supervisor has, so that
//! they end with it. What does not end with it, rules of the firewall, names, the host's interface, is taken away when the pod has
//! ended, and of a killed supervisor's pod when it is removed or started again.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use isopod_contract::in_one_line;
use isopod_plan::layout;
use isopod_plan::vm::network::named::publishing;
use isopod_spec::{JoinedNetwork, NetworkName};
use isopod_vm::netavark::{self, Netavark, Verb};
use isopod_vm::netns::{self, OwnNetns, Reach};
use isopod_vm::rootless::{NAMESERVER, Space};
use serde::Deserialize;

use super::call::{self, Call};
use super::members;
use super::{JoiningPod, NetworksError, NetworksRecord, OWN_PROGRAM, failed};
use crate::clock::boot_id;
use crate::{private, state_dir};

/// Below the networks' directory: an ordinary user's namespace of all pods.
const SPACE: &str = "rootless";

/// How long the kernel may take to end a namespace whose last process has ended.
const NAMESPACE_ENDS: Duration = Duration::from_secs(3);

/// The interfaces of a pod that runs.
#[derive(Debug)]
pub(crate) struct Up {
    netns: OwnNetns,
    /// Of an ordinary user: that in which the networks are.
    space: Option<Space>,
}

impl Up {
    /// Those in that namespace.
    pub(super) fn of(netns: OwnedFd, space: Option<Space>) -> Self {
        Self {
            netns: OwnNetns::of(netns),
            space,
        }
    }

    /// A tap in it that leads nowhere.
    pub(crate) fn idle_tap(&self) -> Result<OwnedFd, NetworksError> {
        match &self.space {
            None => Ok(netns::tap(&self.netns.path())?),
            Some(space) => {
                let mut made = call::call(space, &Call::Tap, Some(&self.netns))?.into_iter();
                made.next().ok_or(NetworksError::Ended)
            }
        }
    }

    /// The namespace in which they are.
    pub(super) fn netns(&self) -> &OwnNetns {
        &self.netns
    }

    /// That in which the networks are, where it is an ordinary user's.
    pub(crate) fn space(&self) -> Option<&Space> {
        self.space.as_ref()
    }
}

impl NetworksRecord {
    /// The same, with what the pod at `dir` has joined and left since.
    pub(crate) fn now(&self, dir: &Path) -> Self {
        Self {
            joined: members::read(dir).unwrap_or_else(|| self.joined.clone()),
            ..self.clone()
        }
    }

    /// Has them made, and gives a tap's descriptor for each.
    ///
    /// # Errors
    /// [`NetworksError`]; nothing is left then.
    pub(crate) fn up(&self, pod: &JoiningPod) -> Result<(Up, Vec<(JoinedNetwork, OwnedFd)>), NetworksError> {
        self.down(pod, None);
        let path = pod.dir.join(layout::INTERFACES_UP);
        fs::write(&path, boot_id()).map_err(failed("write", &path))?;
        let made = self.up_there(pod);
        if made.is_err() {
            let _ = fs::remove_file(path);
        }
        made
    }

    /// The same, in the namespace where they are.
    fn up_there(&self, pod: &JoiningPod) -> Result<(Up, Vec<(JoinedNetwork, OwnedFd)>), NetworksError> {
        let Some(pasta) = &self.pasta else {
            return self.up_here(pod);
        };
        let networks = pod.networks();
        private::dir(&networks).map_err(failed("create", &networks))?;
        let space = Space::take(&networks.join(SPACE), Path::new(OWN_PROGRAM), pasta)?;
        let call = Call::Up {
            networks: self.clone(),
            pod: pod.clone(),
        };
        let mut made = call::call(&space, &call, None)?.into_iter();
        let netns = made.next().ok_or(NetworksError::Ended)?;
        let taps = self.joined.iter().cloned().zip(made).collect();
        Ok((Up::of(netns, Some(space)), taps))
    }

    /// The same, in the namespace that this process is in.
    pub(super) fn up_here(
        &self,
        pod: &JoiningPod,
    ) -> Result<(Up, Vec<(JoinedNetwork, OwnedFd)>), NetworksError> {
        let networks = pod.networks();
        let up = Up {
            netns: OwnNetns::new()?,
            space: None,
        };
        let made = self.make(pod, &networks, &up);
        match made {
            Ok(taps) => Ok((up, taps)),
            Err(error) => {
                // netavark expects those that it did not come to.
                for joined in &self.joined {
                    let _ = up.netns.add_a_stand_in(&joined.interface);
                }
                if let Err(error) = self.take_away_here(pod, Some(&up)) {
                    Self::complain(pod, &error);
                }
                Err(error)
            }
        }
    }

    fn make(
        &self,
        pod: &JoiningPod,
        networks: &Path,
        up: &Up,
    ) -> Result<Vec<(JoinedNetwork, OwnedFd)>, NetworksError> {
        let netns = up.netns.path();
        {
            let _lock = lock(networks)?;
            let config = config(networks)?;
            for joined in &self.joined {
                self.run_netavark(&config, pod, joined, Verb::Setup, &netns)?;
            }
        }
        let tap = |joined: &JoinedNetwork| Ok((joined.clone(), tap(&netns, joined)?));
        self.joined.iter().map(tap).collect()
    }

    /// Has one more made, which it has by now, and gives its tap.
    pub(crate) fn up_one(
        &self,
        pod: &JoiningPod,
        up: &Up,
        joined: &JoinedNetwork,
    ) -> Result<OwnedFd, NetworksError> {
        if let Some(space) = &up.space {
            let call = Call::UpOne {
                networks: self.clone(),
                pod: pod.clone(),
                joined: joined.clone(),
            };
            let mut made = call::call(space, &call, Some(&up.netns))?.into_iter();
            return made.next().ok_or(NetworksError::Ended);
        }
        let (networks, netns) = (pod.networks(), up.netns.path());
        let _lock = lock(&networks)?;
        let config = config(&networks)?;
        let made = self.run_netavark(&config, pod, joined, Verb::Setup, &netns);
        made.and_then(|()| tap(&netns, joined)).inspect_err(|_| {
            // It expects an interface, which there may be already.
            let _ = up.netns.add_a_stand_in(&joined.interface);
            let _ = self.run_netavark(&config, pod, joined, Verb::Teardown, &netns);
        })
    }

    /// Has one taken away, which it still has.
    pub(crate) fn down_one(
        &self,
        pod: &JoiningPod,
        up: &Up,
        joined: &JoinedNetwork,
    ) -> Result<(), NetworksError> {
        if let Some(space) = &up.space {
            let call = Call::DownOne {
                networks: self.clone(),
                pod: pod.clone(),
                joined: joined.clone(),
            };
            return call::call(space, &call, Some(&up.netns)).map(drop);
        }
        let networks = pod.networks();
        let _lock = lock(&networks)?;
        self.run_netavark(&config(&networks)?, pod, joined, Verb::Teardown, &up.netns.path())
    }

    fn run_netavark(
        &self,
        config: &Path,
        pod: &JoiningPod,
        joined: &JoinedNetwork,
        verb: Verb,
        netns: &Path,
    ) -> Result<(), NetworksError> {
        let netavark = Netavark {
            program: &self.netavark,
            aardvark: self.aardvark.as_deref(),
            config,
            rootless: self.pasta.is_some(),
        };
        // They come in where their answers go out. Those of an ordinary user are the supervisor's to carry.
        let first = publishing(&self.joined).is_some_and(|first| first == joined);
        let by_firewall = first && self.pasta.is_none();
        let ports = if by_firewall { &pod.ports[..] } else { &[] };
        let resolver = self.pasta.is_some().then_some(NAMESERVER);
        let done = netavark.run(verb, netns, &netavark::input(&pod.uuid, joined, ports, resolver));
        done.map_err(|source| NetworksError::Netavark {
            network: joined.network.name.clone(),
            source,
        })
    }

    /// Takes away what is left of them: those of `up`, or of a supervisor that was killed. What cannot be taken away is logged.
    pub(crate) fn down(&self, pod: &JoiningPod, up: Option<Up>) {
        let path = pod.dir.join(layout::INTERFACES_UP);
        let Ok(boot) = fs::read_to_string(&path) else {
            return;
        };
        // Nothing of a host's interfaces and rules survives its boot.
        if boot == boot_id()
            && let Err(error) = self.take_away(pod, up.as_ref())
        {
            Self::complain(pod, &error);
        }
        let _ = fs::remove_file(path);
    }

    fn complain(pod: &JoiningPod, error: &NetworksError) {
        tracing::warn!(
            "cannot clean up the networks of pod `{}`: {}",
            pod.uuid,
            in_one_line(error)
        );
    }

    fn take_away(&self, pod: &JoiningPod, up: Option<&Up>) -> Result<(), NetworksError> {
        if self.pasta.is_none() {
            return self.take_away_here(pod, up);
        }
        let call = Call::Down {
            networks: self.clone(),
            pod: pod.clone(),
        };
        let found;
        let space = match up.and_then(Up::space) {
            Some(space) => space,
            // It went with the last pod in it, and all that was in it.
            None => match Space::find(&pod.networks().join(SPACE))? {
                None => return Ok(()),
                Some(space) => {
                    found = space;
                    &found
                }
            },
        };
        call::call(space, &call, up.map(|up| &up.netns)).map(drop)
    }

    /// The same, in the namespace that this process is in.
    pub(super) fn take_away_here(&self, pod: &JoiningPod, up: Option<&Up>) -> Result<(), NetworksError> {
        let networks = pod.networks();
        let _lock = lock(&networks)?;
        let config = config(&networks)?;
        let stand_in;
        let up = match up {
            Some(up) => up,
            None => {
                stand_in = self.stand_in(pod)?;
                &stand_in
            }
        };
        let netns = up.netns.path();
        let mut first = Ok(());
        for joined in self.joined.iter().rev() {
            first = first.and(self.run_netavark(&config, pod, joined, Verb::Teardown, &netns));
        }
        first
    }

    /// What netavark takes for the pod's namespace, which is gone: it does nothing about the rest where it does not find the interfaces,
    /// and leaves the host's interface where it assumes that another pod has it.
    fn stand_in(&self, pod: &JoiningPod) -> Result<Up, NetworksError> {
        let begun = Instant::now();
        let gone = |joined: &JoinedNetwork| {
            let ports = netns::ports_of(&joined.network.network_interface).unwrap_or(0);
            ports <= others_up(pod, &joined.network.name)
        };
        while !self.joined.iter().all(gone) && begun.elapsed() < NAMESPACE_ENDS {
            std::thread::sleep(Duration::from_millis(50));
        }
        let netns = OwnNetns::new()?;
        for joined in &self.joined {
            netns.add_a_stand_in(&joined.interface)?;
        }
        Ok(Up { netns, space: None })
    }
}

/// A tap in pod of that interface of the namespace, as far as its network leads.
fn tap(netns: &Path, joined: &JoinedNetwork) -> Result<OwnedFd, NetworksError> {
    let network = &joined.network;
    let reach = match network.internal {
        true => Reach::Within(network.subnets.iter().map(|subnet| subnet.subnet).collect()),
        false => Reach::AllButLoopback,
    };
    Ok(netns::join(netns, &joined.interface, &reach)?)
}

/// How many other pods are in that network, or were when their supervisors were killed.
fn others_up(pod: &JoiningPod, network: &NetworkName) -> usize {
    /// What is of interest of a pod's record.
    #[derive(Deserialize)]
    struct PodNetworks {
        networks: Option<NetworksRecord>,
    }
    let state = pod.networks();
    let started = state.with_file_name(state_dir::PODS).join(state_dir::STARTED);
    let pods = fs::read_dir(started)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    pods.filter(|dir| *dir != pod.dir && dir.join(layout::INTERFACES_UP).exists())
        .filter_map(|dir| {
            let record = fs::read(dir.join(layout::RECORD)).ok()?;
            let record = serde_json::from_slice::<PodNetworks>(&record).ok()?;
            Some(record.networks?.now(&dir))
        })
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
