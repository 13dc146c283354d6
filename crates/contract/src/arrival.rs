//! What comes to the VM: its answer, on the stream that brought it.
//!
//! ```text
//!   host ── HostStream::Arrive, then the files as an archive, then the end of this direction ──> agent
//!   host <─ ArrivalAnswer ────────────────────────────────────────────────────────────── agent    once, the last
//!
//!   host ── HostStream::Depart(Departure) ──> agent
//!   host <─ DepartureAnswer ───────────── agent    once, the last
//! ```
//!
//! The archive is cpio in the `newc` format, one or several after another with zeros between, as the kernel takes them for
//! an initramfs (Documentation/driver-api/early-userspace/buffer-format.rst). [`ARRIVAL`](crate::layout::ARRIVAL) is in it.
//! The apps are numbered behind those that came before, in the order of [`Arrival::apps`](crate::config::Arrival::apps);
//! no number is used twice. Their streams, and what the agent reports of them, may come before the answer.

use serde::{Deserialize, Serialize};

use crate::app::AppIndex;

/// The most bytes of a text of an answer.
pub const MAX_TEXT_BYTES: usize = 8 * 1024;

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ArrivalAnswer {
    /// 0: it is there, and its apps begin.
    Done(ArrivalTimes),
    /// 1: it cannot be.
    Failed {
        /// Why, in one line.
        text: String,
    },
}

/// What goes with an app that goes: all that came with it and is nobody else's. The host, which planned it, says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Departure {
    /// The app, which has ended.
    pub app: AppIndex,
    /// The units that systemd is to forget: the target of its arrival, its service.
    pub units: Vec<String>,
    /// What is unmounted, with all that is below it, in this order.
    pub mount_points: Vec<String>,
    /// The files and directories that are removed, with all that is in them.
    pub paths: Vec<String>,
}

/// When an arrival reached what, in milliseconds of guest uptime (`CLOCK_BOOTTIME`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrivalTimes {
    /// The agent received it.
    pub begun_ms: u64,
    /// Its files were there.
    pub unpacked_ms: u64,
    /// Its modules were loaded, and what it mounts ahead of systemd was mounted.
    pub mounted_ms: u64,
    /// systemd was asked to start its apps.
    pub asked_ms: u64,
}

/// What the agent answers to a departure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DepartureAnswer {
    /// 0: nothing of it is left.
    Done,
    /// 1: something is.
    Failed {
        /// What, and why, in one line.
        text: String,
    },
}
