//! Which addresses are taken, held until what is planned with that knowledge is prepared.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::LazyLock;

use isopod_plan::PodPlan;
use isopod_plan::facts::{Facts, NamedNetworks, NetworkPrograms, TakenNetwork};
use isopod_spec::{JoinedNetwork, Network, NetworkName};

use super::{NetworkError, Networks};
use crate::Settings;
use crate::gather::find_system_program;
use crate::gather::host::user_namespaces;
use crate::pods::Pods;
use crate::programs::find_program;

/// Where podman's helpers are (containers.conf(5), `helper_binaries_dir`), before the search path.
const HELPERS: [&str; 4] = [
    "/usr/local/libexec/podman",
    "/usr/local/lib/podman",
    "/usr/libexec/podman",
    "/usr/lib/podman",
];

/// The networks and their addresses, as they are while this is there: no other command chooses one, makes a network or removes it.
#[derive(Debug, Default)]
pub struct Addresses {
    held: Option<(File, NamedNetworks)>,
}

impl Addresses {
    /// Adds to `facts` those networks of the host that a pod with `network` may be in; the first time with which they are needed they
    /// are looked at and held.
    ///
    /// # Errors
    /// [`NetworkError`] where they cannot be looked at.
    pub fn add_to(
        &mut self,
        facts: &mut Facts,
        network: &Network,
        settings: &Settings,
    ) -> Result<(), NetworkError> {
        if network.joins().is_empty() {
            return Ok(());
        }
        if self.held.is_none() {
            let networks = Networks::of(&settings.state_dir);
            let lock = networks.lock()?;
            self.held = Some((lock, look(&networks, settings)?));
        }
        if let Some((_, known)) = &self.held {
            facts.host.network.named = known.clone();
        }
        Ok(())
    }

    /// Holds them, to give a pod an address that is there already.
    ///
    /// # Errors
    /// [`NetworkError`] where they cannot be looked at.
    pub fn hold(settings: &Settings) -> Result<Self, NetworkError> {
        let networks = Networks::of(&settings.state_dir);
        let lock = networks.lock()?;
        let held = Some((lock, look(&networks, settings)?));
        Ok(Self { held })
    }

    /// The networks, and what is taken of them; none where nobody needed them.
    pub(super) fn known(&self) -> &NamedNetworks {
        static NONE: LazyLock<NamedNetworks> = LazyLock::new(NamedNetworks::default);
        self.held.as_ref().map_or(&NONE, |(_, known)| known)
    }

    /// Takes what `plan` has, which is not prepared yet.
    pub fn take(&mut self, plan: &PodPlan) {
        let joined = plan.network.as_ref().map(|network| network.networks());
        if let Some((_, known)) = &mut self.held {
            take(&mut known.networks, joined.unwrap_or_default());
        }
    }
}

fn look(networks: &Networks, settings: &Settings) -> Result<NamedNetworks, NetworkError> {
    let mut found = BTreeMap::new();
    for name in networks.names()? {
        let network = networks.read(&name).map(|network| TakenNetwork {
            network,
            addresses: [].into(),
            macs: [].into(),
        });
        let network = network.map_err(|error| isopod_contract::in_one_line(&error));
        found.insert(name, network);
    }
    for pod in Pods::open(&settings.state_dir)?.list()? {
        take(&mut found, pod.joined());
    }
    Ok(NamedNetworks {
        programs: programs(settings),
        obstacle: user_namespaces().obstacle().map(|obstacle| obstacle.reason),
        networks: found,
    })
}

/// The programs that make networks with names.
pub(crate) fn programs(settings: &Settings) -> NetworkPrograms {
    let helper = |name| find_system_program(&HELPERS, &settings.search_path, name);
    NetworkPrograms {
        netavark: helper("netavark"),
        aardvark: helper("aardvark-dns"),
        pasta: find_program(&settings.search_path, "pasta"),
    }
}

fn take(networks: &mut BTreeMap<NetworkName, Result<TakenNetwork, String>>, joined: &[JoinedNetwork]) {
    for joined in joined {
        if let Some(Ok(taken)) = networks.get_mut(&joined.network.name) {
            taken.addresses.extend(joined.addresses.iter().copied());
            taken.macs.insert(joined.mac);
        }
    }
}
