//! Which system calls an app may make (seccomp(2)): as data, without a word on how it is enforced.

use serde::{Deserialize, Serialize};

/// Which system calls an app may make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seccomp {
    /// All of them: the machine is what confines the app.
    #[default]
    Unconfined,
    /// All but those that the runtime refuses by default (Kubernetes' `RuntimeDefault`).
    RuntimeDefault,
    /// Those of the filter alone (appc `os/linux/seccomp-retain-set`).
    Retain(SyscallFilter),
    /// All but those of the filter (appc `os/linux/seccomp-remove-set`).
    Remove(SyscallFilter),
}

/// System calls, and what becomes of one that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyscallFilter {
    /// Their names (syscalls(2)).
    pub names: Vec<String>,
    /// What one that is not allowed comes to.
    pub refusal: Refusal,
}

/// What a system call that is not allowed comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// The process is killed with SIGSYS.
    #[default]
    Kill,
    /// It fails with this error (errno(3): `EPERM`).
    Errno(String),
}
