//! What a supervisor does about a guest that does not answer, what others do about a supervisor that is not, and the guest's
//! clock.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use isopod_tests::faults::{QEMU, Stopped, eventually, kill};
use isopod_tests::{Bench, Output, Scenarios};
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

/// Writes a file, again and again, with the guest's time just before, and then one with the time just after. What says when
/// it was written is the host.
const CLOCK: &str = "while :; do \
    a=$EPOCHREALTIME; echo $a >/data/new; b=$EPOCHREALTIME; echo $a $b >/data/around; \
    mv /data/new /data/a; mv /data/around /data/b; sleep 0.05; done";

/// How far the guest's clock may be ahead of the host's at least and at most, in milliseconds, by what [`CLOCK`] writes to
/// `dir` in the next seconds.
fn ahead_ms(dir: &Path) -> (f64, f64) {
    /// The host's file times are as old as its last tick.
    const TICK_MS: f64 = 10.0;
    let (mut least, mut most) = (f64::MIN, f64::MAX);
    let begun = Instant::now();
    let mut seen = 0;
    let mut last = String::new();
    while seen < 25 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{seen} samples");
        std::thread::sleep(Duration::from_millis(20));
        let read = || {
            let written = dir.join("a");
            let at = written.metadata().ok()?;
            let before = std::fs::read_to_string(&written).ok()?;
            let around = std::fs::read_to_string(dir.join("b")).ok()?;
            let (same, after) = around.trim().split_once(' ')?;
            // Both of one round, and the file still the one that was looked at.
            let same = same == before.trim() && written.metadata().ok()?.ino() == at.ino();
            let host = at.mtime() as f64 * 1000.0 + at.mtime_nsec() as f64 / 1e6;
            let ms = |text: &str| text.trim().parse::<f64>().ok().map(|seconds| seconds * 1000.0);
            same.then_some((ms(&before)?, ms(after)?, host))
        };
        let Some((before, after, host)) = read() else {
            continue;
        };
        if last == format!("{before}") {
            continue;
        }
        let first = last.is_empty();
        last = format!("{before}");
        // It may be older than what the clock was set by.
        if first {
            continue;
        }
        seen += 1;
        most = most.min(after - host);
        least = least.max(before - host - TICK_MS);
    }
    (least, most)
}

/// Fails unless the guest's clock may be within ten milliseconds of the host.
#[track_caller]
fn assert_clock(dir: &Path, when: &str) {
    let (least, most) = ahead_ms(dir);
    assert!(
        least <= 10.0 && most >= -10.0,
        "{when}: ahead by {least} to {most} ms"
    );
    assert!(
        least <= most + 5.0,
        "{when}: it was set meanwhile: {least} to {most}"
    );
}

