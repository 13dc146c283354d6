//! Networks with names, by which pods reach each other. What they are is decided in `isopod_plan::networks`; what makes them is netavark
//! ([`isopod_vm::netavark`]), when the first pod in one starts, and takes them away with the last.
//!
//! ```text
//! STATE/networks/NAME.json   a network, in the shape that podman's and netavark's have
//! STATE/networks/lock        held while one is made or removed, and while a pod gets its addresses
//! STATE/networks/run/        netavark's and aardvark-dns's own, of one boot of the host
//! STATE/networks/run.lock    held while netavark works
//! ```
//!
//! What one pod has of them is in [`crate::joining`]. Which addresses are taken nobody writes down: a pod has those that its record names, from its preparation to its removal.

pub(crate) mod addresses;
pub mod change;
pub mod forward;
mod live;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use isopod_plan::networks::{self, CreateFault, NetworkRequest, Surroundings};
use isopod_spec::{NamedNetwork, NetworkName};
use isopod_vm::netns::{self, NetnsError};

pub use addresses::Addresses;
pub(crate) use live::{BeginError, Begun, Live, Memberships};

use crate::json_file::{self, Durability};
use crate::pods::{PodEntry, Pods, PodsError, new_uuid};
use crate::{private, routes, state_dir};

/// How the files of networks end.
const SUFFIX: &str = ".json";
const LOCK: &str = "lock";

/// The networks of a state directory.
#[derive(Clone, Debug)]
pub struct Networks {
    dir: PathBuf,
}

/// Why something could not be done to networks.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// Their directory cannot be worked with.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// There is none of that name.
    #[error("there is no network `{0}`")]
    None(NetworkName),
    /// It cannot be what it is to be.
    #[error("cannot create network `{name}`")]
    Create { name: NetworkName, source: CreateFault },
    /// Pods are in it.
    #[error("network `{name}` is used by {}", pods.join(", "))]
    Used {
        name: NetworkName,
        /// Their names.
        pods: Vec<String>,
    },
    /// The pods cannot be looked at.
    #[error("cannot look for pods")]
    Pods(#[from] PodsError),
    /// The host's interfaces cannot be looked at.
    #[error("cannot look at the host's interfaces")]
    Interfaces(#[source] NetnsError),
}

impl NetworkError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::None(_) => Some("`isopod network ls` lists them".into()),
            Self::Create { source, .. } => source.hint(),
            Self::Used { .. } => Some("remove those pods first".into()),
            Self::Pods(error) => error.hint(),
            Self::Interfaces(error) => error.hint(),
            Self::Io { .. } => None,
        }
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> NetworkError {
    let path = path.to_owned();
    move |source| NetworkError::Io { action, path, source }
}

impl Networks {
    /// Those of `state_dir`.
    #[must_use]
    pub fn of(state_dir: &Path) -> Self {
        Self {
            dir: state_dir.join(state_dir::NETWORKS),
        }
    }

    fn path(&self, name: &NetworkName) -> PathBuf {
        self.dir.join(format!("{name}{SUFFIX}"))
    }

    /// Holds what networks and addresses there are as they are.
    fn lock(&self) -> Result<File, NetworkError> {
        private::dir(&self.dir).map_err(failed("create", &self.dir))?;
        let path = self.dir.join(LOCK);
        let file = private::file(&path).map_err(failed("create", &path))?;
        file.lock().map_err(failed("lock", &path))?;
        Ok(file)
    }

    /// The names of all of them, sorted.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn names(&self) -> Result<Vec<NetworkName>, NetworkError> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("read", &self.dir)(error)),
        };
        let name = |entry: io::Result<fs::DirEntry>| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            NetworkName::new(name.strip_suffix(SUFFIX)?).ok()
        };
        let mut names: Vec<NetworkName> = entries.filter_map(name).collect();
        names.sort();
        Ok(names)
    }

    /// The network of that name.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn read(&self, name: &NetworkName) -> Result<NamedNetwork, NetworkError> {
        let path = self.path(name);
        let network: Option<NamedNetwork> =
            json_file::read(&self.dir, &format!("{name}{SUFFIX}")).map_err(failed("read", &path))?;
        match network {
            Some(network) if network.name == *name => Ok(network),
            Some(_) => Err(failed("read", &path)(io::Error::other(
                "it has another name within",
            ))),
            None => Err(NetworkError::None(name.clone())),
        }
    }

    fn all(&self) -> Result<Vec<NamedNetwork>, NetworkError> {
        self.names()?.iter().map(|name| self.read(name)).collect()
    }

    /// Makes one: writes its file. The host's interface to it comes with the first pod.
    ///
    /// # Errors
    /// [`NetworkError`]; there is none then.
    pub fn create(&self, request: &NetworkRequest) -> Result<NamedNetwork, NetworkError> {
        let _lock = self.lock()?;
        let others = self.all()?;
        // The routes and interfaces of networks that pods are in are no others.
        let own: BTreeSet<&str> = others.iter().map(|other| &*other.network_interface).collect();
        let interfaces = netns::interfaces().map_err(NetworkError::Interfaces)?;
        let there = Surroundings {
            routes: routes::destinations(|interface| own.contains(interface)),
            interfaces: interfaces.into_iter().collect(),
            id: [new_uuid(), new_uuid()].concat().replace('-', ""),
            others,
        };
        let network = networks::create(request, &there).map_err(|source| NetworkError::Create {
            name: request.name.clone(),
            source,
        })?;
        let name = format!("{}{SUFFIX}", network.name);
        json_file::write(&self.dir, &name, &network, Durability::Durable)
            .map_err(failed("write", &self.path(&network.name)))?;
        Ok(network)
    }

    /// Removes the network of that name.
    ///
    /// # Errors
    /// [`NetworkError`], also where a pod is in it, whether it runs or not.
    pub fn remove(&self, name: &NetworkName, pods: &Pods) -> Result<(), NetworkError> {
        let _lock = self.lock()?;
        let path = self.path(name);
        let users = self.users(name, pods)?;
        if !users.is_empty() {
            return Err(NetworkError::Used {
                name: name.clone(),
                pods: users.iter().map(PodEntry::label).collect(),
            });
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(NetworkError::None(name.clone())),
            removed => removed.map_err(failed("remove", &path)),
        }
    }

    /// The pods that are in the network of that name, or will be when they start.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn users(&self, name: &NetworkName, pods: &Pods) -> Result<Vec<PodEntry>, NetworkError> {
        let is_in = |pod: &PodEntry| pod.joined().iter().any(|joined| joined.network.name == *name);
        Ok(pods.list()?.into_iter().filter(is_in).collect())
    }
}
