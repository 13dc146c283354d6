//! What all apps of a pod have in common.

use isopod_spec::{Architecture, PidMode, PodSpec};

use crate::facts::GuestFacts;
use crate::vm::network;

/// The most open files that the kernel lets a process be allowed (`fs.nr_open`, where no sysctl changes it).
pub(crate) const MAX_OPEN_FILES: u64 = 1 << 20;

/// The most files that a process of the pod can be allowed to have open.
pub(crate) fn max_open_files(spec: &PodSpec) -> u64 {
    let set = spec.sysctls.iter().rfind(|sysctl| sysctl.name == "fs.nr_open");
    set.and_then(|sysctl| sysctl.value.trim().parse().ok())
        .unwrap_or(MAX_OPEN_FILES)
}

/// What all apps of a pod have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub hostname: String,
    /// The most files that the guest's kernel lets a process have open (`fs.nr_open`).
    pub max_open_files: u64,
    /// The guest's architecture.
    pub architecture: Architecture,
    /// The release of the guest's kernel, as uname(1) prints it.
    pub kernel: String,
    /// Which processes its apps see.
    pub pid_mode: PidMode,
}

impl Pod {
    /// What the apps of `spec` have in common in that guest.
    #[must_use]
    pub fn of(spec: &PodSpec, guest: &GuestFacts) -> Self {
        Self {
            hostname: network::hostname(spec),
            max_open_files: max_open_files(spec),
            architecture: guest.architecture,
            kernel: guest.release.clone(),
            pid_mode: spec.pid_mode,
        }
    }
}
