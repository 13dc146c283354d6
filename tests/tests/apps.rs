//! How the apps of a pod live: restarts.

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
