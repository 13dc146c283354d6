//! What host and guest agent say to each other: the file the agent is configured by, and the conversation over the
//! machine's one serial port.
//!
//! ```text
//!  bytes of the port      handshake      skips noise, both sides name version and nonce
//!   └─ yamux              mux            streams with flow control: a stalled one stalls no other
//!       ├─ control        message        opened by the host: HostMessage one way, GuestMessage the other
//!       ├─ exec           exec           opened by the host: a command in an app
//!       ├─ stats          stats          opened by the host: what the apps use
//!       ├─ copy           copy           opened by the host: files into or out of an app
//!       ├─ attach, detach volumes        opened by the host: a volume comes to apps that run, or goes
//!       ├─ stdin  APP     raw bytes      opened by the guest, host to guest, half-closed for the end of input
//!       ├─ stdout APP     raw bytes      opened by the guest, guest to host
//!       └─ stderr APP     raw bytes      opened by the guest, guest to host
//! ```
//!
//! Every stream begins with one message that says what it is ([`message::HostStream`] or [`message::GuestStream`],
//! by who opened it). This is the only code that both sides share; it runs no task, opens no file, and knows neither
//! systemd nor QEMU.

mod bytes;
pub mod codec;
pub mod config;
pub mod copy;
pub mod environment;
pub mod exec;
pub mod handshake;
pub mod launch;
pub mod message;
pub mod mux;
pub mod stats;
pub mod volumes;

/// The name of the virtio-serial port: QEMU's `name=`, `/sys/class/virtio-ports/*/name` in the guest.
pub const PORT_NAME: &str = "isopod.agent.0";

/// The most apps of a pod. An honest guest's streams hold at most 256 KiB each; a hostile guest's, full of frames of
/// one byte, cost 17 MiB ([`mux::STREAM_WINDOW_BYTES`]): 0.5 GiB for a pod of ten apps, 6.4 GiB for the largest.
pub const MAX_APPS: usize = 128;

/// The most streams beside the control stream that the host may have open at once. Each is a process in the guest.
pub const MAX_HOST_STREAMS: usize = 64;

/// The version of everything in this crate that crosses the port. Both sides come from one build, so the versions
/// are equal or the connection is refused; there is no negotiation.
pub const PROTOCOL_VERSION: u32 = 4;

/// How often the agent shows that it lives ([`message::GuestMessage::Beat`]), and asks what time it is.
pub const BEAT_EVERY: std::time::Duration = std::time::Duration::from_secs(3);
