//! What a kubelet waits for, in figures.

use std::fs;
use std::time::{Duration, Instant};

use isopod_tests::Bench;
use isopod_tests::cri::{ContainerConfig, Containerd};

use super::spares;

const ROUNDS: usize = 7;
const AT_ONCE: usize = 10;
const RUNTIMES: [&str; 2] = ["isopod", "runc"];
const STEPS: [&str; 5] = ["sandbox", "container", "both", "exec", "remove"];

/// What a kubelet waits for, beside runc on the same containerd, alternating: `cargo xtask bench cri`. Times are in seconds.
#[test]
#[ignore = "a benchmark"]
fn benchmark() {
    let Some(bench) = Bench::of_root() else { return };
    let mut tables = String::new();
    let containerd = Containerd::start_with(&bench, "auto");
    // The first has a template made.
    let _ = round(&containerd, "isopod", "first");
    await_template(&bench);
    tables += &format!("{}{}", compare(&containerd, || ()), at_once(&containerd));
    drop(containerd);
    let Some(bench) = Bench::of_root() else { return };
    let containerd = Containerd::start_with_spares(&bench, "auto", 1);
    let _ = round(&containerd, "isopod", "first");
    await_template(&bench);
    tables += "\nWith a spare that waits:\n\n";
    tables += &compare(&containerd, || spares::await_spares(&bench, 1));
    let place = std::env::var("ISOPOD_BENCH_TABLE").unwrap_or("/dev/stdout".to_owned());
    fs::write(place, tables).unwrap();
}

fn await_template(bench: &Bench) {
    let templates = bench.state().join("templates");
    let made = || {
        fs::read_dir(&templates)
            .is_ok_and(|mut entries| entries.any(|entry| entry.unwrap().path().join("memory").exists()))
    };
    let begun = Instant::now();
    while !made() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The seconds of each step.
fn round(containerd: &Containerd, runtime: &str, name: &str) -> Vec<f64> {
    let mut times = Vec::new();
    let mut last = Instant::now();
    let mut step = |times: &mut Vec<f64>| {
        times.push(last.elapsed().as_secs_f64());
        last = Instant::now();
    };
    let sandbox = containerd.sandbox_by(runtime, name, |config| config).unwrap();
    step(&mut times);
    let container = sandbox.start("main", ContainerConfig::new(&["sleep", "100000"]));
    step(&mut times);
    times.push(times[0] + times[1]);
    container.try_exec(&["true"], 60).unwrap();
    step(&mut times);
    sandbox.remove();
    step(&mut times);
    times
}

/// The table of the steps; before each round of ours, `ready` is waited for.
fn compare(containerd: &Containerd, ready: impl Fn()) -> String {
    let mut all = [Vec::new(), Vec::new()];
    for number in 0..ROUNDS {
        for (times, runtime) in all.iter_mut().zip(RUNTIMES) {
            ready();
            times.push(round(containerd, runtime, &format!("{runtime}-{number}")));
        }
    }
    let median = |times: &[Vec<f64>], step: usize| {
        let mut column: Vec<f64> = times.iter().map(|times| times[step]).collect();
        column.sort_by(f64::total_cmp);
        column[column.len() / 2]
    };
    let mut table = "| | isopod | runc | ratio |\n|---|---|---|---|\n".to_owned();
    for (number, step) in STEPS.iter().enumerate() {
        let [ours, theirs] = [0, 1].map(|of| median(&all[of], number));
        table += &format!("| {step} | {ours:.2} | {theirs:.2} | {:.1} |\n", ours / theirs);
    }
    table
}

/// The table's row of pods that are started at once.
fn at_once(containerd: &Containerd) -> String {
    let [ours, theirs] = RUNTIMES.map(|runtime| {
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for number in 0..AT_ONCE {
                scope.spawn(move || {
                    let name = format!("at-once-{runtime}-{number}");
                    let sandbox = containerd.sandbox_by(runtime, &name, |config| config).unwrap();
                    let _ = sandbox.start("main", ContainerConfig::new(&["sleep", "100000"]));
                    sandbox
                });
            }
        });
        begun.elapsed().as_secs_f64()
    });
    let ratio = ours / theirs;
    format!("| {AT_ONCE} pods at once, all up | {ours:.2} | {theirs:.2} | {ratio:.1} |\n")
}
