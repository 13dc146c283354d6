//! Why pod files cannot be read.

use crate::located::Fault;

/// Why pod files cannot be read: all of their faults.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pod file has {} faults", faults.len())]
pub struct PodFileErrors {
    /// The faults, in the order of the files, at least one.
    pub faults: Vec<Fault>,
}
