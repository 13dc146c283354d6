//! Files into and out of an app: the frames of a copy stream, which carry one tar archive.
//!
//! ```text
//!   CopyOut: host <─ Data..., End or Failed ── guest     a Warning may come before End; the host sends nothing
//!   CopyIn:  host ── Data..., End ──> guest;  host <─ End or Failed ── guest
//! ```
//!
//! What the archive holds: one tree, whose root is named as the copied file is, or `.` where only a directory's
//! contents were asked for (`DIR/.`). Where it goes: below the target, when that is a directory; otherwise it becomes
//! the target, whose parent must exist. These are docker's rules. The receiving end of an archive trusts no name in it.

use serde::{Deserialize, Serialize};

/// A piece of a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frame {
    /// 0: the archive's next bytes; at most [`MAX_PIECE_BYTES`](crate::exec::MAX_PIECE_BYTES).
    Data(#[serde(with = "crate::bytes")] Vec<u8>),
    /// 1: the archive's end, or that everything was written. The last frame.
    End,
    /// 2: it went wrong. The last frame.
    Failed {
        /// Why, in one line.
        text: String,
    },
    /// 3: what a whole archive does not have; before the last frame.
    Warning {
        /// What and why, in one line.
        text: String,
    },
}
