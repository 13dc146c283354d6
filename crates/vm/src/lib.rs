//! The processes of a pod's VM: how each begins ([`launcher`]), which programs this host has for it ([`virtiofsd`],
//! [`kvm`]), the conversation with the agent inside ([`agent`]), QEMU's monitor ([`qmp`]), and what carries the guest's frames to its
//! router ([`frames`]), or a namespace's network to it ([`netns`]).
//!
//! What they do is decided in `isopod-plan`; when they run is decided in `isopod-runtime`.

pub mod agent;
mod command;
pub mod fd_message;
pub mod frames;
pub mod kvm;
pub mod launch;
pub mod launcher;
pub mod namespaces;
pub mod netavark;
pub mod netns;
pub mod qmp;
pub mod rootless;
pub mod virtiofsd;
