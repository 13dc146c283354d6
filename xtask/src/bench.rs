//! `cargo xtask bench boot`: how much longer a pod takes than the least that its VM can.
//!
//! ```text
//! A  isopod run --transport virtiofs ... -- true     one virtiofs volume, an app that ends at once
//! B  the floor: A's own QEMU command line, devices left out, with an initrd whose /init restarts the VM at once
//! C  B with A's guest image
//! W  A, its VM restored from a template; and both without a volume
//! ```
//!
//! They alternate, so that all see the same weather; ratios matter, seconds do not. The floor's QEMU arguments are
//! read from A's running process: they cannot differ from what `isopod` starts. It prints a table for
//! `docs/performance.md` and judges nothing: the goal stands there.

mod cri;
mod disk;
mod floor;
mod import;
mod network;
mod pods;
mod stats;
mod timings;
mod watch;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::build::{self, Profile};
use crate::busybox;
use crate::command::{self, command};
use crate::failure::Failure;
use crate::{out, place};
use floor::Floor;
use stats::Summary;
use timings::Timings;
use watch::{Observed, Watch};

pub(crate) use cri::cri;
pub(crate) use disk::disk;
pub(crate) use import::import;
pub(crate) use network::network;
pub(crate) use pods::pods;

/// What was measured in one round.
struct Round {
    pod: Observed,
    warm: Observed,
    alone: Observed,
    warm_alone: Observed,
    warm_timings: Timings,
    floor: Duration,
    floor_with_image: Duration,
    floor_untuned: Duration,
    timings: Timings,
}

/// Measures `runs` rounds of the binaries in `binaries`, or of a release build, and prints the tables.
pub(crate) fn boot(runs: usize, binaries: Option<&Path>) -> Result<(), Failure> {
    let isopod = match binaries {
        Some(dir) => place::absolute(&dir.join("isopod")),
        None => build::isopod(Profile::Release)?,
    };
    let dir = place::target().join("bench");
    let volume = dir.join("volume");
    fs::create_dir_all(&volume)
        .map_err(|error| Failure::new(format!("cannot create `{}`", volume.display())).caused_by(error))?;
    let image = busybox::make(&dir.join("busybox"))?;
    let start = |start, share| pod(&isopod, &image.reference(), &dir, start, share);
    let pod = || start(Start::Cold, Share::Virtiofs);

    out::say("warming up: the first pod brings image and guest image, the second shows its QEMU");
    out::command(&command::shown(&pod()));
    observe(pod(), &dir, Watch::Process)?;
    let qemu = observe(pod(), &dir, Watch::ProcessAndQemu)?.qemu;
    let qemu = qemu.ok_or_else(|| Failure::new("`isopod run` ended and no QEMU of its was seen"))?;
    let floor = Floor::new(
        &qemu,
        &isopod.with_file_name("isopod-agent"),
        &place::absolute(&dir),
    )?;
    out::command(&command::shown(&floor.command()));
    floor.run()?;
    let floor_with_image = floor.with_guest_image()?;
    floor_with_image.run()?;
    let floor_untuned = floor.untuned();
    floor_untuned.run()?;

    out::say("the template, and what is restored from it");
    out::command(&command::shown(&start(Start::Warm, Share::Virtiofs)));
    for share in [Share::Virtiofs, Share::None] {
        observe(start(Start::Warm, share), &dir, Watch::Process)?;
    }

    let mut rounds = Vec::new();
    for number in 1..=runs {
        let (pod, timings) = timed_pod(pod(), &dir)?;
        let (warm, warm_timings) = timed_pod(start(Start::Warm, Share::Virtiofs), &dir)?;
        let round = Round {
            pod,
            warm,
            warm_timings,
            alone: observe(start(Start::Cold, Share::None), &dir, Watch::Process)?,
            warm_alone: observe(start(Start::Warm, Share::None), &dir, Watch::Process)?,
            floor: floor.run()?,
            floor_with_image: floor_with_image.run()?,
            floor_untuned: floor_untuned.run()?,
            timings,
        };
        let times = [round.pod.wall, round.warm.wall, round.floor];
        let [pod, warm, floor] = times.map(|time| time.as_secs_f64());
        out::say(&format!(
            "round {number} of {runs}: isopod run {pod:.2} s, warm {warm:.2} s, floor {floor:.2} s"
        ));
        rounds.push(round);
    }
    out::say(&format!(
        "\n{}\n\n{}\n{}\nWarm:\n\n{}",
        setting(&floor, runs),
        overview(&rounds),
        phases(&rounds, |round| timings::phases(
            &round.timings,
            round.pod.wall.as_secs_f64() * 1000.0
        )),
        phases(&rounds, |round| timings::warm_phases(
            &round.warm_timings,
            round.warm.wall.as_secs_f64() * 1000.0
        )),
    ));
    Ok(())
}

/// How a VM starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Cold,
    Warm,
}

/// How a pod's volume reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Share {
    Virtiofs,
    None,
}

/// A: a pod that ends at once.
fn pod(isopod: &Path, reference: &str, dir: &Path, start: Start, share: Share) -> Command {
    let absolute = |name: &str| place::absolute(&dir.join(name)).display().to_string();
    let bind = format!("{}:/data", absolute("volume"));
    let mut command = command(isopod, ["--dir", &absolute("state"), "--log-level", "debug"]);
    let start = match start {
        Start::Cold => "cold",
        Start::Warm => "warm",
    };
    command.args(["run", "--accel", "tcg", "--start", start]);
    match share {
        Share::Virtiofs => command.args(["--transport", "virtiofs", "-v", &bind]),
        Share::None => &mut command,
    };
    command.args([reference, "true"]);
    command.env("PATH", place::search_path());
    command
}

