//! Volumes that come to a pod while it runs, and go: the answers on their streams.
//!
//! ```text
//!   host ── HostStream::AddVolume(HotplugVolume) ─────────> agent
//!   host <─ VolumeAnswer ───────────────────────────── agent      once, the last; then the stream ends
//!
//!   host ── HostStream::RemoveVolume { volume, force } ─> agent
//!   host <─ VolumeAnswer ───────────────────────────── agent
//! ```
//!
//! The agent remembers nothing of them: the host says at the detaching what it said at the attaching. What comes is the
//! planner's, to the letter of each unit; an attachment that does not fit a message is refused by the planner.

use serde::{Deserialize, Serialize};

use crate::app::AppIndex;
use crate::config::GuestMount;

/// The most users of a volume that an answer names.
pub const MAX_USERS: usize = 8;

/// The most bytes of a text of an answer.
pub const MAX_TEXT_BYTES: usize = 8 * 1024;

/// A volume that comes to apps which run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HotplugVolume {
    /// The volume's name.
    pub volume: String,
    /// Where the volume itself appears in the guest.
    pub shared: String,
    /// The files that systemd reads, relative to its directory of units.
    pub files: Vec<UnitText>,
    /// The mounts, parents first.
    pub mounts: Vec<HotplugMount>,
}

/// A file that systemd reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct UnitText {
    /// Its path, relative: a unit, or a drop-in in the unit's directory.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// A mount of it in an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HotplugMount {
    pub app: AppIndex,
    /// The mount, as the app's other mounts are described.
    pub mount: GuestMount,
    /// The app's root filesystem.
    pub root: String,
    /// Where the app sees it: a path from the app's root, with no link in it.
    pub place: String,
    /// Whether it is a file that is mounted.
    pub file: bool,
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeAnswer {
    /// 0: it is done.
    Done,
    /// 1: it cannot be done, and everything is as it was.
    Failed {
        /// Why, in one line.
        text: String,
    },
    /// 2: it cannot be detached, since somebody uses it; everything is as it was.
    Busy {
        /// Who, at most [`MAX_USERS`]; none where nobody was found.
        users: Vec<User>,
    },
}

/// A process that uses a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The app that it belongs to.
    pub app: AppIndex,
    /// Its number in the guest.
    pub pid: u32,
    /// Its name (`/proc/PID/comm`).
    pub name: String,
}
