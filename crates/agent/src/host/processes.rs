//! The processes of an app, from `/proc` and its cgroup, as the app sees them: without those of the agent's around its
//! program.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use isopod_contract::message::AppIndex;
use isopod_contract::processes::{AppProcess, MAX_COMMAND_BYTES};
use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, open, openat2};

use crate::boot::setup;

/// The unit of the times in `/proc/PID/stat` (`USER_HZ`).
const TICK_MS: u64 = 10;

/// The longest `/etc/passwd` that is read: an app may have made it endless.
const MAX_DATABASE_BYTES: u64 = 1024 * 1024;

/// Whose processes are wanted.
#[derive(Clone, Debug)]
pub(super) struct ProcessesOf {
    pub(super) app: AppIndex,
    /// As systemd names it.
    pub(super) cgroup: String,
    /// The unit's main process.
    pub(super) main_pid: u32,
    /// How many processes in the cgroup are the agent's.
    pub(super) helpers: u32,
}

/// The processes of an app; `cgroups` is where the cgroups are, `proc` is `/proc`.
pub(super) fn list(cgroups: &Path, proc: &Path, wanted: &ProcessesOf) -> Vec<AppProcess> {
    let relative = wanted.cgroup.trim_start_matches('/');
    if relative.is_empty() {
        return Vec::new();
    }
    let names = names(&proc.join(wanted.main_pid.to_string()).join("root"));
    let now_ms = setup::uptime_ms();
    let mut found: Vec<(u32, u32, AppProcess)> = Vec::new();
    for pid in members(&cgroups.join(relative)) {
        // One that has ended meanwhile is none.
        let Some((parent, process)) = read(&proc.join(pid.to_string()), now_ms) else {
            continue;
        };
        let is_attendant = wanted.helpers > 0 && pid == wanted.main_pid;
        let is_first = wanted.helpers > 1 && process.pid == 1;
        if !is_attendant && !is_first {
            found.push((pid, parent, process));
        }
    }
    let numbers: HashMap<u32, u32> = found
        .iter()
        .map(|(pid, _, process)| (*pid, process.pid))
        .collect();
    found.sort_by_key(|(pid, ..)| *pid);
    let complete = |(_, parent, process): (u32, u32, AppProcess)| AppProcess {
        app: wanted.app,
        parent: numbers.get(&parent).copied().unwrap_or(0),
        user: names.get(&process.uid).cloned().unwrap_or_default(),
        ..process
    };
    found.into_iter().map(complete).collect()
}

