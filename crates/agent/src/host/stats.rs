//! What the guest and its apps use, from `/proc` and the apps' cgroups
//! (Linux, `Documentation/admin-guide/cgroup-v2.rst`). Only kernel files are read; what is not there is not counted.

use std::path::Path;

use isopod_contract::stats::{AppStats, GuestStats};

use crate::boot::setup;

/// Where systemd mounts cgroup v2.
pub(crate) const CGROUPS: &str = "/sys/fs/cgroup";

/// What the VM uses; `proc` is `/proc`.
pub(crate) fn guest(proc: &Path) -> GuestStats {
    let memory = std::fs::read_to_string(proc.join("meminfo")).unwrap_or_default();
    let load = std::fs::read_to_string(proc.join("loadavg")).unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    GuestStats {
        uptime_ms: setup::uptime_ms(),
        memory_total_bytes: meminfo(&memory, "MemTotal:"),
        memory_available_bytes: meminfo(&memory, "MemAvailable:"),
        load_hundredths: load_averages(&load),
        cpus: u16::try_from(cpus).unwrap_or(u16::MAX),
    }
}

/// What the app of a cgroup uses; `cgroup` is as systemd names it, empty where there is none. `helpers` of its processes are
/// the agent's.
pub(crate) fn app(cgroups: &Path, cgroup: &str, helpers: u32) -> AppStats {
    let relative = cgroup.trim_start_matches('/');
    if relative.is_empty() {
        return AppStats::default();
    }
    let dir = cgroups.join(relative);
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse().ok();
    let (io, memory) = (read("io.stat"), read("memory.stat"));
    let of_memory = |name| memory.as_deref().and_then(|text| field(text, name));
    let io_sum = |key| io.as_deref().map(|text| sum_of(text, key));
    AppStats {
        processes: processes(&dir).saturating_sub(helpers),
        cpu_usec: read("cpu.stat").and_then(|text| field(&text, "usage_usec")),
        memory_bytes: number("memory.current"),
        memory_peak_bytes: number("memory.peak"),
        io_read_bytes: io_sum("rbytes="),
        io_write_bytes: io_sum("wbytes="),
        memory_anonymous_bytes: of_memory("anon"),
        memory_inactive_file_bytes: of_memory("inactive_file"),
    }
}

/// The processes of a cgroup and of those below it, which an app may make.
fn processes(dir: &Path) -> u32 {
    let of = |file: &str| std::fs::read_to_string(dir.join(file)).ok();
    if let Some(n) = of("pids.current").and_then(|text| text.trim().parse().ok()) {
        return n;
    }
    let lines = of("cgroup.procs").map_or(0, |text| text.lines().count());
    u32::try_from(lines).unwrap_or(u32::MAX)
}

/// A line of /proc/meminfo, in bytes.
fn meminfo(text: &str, name: &str) -> u64 {
    field(text, name).unwrap_or_default() * 1024
}

/// The number behind a name in a file of lines `NAME NUMBER`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.parse().ok())?
    })
}

/// The sum of what follows `key` in each line: one per device.
fn sum_of(text: &str, key: &str) -> u64 {
    text.split_ascii_whitespace()
        .filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok())
        .fold(0, u64::saturating_add)
}

fn load_averages(text: &str) -> [u32; 3] {
    let mut averages = [0; 3];
    for (average, word) in averages.iter_mut().zip(text.split_ascii_whitespace()) {
        let (whole, hundredths) = word.split_once('.').unwrap_or((word, "0"));
        let parts = (whole.parse::<u32>(), hundredths.parse::<u32>());
        if let (Ok(whole), Ok(hundredths)) = parts {
            *average = whole.saturating_mul(100).saturating_add(hundredths);
        }
    }
    averages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroups_files_are_read_as_the_kernel_writes_them() {
        let dir = tempfile::tempdir().unwrap();
        let cgroup = dir.path().join("system.slice/web.service");
        std::fs::create_dir_all(&cgroup).unwrap();
        let file = |name, text| std::fs::write(cgroup.join(name), text).unwrap();
        file("cgroup.procs", "10\n11\n");
        file("cpu.stat", "usage_usec 1234\nuser_usec 1000\nsystem_usec 234\n");
        let path = "/system.slice/web.service";
        assert_eq!(
            app(dir.path(), path, 0),
            AppStats {
                processes: 2,
                cpu_usec: Some(1234),
                ..AppStats::default()
            },
            "a controller that is off is no zero"
        );
        file("memory.current", "4096\n");
        file("memory.peak", "8192\n");
        file("memory.stat", "anon 1000\nfile 3000\ninactive_file 2000\n");
        file("pids.current", "3\n");
        file(
            "io.stat",
            "254:0 rbytes=10 wbytes=1 rios=1 wios=0 dbytes=0 dios=0\n254:16 rbytes=20 wbytes=2 rios=1\n",
        );
        assert_eq!(
            app(dir.path(), path, 0),
            AppStats {
                processes: 3,
                cpu_usec: Some(1234),
                memory_bytes: Some(4096),
                memory_peak_bytes: Some(8192),
                io_read_bytes: Some(30),
                io_write_bytes: Some(3),
                memory_anonymous_bytes: Some(1000),
                memory_inactive_file_bytes: Some(2000),
            }
        );
        for none in ["", "/", "/system.slice/gone.service"] {
            assert_eq!(app(dir.path(), none, 2), AppStats::default());
        }
    }

    #[test]
    fn the_guests_own_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let memory = "MemTotal:         497992 kB\nMemFree:           50 kB\nMemAvailable:     400000 kB\n";
        std::fs::write(dir.path().join("meminfo"), memory).unwrap();
        std::fs::write(dir.path().join("loadavg"), "0.05 1.20 12.00 1/70 123\n").unwrap();
        let stats = guest(dir.path());
        assert_eq!(stats.memory_total_bytes, 497_992 * 1024);
        assert_eq!(stats.memory_available_bytes, 400_000 * 1024);
        assert_eq!(stats.load_hundredths, [5, 120, 1200]);
        assert!(stats.cpus > 0);
    }
}
