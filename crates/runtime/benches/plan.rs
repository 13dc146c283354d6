//! How long planning takes and how much memory, by the number of volumes, and how long it takes to write what rkt's
//! code wrote: `cargo xtask bench plan`.
//!
//! ```text
//! the table   each line is a fresh process: wall and user time, peak memory, against linear growth
//! divan       planning alone, many times in one process: for comparing one change with another
//! ```
//!
//! Every one of ten apps mounts every volume. Inputs are made before the clock starts; nothing outside of planning and
//! writing is timed. Nothing is judged here: the goals stand in `docs/performance.md`.
//!
//! *The floor* makes the same directories and files as the profile `rkt`, with texts that are there before: one call for
//! each directory, three for each file, names looked up in an open directory. Nothing that asks this kernel and this
//! file system for them one by one can take less.
//!
//! What was written is removed when all is measured: for a minute ext4 looks at every inode that was freed before it
//! gives it out again (`recently_deleted` in fs/ext4/ialloc.c), and makes files several times more slowly.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]
#![expect(clippy::unwrap_used, reason = "a benchmark ends at the first surprise")]

#[path = "../../plan/tests/fixture/mod.rs"]
mod fixture;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use divan::counter::ItemsCount;
use isopod_plan::explain;
use isopod_plan::guest::entry::EntryKind;
use isopod_plan::guest::tree::GuestTree;
use isopod_plan::{Document, dot, plan, plan_rkt, svg};
use isopod_runtime::write_tree::write_tree;
use isopod_spec::{Mount, PodSpec, RunConfig};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::time::{ClockId, clock_gettime};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::path::Arg;

const APPS: usize = 10;
/// The curve.
const VOLUMES: [usize; 4] = [10, 100, 1_000, 10_000];
/// How often each line of the table is measured; the fastest wall time and its user time count.
const RUNS: usize = 5;
/// The first argument of the process that measures one case.
const CASE: &str = "--measure";

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, flag, profile, volumes, rest @ ..] = args.as_slice()
        && flag == CASE
    {
        let (volumes, dir) = (volumes.parse().unwrap(), rest.first().map(Path::new));
        if profile == FLOOR {
            measure_floor(volumes, dir.unwrap());
        } else {
            measure(profile, volumes, dir);
        }
        return;
    }
    table();
    divan::main();
}

/// The default profile, and all that `isopod plan` can show of it.
const SHOWN: &str = "default, and all formats";

/// The files of the profile `rkt`, made by nothing but system calls.
const FLOOR: &str = "the floor";

/// A pod of [`APPS`] apps that all mount `volumes` host volumes, 284 of every thousand read-only: so rkt's code came
/// to 13,840 unit files for a thousand.
fn pod(volumes: usize) -> PodSpec {
    let mut pod = fixture::pod();
    pod.volumes = (0..volumes)
        .map(|i| fixture::host(&format!("v{i}"), format!("/srv/volumes/v{i}")))
        .collect();
    for (i, volume) in pod.volumes.iter_mut().enumerate() {
        volume.read_only = Some(i % 250 < 71);
    }
    let mounts: Vec<Mount> = (0..volumes)
        .map(|i| fixture::mount(&format!("v{i}"), format!("/data/volume-{i}")))
        .collect();
    pod.apps = (0..APPS).map(|i| fixture::app(&format!("app{i}"))).collect();
    for app in &mut pod.apps {
        app.mounts.clone_from(&mounts);
    }
    pod
}

/// What planning gives, on inputs that are made before.
fn planner(profile: &str, volumes: usize) -> Box<dyn Fn() -> GuestTree + Sync> {
    let pod = pod(volumes);
    if profile == "rkt" {
        let configs = vec![RunConfig::default(); APPS];
        return Box::new(move || plan_rkt(&pod, &configs).unwrap().guest);
    }
    let facts = fixture::facts(&pod, &[]);
    if profile == SHOWN {
        return Box::new(move || {
            let plan = plan(&pod, &facts).unwrap();
            let document = Document::from(&plan);
            let json = serde_json::to_string_pretty(&document).unwrap();
            divan::black_box([json, explain(&document), dot(&document), svg(&document)]);
            plan.guest
        });
    }
    Box::new(move || plan(&pod, &facts).unwrap().guest)
}

