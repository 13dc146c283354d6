//! The processes of a pod's VM: how each begins ([`launcher`]), which programs this host has for it ([`virtiofsd`],
//! [`kvm`]), and the conversation with the agent inside ([`agent`]).
//!
//! What they are told to do is decided in `isopod-plan`; when they run is decided in `isopod-runtime`.

pub mod agent;
mod command;
pub mod kvm;
pub mod launch;
pub mod launcher;
pub mod virtiofsd;
