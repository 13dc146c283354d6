//! What can go wrong with the directories of pods.

use std::io;
use std::path::{Path, PathBuf};

use isopod_spec::PodName;

/// Why the directories of pods could not be worked with.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{}`", path.display())]
pub struct PodsError {
    pub(super) action: &'static str,
    pub(super) path: PathBuf,
    pub(super) source: io::Error,
}

impl PodsError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Some("make room there, or keep the state elsewhere: `--dir DIR`".into())
            }
            io::ErrorKind::PermissionDenied => Some("keep the state where you may write: `--dir DIR`".into()),
            _ => None,
        }
    }
}

pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PodsError {
    let path = path.to_owned();
    move |source| PodsError { action, path, source }
}

/// Why no pod was found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The directories cannot be read.
    #[error("cannot look for pods")]
    Pods(#[from] PodsError),
    #[error("there is no pod `{0}`")]
    None(String),
    #[error("`{query}` is the beginning of several pods' UUIDs: {}", found.join(", "))]
    Several {
        /// What was asked for.
        query: String,
        found: Vec<String>,
    },
}

impl FindError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Pods(error) => error.hint(),
            Self::None(_) => Some("`isopod list` lists the pods".into()),
            Self::Several { .. } => Some("give more of the UUID, or the pod's name".into()),
        }
    }
}

/// Why a pod could not be had for oneself.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Its directory cannot be used.
    #[error("cannot use the pod's directory")]
    Pods(#[from] PodsError),
    /// Somebody else is at it.
    #[error("pod `{0}` is in use by another process")]
    Held(String),
    #[error("pod `{0}` is gone")]
    Gone(String),
    /// Its state does not allow it.
    #[error("cannot {verb} pod `{uuid}`: {reason}")]
    State {
        /// What was to be done.
        verb: &'static str,
        uuid: String,
        reason: &'static str,
    },
}

impl ClaimError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Pods(error) => error.hint(),
            Self::Held(_) => Some("run the command again when that one has ended".into()),
            Self::Gone(_) | Self::State { .. } => None,
        }
    }
}

/// The name of a pod is another's.
#[derive(Debug, thiserror::Error)]
pub enum NameError {
    /// The directories cannot be used.
    #[error("cannot name the pod")]
    Pods(#[from] PodsError),
    /// Another pod has it.
    #[error("pod `{uuid}` already has the name `{name}`")]
    Taken { name: PodName, uuid: String },
}

impl NameError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Pods(error) => error.hint(),
            Self::Taken { name, .. } => {
                Some(format!("choose another, or remove that pod: `isopod rm {name}`"))
            }
        }
    }
}
