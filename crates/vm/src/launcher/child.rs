//! The process that becomes a launcher's program, where that is the first of a namespace of processes of its own.
//!
//! ```text
//! supervisor ── spawns ──> launcher ── forks ──> process 1 of its namespace: becomes the program
//!                            │                  dies with the launcher (PR_SET_PDEATHSIG)
//!                            └ waits, and ends as it ended
//! ```
//!
//! A namespace of processes is entered by children only (pid_namespaces(7)). The supervisor knows the launcher: it waits for it, kills
//! it, and joins its namespaces, which are the program's but for this one.

use std::io::{self, PipeReader};
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};

use super::sys;

/// What a process has of the one that it dies with.
pub(super) enum Parent {
    /// The number of a process of this namespace.
    Number(u32),
    /// A pipe whose other end it holds as long as it lives, since its number is another namespace's.
    Pipe(PipeReader),
}

impl Parent {
    /// Asks for `SIGKILL` when the parent ends, which must not have ended. A change of user takes the wish back (prctl(2)).
    ///
    /// # Errors
    /// It has ended, or the system's error.
    pub(super) fn die_with(&self) -> io::Result<()> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        let lives = match self {
            Self::Number(parent) => {
                let found = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().cast_unsigned());
                found == Some(*parent)
            }
            Self::Pipe(pipe) => {
                let mut fds = [PollFd::new(pipe, PollFlags::empty())];
                poll(&mut fds, Some(&Timespec::default()))? == 0
            }
        };
        match lives {
            true => Ok(()),
            false => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

/// Who returns from [`fork`].
pub(super) enum Forked {
    /// The child, with what it has of its parent.
    Child(Parent),
    /// The parent, when the child has ended: as what it is to end itself.
    Ended(ExitCode),
}

/// Goes on in a child; the parent waits for its end.
///
/// # Errors
/// There is no child.
pub(super) fn fork() -> io::Result<Forked> {
    let (reader, writer) = io::pipe()?;
    match sys::fork()? {
        None => {
            drop(writer);
            let parent = Parent::Pipe(reader);
            parent.die_with()?;
            Ok(Forked::Child(parent))
        }
        Some(child) => {
            drop(reader);
            // What the child leaves behind it is not kept from going by this process.
            let _ = std::env::set_current_dir("/");
            let ended = end_of(child);
            drop(writer);
            Ok(Forked::Ended(ended))
        }
    }
}

/// Waits for a child's end, and ends in the same way where that was a signal.
fn end_of(child: Pid) -> ExitCode {
    let status = loop {
        match waitpid(Some(child), WaitOptions::empty()) {
            Ok(Some((_, status))) => break status,
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return ExitCode::from(super::FAILED),
        }
    };
    if let Some(signal) = signal_of(status) {
        let _ = kill_process(rustix::process::getpid(), signal);
    }
    let code = status
        .exit_status()
        .or(status.terminating_signal().map(|n| 128 + n));
    ExitCode::from(
        code.and_then(|code| u8::try_from(code).ok())
            .unwrap_or(super::FAILED),
    )
}

fn signal_of(status: WaitStatus) -> Option<Signal> {
    Signal::from_named_raw(status.terminating_signal()?)
}
