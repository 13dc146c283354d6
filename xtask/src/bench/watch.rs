//! Runs `isopod` and watches the process itself, without those that it starts: time, CPU time, memory, and, on request,
//! the command line of its QEMU. All from `/proc` (proc(5)), since what wait4(2) counts includes QEMU.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions};

use super::failed;
use crate::command;
use crate::failure::Failure;

/// Between two looks at the process. The peak that the kernel keeps is the peak since the start, so a look late in the
/// run is enough.
const PERIOD: Duration = Duration::from_millis(20);

/// What to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    Process,
    /// And QEMU below it, for which every process is looked at.
    ProcessAndQemu,
}

pub(super) struct Observed {
    pub(super) status: ExitStatus,
    /// From start to end.
    pub(super) wall: Duration,
    /// CPU time of the process itself, in user and kernel mode.
    pub(super) cpu: Duration,
    /// The most memory that the process itself had resident, in KiB.
    pub(super) peak_kib: u64,
    /// QEMU's command line, the program first.
    pub(super) qemu: Option<Vec<OsString>>,
    pub(super) stderr: String,
}

/// Runs `command`; its words go to the file `log` on the way.
pub(super) fn run(mut command: Command, log: &Path, what: Watch) -> Result<Observed, Failure> {
    let file = File::create(log).map_err(|error| failed("create", log, error))?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
    let started = Instant::now();
    let mut child = command
        .spawn()
        .map_err(|error| command::not_started(&command, error))?;
    let pid = child.id();
    let ended = AtomicBool::new(false);
    let (wall, cpu, (peak_kib, qemu)) = std::thread::scope(|scope| {
        let looks = scope.spawn(|| look(pid, what, &ended));
        let wall = wait(pid).map(|()| started.elapsed());
        // The process is a zombie, whose times can still be read.
        let cpu = cpu_time(pid);
        ended.store(true, Ordering::Relaxed);
        (wall, cpu, looks.join().unwrap_or_default())
    });
    let lost = |error| Failure::new("cannot wait for `isopod`").caused_by(error);
    let status = child.wait().map_err(lost)?;
    let stderr = fs::read(log).map_err(|error| failed("read", log, error))?;
    Ok(Observed {
        status,
        wall: wall.map_err(lost)?,
        cpu: cpu.ok_or_else(|| Failure::new(format!("cannot read the times of process {pid}")))?,
        peak_kib,
        qemu,
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    })
}

/// Waits for the end of a process and leaves it as a zombie.
fn wait(pid: u32) -> std::io::Result<()> {
    let id = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(std::io::ErrorKind::NotFound)?;
    rustix::process::waitid(WaitId::Pid(id), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
    Ok(())
}

fn look(pid: u32, what: Watch, ended: &AtomicBool) -> (u64, Option<Vec<OsString>>) {
    let mut peak_kib = 0;
    let mut qemu = None;
    while !ended.load(Ordering::Relaxed) {
        peak_kib = status_field(pid, "VmHWM:").unwrap_or(peak_kib);
        if what == Watch::ProcessAndQemu && qemu.is_none() {
            qemu = find_qemu(pid);
        }
        std::thread::sleep(PERIOD);
    }
    (peak_kib, qemu)
}

/// A number of `/proc/PID/status`.
fn status_field(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse().ok()
}

/// User and system time of a process, without its children's.
fn cpu_time(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks = cpu_ticks(&stat)?;
    Some(Duration::from_secs_f64(
        ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
    ))
}

/// Fields 14 and 15 of `/proc/PID/stat`. The second is the program's name, which may hold anything; the third follows
/// the last parenthesis.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(14 - 3);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The command line of the QEMU that descends from `ancestor`.
fn find_qemu(ancestor: u32) -> Option<Vec<OsString>> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| descends(*pid, ancestor)).find_map(|pid| {
        let argv = command_line(&fs::read(format!("/proc/{pid}/cmdline")).ok()?);
        let program = Path::new(argv.first()?).file_name()?.to_str()?;
        program.starts_with("qemu-system-").then_some(argv)
    })
}

fn descends(pid: u32, ancestor: u32) -> bool {
    let parent = |pid: &u32| status_field(*pid, "PPid:").and_then(|parent| u32::try_from(parent).ok());
    std::iter::successors(Some(pid), parent)
        .skip(1)
        .take_while(|pid| *pid > 1)
        .any(|pid| pid == ancestor)
}

/// The arguments of `/proc/PID/cmdline`, each of which ends with a zero byte.
pub(super) fn command_line(bytes: &[u8]) -> Vec<OsString> {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    bytes
        .split(|byte| *byte == 0)
        .map(|arg| OsString::from_vec(arg.to_vec()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 90 0 0 0 7 5 100 200 20 0 1 0 9 0 0";
        assert_eq!(cpu_ticks(stat), Some(12));
        assert_eq!(cpu_ticks("42 (a"), None);
    }

    #[test]
    fn command_lines_keep_empty_arguments() {
        assert_eq!(command_line(b"qemu\0-append\0\0"), ["qemu", "-append", ""]);
    }

    #[test]
    fn a_process_is_watched_without_its_children() {
        let dir = tempfile::tempdir().unwrap();
        // The child takes about all of the CPU time, the watched process none.
        let script = "echo said >&2; sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'; exit 3";
        let observed = run(
            command::command("sh", ["-c", script]),
            &dir.path().join("log"),
            Watch::ProcessAndQemu,
        )
        .unwrap();
        assert_eq!(observed.status.code(), Some(3));
        assert_eq!(observed.stderr, "said\n");
        assert_eq!(observed.qemu, None);
        assert!(observed.peak_kib > 100, "{} KiB", observed.peak_kib);
        assert!(
            observed.cpu <= observed.wall / 2,
            "{:?} of {:?}",
            observed.cpu,
            observed.wall
        );
        assert!(descends(std::process::id(), std::os::unix::process::parent_id()));
    }
}
