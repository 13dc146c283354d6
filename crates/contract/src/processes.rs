//! The processes of the apps: the messages of a [`HostStream::Processes`](crate::message::HostStream::Processes) stream, one for
//! each process and one for the end.

use serde::{Deserialize, Serialize};

use crate::app::AppIndex;

/// The most bytes of a command line that travel.
pub const MAX_COMMAND_BYTES: usize = 4096;

/// A message of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProcessMessage {
    /// 0: a process.
    Process(AppProcess),
    /// 1: there are no more. The last message.
    End,
}

/// A process of an app's (proc_pid_stat(5), proc_pid_status(5)). Its texts may hold anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppProcess {
    pub app: AppIndex,
    /// Its number, as the app sees it.
    pub pid: u32,
    /// Its parent's number, likewise; 0 where that is not one of the app.
    pub parent: u32,
    /// The user that it runs as.
    pub uid: u32,
    /// That user's name in the app's `/etc/passwd`; empty where there is none.
    pub user: String,
    /// Its state: `S`, `R`, `Z` ...
    pub state: char,
    /// How many threads it has.
    pub threads: u32,
    /// The processor time that it used, in milliseconds.
    pub cpu_ms: u64,
    /// How long ago it was started, in milliseconds.
    pub age_ms: u64,
    /// The memory that is there for it, in bytes.
    pub resident_bytes: u64,
    /// The memory that it may touch, in bytes.
    pub virtual_bytes: u64,
    /// Its terminal (`pts/0`); empty where it has none.
    pub tty: String,
    /// The name of its program, of 15 bytes at most.
    pub name: String,
    /// Its arguments with blanks between them, at most [`MAX_COMMAND_BYTES`]; empty where it has none.
    pub command: String,
}
