//! Limits of setrlimit(2), which the planner decided; nothing is looked up here but constants.

use isopod_contract::config::GuestRlimit;
use rustix::process::{Resource, Rlimit, setrlimit};

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
