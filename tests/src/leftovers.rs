//! What a command leaves behind, and must not: processes, mounts, directories of pods.
//!
//! A bench's commands are known by the mark in their environment; the processes that they start have none, and are known by
//! its directory in their command lines or as their working directory. Sockets need no look of their own: they are files of
//! a pod's directory, or held by a process.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The variable that marks the processes of a bench.
pub(crate) const MARK: &str = "ISOPOD_TEST_BENCH";

/// Everything that is left of the commands of the bench at `dir`, in words.
pub(crate) fn of(dir: &Path, state: &Path) -> Vec<String> {
    let mut left: Vec<String> = processes(dir)
        .into_iter()
        .map(|(pid, line)| format!("process {pid}: {line}"))
        .collect();
    left.extend(mounts(dir).into_iter().map(|line| format!("mount: {line}")));
    left.extend(
        pods(state)
            .iter()
            .map(|pod| format!("directory {}", pod.display())),
    );
    left
}

/// The mounts below `dir`, in the host's namespace.
pub(crate) fn mounts(dir: &Path) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc/self/mountinfo");
    let here = dir.to_string_lossy();
    mounts
        .lines()
        .filter(|line| line.contains(&*here))
        .map(str::to_owned)
        .collect()
}

/// The directories of pods in `state`, and their names.
pub(crate) fn pods(state: &Path) -> Vec<PathBuf> {
    let places = ["preparing", "prepared", "started", "garbage", "names"];
    let entries = places
        .iter()
        .flat_map(|place| fs::read_dir(state.join("pods").join(place)));
    entries.flatten().flatten().map(|entry| entry.path()).collect()
}

/// The process of the bench at `dir` whose program's name contains `program`, waited for.
pub(crate) fn process(dir: &Path, program: &str) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let is = |line: &str| line.split(' ').next().is_some_and(|word| word.contains(program));
        match processes(dir).into_iter().find(|(_, line)| is(line)) {
            Some((pid, _)) => return Some(pid),
            None if Instant::now() > deadline => return None,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// The processes of the bench at `dir`: numbers and command lines.
pub(crate) fn processes(dir: &Path) -> Vec<(i32, String)> {
    // A process that ended and was not waited for has nothing of all that; it is its parent's, not ours.
    of_bench(dir).map(|process| (process.pid, process.line)).collect()
}

/// Those of them that have `mark` in their environment, or one of those pods in their command line or as their place.
pub(crate) fn marked(dir: &Path, mark: &str, pods: &[String]) -> Vec<(i32, String)> {
    of_bench(dir)
        .filter(|process| {
            let place = process.place.to_string_lossy();
            let of = |pod: &String| process.line.contains(pod) || place.contains(pod);
            process.has(mark) || pods.iter().any(of)
        })
        .map(|process| (process.pid, process.line))
        .collect()
}

fn of_bench(dir: &Path) -> impl Iterator<Item = Process> {
    let here = dir.to_string_lossy().into_owned();
    let own_mark = format!("{MARK}={here}");
    let dir = dir.to_owned();
    with_environment().into_iter().filter(move |process| {
        let marked = process.has(&own_mark);
        // A process may have left a directory that is gone since.
        marked
            || process.line.contains(&here)
            || (process.place.starts_with(&dir) && !process.line.is_empty())
    })
}

struct Process {
    pid: i32,
    environment: Vec<u8>,
    line: String,
    /// Its working directory.
    place: PathBuf,
}

impl Process {
    fn has(&self, variable: &str) -> bool {
        self.environment
            .split(|byte| *byte == 0)
            .any(|found| found == variable.as_bytes())
    }
}

/// Every process but this one.
fn with_environment() -> Vec<Process> {
    let own = std::process::id().cast_signed();
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| *pid != own)
        .map(|pid| {
            let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            Process {
                pid,
                environment: read("environ"),
                line: String::from_utf8_lossy(&read("cmdline")).replace('\0', " "),
                place: fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default(),
            }
        })
        .collect()
}
