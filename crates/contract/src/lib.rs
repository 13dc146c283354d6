//! What host and guest agree on: what comes to a VM, the messages on each stream, the guest's paths, and the
//! numbers that bound them. Types for serde and constants; nothing here does anything.
//!
//! | module | what | written by | read by |
//! |---|---|---|---|
//! | [`config`] | what comes to a VM, a JSON file | the planner | the agent |
//! | [`network`] | the guest's network, a part of the first | | |
//! | [`launch`] | what an app's unit executes, a JSON file | the planner | the agent |
//! | [`message`] | control messages, and the first message of each stream | both | both |
//! | [`arrival`], [`exec`], [`copy`], [`stats`], [`hotplug`], [`change`], [`processes`], [`names`] | the messages of a stream that the host opens | both | both |
//! | [`layout`] | the guest's paths | | both |

mod app;
pub mod arrival;
mod bytes;
mod causes;
pub mod change;
pub mod config;
pub mod copy;
pub mod environment;
pub mod exec;
pub mod hotplug;
pub mod launch;
pub mod layout;
pub mod message;
pub mod names;
pub mod network;
pub mod processes;
pub mod stats;

pub use causes::in_one_line;

/// The name of the virtio-serial port: QEMU's `name=`, `/sys/class/virtio-ports/*/name` in the guest.
pub const PORT_NAME: &str = "isopod.agent.0";

/// The most apps that a pod has at a time. An honest guest's streams hold at most 256 KiB each; a hostile guest's, full of frames of
/// one byte, cost 17 MiB (a window of the multiplexer): 0.5 GiB for a pod of ten apps, 6.4 GiB for the largest.
pub const MAX_APPS: usize = 128;

/// The most streams beside the control stream that the host may have open at once. Each is a process in the guest.
pub const MAX_HOST_STREAMS: usize = 64;

/// The version of everything in this crate. Both sides come from one build, so the versions
/// are equal or the connection is refused; there is no negotiation.
pub const PROTOCOL_VERSION: u32 = 9;

/// How often the agent shows that it lives ([`message::GuestMessage::Beat`]), and asks what time it is.
pub const BEAT_EVERY: std::time::Duration = std::time::Duration::from_secs(3);
