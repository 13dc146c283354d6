//! The states of a pod, as a pure function of where its directory is, who holds its lock, and what its supervisor last
//! wrote. No file is touched here.
//!
//! ```text
//!   prepare            start              all apps run         stop, or all have ended
//! preparing ──> prepared ──> starting ──────> running ──────────────> stopping
//!     │            │            │  ^             │                        │
//!     │ killed     │ rm         │  │ start       │ supervisor ends or is killed
//!     v            v            │  │             v                        │
//!  garbage <───────┴────────────┼──┴────────── exited <──────────────────-┘
//!     │                         └────────────────^
//!     └─ removed by whoever finds it       rm, gc: exited ──> garbage
//! ```
//!
//! Place and lock decide which of the columns a pod is in; the phase that the supervisor writes only distinguishes starting,
//! running and stopping apart. So a supervisor that is killed leaves an exited pod, whatever it wrote last.

use crate::state_dir;
use serde::{Deserialize, Serialize};

/// The directory below `pods` that a pod is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// It is being written.
    Preparing,
    /// It was written and never started.
    Prepared,
    Started,
    /// It is being removed.
    Garbage,
}

impl Place {
    /// Every place, in the order in which a pod comes through them: who looks in this order misses no pod that moves
    /// meanwhile.
    pub const ALL: [Place; 4] = [Place::Preparing, Place::Prepared, Place::Started, Place::Garbage];

    #[must_use]
    pub fn dir_name(self) -> &'static str {
        match self {
            Place::Preparing => "preparing",
            Place::Prepared => "prepared",
            Place::Started => state_dir::STARTED,
            Place::Garbage => "garbage",
        }
    }
}

/// Whether somebody holds a pod's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    Held,
    /// Somebody does who has opened it: its VM runs, and no app.
    Opened,
    Free,
}

/// What a supervisor says of its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The VM is on its way.
    Starting,
    /// The agent has answered.
    Running,
    /// It was asked to stop, or every app has ended.
    Stopping,
    /// The VM is gone.
    Exited,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PodState {
    /// It is being written.
    Preparing,
    /// It can be started.
    Prepared,
    /// Its VM is on its way.
    Starting,
    Running,
    /// It is on its way down.
    Stopping,
    /// It has run; its logs and volumes on disk are there.
    Exited,
    /// Only its removal is left to do.
    Garbage,
}

impl PodState {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            PodState::Preparing => "preparing",
            PodState::Prepared => "prepared",
            PodState::Starting => "starting",
            PodState::Running => "running",
            PodState::Stopping => "stopping",
            PodState::Exited => "exited",
            PodState::Garbage => "garbage",
        }
    }

    /// Whether a supervisor is there to speak with.
    #[must_use]
    pub fn is_live(self) -> bool {
        matches!(self, PodState::Starting | PodState::Running | PodState::Stopping)
    }

    /// Why `verb` is not for a pod in this state; `None` where it is.
    #[must_use]
    pub fn refusal(self, verb: Verb) -> Option<&'static str> {
        use PodState as S;
        match (verb, self) {
            (Verb::Start | Verb::Open, S::Prepared | S::Exited) => None,
            (Verb::Open, S::Starting) => Some("it is still starting"),
            (Verb::Open, S::Running) => Some("it runs"),
            (Verb::Open, S::Stopping) => Some("it is still stopping"),
            (Verb::Start, S::Starting | S::Running) => Some("it is already running"),
            (Verb::Start, S::Stopping) => Some("it is still stopping"),
            (Verb::Speak, S::Starting | S::Running | S::Stopping) => None,
            (Verb::Speak, S::Prepared) => Some("it was never started"),
            (Verb::Speak, S::Exited) => Some("it is no longer running"),
            (Verb::Remove, S::Prepared | S::Exited | S::Garbage) => None,
            (Verb::Remove, S::Starting | S::Running | S::Stopping) => Some("it runs"),
            (_, S::Preparing) => Some("it is still being prepared"),
            (Verb::Start | Verb::Open | Verb::Speak, S::Garbage) => Some("it is being removed"),
        }
    }
}

/// What is to be done with a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Start it, for the first time or once more.
    Start,
    /// Read and write what its apps wrote, without running them.
    Open,
    /// Ask its supervisor something.
    Speak,
    Remove,
}

/// The state of a pod that was seen so.
#[must_use]
pub fn observe(place: Place, lock: Lock, phase: Option<Phase>) -> PodState {
    match (place, lock) {
        (Place::Preparing, Lock::Held | Lock::Opened) => PodState::Preparing,
        // One that was never started has no phase.
        (Place::Started, Lock::Opened) if phase.is_none() => PodState::Prepared,
        (Place::Preparing, Lock::Free) | (Place::Garbage, _) => PodState::Garbage,
        (Place::Prepared, _) => PodState::Prepared,
        (Place::Started, Lock::Free | Lock::Opened) => PodState::Exited,
        (Place::Started, Lock::Held) => match phase {
            // A supervisor that has said its last word is about to let go of the lock.
            Some(Phase::Stopping | Phase::Exited) => PodState::Stopping,
            Some(Phase::Running) => PodState::Running,
            Some(Phase::Starting) | None => PodState::Starting,
        },
    }
}

#[cfg(test)]
mod tests;
