//! What goes wrong, and that it is reported, touches nobody else and leaves nothing.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use std::path::Path;
use std::time::{Duration, Instant};

use isopod_tests::faults::{QEMU, eventually, kill};
use isopod_tests::soak::Soak;
use isopod_tests::{Bench, Output, Pod, Running, SmallDisk};
use rustix::process::Signal;
use serde_json::Value;

fn isopod(bench: &Bench, line: &str) -> Output {
    bench.isopod_command(line.split_whitespace())
}

fn text(bench: &Bench, line: &str) -> String {
    isopod(bench, line).expect(0).text().to_owned()
}

fn status(bench: &Bench, pod: &str) -> Value {
    serde_json::from_str(&text(bench, &format!("status --format json {pod}"))).unwrap()
}

/// A pod in the background.
fn background<'a>(bench: &'a Bench, name: &str) -> Pod<'a> {
    bench.pod().flags(["-d", "--name", name])
}

/// A short soak: `cargo xtask soak` is the long one.
#[test]
fn pods_end_at_random_moments() {
    let seed = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let soak = Soak {
        lives: 10,
        seed,
        side_by_side: 3,
    };
    let _ = soak.run(|_| ());
}

/// `cargo xtask soak`, which says how many and from which seed.
#[test]
#[ignore = "takes minutes: `cargo xtask soak`"]
#[expect(clippy::print_stdout, reason = "the table is what it is run for")]
fn soak() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let lives = usize::try_from(number("ISOPOD_SOAK_LIVES").unwrap_or(200)).unwrap();
    let seed = number("ISOPOD_SOAK_SEED").unwrap_or(1);
    let soak = Soak {
        lives,
        seed,
        side_by_side: 4,
    };
    let tally = soak.run(|lived| println!("{lived} of {lives} lives"));
    println!("\n{}", tally.table());
}

/// One app eats all the memory: it is reported which, and the other one continues.
#[test]
fn an_app_that_eats_all_the_memory_is_reported() {
    let bench = Bench::new();
    let image = bench.busybox();
    let pod = background(&bench, "m").flags(["--vm-memory", "192m"]);
    let pod = pod.app(&image).with(["--app-name", "hog"]).sh("tail /dev/zero");
    let pod = pod.app(&image).with(["--app-name", "calm"]).sh("exec sleep 1000");
    let _ = pod.start().wait().expect(0);
    eventually("it is killed", || {
        status(&bench, "m")["apps"][0]["state"] == "exited"
    });
    let seen = status(&bench, "m");
    assert_eq!(seen["apps"][0]["exitStatus"], 137);
    let killed = "there was no memory left for it, and the guest's kernel killed it";
    assert_eq!(seen["apps"][0]["error"], killed);
    assert_eq!(
        (&seen["state"], &seen["apps"][1]["state"]),
        (&"running".into(), &"running".into())
    );
    assert_eq!(text(&bench, "exec --app calm m -- echo here"), "here\n");
    text(&bench, "stop m --time 0");
    assert_eq!(
        status(&bench, "m")["exitReason"],
        format!("it was stopped; app `hog`: {killed}")
    );
    text(&bench, "gc --grace 0");
    bench.assert_nothing_left();
}

