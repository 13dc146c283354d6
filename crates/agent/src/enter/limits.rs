//! A command's share of what its app's unit keeps the app from: limits of setrlimit(2) and system calls (seccomp(2)).
//! The planner decided both; nothing is looked up here but constants.

use std::collections::BTreeMap;

use isopod_protocol::config::{GuestRlimit, GuestSyscalls};
use rustix::process::{Resource, Rlimit, setrlimit};
use seccompiler::{BpfProgram, Error, SeccompAction, SeccompFilter, TargetArch, apply_filter};

/// Sets a limit of this process.
pub(super) fn set(rlimit: &GuestRlimit) -> rustix::io::Result<()> {
    let resource = resource(&rlimit.name).ok_or(rustix::io::Errno::INVAL)?;
    let limit = Rlimit {
        current: rlimit.soft,
        maximum: rlimit.hard,
    };
    setrlimit(resource, limit)
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "as" => Resource::As,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return None,
    })
}

/// Keeps this thread, and what it executes, from other system calls. It gains no privileges from here on either: without
/// that the crate installs no filter. System calls of another kind of program (32 bits) kill it.
pub(super) fn confine(syscalls: &GuestSyscalls) -> Result<(), Error> {
    apply_filter(&program(syscalls)?)
}

fn program(syscalls: &GuestSyscalls) -> Result<BpfProgram, Error> {
    let refused = match syscalls.errno {
        Some(errno) => SeccompAction::Errno(errno.into()),
        None => SeccompAction::KillProcess,
    };
    let (named, others) = match syscalls.allowed {
        true => (SeccompAction::Allow, refused),
        false => (refused, SeccompAction::Allow),
    };
    let whatever = |number: &u32| (i64::from(*number), Vec::new());
    let rules: BTreeMap<_, _> = syscalls.numbers.iter().map(whatever).collect();
    let filter = SeccompFilter::new(rules, others, named, TargetArch::x86_64).map_err(Error::Backend)?;
    filter.try_into().map_err(Error::Backend)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_every_size_can_be_made() {
        for (allowed, errno, count) in [(true, None, 1), (true, Some(1), 400), (false, Some(38), 400)] {
            let syscalls = GuestSyscalls {
                allowed,
                numbers: (0..count).collect(),
                errno,
            };
            assert!(program(&syscalls).is_ok_and(|program| program.len() > 4));
        }
    }
}
