//! How the apps of a pod live: restarts, order, failures.

use isopod_tests::Bench;
use rustix::process::Signal;

/// Fails twice, then ends well; says which life it is, and reads a word of its input in each.
const THIRD_TIME: &str = "n=$(cat /data/n 2>/dev/null || echo 0); n=$((n + 1)); echo $n >/data/n; \
    read word; echo life $n $word; [ $n -ge 3 ]";

#[test]
fn apps_are_started_anew_as_their_policies_have_it() {
    let bench = Bench::new();
    let pod = bench.pod().flags(["--log-level", "info"]);
    let out = pod
        .empty("n", "")
        .app(&bench.busybox())
        .with(["--name", "third", "--restart", "on-failure"])
        .mount("n", "/data", "")
        .sh(&THIRD_TIME.replace("read word", "word="))
        .app(&bench.busybox())
        .with(["--name", "twice", "--restart", "on-failure:2"])
        .sh("echo twice >&2; kill -9 $$")
        .app(&bench.busybox())
        .with(["--name", "never"])
        .sh("echo never; exit 0")
        .run();
    // The one that failed for good decides.
    let out = out.expect(128 + 9);
    for n in 1..=3 {
        assert_eq!(
            out.text().matches(&format!("life {n}")).count(),
            1,
            "{}",
            out.text()
        );
    }
    assert_eq!(out.text().matches("never").count(), 1);
    assert_eq!(
        out.stderr.lines().filter(|line| *line == "twice").count(),
        3,
        "{}",
        out.stderr
    );
    bench.assert_nothing_left();
}

#[test]
fn an_app_keeps_its_input_over_restarts_and_a_stop_ends_it() {
    let bench = Bench::new();
    let pod = bench.pod().empty("n", "").stdin("one\ntwo\nthree\n");
    let mut running = pod
        .app(&bench.busybox())
        .with(["--restart", "always"])
        .mount("n", "/data", "")
        .sh(&format!(
            "{THIRD_TIME}; [ $n -lt 4 ] || {{ echo ready; exec sleep 1000; }}"
        ))
        .start();
    running.wait_for("ready");
    running.signal(Signal::TERM);
    let out = running.wait();
    let said: Vec<&str> = out.text().lines().collect();
    assert_eq!(said[..3], ["life 1 one", "life 2 two", "life 3 three"]);
    assert_eq!(
        out.status,
        128 + 15,
        "sleep, as process 1 of its own, is killed by the signal"
    );
    bench.assert_nothing_left();
}

#[test]
fn apps_start_in_their_order_and_stop_in_reverse() {
    // Each writes when it is there and when it goes, which takes a while.
    let server = |name: &str| {
        format!(
            "trap 'sleep 1; echo {name} gone >>/log/log; exit 0' TERM; echo {name} here >>/log/log; \
             echo {name} ready; while :; do sleep 0.1; done"
        )
    };
    let bench = Bench::new();
    let pod = bench
        .pod()
        .empty("log", "")
        .flags(["--mount", "volume=log,target=/log"]);
    let mut running = pod
        .app(&bench.busybox())
        .with([
            "--name",
            "web",
            "--depends-on",
            "db",
            "--depends-on",
            "init=succeeded",
        ])
        .sh(&server("web"))
        .app(&bench.busybox())
        .with(["--name", "db", "--depends-on", "init=succeeded"])
        .sh(&server("db"))
        .app(&bench.busybox())
        .with(["--name", "init", "--restart", "on-failure"])
        .sh("sleep 1; echo init >>/log/log; [ -e /log/again ] || { touch /log/again; exit 1; }")
        .app(&bench.busybox())
        .with(["--name", "after-all", "--depends-on", "web=succeeded"])
        .sh("cat /log/log")
        .start();
    running.wait_for("web ready");
    running.signal(Signal::TERM);
    let out = running.wait();
    assert!(
        out.stderr.contains("app `after-all` did not start"),
        "{}",
        out.stderr
    );
    bench.assert_nothing_left();
}

#[test]
fn an_app_that_needs_a_failed_one_does_not_start() {
    let bench = Bench::new();
    let out = bench
        .pod()
        .app(&bench.busybox())
        .with(["--name", "init"])
        .sh("exit 3")
        .app(&bench.busybox())
        .with(["--name", "web", "--depends-on", "init=succeeded"])
        .sh("echo web runs")
        .app(&bench.busybox())
        .with(["--name", "other"])
        .sh("echo other runs")
        .run()
        .expect(3);
    assert_eq!(out.text(), "other runs\n");
    assert!(
        out.stderr.contains(
            "app `web` did not start: `init.service`, which it needs, failed: it exited with status 3"
        ),
        "{}",
        out.stderr
    );
    bench.assert_nothing_left();
}

#[test]
fn one_apps_failure_ends_the_pod_where_it_is_asked_to() {
    let bench = Bench::new();
    let out = bench
        .pod()
        .flags(["--on-app-failure", "stop"])
        .app(&bench.busybox())
        .with(["--name", "server"])
        .sh("trap 'echo server stops; exit 0' TERM; touch /tmp/x; while :; do sleep 0.1; done")
        .app(&bench.busybox())
        .with(["--name", "fails"])
        .sh("sleep 1; exit 9")
        .run()
        .expect(9);
    assert_eq!(out.text(), "server stops\n");
    bench.assert_nothing_left();
}
