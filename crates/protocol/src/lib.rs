//! The conversation of host and guest agent over the VM's one serial port. What they say is in [`isopod_contract`].
//!
//! ```text
//!  bytes of the port      handshake      skips noise, both sides name version and nonce
//!   └─ yamux              mux            streams with flow control: a stalled one stalls no other
//!       ├─ control        message        opened by the host: HostMessage one way, GuestMessage the other
//!       ├─ exec           exec           opened by the host: a command in an app
//!       ├─ stats          stats          opened by the host: what the apps use
//!       ├─ copy           copy           opened by the host: files into or out of an app
//!       ├─ volumes        hotplug        opened by the host: a volume comes to apps that run, or goes
//!       ├─ names          names          opened by the host: questions to a name server, and its answers
//!       ├─ stdin  APP     raw bytes      opened by the guest, host to guest, half-closed for the end of input
//!       ├─ stdout APP     raw bytes      opened by the guest, guest to host
//!       └─ stderr APP     raw bytes      opened by the guest, guest to host
//! ```
//!
//! Every stream begins with one message that says what it is ([`HostStream`](isopod_contract::message::HostStream) or
//! [`GuestStream`](isopod_contract::message::GuestStream), by who opened it). Nothing here runs a task or opens a file.

pub mod codec;
pub mod copy;
pub mod exec;
pub mod handshake;
pub mod mux;
pub mod names;