/// A host's disk that is full while a pod is prepared, while it runs and when it ends.
#[test]
fn a_full_disk_is_reported_and_leaves_nothing() {
    let Some(bench) = Bench::of_root() else { return };
    let disk = SmallDisk::new(&bench, 160);
    let image = bench.busybox();
    let prepare = || {
        let pod = disk.pod(&bench).subcommand("prepare").flags(["--name", "p"]);
        pod.app(&image).sh("true").start().wait()
    };
    let nothing = |what: &str| {
        let left = isopod_tests::faults::pods_in(&disk.from_outside());
        assert!(left.is_empty(), "{what}: {left:?}");
    };
    // No room for the image; for the guest image; for the pod's own files.
    for kib in [64, 3 << 10, 12 << 10] {
        disk.fill(kib);
        let out = prepare();
        assert!(
            out.status == 125 && out.stderr.contains("No space left on device"),
            "{kib}: {out:?}"
        );
        assert!(out.stderr.contains("\nhint: "), "{kib}: {out:?}");
        nothing("prepare");
        disk.empty();
    }
    let _ = prepare().expect(0);
    disk.fill(4);
    let out = prepare();
    assert!(
        out.status == 125 && out.stderr.contains("No space left on device"),
        "{out:?}"
    );
    assert_eq!(disk.isopod(&bench, "list -q").expect(0).text().lines().count(), 1);
    let _ = disk.isopod(&bench, "rm p").expect(0);
    nothing("rm on a full disk");
    disk.empty();

    let pod = disk.pod(&bench).flags(["-d", "--name", "p"]).app(&image);
    let script = "echo first; trap 'echo bye; exit 3' TERM; while :; do echo line; sleep 0.01; done";
    let _ = pod.sh(script).start().wait().expect(0);
    eventually("the first line is in the log", || {
        disk.isopod(&bench, "logs p")
            .expect(0)
            .text()
            .starts_with("first\n")
    });
    disk.fill(0);
    std::thread::sleep(Duration::from_secs(2));
    let list = disk.isopod(&bench, "list").expect(0);
    assert!(list.text().contains("p     running"), "{list:?}");
    let out = disk.isopod(&bench, "exec p -- echo here").expect(0);
    assert_eq!(out.text(), "here\n");
    let _ = disk.isopod(&bench, "stop p").expect(0);
    let seen = disk.isopod(&bench, "status p").expect(0);
    assert!(
        seen.text()
            .contains("state   exited (3)\nreason  it was stopped\n"),
        "{}",
        seen.text()
    );
    let logs = disk.isopod(&bench, "logs p").expect(0);
    assert!(logs.text().starts_with("first\n"), "{logs:?}");
    // It runs once more, on a disk that is still full.
    let again = disk.isopod(&bench, "start p");
    assert!(
        again.status == 0 || again.stderr.contains("No space left"),
        "{again:?}"
    );
    let _ = disk.isopod(&bench, "rm -f p").expect(0);
    nothing("run");
    drop(disk);
    bench.assert_nothing_left();
}

/// A guest that never comes up is stopped at once, by a signal and by a command, and one whose supervisor hangs by force.
#[test]
fn what_hangs_is_stopped() {
    let mut bench = Bench::new();
    let busybox = std::fs::read("/bin/busybox").unwrap();
    let init = b"#!/busybox sh\nwhile :; do /busybox sleep 9; done\n";
    bench.break_guest(&[
        ("/usr/lib/systemd/systemd", 0o755, init),
        ("/busybox", 0o755, &busybox),
    ]);
    let pod = |name: &str| {
        let pod = bench.pod().flags(["--boot-timeout", "100", "--name", name]);
        pod.app(&bench.busybox()).sh("true")
    };
    let starting = |running: &Running, name: &str| {
        let _ = bench.process(QEMU);
        eventually("it starts", || {
            isopod(&bench, "list")
                .text()
                .contains(&format!("{name}   starting"))
                && running.pid() > 0
        });
    };
    let early = "the pod was stopped before its guest had come up";
    let running = pod("one").flags(["--rm"]).start();
    starting(&running, "one");
    let begun = Instant::now();
    running.signal(Signal::TERM);
    let out = running.wait().expect(125);
    assert_eq!(out.stderr, format!("error: {early}\n"));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());

    let running = pod("two").flags(["-d"]).start();
    starting(&running, "two");
    let begun = Instant::now();
    assert_eq!(text(&bench, "stop two"), "two\n");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(running.wait().expect(125).stderr.contains(early));
    assert_eq!(status(&bench, "two")["exitReason"], early);
    text(&bench, "rm two");

    let running = pod("six").flags(["-d"]).start();
    starting(&running, "six");
    let supervisor = bench
        .processes()
        .into_iter()
        .find(|(_, line)| line.contains("internal-supervise"));
    kill(supervisor.unwrap().0, Signal::STOP);
    assert_eq!(text(&bench, "stop --force six"), "six\n");
    let _ = running.wait().expect(125);
    assert_eq!(status(&bench, "six")["exitReason"], "its supervisor was killed");
    text(&bench, "gc --grace 0");
    bench.assert_nothing_left();
}

