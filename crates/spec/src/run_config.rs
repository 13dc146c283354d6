//! How an app is run: what its image says about it, and what the user changed on top of that.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::VolumeName;
use crate::network::ImagePort;
use crate::probe::{EventHandlers, HealthCheck};
use crate::resources::{LogLimits, Resources, Rlimit};
use crate::seccomp::Seccomp;

/// What an image, or an appc `app` section, says about how to run it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunConfig {
    /// OCI `Entrypoint`, appc `exec`.
    pub entrypoint: Vec<String>,
    /// OCI `Cmd`: arguments that the user's own replace.
    pub cmd: Vec<String>,
    /// The environment, in order; a later entry of a name wins.
    pub env: Vec<(String, String)>,
    /// `UID`, `NAME`, or an absolute path in the image whose owner it is (appc). `None`: root. OCI's `USER:GROUP` is split.
    pub user: Option<String>,
    /// `GID`, `NAME` or an absolute path in the image. `None`: the user's primary group.
    pub group: Option<String>,
    /// Whether that group holds for whatever user the app is given (appc's `group` stands beside `user`), or goes with the
    /// user that it was named with (OCI's `USER:GROUP`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub group_for_any_user: bool,
    /// appc `supplementaryGIDs`.
    pub supplementary_gids: Vec<u32>,
    /// Where the app starts; `None`: `/`.
    pub working_dir: Option<PathBuf>,
    /// Where the image wants a volume.
    pub mount_points: Vec<MountPoint>,
    /// The ports that it says it listens on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ImagePort>,
    /// The name of an appc image, from its manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_name: Option<String>,
    /// The signal that asks the app to stop, as OCI's `StopSignal` has it (`SIGQUIT`, `3`). `None`: SIGTERM.
    pub stop_signal: Option<String>,
    /// The capabilities the app may have; `None`: the default set.
    pub capabilities: Option<Capabilities>,
    /// What it may take of the VM.
    pub resources: Resources,
    /// Whether neither it nor what it executes ever gains privileges (`PR_SET_NO_NEW_PRIVS` in prctl(2)).
    pub no_new_privileges: bool,
    /// The system calls that it may make; `None`: all.
    pub seccomp: Option<Seccomp>,
    /// What is run before and after its program.
    pub event_handlers: EventHandlers,
    pub health_check: HealthCheck,
}

/// A place at which an image wants a volume (appc `mountPoints`, OCI `Volumes`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPoint {
    /// The volume's name; for OCI's nameless volumes `volume-` and the path with every other character a dash, as
    /// docker2aci named them.
    pub name: VolumeName,
    /// The path in the app's root filesystem.
    pub path: PathBuf,
    /// Whether the image asks for it read-only.
    pub read_only: bool,
}

/// appc's two capability isolators (`os/linux/capabilities-{retain,remove}-set`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capabilities {
    /// Just these (`CAP_NET_ADMIN`, ...).
    Retain(Vec<String>),
    /// The default set without these.
    Remove(Vec<String>),
}

