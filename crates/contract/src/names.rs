//! Questions to a name server that the guest does not reach, since it listens on a loopback address of the network namespace whose
//! network the pod has. The guest's agent listens on the same address and port, and the host asks the server.
//!
//! ```text
//! host                                        agent
//!   ── HostStream::Names { server } ──────────>      it listens on port 53 of that address
//!   <──────────────── InterfaceAnswer ─────────
//!   <─────────────────── NameQuestion ─────────      at most MAX_NAME_QUESTIONS that are not answered
//!   ── NameAnswer ────────────────────────────>      one for each, in any order
//! ```

use serde::{Deserialize, Serialize};

/// The port of name servers (RFC 1035, 4.2).
pub const NAMES_PORT: u16 = 53;

/// How many name servers one pod can have so: as many as a resolver reads of its configuration (resolv.conf(5), `MAXNS`).
pub const MAX_NAME_SERVERS: usize = 3;

/// How many questions to one server may wait for their answers. On the host each is a socket, and up to 128 KiB of memory.
pub const MAX_NAME_QUESTIONS: usize = 64;

/// The length of the head that each message of the name system has, in bytes (RFC 1035, 4.1.1).
pub const NAME_HEAD_BYTES: usize = 12;

/// How a question came, and is to be asked: the server makes its answer for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NameTransport {
    /// 0
    Udp,
    /// 1
    Tcp,
}

/// What the agent asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameQuestion {
    /// By which it finds who asked; the host does not interpret it.
    pub number: u32,
    pub transport: NameTransport,
    /// The message, at most 65,535 bytes (RFC 1035, 4.2.2), without the length that precedes it over TCP.
    #[serde(with = "crate::bytes")]
    pub message: Vec<u8>,
}

/// What the server answers, or the host if the server does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameAnswer {
    /// The question's.
    pub number: u32,
    /// As in the question.
    #[serde(with = "crate::bytes")]
    pub message: Vec<u8>,
}