/// One boot of two pods for what happens to a pod that runs: its volume is removed, its clock is set, several stop and
/// remove it at once. The other one sees none of it.
#[test]
fn what_happens_to_one_pod_is_not_the_others() {
    let bench = Bench::new();
    let image = bench.busybox();
    let gone = bench.source("gone", &[("file", "x")]);
    let kept = bench.source("kept", &[("file", "x")]);
    let script = "n=0; while :; do n=$((n+1)); echo $n >/data/n && echo $n || echo failed; sleep 0.2; done";
    let pod = |name: &str, volume: &Path| {
        let pod = background(&bench, name).host("data", volume, "").app(&image);
        let pod = pod.with(["--cap-add", "SYS_TIME"]).mount("data", "/data", "");
        pod.sh(script).start()
    };
    let started = [pod("a", &gone), pod("b", &kept)];
    // Their names are taken while they are not even prepared.
    let again = [pod("c", &kept), pod("c", &kept), pod("c", &kept)];
    let outs = again.map(Running::wait);
    let (won, lost): (Vec<_>, Vec<_>) = outs.into_iter().partition(|out| out.status == 0);
    assert_eq!((won.len(), lost.len()), (1, 2), "{won:?} {lost:?}");
    for out in lost {
        assert!(out.stderr.contains("already has the name `c`"), "{out:?}");
    }
    let _ = started.map(|running| running.wait().expect(0));
    assert_eq!(text(&bench, "list -q").lines().count(), 3);

    std::fs::remove_dir_all(&gone).unwrap();
    eventually("the app gets the error", || {
        text(&bench, "logs --tail 1 a") == "failed\n"
    });
    // The guest's clock: nothing on the host follows it, nothing in the guest waits for it, and it is set back.
    for time in ["2035-01-01", "1980-01-01"] {
        text(&bench, &format!("exec a -- date -s {time}"));
        assert_eq!(text(&bench, "exec a -- echo here"), "here\n");
    }
    eventually("it is set back", || {
        text(&bench, "exec a -- date +%Y") == text(&bench, "exec b -- date +%Y")
    });
    let age = |pod: &str| status(&bench, pod)["createdMs"].as_u64().unwrap();
    assert!(age("a").abs_diff(age("b")) < 120_000);

    let stops = ["a", "a", "a"].map(|pod| bench.isopod_start(["stop", pod]));
    for out in stops.map(Running::wait) {
        assert_eq!(out.expect(0).text(), "a\n");
    }
    assert_eq!(status(&bench, "a")["exitReason"], "it was stopped");
    let removals = ["a", "a", "a", "a"].map(|pod| bench.isopod_start(["rm", pod]));
    let outs = removals.map(Running::wait);
    assert_eq!(outs.iter().filter(|out| out.status == 0).count(), 1, "{outs:?}");
    assert!(
        outs.iter()
            .all(|out| out.status == 0 || out.stderr.starts_with("error: ")),
        "{outs:?}"
    );

    let n = || std::fs::read_to_string(kept.join("n")).unwrap_or_default();
    let before = n();
    eventually("the other one works on", || n() != before);
    assert_eq!(status(&bench, "b")["state"], "running");
    reboot_of_the_host(&bench);
    bench.assert_nothing_left();
}

/// The clock that libfaketime(1) shows of the host: what is in `file`, added to the time; the clocks that nobody sets continue.
fn with_clock<'a>(pod: Pod<'a>, file: &Path) -> Pod<'a> {
    pod.env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketime.so.1")
        .env("FAKETIME_TIMESTAMP_FILE", file)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
}

