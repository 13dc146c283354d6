//! What one pod has of networks with names: which it is in, and its interfaces to them.
//!
//! ```text
//! POD/networks.json   what the pod is in, where it has joined or left one since it was prepared
//! POD/networks.up     that the pod's interfaces may be there, and since which boot of the host
//! ```

pub(crate) mod call;
pub(crate) mod members;
pub(crate) mod up;
pub mod within;

use std::io;
use std::path::{Path, PathBuf};

use isopod_spec::{JoinedNetwork, NetworkName, PortForward};
use isopod_vm::netavark::NetavarkError;
use isopod_vm::netns::NetnsError;
use isopod_vm::rootless::SpaceError;
use serde::{Deserialize, Serialize};

use crate::state_dir;

/// This program, which is also what does things in such a namespace.
pub(crate) const OWN_PROGRAM: &str = "/proc/self/exe";

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
    /// Whether its VM takes devices while it runs, also where it booted.
    #[serde(default)]
    pub pluggable: bool,
    /// pasta(1), where they are an ordinary user's, in a namespace of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pasta: Option<PathBuf>,
}

/// Why a pod is not in its networks.
#[derive(Debug, thiserror::Error)]
pub enum NetworksError {
    /// Files cannot be written.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// netavark failed.
    #[error("cannot join network `{network}`")]
    Netavark {
        network: NetworkName,
        source: NetavarkError,
    },
    /// The namespace, or a tap in it.
    #[error("cannot make the pod's interfaces")]
    Namespace(#[from] NetnsError),
    /// An ordinary user's namespace.
    #[error("cannot make the pod's interfaces")]
    Space(#[from] SpaceError),
    /// What was done in it failed.
    #[error("{words}")]
    Within {
        words: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The pod has none any more.
    #[error("the pod is ending")]
    Ended,
}

impl NetworksError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Namespace(error) => error.hint(),
            Self::Netavark { .. } => {
                Some("it needs root, and a host kernel with bridges, veth and a firewall (`iptables`)".into())
            }
            Self::Within { hint, .. } => hint.clone(),
            Self::Io { .. } | Self::Space(_) | Self::Ended => None,
        }
    }
}

pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> NetworksError {
    let path = path.to_owned();
    move |source| NetworksError::Io { action, path, source }
}

/// A pod whose interfaces are made or removed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct JoiningPod {
    pub(crate) uuid: String,
    /// Its directory, two below all pods' and three below the state directory.
    pub(crate) dir: PathBuf,
    /// The host's ports that lead into it.
    pub(crate) ports: Vec<PortForward>,
}

impl JoiningPod {
    fn networks(&self) -> PathBuf {
        let state = self.dir.ancestors().nth(3).unwrap_or(&self.dir);
        state.join(state_dir::NETWORKS)
    }
}
