//! Changes of how an app runs: the answer on their stream.
//!
//! ```text
//!   host ── HostStream::ChangeApp { app, change } ─> agent
//!   host <─ ChangeAnswer ───────────────────── agent      once, the last; then the stream ends
//! ```

use serde::{Deserialize, Serialize};

use crate::config::GuestRestart;

/// What becomes of an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppChange {
    /// 0: all of its processes are held, until [`AppChange::Unpause`], a signal for it, or a stop.
    Pause,
    /// 1: they continue.
    Unpause,
    /// 2: its unit has these properties from now on, in later lives too (systemd.resource-control(5),
    /// org.freedesktop.systemd1(5)). The agent adds its own processes to `TasksMax`.
    Properties(Vec<(String, u64)>),
    /// 3: it is restarted so from its next end on; `None`: never.
    Restart(Option<GuestRestart>),
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