/// One boot for all that happens to a guest that is there: its clock, its silence, its supervisor's.
#[test]
fn a_guest_that_is_there_and_silent() {
    let bench = Bench::new();
    let data = bench.source("data", &[]);
    let pod = bench.pod().flags(["-d", "--name", "p"]).host("data", &data, "");
    let pod = pod.app(&bench.busybox()).with(["--cap-add", "SYS_TIME"]);
    let pod = pod.mount("data", "/data", "").sh(&format!(
        "trap '' TERM INT; echo $EPOCHREALTIME >/data/first; env >/data/env; {CLOCK}"
    ));
    let _ = pod.start().wait().expect(0);

    let mut scenarios = Scenarios::default();
    scenarios.run("the clock of the first app", || {
        // Before the first app runs, and from then on.
        eventually("it has begun", || data.join("b").exists());
        let first: f64 = std::fs::read_to_string(data.join("first"))
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let written = data.join("first").metadata().unwrap();
        let late = written.mtime() as f64 + written.mtime_nsec() as f64 / 1e9 - first;
        assert!(
            (-0.02..0.5).contains(&late),
            "the first app began {late} s behind the host"
        );
        assert_clock(&data, "at the beginning");
        // What systemd's terminal is called is not the apps' to know.
        let env = std::fs::read_to_string(data.join("env")).unwrap();
        assert!(!env.contains("TERM="), "{env}");
    });
    scenarios.run("a clock that an app has set", || {
        // Who may set it sees it set back.
        text(&bench, "exec p -- date -s 2035-01-01");
        eventually("the clock is the host's again", || {
            !text(&bench, "exec p -- date").contains("2035")
        });
        assert_clock(&data, "after it was set");
    });
    scenarios.run("a guest that is silent", || {
        let qemu = bench.process(QEMU);
        let guest = Stopped::new(qemu);
        let stopped = Instant::now();
        let exec = bench.isopod_start(["exec", "p", "--", "true"]);
        let stats = bench.isopod_start(["stats", "p"]);
        let copy = bench.isopod_start(["cp", "p:/etc/passwd", "-"]);
        for out in [exec, stats, copy].map(isopod_tests::Running::wait) {
            let said = "the agent in the guest has not answered for 10 s";
            assert!(out.status == 125 && out.stderr.contains(said), "{out:?}");
        }
        assert!(
            stopped.elapsed() < Duration::from_secs(25),
            "{:?}",
            stopped.elapsed()
        );
        eventually("it is silent", || {
            text(&bench, "list").contains("running (silent for 1")
        });
        let seen = status(&bench, "p");
        assert!(seen["silentMs"].as_u64().unwrap() >= 15_000, "{seen}");
        assert_eq!(
            (&seen["state"], &seen["supervisorStopped"]),
            (&"running".into(), &false.into())
        );
        // Whoever waits for it need not.
        for signals in [&[Signal::TERM][..], &[Signal::INT, Signal::INT, Signal::INT]] {
            let attach = bench.isopod_start(["attach", "p"]);
            std::thread::sleep(Duration::from_millis(500));
            let begun = Instant::now();
            for signal in signals {
                attach.signal(*signal);
                std::thread::sleep(Duration::from_millis(50));
            }
            let out = attach.wait();
            let number = signals[0].as_raw();
            assert!(
                out.status == 128 + number
                    && out
                        .stderr
                        .contains("given up waiting for the pod, which continues"),
                "{out:?}"
            );
            assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        }
        drop(guest);
        eventually("it answers", || text(&bench, "list").contains("p     running  "));
        assert_eq!(status(&bench, "p")["silentMs"], Value::Null);
        let events = text(&bench, "events --stream=false --filter pod=p");
        assert!(
            events.contains(" silent\n") && events.contains(" responsive\n"),
            "{events}"
        );
        assert_eq!(text(&bench, "exec p -- echo here"), "here\n");
    });
    scenarios.run("a supervisor that is stopped", || {
        a_stopped_supervisor(&bench);
    });
    scenarios.run("signals end exec", || {
        signals_end_exec(&bench);
    });
    scenarios.run("a stop while the guest is silent", || {
        // The guest that is stopped with its pod silent.
        kill(bench.process(QEMU), Signal::STOP);
        let begun = Instant::now();
        assert_eq!(text(&bench, "stop -t 2 p"), "p\n");
        let took = begun.elapsed();
        assert!(
            took > Duration::from_secs(2) && took < Duration::from_secs(8),
            "{took:?}"
        );
        let seen = status(&bench, "p");
        let reason = seen["exitReason"].as_str().unwrap();
        assert!(
            reason.starts_with("the guest did not answer the request to stop within"),
            "{reason}"
        );
    });
    text(&bench, "rm p");
    bench.assert_nothing_left();
}

