//! Changes of how an app runs: the answer on their stream.
//!
//! ```text
//!   host ── HostStream::ChangeApp { app, change } ─> agent
//!   host <─ ChangeAnswer ───────────────────── agent      once, the last; then the stream ends
//! ```

use serde::{Deserialize, Serialize};

/// What becomes of an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppChange {
    /// 0: all of its processes are held, until [`AppChange::Unpause`], a signal for it, or a stop.
    Pause,
    /// 1: they continue.
    Unpause,
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeAnswer {
    /// 0: it is done.
    Done,
    /// 1: it cannot be done, and everything is as it was.
    Failed {
        /// Why, in one line.
        text: String,
    },
}
