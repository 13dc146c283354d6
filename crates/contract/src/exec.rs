//! A command in a running app: the messages of an exec stream.
//!
//! ```text
//!   client ── HostStream::Exec(Request) ────────> agent
//!   client ── ToCommand: Stdin, StdinEnd, Resize, Signal, Detach ──> agent      at any time
//!   client <─ FromCommand: Started ────────────────────────── agent      once, the first, where it executes
//!   client <─ FromCommand: Stdout, Stderr, StdinTaken ────── agent      at any time
//!   client <─ FromCommand: Exited or Failed ──────────────── agent      once, the last; then the stream ends
//! ```
//!
//! The client keeps its direction open until the last message: where it ends before, the client is gone, and the agent
//! kills the command, unless the client detached. Input has a window of its own ([`STDIN_WINDOW_BYTES`]), so that a command which does not read
//! holds up neither a signal nor a resize behind it. Output has none: a client that does not read holds up the
//! command's standard output and error together.

use serde::{Deserialize, Serialize};

use crate::app::{AppIndex, ExitStatus};

/// The most bytes of input or output in one message: two frames of yamux, and well below
/// [`crate::message::MAX_MESSAGE_BYTES`].
pub const MAX_PIECE_BYTES: usize = 32 * 1024;

/// The most bytes of input that the agent has not yet given to the command: what it holds in memory for one exec.
pub const STDIN_WINDOW_BYTES: usize = 128 * 1024;

/// What to execute, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The app in whose world it runs: mounts, cgroup, capabilities.
    pub app: AppIndex,
    /// The program, looked up in the app's `PATH` where it holds no `/`, and its arguments.
    pub argv: Vec<String>,
    /// Variables on top of the app's own.
    pub env: Vec<(String, String)>,
    /// `USER[:GROUP]`, each a number or a name of the app's own database; `None`: as the app.
    pub user: Option<String>,
    /// Where it starts; `None`: as the app.
    pub working_dir: Option<String>,
    /// The size of its terminal; `None`: no terminal, but a pipe for each standard stream.
    pub terminal: Option<WindowSize>,
    /// Whether it has a standard input; otherwise it reads nothing from the beginning.
    pub stdin: bool,
    /// Who it is and what it may do, in place of what the app has and of `user`; `env` is its whole environment then. For a
    /// caller that has decided all of it (OCI's `process`).
    pub exactly: Option<Exactly>,
    /// Whether it has every capability, whatever the app has. The app's filter of system calls stays. Of no meaning beside `exactly`.
    pub privileged: bool,
}

/// Who a command is and what it may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exactly {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    /// The capabilities that it and its children may ever have: a bit for each (capabilities(7)).
    pub capabilities: u64,
    /// Whether it and its children never gain privileges (`PR_SET_NO_NEW_PRIVS`).
    pub no_new_privileges: bool,
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    pub rows: u16,
    pub cols: u16,
}

/// What the client says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToCommand {
    /// 0: input; at most [`MAX_PIECE_BYTES`], and at most [`STDIN_WINDOW_BYTES`] that were not [`FromCommand::StdinTaken`].
    Stdin(#[serde(with = "crate::bytes")] Vec<u8>),
    /// 1: the end of the input. Of a terminal's there is none: send the character that its user would type.
    StdinEnd,
    /// 2: the terminal's new size.
    Resize(WindowSize),
    /// 3: a signal for the command (signal(7)).
    Signal(u8),
    /// 4: the client goes, and the command continues without one. The last message; the agent ends the stream then.
    Detach,
}

/// What the agent says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromCommand {
    /// 0: what it wrote to its standard output, or to its terminal; at most [`MAX_PIECE_BYTES`].
    Stdout(#[serde(with = "crate::bytes")] Vec<u8>),
    /// 1: what it wrote to its standard error.
    Stderr(#[serde(with = "crate::bytes")] Vec<u8>),
    /// 2: so many more bytes of input went to the command, or to nobody where it no longer reads.
    StdinTaken(u32),
    /// 3: it has ended. The last message.
    Exited(ExitStatus),
    /// 4: it was not executed. The last message.
    Failed {
        /// What a shell would exit with: 127 where the program does not exist, 126 where it cannot be executed, or
        /// not as that user or there, 125 where it did not come to that.
        status: u8,
        /// Why, in one line.
        text: String,
    },
    /// 5: it executes. The first message, where it comes to that.
    Started,
}

/// The exit status of an exec that did not come to executing anything (docker's).
pub const STATUS_FAILED: u8 = 125;
/// The exit status of a program that cannot be executed.
pub const STATUS_NOT_EXECUTABLE: u8 = 126;
/// The exit status of a program that does not exist.
pub const STATUS_NOT_FOUND: u8 = 127;
