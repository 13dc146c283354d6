//! A process, as others find it: by its number, and by when it began, since numbers are used again.

use serde::{Deserialize, Serialize};

/// A process of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it began, in clock ticks since the host's boot (`proc_pid_stat(5)`, `starttime`).
    pub started: u64,
}

impl Process {
    /// This one; `None` where the kernel does not tell.
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