#[divan::bench(args = VOLUMES, sample_count = 10, sample_size = 1)]
fn rkt(bencher: divan::Bencher, volumes: usize) {
    bencher
        .counter(ItemsCount::new(volumes * APPS))
        .bench(planner("rkt", volumes));
}

#[divan::bench(args = VOLUMES, sample_count = 10, sample_size = 1)]
fn default(bencher: divan::Bencher, volumes: usize) {
    bencher
        .counter(ItemsCount::new(volumes * APPS))
        .bench(planner("default", volumes));
}

/// Plans once, writes below `dir` where there is one, and prints what it took.
fn measure(profile: &str, volumes: usize, dir: Option<&Path>) {
    let planner = planner(profile, volumes);
    let (start, user, cpu) = (Instant::now(), user_time(), cpu_time());
    let tree = planner();
    if let Some(dir) = dir {
        write_tree(&tree, dir).unwrap();
    }
    let times = [start.elapsed(), user_time() - user, cpu_time() - cpu].map(|time| time.as_micros());
    let [wall, user, cpu] = times;
    println!("{wall} {user} {cpu} {} {}", peak_kib(), tree.iter().count());
}

/// What a directory of the floor holds.
type Children = BTreeMap<PathBuf, Vec<(OsString, Option<Vec<u8>>)>>;

/// Makes the profile `rkt`'s directories and files below `dir`.
fn measure_floor(volumes: usize, dir: &Path) {
    let tree = planner("rkt", volumes)();
    let mut children = Children::new();
    for (path, entry) in tree.iter() {
        let content = match &entry.kind {
            EntryKind::File(content) => Some(content.bytes().unwrap().into_owned()),
            _ => None,
        };
        let relative = path.strip_prefix("/").unwrap();
        let above = children.entry(relative.parent().unwrap().to_owned());
        above
            .or_default()
            .push((relative.file_name().unwrap().to_owned(), content));
    }
    std::fs::create_dir(dir).unwrap();
    let (start, user, cpu) = (Instant::now(), user_time(), cpu_time());
    let root = open(CWD, dir, OFlags::PATH | OFlags::DIRECTORY, 0);
    for (above, entries) in &children {
        let above = if above.as_os_str().is_empty() {
            Path::new(".")
        } else {
            above
        };
        let above = open(&root, above, OFlags::PATH | OFlags::DIRECTORY, 0);
        for (name, content) in entries {
            let Some(content) = content else {
                rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o700)).unwrap();
                continue;
            };
            let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            rustix::io::write(open(&above, name, new, 0o644), content).unwrap();
        }
    }
    let times = [start.elapsed(), user_time() - user, cpu_time() - cpu].map(|time| time.as_micros());
    let [wall, user, cpu] = times;
    println!("{wall} {user} {cpu} {} {}", peak_kib(), tree.iter().count());
}

fn open(above: impl AsFd, name: impl Arg, flags: OFlags, mode: u32) -> OwnedFd {
    rustix::fs::openat(above, name, flags, Mode::from_raw_mode(mode)).unwrap()
}

/// The kernel's estimate, from what ran at the ticks of its clock.
fn user_time() -> Duration {
    let time: TimeVal = getrusage(UsageWho::RUSAGE_SELF).unwrap().user_time();
    Duration::from_secs(time.tv_sec().unsigned_abs()) + Duration::from_micros(time.tv_usec().unsigned_abs())
}

/// User and system time, exactly.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap().into()
}

/// `VmHWM` (proc_pid_status(5)).
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// How many trees were written.
static WRITTEN: AtomicUsize = AtomicUsize::new(0);

/// What is done with a plan.
#[derive(Clone, Copy)]
enum Then {
    /// Nothing.
    Drop,
    /// It is written below the build's own temporary directory: to a disk, as a rule.
    Disk,
    /// It is written to memory: what the kernel and the writer take without a disk.
    Memory,
}