fn timed_pod(pod: Command, dir: &Path) -> Result<(Observed, Timings), Failure> {
    let observed = observe(pod, dir, Watch::Process)?;
    let timings = observed
        .stderr
        .lines()
        .find_map(timings::read)
        .unwrap_or_default();
    Ok((observed, timings))
}

/// Runs a pod that has to succeed.
fn observe(pod: Command, dir: &Path, what: Watch) -> Result<Observed, Failure> {
    let observed = watch::run(pod, &dir.join("isopod.log"), what)?;
    if observed.status.success() {
        return Ok(observed);
    }
    let last: Vec<&str> = observed.stderr.lines().rev().take(10).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    Err(Failure::new(format!(
        "`isopod run` failed: {}\n{}",
        observed.status,
        last.join("\n")
    )))
}

/// What was measured with.
fn setting(floor: &Floor, runs: usize) -> String {
    let version = command::quiet(&mut command(floor.program(), ["--version"])).unwrap_or_default();
    let version = version.lines().next().unwrap_or("QEMU").to_owned();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "`cargo xtask bench boot --runs {runs}`: {version}, `--accel tcg`, {} vCPU, {} MiB, on {processors} processors.",
        floor.value("-smp").unwrap_or_default(),
        floor.value("-m").unwrap_or_default(),
    )
}

fn overview(rounds: &[Round]) -> String {
    let column = |value: fn(&Round) -> f64| Summary::of(rounds.iter().map(value).collect());
    let pods = column(|round| round.pod.wall.as_secs_f64());
    let floors = column(|round| round.floor.as_secs_f64());
    let with_image = column(|round| round.floor_with_image.as_secs_f64());
    let untuned = column(|round| round.floor_untuned.as_secs_f64());
    let untuned_ratios = column(|round| round.pod.wall.as_secs_f64() / round.floor_untuned.as_secs_f64());
    let ratios = column(|round| round.pod.wall.as_secs_f64() / round.floor.as_secs_f64());
    let cpu = column(|round| round.pod.cpu.as_secs_f64() * 1000.0);
    let memory = column(|round| round.pod.peak_kib as f64 / 1024.0);
    let warm = column(|round| round.warm.wall.as_secs_f64());
    let alone = column(|round| round.alone.wall.as_secs_f64());
    let warm_alone = column(|round| round.warm_alone.wall.as_secs_f64());
    let warm_ratios = column(|round| round.warm.wall.as_secs_f64() / round.pod.wall.as_secs_f64());
    let warm_to_floor = column(|round| round.warm.wall.as_secs_f64() / round.floor.as_secs_f64());
    let alone_ratios = column(|round| round.warm_alone.wall.as_secs_f64() / round.alone.wall.as_secs_f64());
    let ratio = pods.median / floors.median;
    let rows = [
        ("`isopod run`, one virtiofs volume, s", pods.cells(2)),
        ("the floor, s", floors.cells(2)),
        ("the floor with the guest image, s", with_image.cells(2)),
        ("the floor, untuned, s", untuned.cells(2)),
        ("ratio of the medians", format!("{ratio:.2} | |")),
        ("ratio, round by round", ratios.cells(2)),
        (
            "ratio to the untuned floor, round by round",
            untuned_ratios.cells(2),
        ),
        ("the same, restored from a template, s", warm.cells(2)),
        ("of the time of a boot, round by round", warm_ratios.cells(2)),
        ("of the floor, round by round", warm_to_floor.cells(2)),
        ("without a volume, s", alone.cells(2)),
        ("the same, restored from a template, s", warm_alone.cells(2)),
        ("of the time of a boot, round by round", alone_ratios.cells(2)),
        ("CPU time of `isopod` itself, ms", cpu.cells(0)),
        ("peak memory of `isopod` itself, MiB", memory.cells(1)),
    ];
    let mut table = String::from("| | median | min | max |\n|---|---|---|---|\n");
    for (name, cells) in rows {
        table += &format!("| {name} | {cells} |\n");
    }
    table
}

/// Where the time goes, as `isopod` itself says it.
fn phases(rounds: &[Round], derived: impl Fn(&Round) -> Option<Timings>) -> String {
    let derived: Option<Vec<Timings>> = rounds.iter().map(derived).collect();
    // What cannot be made phases of is shown as it is.
    let rows = timings::columns(
        &derived.unwrap_or_else(|| rounds.iter().map(|round| round.timings.clone()).collect()),
    );
    if rows.is_empty() {
        return "`isopod run --log-level debug` printed no line with `timings:`, so there is no table of phases.".into();
    }
    let mut table = String::from("| phase | median, ms | min | max |\n|---|---|---|---|\n");
    for (name, values) in rows {
        table += &format!("| {name} | {} |\n", Summary::of(values).cells(0));
    }
    table
}

/// A file of the benchmark's that cannot be used.
fn failed(action: &str, path: &Path, error: std::io::Error) -> Failure {
    Failure::new(format!("cannot {action} `{}`", PathBuf::from(path).display())).caused_by(error)
}