/// What the user changed on top of an image's [`RunConfig`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overrides {
    /// `--entrypoint`: the program, in place of entrypoint and command; empty, it is what the arguments begin with.
    pub exec: Option<String>,
    /// What follows the image: the arguments, in place of the image's command. `None`: nothing stood there.
    pub args: Option<Vec<String>>,
    /// Which of the arguments, from 0, hold a secret, and are not shown.
    pub secret_args: BTreeSet<usize>,
    /// `--user`, without a group.
    pub user: Option<String>,
    /// `--group`, or the group of `--user USER:GROUP`.
    pub group: Option<String>,
    /// Whether it is in the groups in which the image has its user.
    #[serde(default)]
    pub image_groups: ImageGroups,
    /// Whom the kernel kills when it has outgrown its own memory.
    #[serde(default, skip_serializing_if = "OomKill::is_default")]
    pub oom_kill: OomKill,
    /// `--log-opt`.
    #[serde(default, skip_serializing_if = "LogLimits::is_default")]
    pub log: LogLimits,
    /// `--workdir`.
    pub working_dir: Option<PathBuf>,
    /// The signal that asks the app to stop, in place of the image's (Kubernetes' `lifecycle.stopSignal`).
    pub stop_signal: Option<String>,
    /// `--env`, on top of the image's environment, in order.
    pub env: Vec<EnvVar>,
    /// `--cap-add`: capabilities beyond the app's set; `ALL` for every one.
    pub cap_add: Vec<String>,
    /// `--cap-drop`: capabilities taken from the app's set; `ALL` for every one.
    pub cap_drop: Vec<String>,
    /// `--privileged`: every capability, every device of the guest, and the guest's own `/proc` and `/sys`.
    #[serde(default)]
    pub privileged: bool,
    /// What it finds empty and what it cannot write to, whatever it may do there; `None`: what docker's containers do in `/proc` and `/sys`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_paths: Option<KernelPaths>,
    /// `--init`: whether an init of the agent is process 1 of the app and not its program; `None`: unless the program is an
    /// init itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
    /// `--tty`: a terminal of its own is its standard input, output and error (Kubernetes' `tty`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tty: bool,
    /// Whether an app that comes to a pod which runs has a standard input, for whoever supervises the pod to write. An app that a
    /// pod begins with has one where it is the only one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stdin: bool,
    /// `--device`: devices of the guest's beyond those that every app has.
    #[serde(default)]
    pub devices: Vec<Device>,
    /// `--group-add`: further groups, numbers or names of the image, on top of those that its user is in.
    pub group_add: Vec<String>,
    /// What it may take of the VM; it wins over what the image says, each for itself.
    pub resources: Resources,
    /// `--ulimit`, in order; a later one of a kind wins.
    pub rlimits: Vec<Rlimit>,
    /// `--security-opt no-new-privileges`.
    pub no_new_privileges: Option<bool>,
    /// `--security-opt seccomp=...`; `None`: what its image says, or else docker's own profile, unless it is privileged.
    pub seccomp: Option<Seccomp>,
    /// Whether a user that turns out to be root is refused (Kubernetes' `runAsNonRoot`).
    pub must_not_be_root: bool,
    /// `--health-...`: over the image's health check, field by field.
    pub health_check: HealthCheck,
}

/// A device of the guest that an app has only where it asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Device {
    /// Network interfaces whose packets a program makes (VPNs).
    Tun,
    /// File systems that a program makes.
    Fuse,
}

impl Device {
    pub const ALL: [Self; 2] = [Self::Tun, Self::Fuse];

    /// Where it is, in the guest and in the app.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Tun => "/dev/net/tun",
            Self::Fuse => "/dev/fuse",
        }
    }

    /// Its major and minor number (the kernel's Documentation/admin-guide/devices.txt).
    #[must_use]
    pub fn number(self) -> (u32, u32) {
        match self {
            Self::Tun => (10, 200),
            Self::Fuse => (10, 229),
        }
    }

    /// The kernel module that makes it.
    #[must_use]
    pub fn module(self) -> &'static str {
        match self {
            Self::Tun => "tun",
            Self::Fuse => "fuse",
        }
    }
}

/// Whether an app is in the groups in which the image's `/etc/group` has its user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageGroups {
    /// Where no group is named for it (docker's rule).
    #[default]
    WithoutGroup,
    /// Always (Kubernetes' `supplementalGroupsPolicy: Merge`).
    Always,
    /// Never (Kubernetes' `Strict`).
    Never,
}

/// Whom the kernel kills when an app has outgrown its own memory (the cgroup's `memory.oom.group`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OomKill {
    /// One of its processes; the app ends where that is its first (docker, podman).
    #[default]
    Process,
    /// All of them (Kubernetes on cgroup v2, unless its kubelet says `singleProcessOOMKill`).
    App,
}

impl OomKill {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// One `--env`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// The variable's name.
    pub name: String,
    /// Its value; `None`: the value that the caller's environment has, or no such variable (docker's `-e NAME`).
    pub value: Option<String>,
    /// Whether the value holds a secret, and is not shown.
    pub secret: bool,
}

/// What of its files an app does not see as they are (runtime-spec, config-linux.md). What is not there is passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelPaths {
    /// Files and directories that it finds empty.
    pub masked: Vec<PathBuf>,
    /// Files and directories that it cannot write to.
    pub read_only: Vec<PathBuf>,
}
