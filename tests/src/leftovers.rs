//! What a command leaves behind, and must not: processes, mounts, directories of pods.
//!
//! A bench's processes are known by the mark in their environment, which all of a command's processes inherit, and by
//! its directory in their command lines. Sockets need no look of their own: they are files of a pod's directory, or
//! held by a process.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::bench::MARK;

/// Everything that is left of the commands of the bench at `dir`, in words.
pub(crate) fn of(dir: &Path, state: &Path) -> Vec<String> {
    let mut left: Vec<String> = processes(dir)
        .into_iter()
        .map(|(pid, line)| format!("process {pid}: {line}"))
        .collect();
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc/self/mountinfo");
    let here = dir.to_string_lossy();
    left.extend(
        mounts
            .lines()
            .filter(|line| line.contains(&*here))
            .map(|line| format!("mount: {line}")),
    );
    left.extend(
        pods(state)
            .iter()
            .map(|pod| format!("directory {}", pod.display())),
    );
    left
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
    let here = dir.to_string_lossy().into_owned();
    let mark = format!("{MARK}={here}");
    let own = std::process::id().cast_signed();
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| *pid != own)
        .filter_map(|pid| {
            let text = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let (environment, line) = (text("environ"), text("cmdline"));
            // A process that ended and was not waited for has neither; it is its parent's, not ours.
            let marked = environment
                .split(|byte| *byte == 0)
                .any(|variable| variable == mark.as_bytes());
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            (marked || line.contains(&here)).then_some((pid, line))
        })
        .collect()
}
