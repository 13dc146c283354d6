//! Why a pod could not be run to its end, with what its guest's console says of it.

use std::path::PathBuf;
use std::process::ExitStatus as ProcessStatus;
use std::time::Duration;
use std::{fmt, io};

use isopod_vm::agent::{AgentError, ArriveError};
use isopod_vm::netns::NetnsError;

use crate::joining::NetworksError;
use crate::ports::PortError;
use crate::template_maker::MakeError;
use crate::templates::restore::RestoreError;

/// The hypervisor, as messages name it, and the router.
pub(super) const QEMU: &str = "QEMU";
pub(super) const PASST: &str = "passt";

/// Why a pod could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A socket or process could not be made.
    #[error("cannot {action}")]
    Start {
        /// What was to be done.
        action: &'static str,
        source: io::Error,
    },
    /// The network of a namespace cannot be had.
    #[error("cannot use the network namespace `{}`", path.display())]
    Netns { path: PathBuf, source: NetnsError },
    /// Networks with names cannot be had.
    #[error("cannot give the pod its networks")]
    Networks(#[source] NetworksError),
    /// A port of the host cannot be had.
    #[error(transparent)]
    Port(PortError),
    /// A process of the VM's ended before the pod did.
    #[error("{process} ended with {status}{}", IndentedLines(.log))]
    Process {
        process: &'static str,
        status: ProcessStatus,
        /// The last lines that it said.
        log: Vec<String>,
    },
    /// The host's kernel killed a process of the VM's for want of memory.
    #[error(
        "the host's kernel killed {process}: the host, or the cgroup that the pod runs in, had no memory left"
    )]
    HostMemory { process: &'static str },
    /// The VM ended by itself.
    #[error("the guest ended before its apps did{}{}", cause(.console), IndentedLines(.console))]
    GuestEnded {
        /// The console's last lines.
        console: Vec<String>,
    },
    /// The guest did not come up in time.
    #[error("the guest did not come up within {} s{}", .after.as_secs_f32(), IndentedLines(.console))]
    NoGuest {
        after: Duration,
        /// The console's last lines.
        console: Vec<String>,
    },
    /// The host's kernel does not serve the pod's taps any more.
    #[error("cannot open `/dev/vhost-net`, by which the host's kernel serves the VM's interfaces")]
    VhostNet(#[source] std::io::Error),
    /// The VM could not be restored.
    #[error("cannot restore the VM from its template")]
    NotRestored(#[source] RestoreError),
    /// The template that was asked for was not made.
    #[error("cannot restore the VM (`--start warm`)")]
    Template(#[source] Box<MakeError>),
    /// The pod could not be brought to its VM.
    #[error("cannot send the pod to its VM")]
    Arrive(#[source] ArriveError),
    /// The conversation with the agent broke.
    #[error("lost the agent in the guest{}", IndentedLines(.console))]
    Agent {
        source: AgentError,
        /// The console's last lines.
        console: Vec<String>,
    },
    /// The apps did not end although they were killed.
    #[error("the guest did not stop its apps within {} s", .0.as_secs())]
    NotStopped(Duration),
    /// It did not acknowledge its stop.
    #[error("the guest did not answer the request to stop within {} s, and was killed", .0.as_secs())]
    StopUnanswered(Duration),
    /// It was silent for longer than it may.
    #[error("the guest did not answer for {} s and was killed, as `--on-silent kill` says", .0.as_secs())]
    Silent(Duration),
    /// A stop before there was anything to stop.
    #[error("the pod was stopped before its guest had come up")]
    StoppedEarly,
    /// The third signal.
    #[error("the VM was killed on request; what its apps had not written yet is lost")]
    Killed,
}

impl RunError {
    /// Why a VM is not there that was to be restored, where one of its processes has ended meanwhile: a QEMU that exits does so for
    /// what it was asked to, and the pod may be booted instead. A process that was killed, or another that failed, is why by itself.
    pub(super) fn not_restored(error: RestoreError, end: Option<Self>) -> Self {
        match end {
            Some(Self::Process { process, status, .. }) if process == QEMU && status.code().is_some() => {
                Self::NotRestored(error)
            }
            Some(Self::GuestEnded { .. }) | None => Self::NotRestored(error),
            Some(end) => end,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoGuest { console, .. } if lacks_memory(console) => Some(MORE_MEMORY.into()),
            Self::NoGuest { .. } => {
                Some("give it more time with `--boot-timeout`; `--accel tcg` avoids KVM".into())
            }
            Self::GuestEnded { console } if lacks_memory(console) => Some(MORE_MEMORY.into()),
            Self::Process { process, log, .. } if *process == PASST && log.is_empty() => Some(
                "passt gave no reason; a missing `/etc/resolv.conf` can be one. `--network user,by=qemu` needs no passt"
                    .into(),
            ),
            Self::HostMemory { .. } => Some(
                "let the pods of the host have less (`--vm-memory`), or give the host more: a pod takes some 100 MiB beside its guest's \
                 memory"
                    .into(),
            ),
            Self::VhostNet(_) => Some(
                "it could be opened when the pod was made: load the module (`modprobe vhost_net`), or make the pod again".into(),
            ),
            Self::Agent { source, .. } => source.hint(),
            Self::Port(error) => error.hint(),
            Self::Netns { source, .. } => source.hint(),
            Self::Networks(error) => error.hint(),
            Self::Template(error) => error.hint(),
            _ => None,
        }
    }
}

/// What to do about a guest that has too little of it.
const MORE_MEMORY: &str = "give the VM more memory: `--vm-memory`";

/// Whether the console says that the guest had too little memory.
fn lacks_memory(console: &[String]) -> bool {
    const SIGNS: [&str; 7] = [
        // mm/oom_kill.c, mm/page_alloc.c, init/initramfs.c: an image that does not fit into memory.
        "Out of memory",
        "out of memory",
        "System is deadlocked on memory",
        "page allocation failure",
        "Initramfs unpacking failed: write error",
        // What the first process says then.
        "Cannot allocate memory",
        "No space left on device",
    ];
    console
        .iter()
        .any(|line| SIGNS.iter().any(|sign| line.contains(sign)))
}

/// What the console says that ended a guest, in words.
fn cause(console: &[String]) -> &'static str {
    const CAUSES: [(&str, &str); 4] = [
        // mm/oom_kill.c, kernel/panic.c, kernel/reboot.c
        (
            "Kernel panic - not syncing: System is deadlocked on memory",
            ": it ran out of memory",
        ),
        ("Kernel panic", ": its kernel panicked"),
        (
            "reboot: Restarting system",
            ": it restarted, as it does when its agent has ended",
        ),
        ("reboot: Power down", ": it powered itself off"),
    ];
    let has = |words: &str| console.iter().any(|line| line.contains(words));
    let cause = CAUSES.iter().find(|(words, _)| has(words));
    cause.map_or("", |(_, cause)| cause)
}

/// Log lines behind an error, indented; nothing where there are none.
struct IndentedLines<'a>(&'a [String]);

impl fmt::Display for IndentedLines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        f.write_str("; its last lines:")?;
        self.0.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    fn ended(process: &'static str, status: i32) -> Option<RunError> {
        let status = ProcessStatus::from_raw(status);
        let log = Vec::new();
        Some(RunError::Process { process, status, log })
    }

    #[test]
    fn only_a_qemu_that_exits_by_itself_was_not_restored() {
        let why = |end| RunError::not_restored(RestoreError::Broken, end).to_string();
        let not_restored = "cannot restore the VM from its template";
        let (exited, killed) = (1 << 8, 9);
        assert_eq!(why(None), not_restored);
        assert_eq!(why(ended(QEMU, exited)), not_restored);
        assert_eq!(
            why(Some(RunError::GuestEnded { console: Vec::new() })),
            not_restored
        );
        assert_eq!(why(ended(QEMU, killed)), "QEMU ended with signal: 9 (SIGKILL)");
        assert_eq!(
            why(ended("virtiofsd", killed)),
            "virtiofsd ended with signal: 9 (SIGKILL)"
        );
        assert_eq!(why(ended(PASST, exited)), "passt ended with exit status: 1");
        let hint = ended(PASST, exited).and_then(|error| error.hint());
        assert!(hint.is_some_and(|hint| hint.contains("/etc/resolv.conf")));
        let process = QEMU;
        assert!(why(Some(RunError::HostMemory { process })).contains("had no memory left"));
    }
}
