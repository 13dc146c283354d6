//! Pods in the background: from `prepare` to `rm`, and what the commands say on the way.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use isopod_tests::faults::{QEMU, eventually, kill};
use isopod_tests::{Bench, Output, Scenarios};
use rustix::process::Signal;
use serde_json::Value;

fn isopod(bench: &Bench, line: &str) -> Output {
    bench.isopod_command(line.split_whitespace())
}

/// It failed, with an error that begins so.
fn refused(out: &Output, words: &str) {
    assert!(out.status == 125 && out.stderr.starts_with(words), "{out:?}");
}

fn text(bench: &Bench, line: &str) -> String {
    isopod(bench, line).expect(0).text().to_owned()
}

fn status(bench: &Bench, pod: &str) -> Value {
    serde_json::from_str(&text(bench, &format!("status --format json {pod}"))).unwrap()
}

/// One boot for all that can be seen of a pod which runs.
#[test]
fn a_pod_in_the_background_is_seen_and_stopped() {
    let bench = Bench::new();
    let source = bench.source("data", &[]);
    let busybox = bench.busybox();
    let pod = bench
        .pod()
        .flags(["-d", "--name", "web"])
        .host("data", &source, "")
        .app(&busybox)
        .with(["--app-name", "a"])
        .mount("data", "/data", "readOnly")
        .sh("trap 'echo bye; exit 3' TERM; echo out; echo err >&2; while :; do sleep 0.1; done")
        .app(&busybox)
        .with(["--app-name", "b"])
        .sh("echo second; exec sleep 1000");
    let uuid = pod.start().wait().expect(0).text().trim().to_owned();
    assert_eq!(uuid.len(), 36, "{uuid}");

    let mut scenarios = Scenarios::default();
    scenarios.run("list and status", || {
        let list = text(&bench, "list");
        assert!(list.contains("web   running") && list.contains("a,b"), "{list}");
        assert_eq!(text(&bench, "list -q"), format!("{uuid}\n"));
        let seen = status(&bench, "web");
        assert_eq!(seen["state"], "running");
        assert_eq!(seen["apps"][0]["state"], "running");
        assert_eq!(seen["apps"][0]["mounts"][0]["target"], "/data");
        assert_eq!(seen["apps"][0]["mounts"][0]["readOnly"], true);
        assert_eq!(seen, status(&bench, &uuid[..13]), "by the beginning of the UUID");
    });
    scenarios.run("where the time of its start went", || {
        let report: Value = serde_json::from_str(&text(&bench, "boot-report --format json web")).unwrap();
        let spans = report["spans"].as_array().unwrap();
        let at = |span: &Value, key: &str| span[key].as_u64().unwrap();
        let (apps, phases): (Vec<&Value>, Vec<&Value>) = spans.iter().partition(|span| span["side"] == "app");
        for (span, next) in phases.iter().zip(&phases[1..]) {
            assert_eq!(span["toMs"], next["fromMs"], "{report}");
        }
        assert_eq!(apps.len(), 2, "{report}");
        let arrived = at(phases[phases.len() - 1], "toMs");
        assert!(
            apps.iter()
                .all(|app| at(app, "fromMs") == arrived && at(app, "toMs") >= arrived),
            "{report}"
        );
        let (began, ready) = (
            &status(&bench, "web")["startedMs"],
            &status(&bench, "web")["readyMs"],
        );
        let whole = ready.as_u64().unwrap() - began.as_u64().unwrap();
        let total = report["totalMs"].as_u64().unwrap();
        assert!(total > 100 && total <= whole, "{total} of {whole} ms: {report}");
        let page = text(&bench, "boot-report web");
        assert!(
            page.starts_with("<!doctype html>") && page.contains("unit of app `b`"),
            "{page}"
        );
    });
    scenarios.run("what a pod that runs refuses", || {
        for (command, words) in [
            ("start web", "error: cannot start pod `"),
            ("rm web", "error: cannot remove pod `"),
            (
                "status nobody",
                "error: there is no pod `nobody`\nhint: `isopod list`",
            ),
            (
                "kill web --app nobody",
                "error: pod `web` has no app `nobody`\nhint: its apps are `a`, `b`",
            ),
        ] {
            refused(&isopod(&bench, command), words);
        }
    });
    scenarios.run("what is not there may be removed by force", || {
        let gone = isopod(&bench, "rm -f nobody").expect(0);
        assert_eq!(
            (gone.text(), &*gone.stderr),
            ("", "note: there is no pod `nobody`\n")
        );
        refused(&isopod(&bench, "rm nobody"), "error: there is no pod `nobody`");
    });
    scenarios.run("a name that is taken", || {
        let again = bench
            .pod()
            .flags(["-d", "--name", "web"])
            .app(&busybox)
            .sh("true");
        let taken =
            format!("error: cannot prepare the pod\n  caused by: pod `{uuid}` already has the name `web`");
        refused(&again.start().wait(), &taken);
    });
    scenarios.run("the directory is its owner's", || {
        let directory = bench.state().join("pods/started").join(&uuid);
        assert_eq!(directory.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    });
    scenarios.run("logs", || {
        eventually("the apps have written", || {
            text(&bench, "logs web").contains("second")
        });
        let logs = isopod(&bench, "logs web").expect(0);
        assert!(
            logs.text().contains("a out\n") && logs.text().contains("b second\n"),
            "{logs:?}"
        );
        assert_eq!(logs.stderr, "a err\n");
        assert_eq!(text(&bench, "logs --app b --tail 1 web"), "second\n");
    });
    scenarios.run("a signal to one app", || {
        text(&bench, "kill -s TERM web --app b");
        eventually("the signal has come", || {
            status(&bench, "web")["apps"][1]["state"] == "exited"
        });
        assert_eq!(status(&bench, "web")["apps"][1]["exitStatus"], 143);
        assert_eq!(status(&bench, "web")["state"], "running");
        refused(
            &isopod(&bench, "kill web --app b"),
            "error: pod `web`: app `b` is not running",
        );
    });
    scenarios.run("a stop, its exit status and the log that is followed", || {
        // Who follows the log sees all of it, and the end.
        let follower = bench.isopod_start(["logs", "-f", "--app", "a", "web"]);
        assert_eq!(text(&bench, "stop web"), "web\n");
        assert_eq!(follower.wait().expect(0).text(), "out\nbye\n");
        let seen = status(&bench, "web");
        assert_eq!(seen["state"], "exited");
        assert_eq!(seen["exitReason"], "it was stopped");
        assert_eq!(seen["exitStatus"], 143, "of the first app that failed");
        assert_eq!(seen["apps"][0]["exitStatus"], 3);
        assert_eq!(text(&bench, "logs --app a web"), "out\nbye\n", "kept");
        assert!(bench.processes().is_empty());
    });
    scenarios.run("a pod that has exited", || {
        text(&bench, "stop web");
        refused(
            &isopod(&bench, "kill web"),
            "error: pod `web`: it is no longer running",
        );
        text(&bench, "gc");
        assert_eq!(
            text(&bench, "list -q"),
            format!("{uuid}\n"),
            "its grace is not over"
        );
    });
    text(&bench, "rm web");
    bench.assert_nothing_left();
}

/// Two starts of one prepared pod, at once: one wins. Then the pod is started again, and killed.
#[test]
fn a_prepared_pod_is_started_once_and_again() {
    let bench = Bench::new();
    let words = [
        "prepare",
        "--name",
        "p",
        "--accel",
        "tcg",
        "--app-name",
        "app",
        &bench.busybox(),
    ];
    let words = words
        .into_iter()
        .chain(["sh", "-c", "echo started; exec sleep 1000"]);
    let uuid = bench.isopod_command(words).expect(0).text().trim().to_owned();
    assert_eq!(status(&bench, "p")["state"], "prepared");
    refused(
        &isopod(&bench, "status --wait p"),
        "error: pod `p` was never started\nhint: start it",
    );
    refused(&isopod(&bench, "stop p"), "error: pod `p`: it was never started");

    let starts = [(); 3].map(|()| bench.isopod_start(["start", "p"]));
    let outs = starts.map(isopod_tests::Running::wait);
    let (won, lost): (Vec<_>, Vec<_>) = outs.into_iter().partition(|out| out.status == 0);
    assert_eq!((won.len(), lost.len()), (1, 2), "{won:?} {lost:?}");
    for out in lost {
        assert!(out.stderr.starts_with("error: "), "{out:?}");
    }
    assert_eq!(status(&bench, "p")["state"], "running");
    assert_eq!(
        text(&bench, "status --wait-ready p").lines().nth(2),
        Some("state   running")
    );

    eventually("it is logged", || text(&bench, "logs p") == "started\n");
    // The supervisor of a pod is killed: all of it is gone, and the list says so.
    kill(bench.process("isopod"), Signal::KILL);
    eventually("no process is left", || bench.processes().is_empty());
    // A process that ends shows nothing of itself a moment before it lets its files go.
    eventually("it is known", || status(&bench, &uuid)["state"] != "running");
    let seen = status(&bench, &uuid);
    assert_eq!(
        (&seen["state"], &seen["exitStatus"]),
        (&"exited".into(), &125.into())
    );
    assert_eq!(seen["exitReason"], "its supervisor was killed");
    assert_eq!(seen["apps"][0]["state"], "lost");

    text(&bench, "start p");
    assert_eq!(status(&bench, "p")["state"], "running");
    eventually("both lives are logged", || {
        text(&bench, "logs p") == "started\nstarted\n"
    });
    // QEMU is killed: the pod has failed, with its reason.
    kill(bench.process(QEMU), Signal::KILL);
    let out = text(&bench, "status --wait p");
    assert!(
        out.contains("state   exited (125)") && out.contains("QEMU ended with signal: 9"),
        "{out}"
    );
    // What the guest would unpack is cut off: it says so, and the pod ends at once.
    let dir = bench.state().join("pods/started").join(&uuid);
    let files = std::fs::OpenOptions::new().write(true).open(dir.join("pod.cpio"));
    files.unwrap().set_len(700).unwrap();
    let out = isopod(&bench, "start p").expect(125).stderr;
    let why = "cannot send the pod to its VM\n  caused by: cannot read the files that the host sends: ";
    assert!(out.contains(why), "{out}");
    text(&bench, "gc --grace 0");
    bench.assert_nothing_left();
}

#[test]
fn a_stubborn_pod_is_removed_by_force() {
    let bench = Bench::new();
    let pod = bench.pod().flags(["-d", "--name", "s"]).app(&bench.busybox());
    let _ = pod
        .sh("trap '' TERM; while :; do sleep 1; done")
        .start()
        .wait()
        .expect(0);
    let begun = Instant::now();
    text(&bench, "rm -f s");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    bench.assert_nothing_left();
}

/// `--rm`.
#[test]
fn a_pod_that_is_not_kept_goes_by_itself() {
    let bench = Bench::new();
    let pod = bench
        .pod()
        .flags(["-d", "--rm", "--name", "once"])
        .app(&bench.busybox());
    let _ = pod.sh("sleep 2; exit 4").start().wait().expect(0);
    // Its directory is gone, and how it ended is known.
    let waited = text(&bench, "status --wait once");
    assert!(
        waited.contains("state   exited (4)") && waited.contains("all apps have ended"),
        "{waited}"
    );
    eventually("it is gone", || {
        text(&bench, "list -q").is_empty() && bench.processes().is_empty()
    });
    bench.assert_nothing_left();
}
