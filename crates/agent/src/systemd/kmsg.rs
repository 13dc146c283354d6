//! The kernel's log (/dev/kmsg; Documentation/ABI/testing/dev-kmsg), where systemd and mount(8) write in a guest
//! without a journal: what it says about a unit that failed. It is only read when something failed.

use std::io;
use std::path::Path;

use isopod_contract::message::{MAX_LOG_LINE_BYTES, MAX_LOG_LINES, MemoryBound};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Longer than any record (`CONSOLE_EXT_LOG_MAX`, include/linux/printk.h).
const RECORD_BYTES: usize = 8192;

/// syslog(3)'s `LOG_WARNING`: a kernel record of this level or worse may be the cause.
const WARNING: u32 = 4;

/// What is said about nothing: mount(8) points to this very log, and systemd misses a journal.
const NOISE: [&str; 2] = [
    "dmesg(1) may have more information",
    "to the journal socket, ignoring",
];

/// How far the log's clock and systemd's may be apart, and how late mount(8)'s last words may come.
const SLACK_US: u64 = 200_000;

/// One record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// 0 is the kernel itself.
    facility: u32,
    level: u32,
    sequence: u64,
    time_us: u64,
    text: String,
}

/// A process of a unit's that the kernel killed because there was no memory left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryKill {
    /// The record's number in the log.
    pub(crate) sequence: u64,
    /// The process.
    pub(crate) pid: u32,
    /// What there was no memory left in.
    pub(crate) within: MemoryBound,
}

/// What a unit's log lines are looked for by.
pub(crate) struct Subject<'a> {
    /// Its name.
    pub(crate) unit: &'a str,
    /// Where it mounts something.
    pub(crate) mount_point: Option<&'a str>,
    /// When it began to change and when it came to rest, in microseconds.
    pub(crate) window_us: (u64, u64),
}

/// The log's lines about a unit, the last [`MAX_LOG_LINES`]; none when the log cannot be read.
pub(crate) fn about(subject: &Subject<'_>) -> Vec<String> {
    read(Path::new("/dev/kmsg"))
        .map(|records| select(records, subject))
        .unwrap_or_default()
}

/// The processes of a unit's that the kernel killed because there was no memory left, as far back as its log goes.
pub(crate) fn memory_kills(unit: &str) -> Vec<MemoryKill> {
    let counts = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    // The log is long, and every end of an app asks.
    if counts.lines().any(|line| line == "oom_kill 0") {
        return Vec::new();
    }
    let records = read(Path::new("/dev/kmsg")).unwrap_or_default();
    records
        .iter()
        .filter_map(|record| oom_kill(record, unit))
        .collect()
}

/// `oom-kill:constraint=...,task_memcg=/web.service,task=NAME,pid=PID,uid=UID` (`dump_oom_summary`, mm/oom_kill.c).
fn oom_kill(record: &Record, unit: &str) -> Option<MemoryKill> {
    let summary = record
        .text
        .strip_prefix("oom-kill:")
        .filter(|_| record.facility == 0)?;
    let (facts, rest) = summary.split_once(",task_memcg=")?;
    // The name of a process may hold anything: what is looked for stands before and behind it.
    let (cgroup, task) = rest.split_once(",task=")?;
    let (before, _) = task.rsplit_once(",uid=")?;
    let name = cgroup.rsplit('/').next()?;
    let (_, pid) = before.rsplit_once(",pid=")?;
    if name.strip_prefix('_').unwrap_or(name) != unit {
        return None;
    }
    Some(MemoryKill {
        sequence: record.sequence,
        pid: pid.parse().ok()?,
        within: match facts.starts_with("constraint=CONSTRAINT_MEMCG,") {
            true => MemoryBound::App,
            false => MemoryBound::Guest,
        },
    })
}

