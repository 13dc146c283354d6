//! Whether the host's kernel killed a process for want of memory. The kernel reports it in its log alone, which not everybody may read;
//! it counts such kills, of all processes of the host (`oom_kill` of /proc/vmstat, mm/oom_kill.c). A process that ended by `SIGKILL`
//! while the count rose is taken for one of them.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

/// The count at a moment; `None` where the kernel does not say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kills(Option<u64>);

impl Kills {
    pub(super) fn now() -> Self {
        Self(read(&std::fs::read_to_string("/proc/vmstat").unwrap_or_default()))
    }

    /// Whether a process that has ended so was killed for want of memory since.
    pub(super) fn explain(self, status: ExitStatus) -> bool {
        const SIGKILL: i32 = 9;
        status.signal() == Some(SIGKILL) && self.rose_to(Self::now())
    }

    fn rose_to(self, later: Self) -> bool {
        matches!((self.0, later.0), (Some(before), Some(after)) if after > before)
    }
}

fn read(vmstat: &str) -> Option<u64> {
    let count = vmstat.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_rose_explains_a_kill() {
        let kills = |count: u64| Kills(read(&format!("nr_free_pages 3\noom_kill {count}\nswap_ra 1\n")));
        assert!(kills(3).rose_to(kills(4)));
        assert!(!kills(3).rose_to(kills(3)) && !Kills(read("nr_free_pages 3\n")).rose_to(kills(4)));
        assert!(!Kills(Some(0)).explain(ExitStatus::from_raw(1 << 8)), "it exited");
        assert!(!Kills(None).explain(ExitStatus::from_raw(9)));
    }
}