impl Then {
    fn dir(self) -> Option<PathBuf> {
        let above = match self {
            Self::Drop => return None,
            Self::Disk => env!("CARGO_TARGET_TMPDIR"),
            Self::Memory => "/dev/shm",
        };
        let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
        Some(Path::new(above).join(format!("isopod-bench-plan-{}-{number}", std::process::id())))
    }

    fn shown(self) -> &'static str {
        match self {
            Self::Drop => "plans",
            Self::Disk => "writes to disk",
            Self::Memory => "writes to tmpfs",
        }
    }
}

/// One line of the table.
struct Line {
    wall_ms: f64,
    user_ms: f64,
    cpu_ms: f64,
    peak_mib: f64,
    entries: f64,
    written: Option<PathBuf>,
}

impl Line {
    /// The best of [`RUNS`] fresh processes.
    fn of(profile: &str, volumes: usize, then: Then, written: &mut Vec<PathBuf>) -> Self {
        let mut runs: Vec<Self> = (0..RUNS).map(|_| Self::once(profile, volumes, then)).collect();
        written.extend(runs.iter_mut().filter_map(|run| run.written.take()));
        let best = runs.into_iter().min_by(|a, b| a.wall_ms.total_cmp(&b.wall_ms));
        best.unwrap()
    }

    fn once(profile: &str, volumes: usize, then: Then) -> Self {
        let dir = then.dir();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([CASE, profile, &volumes.to_string()]).args(&dir);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let numbers: Vec<f64> = text
            .split_whitespace()
            .map(|word| word.parse().unwrap())
            .collect();
        let [wall, user, cpu, peak, entries] = numbers[..] else {
            panic!("{output:?}")
        };
        let [wall_ms, user_ms, cpu_ms] = [wall, user, cpu].map(|micros| micros / 1000.0);
        Self {
            wall_ms,
            user_ms,
            cpu_ms,
            peak_mib: peak / 1024.0,
            entries,
            written: dir,
        }
    }
}

/// Prints the table, with the growth of the CPU time of a mount from line to line: 1 is linear.
fn table() {
    println!("{APPS} apps mount every volume; the best of {RUNS} fresh processes\n");
    println!(
        "| profile | volumes | | wall, ms | user, ms | user and system, ms | peak, MiB | files, directories, links | growth |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut written = Vec::new();
    for profile in ["rkt", "default", SHOWN] {
        let mut before: Option<f64> = None;
        for volumes in VOLUMES {
            let line = Line::of(profile, volumes, Then::Drop, &mut written);
            let per_mount = line.cpu_ms / volumes as f64;
            let growth = before.map_or_else(String::new, |before| format!("{:.2}", per_mount / before));
            before = Some(per_mount);
            row(profile, volumes, Then::Drop, &line, &growth);
        }
    }
    for (profile, volumes, then) in [
        (FLOOR, 1_000, Then::Memory),
        ("rkt", 1_000, Then::Memory),
        ("default", 1_000, Then::Memory),
        (FLOOR, 1_000, Then::Disk),
        ("rkt", 1_000, Then::Disk),
        ("default", 1_000, Then::Disk),
        ("rkt", 10_000, Then::Disk),
        ("default", 10_000, Then::Disk),
    ] {
        row(
            profile,
            volumes,
            then,
            &Line::of(profile, volumes, then, &mut written),
            "",
        );
        if let Then::Memory = then {
            written
                .drain(..)
                .for_each(|dir| drop(std::fs::remove_dir_all(dir)));
        }
    }
    written.iter().for_each(|dir| drop(std::fs::remove_dir_all(dir)));
    println!();
}

fn row(profile: &str, volumes: usize, then: Then, line: &Line, growth: &str) {
    println!(
        "| {profile} | {volumes} | {} | {:.1} | {:.1} | {:.1} | {:.1} | {} | {growth} |",
        then.shown(),
        line.wall_ms,
        line.user_ms,
        line.cpu_ms,
        line.peak_mib,
        line.entries
    );
}