/// The processes of a cgroup and of those below it, which an app may make.
fn members(cgroup: &Path) -> Vec<u32> {
    let (mut members, mut pending) = (Vec::new(), vec![cgroup.to_owned()]);
    while let Some(dir) = pending.pop() {
        let procs = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        members.extend(procs.lines().filter_map(|line| line.parse::<u32>().ok()));
        let below = dir.read_dir().into_iter().flatten().filter_map(Result::ok);
        pending.extend(
            below
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    members
}

/// A process with its parent's number, without what the app's other files say of it.
fn read(dir: &Path, now_ms: u64) -> Option<(u32, AppProcess)> {
    let stat = std::fs::read(dir.join("stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let status = std::fs::read(dir.join("status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    // The name may hold anything, parentheses too.
    let (head, rest) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    // The first is the third of proc_pid_stat(5).
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key));
    let pid = line("NSpid:")?
        .split_ascii_whitespace()
        .next_back()?
        .parse()
        .ok()?;
    let uid = line("Uid:")?.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let resident_kib = line("VmRSS:").and_then(|text| text.split_ascii_whitespace().next()?.parse().ok());
    let process = AppProcess {
        pid,
        uid,
        state: fields.first()?.chars().next()?,
        threads: u32::try_from(number(20)?).ok()?,
        cpu_ms: (number(14)? + number(15)?).saturating_mul(TICK_MS),
        age_ms: now_ms.saturating_sub(number(22)?.saturating_mul(TICK_MS)),
        resident_bytes: resident_kib.unwrap_or(0_u64).saturating_mul(1024),
        virtual_bytes: number(23)?,
        tty: tty(number(7)?),
        name,
        command: command(&dir.join("cmdline")),
        ..AppProcess::default()
    };
    Some((u32::try_from(number(4)?).ok()?, process))
}

/// A terminal's name by its device number (proc_pid_stat(5), `tty_nr`).
fn tty(device: u64) -> String {
    let (major, minor) = (
        (device >> 8) & 0xfff,
        (device & 0xff) | ((device >> 12) & 0xf_ff00),
    );
    match major {
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        _ => String::new(),
    }
}

/// The arguments, with blanks between them.
fn command(cmdline: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(cmdline) {
        let _ = file.take(MAX_COMMAND_BYTES as u64).read_to_end(&mut bytes);
    }
    let end = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    let words = bytes[..end].split(|byte| *byte == 0);
    let words: Vec<_> = words.map(String::from_utf8_lossy).collect();
    // What is not UTF-8 becomes longer.
    let mut text = words.join(" ");
    text.truncate(text.floor_char_boundary(MAX_COMMAND_BYTES));
    text
}

/// The names of users in the `/etc/passwd` of the root at `root`; no link of it leads out of it.
fn names(root: &Path) -> HashMap<u32, String> {
    let mut bytes = Vec::new();
    let opened = open(root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).and_then(|root| {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(root, "etc/passwd", flags, Mode::empty(), resolve)
    });
    if let Ok(file) = opened
        && fstat(&file).is_ok_and(|data| rustix::fs::FileType::from_raw_mode(data.st_mode).is_file())
    {
        let _ = File::from(file).take(MAX_DATABASE_BYTES).read_to_end(&mut bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(uid))) = (fields.next(), fields.nth(1).map(str::parse)) {
            names
                .entry(uid)
                .or_insert_with(|| name.chars().take(32).collect());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This very process, as its own cgroup's only member.
    #[test]
    fn a_process_is_as_the_kernel_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("a.service/own");
        std::fs::create_dir_all(&below).unwrap();
        let own = std::process::id();
        std::fs::write(dir.path().join("a.service/cgroup.procs"), "1\n").unwrap();
        std::fs::write(below.join("cgroup.procs"), format!("{own}\n4194304\n")).unwrap();
        let wanted = ProcessesOf {
            app: 3,
            cgroup: "/a.service".to_owned(),
            main_pid: 1,
            helpers: 1,
        };
        let found = list(dir.path(), Path::new("/proc"), &wanted);
        let [process] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(
            (process.app, process.uid),
            (3, rustix::process::geteuid().as_raw())
        );
        assert!(
            process.threads > 0 && process.resident_bytes > 0 && process.virtual_bytes > 0,
            "{process:?}"
        );
        let argv: Vec<String> = std::env::args().collect();
        assert_eq!(process.command, argv.join(" "));
        // Before it as after it: the first process is the agent's where there are two of those.
        assert!(
            list(
                dir.path(),
                Path::new("/proc"),
                &ProcessesOf {
                    cgroup: "/".into(),
                    ..wanted
                }
            )
            .is_empty()
        );
    }

    #[test]
    fn terminals_have_names() {
        assert_eq!(tty(0), "");
        assert_eq!(tty(34816), "pts/0");
        assert_eq!(tty((136 << 8) | 7), "pts/7");
        assert_eq!(tty((137 << 8) | 1), "pts/257");
    }

    #[test]
    fn no_link_leads_out_of_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::write(dir.path().join("secret"), "outside:x:7:7:::\n").unwrap();
        std::os::unix::fs::symlink("../../secret", root.join("etc/passwd")).unwrap();
        assert!(names(&root).is_empty());
        std::fs::remove_file(root.join("etc/passwd")).unwrap();
        std::fs::write(
            root.join("etc/passwd"),
            "web:x:33:33:::\nother:x:33:1:::\nbroken\n",
        )
        .unwrap();
        assert_eq!(names(&root), HashMap::from([(33, "web".to_owned())]));
    }
}
