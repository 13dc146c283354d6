//! A process, as others find it: by its number, and by when it began, since numbers are used again.

use serde::{Deserialize, Serialize};

/// A process of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Process {
    pub pid: u32,
    /// When it began, in clock ticks since the host's boot (`proc_pid_stat(5)`, `starttime`).
    pub started: u64,
}

impl Process {
    /// This one; `None` where the kernel does not say.
    #[must_use]
    pub fn current() -> Option<Self> {
        let pid = std::process::id();
        let (_, started) = stat(pid)?;
        Some(Self { pid, started })
    }

    /// Whether it is there.
    #[must_use]
    pub(crate) fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|(_, started)| started == self.started)
    }

    /// Whether it is there and stopped: by a signal (SIGSTOP), or by a debugger.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        stat(self.pid).is_some_and(|(state, started)| is_stopped(state) && started == self.started)
    }

    /// The memory of the host that it and all processes below it have for themselves, in bytes: what is not a file's, and of what
    /// they share, the guest's memory, the most that one of them has seen. `None` where the kernel does not say.
    #[must_use]
    pub fn resident_bytes(&self) -> Option<u64> {
        let (_, started) = stat(self.pid)?;
        let mut family = vec![self.pid];
        let parents = parents();
        let mut next = 0;
        while let Some(parent) = family.get(next).copied() {
            next += 1;
            family.extend(
                parents
                    .iter()
                    .filter(|(_, of)| *of == parent)
                    .map(|(pid, _)| *pid),
            );
        }
        let used: Vec<(u64, u64)> = family.into_iter().filter_map(resident).collect();
        let own: u64 = used.iter().map(|(own, _)| own).sum();
        let shared = used.iter().map(|(_, shared)| *shared).max()?;
        (started == self.started).then_some(own + shared)
    }
}

/// All processes with their parents.
fn parents() -> Vec<(u32, u32)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parent = |pid: u32| {
        let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        let text = String::from_utf8_lossy(&text);
        let fields = text.rsplit_once(')')?.1;
        Some((pid, fields.split_ascii_whitespace().nth(1)?.parse().ok()?))
    };
    pids.filter_map(parent).collect()
}

/// What a process has for itself and what it shares, in bytes, files left out (proc_pid_status(5)).
fn resident(pid: u32) -> Option<(u64, u64)> {
    let text = std::fs::read(format!("/proc/{pid}/status")).ok()?;
    let text = String::from_utf8_lossy(&text);
    let kib = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    Some((kib("RssAnon:")? * 1024, kib("RssShmem:")? * 1024))
}

/// Whether the process of this number is stopped.
#[must_use]
pub(crate) fn number_is_stopped(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| is_stopped(state))
}

fn is_stopped(state: char) -> bool {
    matches!(state, 'T' | 't')
}

/// Its state and when it began.
fn stat(pid: u32) -> Option<(char, u64)> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&text);
    // Behind the program's name, which may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    // The state is field 3, the beginning field 22.
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_processes_below_have_counts() {
        let own = Process::current().unwrap();
        let before = own.resident_bytes().unwrap();
        assert!(before > 100 << 10, "{before}");
        // A shell's child, which takes 32 MiB.
        let script = "head -c 33554432 /dev/zero | tail -c 33554432 | sleep 1000";
        let mut child = std::process::Command::new("sh")
            .args(["-c", script])
            .spawn()
            .unwrap();
        let begun = std::time::Instant::now();
        while own.resident_bytes().unwrap() < before + (24 << 20) {
            assert!(begun.elapsed().as_secs() < 20, "{:?}", own.resident_bytes());
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        for (pid, _) in parents().into_iter().filter(|(_, of)| *of == child.id()) {
            let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        child.wait().unwrap();
        let other = Process {
            started: own.started + 1,
            ..own
        };
        assert_eq!(other.resident_bytes(), None);
    }

    #[test]
    fn who_is_stopped_is_seen() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let (_, started) = stat(child.id()).unwrap();
        let process = Process {
            pid: child.id(),
            started,
        };
        assert!(!process.is_stopped());
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        let begun = std::time::Instant::now();
        while !process.is_stopped() {
            assert!(begun.elapsed().as_secs() < 20);
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let another = Process {
            started: started + 1,
            ..process
        };
        assert!(!another.is_stopped());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!process.is_stopped());
        assert!(!Process::current().unwrap().is_stopped());
    }
}
