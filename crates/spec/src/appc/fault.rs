//! Why a pod manifest cannot be read.

use crate::located::Fault;

/// Why a pod manifest cannot be read: all of its faults.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("manifest `{file}` has {}", count(faults))]
pub struct PodManifestErrors {
    /// The file's name, as it was given for messages.
    pub file: String,
    /// The faults, in the order of the file.
    pub faults: Vec<Fault>,
}

fn count(faults: &[Fault]) -> String {
    if faults.len() == 1 {
        "a fault".to_owned()
    } else {
        format!("{} faults", faults.len())
    }
}