fn read(path: &Path) -> io::Result<Vec<Record>> {
    let kmsg = rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut buffer = vec![0; RECORD_BYTES];
    let mut records = Vec::new();
    loop {
        match rustix::io::read(&kmsg, &mut buffer[..]) {
            Ok(0) | Err(Errno::AGAIN) => return Ok(records),
            Ok(n) => records.extend(parse(&String::from_utf8_lossy(&buffer[..n]))),
            // Records were overwritten before they were read; the next read continues behind them.
            Err(Errno::PIPE | Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Parses `PRIORITY,SEQUENCE,TIME,FLAGS[,...];TEXT`, followed by lines of properties that begin with a blank.
fn parse(record: &str) -> Option<Record> {
    let (prefix, text) = record.split_once(';')?;
    let mut fields = prefix.split(',');
    let priority: u32 = fields.next()?.parse().ok()?;
    let sequence = fields.next()?.parse().ok()?;
    let time_us = fields.next()?.parse().ok()?;
    let text = text.lines().next().unwrap_or_default().to_owned();
    Some(Record {
        facility: priority >> 3,
        level: priority & 7,
        sequence,
        time_us,
        text,
    })
}

/// A line as it is reported: cut to its limit; `None` when it says nothing.
pub(crate) fn line(text: &str) -> Option<String> {
    let text = text.trim();
    let is_noise = text.is_empty() || NOISE.iter().any(|noise| text.contains(noise));
    let end = text.floor_char_boundary(MAX_LOG_LINE_BYTES);
    (!is_noise).then(|| text[..end].to_owned())
}

/// Picks the records of the unit's time that name it, come from a program, or are warnings of the kernel.
fn select(records: Vec<Record>, subject: &Subject<'_>) -> Vec<String> {
    let (from, to) = subject.window_us;
    let time = from.saturating_sub(SLACK_US)..=to.saturating_add(SLACK_US);
    let names =
        |text: &str| text.contains(subject.unit) || subject.mount_point.is_some_and(|at| text.contains(at));
    let mut lines: Vec<String> = Vec::new();
    let mut begun = String::new();
    for record in records
        .into_iter()
        .filter(|record| time.contains(&record.time_us))
    {
        let text = record.text.trim();
        let wanted = match record.facility {
            0 => record.level <= WARNING || names(text),
            _ => names(text) || !text.starts_with("systemd["),
        };
        if !wanted {
            continue;
        }
        let Some(text) = line(text) else { continue };
        // mount(8) writes `mount: ` by itself, so it is a record by itself.
        if record.facility != 0 && text.ends_with(':') {
            begun = format!("{text} ");
            continue;
        }
        lines.extend(line(&(std::mem::take(&mut begun) + &text)));
    }
    lines.split_off(lines.len().saturating_sub(MAX_LOG_LINES))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECT: Subject<'_> = Subject {
        unit: "mnt-data.mount",
        mount_point: Some("/mnt/data"),
        window_us: (5_000_000, 6_000_000),
    };

    fn lines(records: &[&str]) -> Vec<String> {
        select(
            records.iter().filter_map(|record| parse(record)).collect(),
            &SUBJECT,
        )
    }

    #[test]
    fn finds_what_mount_and_kernel_said_in_the_units_time() {
        let log = [
            "4,1,1000000,-;early warning",
            "6,2,5100000,-;chatter",
            "3,3,5200000,-;9pnet_virtio: no channels available for device isopod\n SUBSYSTEM=x",
            "12,4,5300000,-;mount: ",
            "12,5,5300100,-;/mnt/data: wrong fs type.",
            "12,6,5300200,-;",
            "12,7,5300300,-;       dmesg(1) may have more information after failed mount system call.",
            "30,8,5400000,-;systemd[1]: mnt-data.mount: Failed with result 'exit-code'.",
            "30,9,5400000,-;systemd[1]: Reached target Something.",
            "nonsense",
            "4,10,9000000,-;late warning",
        ];
        assert_eq!(
            lines(&log),
            [
                "9pnet_virtio: no channels available for device isopod",
                "mount: /mnt/data: wrong fs type.",
                "systemd[1]: mnt-data.mount: Failed with result 'exit-code'.",
            ]
        );
    }

    #[test]
    fn finds_who_was_killed_for_want_of_memory() {
        let is = |text: &str, unit: &str, pid| {
            let record = parse(&format!("6,1,5000000,-;{text}")).unwrap();
            let kill = oom_kill(&record, unit).filter(|kill| kill.pid == pid);
            kill.map(|kill| kill.within)
        };
        let line = "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,\
                    task_memcg=/hog.service,task=a,pid=9,uid=0,pid=77,uid=0";
        assert_eq!(is(line, "hog.service", 77), Some(MemoryBound::Guest));
        let of_app = line.replace("CONSTRAINT_NONE", "CONSTRAINT_MEMCG");
        assert_eq!(is(&of_app, "hog.service", 77), Some(MemoryBound::App));
        for (line, unit, pid) in [
            (line, "hog.service", 9),
            (line, "og.service", 77),
            (&line[1..], "hog.service", 77),
        ] {
            assert_eq!(is(line, unit, pid), None, "{line} {unit} {pid}");
        }
        let escaped = "oom-kill:x,task_memcg=/system.slice/_cpu.service,task=b,pid=8,uid=5";
        assert_eq!(is(escaped, "cpu.service", 8), Some(MemoryBound::Guest));
        let of_an_app = parse(&format!("14,1,5000000,-;{line}")).unwrap();
        let of_an_app = oom_kill(&of_an_app, "hog.service");
        assert_eq!(of_an_app, None, "a program may write to this log");
    }

    #[test]
    fn keeps_the_last_lines_and_cuts_long_ones() {
        let log: Vec<String> = (0..50)
            .map(|i| format!("3,{i},5000000,-;{i} {}", "ä".repeat(MAX_LOG_LINE_BYTES)))
            .collect();
        let lines = lines(&log.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(lines.len(), MAX_LOG_LINES);
        assert!(lines[0].starts_with("30 ") && lines.iter().all(|line| line.len() <= MAX_LOG_LINE_BYTES));
    }

    #[test]
    fn reads_this_hosts_log_or_says_why_not() {
        if let Ok(records) = read(Path::new("/dev/kmsg")) {
            assert!(records.iter().all(|record| record.level < 8));
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(read(file.path()).unwrap(), []);
    }
}