/// The host's clock is set forth and back by years while a pod runs: all that is timed continues, and every line is kept and
/// found in the order in which it was written.
#[test]
fn the_hosts_clock_jumps() {
    let bench = Bench::new();
    let clock = bench.dir().join("clock");
    let set = |offset: &str| std::fs::write(&clock, format!("{offset}\n")).unwrap();
    let reported = |line: &str| {
        let words = line.split_whitespace().map(Into::into).collect();
        let out = with_clock(bench.pod(), &clock).other(words).expect(0);
        out.text().to_owned()
    };
    set("+0");
    let script = "trap '' TERM; n=0; while :; do n=$((n+1)); echo $n; sleep 0.2; done";
    let pod = bench.pod().subcommand("prepare").flags(["--name", "p"]);
    let _ = pod.app(&bench.busybox()).sh(script).start().wait().expect(0);
    // In the foreground: one in the background has nothing of the caller's environment, and so no false clock.
    let words = ["start", "--attach", "p"].map(Into::into).into();
    let attached = with_clock(bench.pod(), &clock).start_other(words);
    eventually("it runs", || status(&bench, "p")["state"] == "running");
    let last = || reported("logs --tail 1 p").trim().parse::<u32>().unwrap_or(0);
    let goes_on = || {
        let before = last();
        eventually("the app writes", || last() > before + 2);
        before
    };
    let _ = goes_on();
    let year = || reported("exec p -- date +%Y");
    let before = year();
    set("+800d");
    let ahead = goes_on();
    eventually("the guest's clock follows", || year() > before);
    assert_eq!(
        reported("list").lines().nth(1).unwrap().split_whitespace().nth(3),
        Some("800d")
    );
    // Of what was written before the jump nothing is that young.
    let young = reported("logs --since 1h p");
    let first: u32 = young.lines().next().unwrap().parse().unwrap();
    assert!(first > 1 && first <= ahead + 1, "{ahead} {young}");

    set("-800d");
    let _ = goes_on();
    assert_eq!(
        reported("list").lines().nth(1).unwrap().split_whitespace().nth(3),
        Some("0s")
    );
    let lines: Vec<u32> = reported("logs p")
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    assert!(
        lines.iter().copied().eq(1..=lines.len().try_into().unwrap()),
        "{lines:?}"
    );
    let years: Vec<String> = reported("logs -t p")
        .lines()
        .map(|line| line[..4].to_owned())
        .fold(Vec::new(), |mut years, year| {
            if years.last() != Some(&year) {
                years.push(year);
            }
            years
        });
    assert_eq!(years.len(), 3, "{years:?}");

    // The grace of a stop is as long as it was, whatever the clock says meanwhile.
    let begun = Instant::now();
    let stop =
        with_clock(bench.pod(), &clock).start_other(["stop", "--time", "2", "p"].map(Into::into).into());
    std::thread::sleep(Duration::from_secs(1));
    set("+800d");
    let _ = stop.wait().expect(0);
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_secs(2) && took < Duration::from_secs(8),
        "{took:?}"
    );
    assert_eq!(status(&bench, "p")["exitReason"], "it was stopped");
    let _ = attached.wait();
    // It ended a moment ago.
    let _ = reported("gc --grace 1h");
    assert_eq!(reported("list -q").lines().count(), 1);
    let _ = reported("gc --grace 0");
    assert_eq!(reported("list -q"), "");
    bench.assert_nothing_left();
}

/// The host is restarted: every process is gone at once, and the boot is another. A record of an earlier boot is what
/// is left of that, and what a test can make of it.
fn reboot_of_the_host(bench: &Bench) {
    for (pid, _) in bench.processes() {
        kill(pid, Signal::KILL);
    }
    eventually("all are gone", || bench.processes().is_empty());
    for pod in ["b", "c"] {
        let uuid = status(bench, pod)["uuid"].as_str().unwrap().to_owned();
        let path = bench.state().join("pods/started").join(uuid).join("status.json");
        let mut written: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        written["bootId"] = "00000000-0000-0000-0000-000000000000".into();
        std::fs::write(&path, written.to_string()).unwrap();
        let seen = status(bench, pod);
        assert_eq!(seen["state"], "exited");
        assert_eq!(seen["exitStatus"], 125);
        assert_eq!(seen["exitReason"], "the host was restarted while it ran");
    }
    text(bench, "start b");
    assert_eq!(status(bench, "b")["state"], "running");
    let _ = isopod(bench, "gc --grace 1000000h").expect(0);
    assert_eq!(
        text(bench, "list -q").lines().count(),
        2,
        "by whatever clock, it is not that long ago"
    );
    text(bench, "rm -f b");
    text(bench, "gc --grace 0");
}
