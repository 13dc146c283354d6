//! What the user asked for: a pod, its apps, volumes and VM, as data with the rules that make it valid.
//!
//! ```text
//! command line flags ── flags ──┐
//! Kubernetes Pod ────── kube ───┤
//! compose file ───── compose ───┤
//! appc PodManifest ──── appc ───┴─> PodSpec ─> (isopod-runtime: gather) ─> (isopod-plan: plan)
//! ```
//!
//! A value of this crate says nothing about how the pod is run: no unit, no hypervisor, no path of the guest. The
//! readers look at text only; they touch no file, no environment and no clock, so whatever needs the world (does the
//! source exist? what does the image say?) is a question for later stages.

pub mod appc;
pub mod architecture;
pub mod capability;
pub mod check;
pub mod compose;
pub mod files;
pub mod flags;
mod gaps;
pub mod kube;
pub mod lifecycle;
pub mod located;
pub mod lock;
pub mod name;
pub mod named_network;
pub mod network;
pub mod pod;
pub mod pod_name;
pub mod probe;
mod raw_path;
pub mod reference;
pub mod resources;
pub mod run_config;
pub mod seccomp;
pub mod secrets;
mod size;
mod tree;
pub mod vm;
pub mod volume;
pub mod words;

pub use architecture::Architecture;
pub use files::{FileContent, FilesVolume, ImageVolume, MAX_FILES_BYTES, VolumeFile};
pub use gaps::{Gap, Written};
pub use lifecycle::{
    Dependency, DependencyCondition, FailurePolicy, Readiness, RestartPolicy, RootOnRestart,
};
pub use name::{AppName, InvalidName, VolumeName};
pub use named_network::{JoinedNetwork, MacAddress, NamedNetwork, NetworkJoin, NetworkName, Subnet};
pub use network::{
    HostAlias, HostLoopback, ImagePort, NamedPort, Network, PortForward, PortProtocol, Resolver, UserNetwork,
    UserRouter,
};
pub use pod::*;
pub use pod_name::{InvalidPodName, PodName};
pub use probe::{
    EventHandlers, Handler, HealthCheck, HealthTest, HttpGet, Lifecycle, OnUnhealthy, Probe, ProbeAction,
    ProbeKind, Probes,
};
pub use reference::{ImageReference, InvalidReference, LocalReference, RegistryReference, Transport};
pub use resources::{LogLimits, PodLimits, Resources, Rlimit, RlimitKind, Sysctl};
pub use run_config::*;
pub use seccomp::{Refusal, Seccomp, SyscallFilter};
pub use vm::*;
pub use volume::*;
