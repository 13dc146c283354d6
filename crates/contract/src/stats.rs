//! What the apps use: the one message of a [`HostStream::Stats`](crate::message::HostStream::Stats) stream, which ends
//! behind it. Whoever wants rates asks twice.
//!
//! A number is `None` where the guest's kernel does not count it.

use serde::{Deserialize, Serialize};

/// What the guest and its apps use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// The VM as a whole.
    pub guest: GuestStats,
    /// Each app, in the order of the configuration.
    pub apps: Vec<AppStats>,
}

/// What the VM as a whole uses (proc(5)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestStats {
    /// When this was read, in milliseconds since the kernel started.
    pub uptime_ms: u64,
    /// The memory that the kernel manages, in bytes.
    pub memory_total_bytes: u64,
    /// What can be had without swapping, in bytes.
    pub memory_available_bytes: u64,
    /// The load averages over 1, 5 and 15 minutes, in hundredths.
    pub load_hundredths: [u32; 3],
    /// The processors.
    pub cpus: u16,
}

/// What an app, with all its processes, uses (Linux, `Documentation/admin-guide/cgroup-v2.rst`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppStats {
    /// Its processes; 0 for an app that does not run.
    pub processes: u32,
    /// The processor time that it used, in microseconds.
    pub cpu_usec: Option<u64>,
    /// The memory that it uses, page cache included, in bytes.
    pub memory_bytes: Option<u64>,
    /// The most memory that it used, in bytes.
    pub memory_peak_bytes: Option<u64>,
    /// What it read from the VM's disks, in bytes. Shares are no disks.
    pub io_read_bytes: Option<u64>,
    /// What it wrote to them, in bytes.
    pub io_write_bytes: Option<u64>,
    /// Its memory that is not a file's, in bytes.
    pub memory_anonymous_bytes: Option<u64>,
    /// Its page cache that was not used for a while, which goes first where memory is short, in bytes.
    pub memory_inactive_file_bytes: Option<u64>,
}
