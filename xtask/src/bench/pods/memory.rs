//! What the processes of a pod take beside the guest's memory, by the kernel's proportional set size (proc_pid_smaps(5),
//! `Pss`): a page that several share counts in parts. The guest's memory is one mapping, which QEMU and virtiofsd share.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;

use super::Row;
use crate::bench::stats::Summary;
use crate::bench::watch::command_line;
use crate::failure::Failure;

/// The mappings that are the guest's memory: one that was booted (`-object memory-backend-memfd`), one that was restored with a share,
/// and without.
const GUEST_MEMORY: [&str; 3] = [
    "/memfd:memory-backend",
    "/memfd:isopod-memory",
    "/memfd:isopod-template-",
];

/// KiB of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pss {
    guest: u64,
    file: u64,
    anonymous: u64,
}

impl Pss {
    fn beside_guest(self) -> u64 {
        self.file + self.anonymous
    }

    fn add(&mut self, other: Pss) {
        self.guest += other.guest;
        self.file += other.file;
        self.anonymous += other.anonymous;
    }
}

/// The rows of the table for these pods.
pub(super) fn rows<'a>(uuids: impl Iterator<Item = &'a str>) -> Result<Vec<Row>, Failure> {
    let processes = processes();
    let mut pods = Vec::new();
    let mut by_program: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for uuid in uuids {
        let supervisor = processes
            .iter()
            .find(|process| process.line.contains(" internal-supervise ") && process.line.contains(uuid));
        let Some(supervisor) = supervisor else {
            return Err(Failure::new(format!("pod {uuid} has no supervisor")));
        };
        let mut pod = Pss::default();
        // QEMU and virtiofsd are children of its children, which are stages.
        let is_stage = |pid: u32| {
            processes
                .iter()
                .any(|p| p.pid == pid && p.parent == supervisor.pid)
        };
        let is_its =
            |p: &&Process| p.pid == supervisor.pid || p.parent == supervisor.pid || is_stage(p.parent);
        for process in processes.iter().filter(is_its) {
            let maps = fs::read_to_string(format!("/proc/{}/smaps", process.pid));
            let maps =
                maps.map_err(|error| Failure::new("cannot read a process's `smaps`").caused_by(error))?;
            let pss = read(&maps);
            pod.add(pss);
            let program = match process.pid == supervisor.pid {
                true => "the supervisor".to_owned(),
                false => format!("`{}`", process.program()),
            };
            by_program
                .entry(program)
                .or_default()
                .push(mib(pss.beside_guest()));
        }
        pods.push(pod);
    }
    let column =
        |value: fn(&Pss) -> u64| Summary::of(pods.iter().map(|pod| mib(value(pod))).collect()).cells(1);
    let mut rows: Vec<Row> = vec![
        (
            "memory of a pod beside its guest's (PSS), MiB".into(),
            column(|pod| pod.beside_guest()),
            "< 40",
        ),
        (
            "of that, page cache, shared by all, MiB".into(),
            column(|pod| pod.file),
            "",
        ),
        (
            "resident of its guest's memory, MiB".into(),
            column(|pod| pod.guest),
            "",
        ),
    ];
    rows.extend(by_program.into_iter().map(|(program, values)| {
        let row = format!("{program}, MiB");
        (row, Summary::of(values).cells(1), "")
    }));
    Ok(rows)
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

struct Process {
    pid: u32,
    parent: u32,
    line: String,
}

impl Process {
    fn program(&self) -> String {
        let program = self.line.split(' ').next().unwrap_or_default();
        program.rsplit('/').next().unwrap_or_default().to_owned()
    }
}

/// The command line of a process that is QEMU.
pub(super) fn command_line_of_qemu() -> Result<Vec<OsString>, Failure> {
    let qemu = processes().into_iter().find(|process| {
        process.program().starts_with("qemu-system-") && process.line.contains(" -name isopod ")
    });
    let line = qemu.and_then(|qemu| fs::read(format!("/proc/{}/cmdline", qemu.pid)).ok());
    line.map(|line| command_line(&line))
        .ok_or_else(|| Failure::new("no QEMU runs"))
}

/// What process `pid` takes beside the guest's memory, in MiB.
pub(super) fn of_process(pid: u32) -> Result<f64, Failure> {
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps"));
    let maps = maps.map_err(|error| Failure::new("cannot read a process's `smaps`").caused_by(error))?;
    Ok(mib(read(&maps).beside_guest()))
}

fn processes() -> Vec<Process> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        Some(Process {
            pid,
            parent: parent.trim().parse().ok()?,
            line: String::from_utf8_lossy(&line).replace('\0', " "),
        })
    })
    .collect()
}

/// Adds up `/proc/PID/smaps`: the head of a mapping ends with its name, the fields follow in lines of their own.
fn read(maps: &str) -> Pss {
    let mut pss = Pss::default();
    let mut name = "";
    for line in maps.lines() {
        let field = |field: &str| -> Option<u64> {
            line.strip_prefix(field)?
                .trim()
                .strip_suffix(" kB")?
                .trim()
                .parse()
                .ok()
        };
        if let Some(kib) = field("Pss:") {
            match name {
                name if GUEST_MEMORY.iter().any(|memory| name.starts_with(memory)) => pss.guest += kib,
                name if name.starts_with('/') && !name.starts_with("/memfd:") => pss.file += kib,
                _ => pss.anonymous += kib,
            }
        } else if line
            .split(' ')
            .next()
            .is_some_and(|range| range.contains('-') && !range.ends_with(':'))
        {
            // The sixth field, which may hold blanks.
            name = line.split_whitespace().nth(5).unwrap_or_default();
        }
    }
    pss
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_distinguished() {
        let maps = "7f00-7f10 rw-s 00000000 00:01 7 /memfd:memory-backend-memfd (deleted)\nRss: 9 kB\nPss:      100 kB\n\
                    Pss_Dirty: 5 kB\n7f20-7f30 r-xp 0000 00:02 8 /usr/lib/libc.so\nPss: 20 kB\n\
                    7f40-7f50 rw-p 0 00:00 0 \nPss: 3 kB\n7f50-7f60 rw-p 0 00:00 0 [heap]\nPss: 4 kB\n\
                    7f60-7f70 rw-s 0 00:01 9 /memfd:other\nPss: 1 kB\n";
        assert_eq!(
            read(maps),
            Pss {
                guest: 100,
                file: 20,
                anonymous: 8
            }
        );
    }
}
