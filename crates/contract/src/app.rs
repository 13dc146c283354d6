//! An app in a message.

use serde::{Deserialize, Serialize};

/// An app's position in the configuration.
pub type AppIndex = u16;

/// How an app ended (wait(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// 0: it exited with this status. 127: its program does not exist; 126: it exists and is not executable.
    Code(i32),
    /// 1: a signal killed it.
    Signal {
        /// The signal's number.
        signal: i32,
        /// Whether it left a core dump.
        core: bool,
    },
}