/// A supervisor that is stopped is shown, and that is reported at once to who asks it.
fn a_stopped_supervisor(bench: &Bench) {
    let supervisor = bench
        .processes()
        .into_iter()
        .find(|(_, line)| line.contains("internal-supervise"))
        .unwrap()
        .0;
    kill(supervisor, Signal::STOP);
    eventually("it is shown", || {
        text(bench, "list").contains("running (supervisor stopped)")
    });
    assert_eq!(status(bench, "p")["supervisorStopped"], true);
    let begun = Instant::now();
    for line in [
        "exec p -- true",
        "stats p",
        "stop p",
        "kill p",
        "cp p:/etc/passwd -",
    ] {
        let out = isopod(bench, line);
        let said = format!("the pod's supervisor, process {supervisor}, is stopped (SIGSTOP)");
        assert!(out.status == 125 && out.stderr.contains(&said), "{line}: {out:?}");
        assert!(
            out.stderr.contains(&format!("\nhint: `kill -CONT {supervisor}`")),
            "{line}: {out:?}"
        );
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    kill(supervisor, Signal::CONT);
    assert_eq!(text(bench, "exec p -- echo here"), "here\n");
    assert!(text(bench, "list").contains("p     running  "));
}

/// One SIGTERM or three Ctrl-C end `exec` whatever its command does; a command that heeds them has its say.
fn signals_end_exec(bench: &Bench) {
    let deaf = "trap '' TERM INT; echo begun; while :; do sleep 1; done";
    for signals in [&[Signal::TERM][..], &[Signal::INT, Signal::INT, Signal::INT]] {
        let mut exec = bench.isopod_start(["exec", "p", "--", "sh", "-c", deaf]);
        exec.wait_for("begun");
        let begun = Instant::now();
        for signal in signals {
            exec.signal(*signal);
            std::thread::sleep(Duration::from_millis(50));
        }
        let out = exec.wait();
        assert_eq!(out.status, 128 + signals[0].as_raw(), "{out:?}");
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    }
}

/// A guest that may not be silent for long is killed; and the pod can be started again.
#[test]
fn a_silent_guest_is_killed_where_that_is_asked_for() {
    let bench = Bench::new();
    let pod = bench.pod().flags(["-d", "--name", "q", "--on-silent", "kill:10"]);
    let _ = pod
        .app(&bench.busybox())
        .sh("exec sleep 1000")
        .start()
        .wait()
        .expect(0);
    kill(bench.process(QEMU), Signal::STOP);
    text(&bench, "status --wait q");
    let seen = status(&bench, "q");
    assert_eq!(
        (&seen["state"], &seen["exitStatus"]),
        (&"exited".into(), &125.into())
    );
    assert_eq!(
        seen["exitReason"],
        "the guest did not answer for 10 s and was killed, as `--on-silent kill` says"
    );
    text(&bench, "start q");
    text(&bench, "rm -f q");
    bench.assert_nothing_left();
}

/// A state directory that another user could change is refused by every command, before anything of it is used.
#[test]
fn a_state_that_others_can_change_is_refused() {
    let bench = Bench::new();
    let list = |dir: &Path| bench.pod().state(dir).other(["list"].map(Into::into).into());
    let open = bench.source("open", &[]);
    let mode = |mode| std::fs::set_permissions(&open, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o777);
    for dir in [open.clone(), open.join("below")] {
        let out = list(&dir);
        let said = format!(
            "error: the state directory is not safe: other users can write to `{0}` (mode 0777)\n\
             hint: `chmod go-w {0}`, or name a directory of your own: `--dir DIR`\n",
            open.display()
        );
        assert_eq!((out.status, out.stderr.as_str()), (125, said.as_str()));
    }
    mode(0o700);
    let _ = list(&open).expect(0);
    let Some(root) = Bench::of_root() else { return };
    let others = root.source("others", &[]);
    std::os::unix::fs::chown(&others, Some(12_345), None).unwrap();
    let out = root.pod().state(&others).other(["list"].map(Into::into).into());
    assert!(
        out.status == 125
            && out
                .stderr
                .contains("belongs to uid 12345, and this command runs as uid 0"),
        "{out:?}"
    );
}
