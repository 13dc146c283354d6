//! What an app's unit executes: a file that the planner writes for each app and the agent reads twice, when the unit
//! starts it in order to become a program of the app's ([`LAUNCH_DIR`](crate::layout::LAUNCH_DIR)), and for every command that joins the app.
//!
//! ```text
//!   systemd ── namespaces, root, cgroup, standard streams ──> isopod-agent become PART
//!       └── working directory, user, capabilities, system calls, variables ──> the program, under the same number
//! ```
//!
//! systemd decides neither who the program is nor what it may do: it refuses some users and some paths, and its filters of
//! system calls bring other restrictions with them (systemd.exec(5), `SystemCallFilter=`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::GuestRlimit;

/// What an app's unit executes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GuestLaunch {
    /// The app's program and its arguments, the name it is called by first.
    pub main: Vec<String>,
    /// What must succeed before it, as root; empty: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pre_start: Vec<String>,
    /// What runs after it, as root; empty: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub post_stop: Vec<String>,
    /// Who those two run as.
    #[serde(default)]
    pub handlers: GuestIdentity,
    /// The whole environment of all of them.
    pub env: BTreeMap<String, String>,
    /// Who the program is and what it may do.
    pub process: GuestProcess,
    /// Whether its standard input is a terminal, to be that of its session.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub terminal: bool,
    /// Which processes it sees.
    #[serde(default)]
    pub processes: PidNamespace,
    /// Whether its `/proc` and its cgroups are as the guest has them, and not as a container does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub privileged: bool,
    /// What else it does not see as it is; `None`: what docker's containers do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<GuestPaths>,
    /// Whether it finds its own cgroup at `/sys/fs/cgroup`; not where a volume is mounted in its `/sys`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cgroups: bool,
}

/// Paths of an app that are mounted over. What is not there is passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GuestPaths {
    /// Files and directories that are empty.
    pub masked: Vec<String>,
    /// Files and directories that cannot be written to.
    pub read_only: Vec<String>,
}

/// Which processes an app sees (pid_namespaces(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PidNamespace {
    /// Its own, the first of which is the agent's, which passes signals on and reaps.
    #[default]
    Own,
    /// Its own, the first of which is its program.
    OwnFirst,
    /// Those of all apps of the pod that share theirs.
    Pod,
    /// Those of the guest.
    Vm,
}

impl PidNamespace {
    /// How many processes of the agent are counted with the app's.
    #[must_use]
    pub fn helpers(self) -> u32 {
        match self {
            Self::Own => 2,
            Self::OwnFirst | Self::Pod => 1,
            Self::Vm => 0,
        }
    }
}

/// Which program of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// [`GuestLaunch::main`].
    Main,
    /// [`GuestLaunch::pre_start`].
    PreStart,
    /// [`GuestLaunch::post_stop`].
    PostStop,
}

impl Part {
    /// Its name on the agent's command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::PreStart => "pre-start",
            Self::PostStop => "post-stop",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        [Self::Main, Self::PreStart, Self::PostStop]
            .into_iter()
            .find(|part| part.as_str() == name)
    }
}

/// Who a process is and what it may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GuestProcess {
    /// Who it is.
    pub identity: GuestIdentity,
    pub working_dir: String,
    /// The capabilities that it and its children may ever have: a bit for each (capabilities(7)).
    pub capabilities: u64,
    /// Whether it and its children never gain privileges (`PR_SET_NO_NEW_PRIVS`).
    pub no_new_privileges: bool,
    /// Its limits of setrlimit(2). The app's own process has them from its unit already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rlimits: Vec<GuestRlimit>,
    /// The system calls that it may make; `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syscalls: Option<SyscallProgram>,
}

/// Who a process is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GuestIdentity {
    pub uid: u32,
    pub gid: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<u32>,
}

/// A filter of system calls, ready for the kernel: a program of classic BPF (seccomp(2), bpf(4)). Each instruction is
/// a `struct sock_filter`: `code`, `jt`, `jf` and `k`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyscallProgram(pub Vec<(u16, u8, u8, u32)>);
