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
        .with(["--app-name", "third", "--restart", "on-failure"])
        .mount("n", "/data", "")
        .sh(&THIRD_TIME.replace("read word", "word="))
        .app(&bench.busybox())
        .with(["--app-name", "twice", "--restart", "on-failure:2"])
        .sh("echo twice >&2; kill -9 $$")
        .app(&bench.busybox())
        .with(["--app-name", "never"])
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
    let log = bench.source("log", &[]);
    let pod = bench.pod().host("log", &log, "");
    let mut running = pod
        .app(&bench.busybox())
        .with([
            "--app-name",
            "web",
            "--depends-on",
            "db",
            "--depends-on",
            "init=succeeded",
        ])
        .mount("log", "/log", "")
        .sh(&server("web"))
        .app(&bench.busybox())
        .with(["--app-name", "db", "--depends-on", "init=succeeded"])
        .mount("log", "/log", "")
        .sh(&server("db"))
        .app(&bench.busybox())
        .with(["--app-name", "init", "--restart", "on-failure"])
        .mount("log", "/log", "")
        .sh("sleep 1; echo init >>/log/log; [ -e /log/again ] || { touch /log/again; exit 1; }")
        .app(&bench.busybox())
        .with(["--app-name", "after-all", "--depends-on", "web=succeeded"])
        .mount("log", "/log", "")
        .sh("cat /log/log")
        .start();
    running.wait_for("web ready");
    running.signal(Signal::TERM);
    let out = running.wait().expect(0);
    assert!(!out.text().contains("init"), "`after-all` ran: {}", out.text());
    let log = std::fs::read_to_string(log.join("log")).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    let order = ["init", "init", "db here", "web here", "web gone", "db gone"];
    assert_eq!(lines, order);
    bench.assert_nothing_left();
}

#[test]
fn an_app_that_needs_a_failed_one_does_not_start() {
    let bench = Bench::new();
    let out = bench
        .pod()
        .app(&bench.busybox())
        .with(["--app-name", "init"])
        .sh("exit 3")
        .app(&bench.busybox())
        .with(["--app-name", "web", "--depends-on", "init=succeeded"])
        .sh("echo web runs")
        .app(&bench.busybox())
        .with(["--app-name", "other"])
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
fn a_stop_is_no_failure_of_the_apps_that_waited() {
    let bench = Bench::new();
    let pod = bench.pod().app(&bench.busybox()).with(["--app-name", "first"]);
    let mut running = pod
        .sh("trap 'exit 0' TERM; echo first; while :; do sleep 0.1; done")
        .app(&bench.busybox())
        .with(["--app-name", "second", "--depends-on", "first=succeeded"])
        .sh("echo second")
        .start();
    running.wait_for("first\n");
    running.signal(Signal::TERM);
    let out = running.wait().expect(0);
    assert_eq!((out.text(), &*out.stderr), ("first\n", ""));
    bench.assert_nothing_left();
}

#[test]
fn one_apps_failure_ends_the_pod_where_it_is_asked_to() {
    let bench = Bench::new();
    let out = bench
        .pod()
        .flags(["--on-app-failure", "stop"])
        .app(&bench.busybox())
        .with(["--app-name", "server"])
        .sh("trap 'echo server stops; exit 0' TERM; touch /tmp/x; while :; do sleep 0.1; done")
        .app(&bench.busybox())
        .with(["--app-name", "fails"])
        .sh("sleep 1; exit 9")
        .run()
        .expect(9);
    assert_eq!(out.text(), "server stops\n");
    bench.assert_nothing_left();
}

/// The host's `systemd-notify`, run from a volume of the host's `/usr`.
const NOTIFY: &str = "L=/usr-of-host/lib/x86_64-linux-gnu; \
    notify() { $L/ld-linux-x86-64.so.2 --library-path $L:$L/systemd /usr-of-host/bin/systemd-notify \"$@\"; }; ";

#[test]
fn readiness_goes_from_the_app_to_the_pod_to_the_host() {
    let bench = Bench::new();
    let dir = bench.source("host", &[]);
    let socket = std::os::unix::net::UnixDatagram::bind(dir.join("notify")).unwrap();
    let mut running = bench
        .pod()
        .env("NOTIFY_SOCKET", dir.join("notify"))
        .host("usr", "/usr", "readOnly=true")
        .app(&bench.busybox())
        .with(["--app-name", "slow", "--notify", "--user", "33", "--read-only"])
        .mount("usr", "/usr-of-host", "")
        .sh(&format!(
            "{NOTIFY} trap 'exit 0' TERM; echo started; sleep 2; echo says it; notify --ready || echo cannot; \
             while :; do sleep 0.1; done"
        ))
        .app(&bench.busybox())
        .with(["--app-name", "after", "--depends-on", "slow"])
        .sh("trap 'exit 0' TERM; echo after ${NOTIFY_SOCKET:-nothing}; while :; do sleep 0.1; done")
        .start();
    running.wait_for("after nothing");
    let hear = || {
        let mut words = [0; 256];
        socket
            .set_read_timeout(Some(std::time::Duration::from_secs(20)))
            .unwrap();
        let length = socket.recv(&mut words).unwrap();
        String::from_utf8_lossy(&words[..length]).into_owned()
    };
    assert!(hear().starts_with("READY=1\n"));
    running.signal(Signal::TERM);
    let out = running.wait().expect(0);
    assert_eq!(out.text(), "started\nsays it\nafter nothing\n");
    assert!(hear().starts_with("STOPPING=1\n"));
    bench.assert_nothing_left();
}
