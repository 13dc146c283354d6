//! What is asked of apps while they run, and what is run around their lives.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use isopod_tests::faults::eventually;
use isopod_tests::{Bench, Image, Output, Scenarios};
use serde_json::{Value, json};

fn isopod(bench: &Bench, line: &str) -> Output {
    bench.isopod_command(line.split_whitespace())
}

fn text(bench: &Bench, line: &str) -> String {
    isopod(bench, line).expect(0).text().to_owned()
}

fn app(bench: &Bench, pod: &str, number: usize) -> Value {
    let status: Value = serde_json::from_str(&text(bench, &format!("status --format json {pod}"))).unwrap();
    status["apps"][number].clone()
}

/// docker's health check: shown, waited for, and what a failure leads to.
#[test]
fn health_checks_are_shown_and_end_apps_where_they_are_asked_to() {
    let bench = Bench::new();
    let busybox = bench.busybox();
    let checked = Image::busybox().config(
        "Healthcheck",
        json!({
            "Test": ["CMD-SHELL", "test -e /tmp/well || { echo out; echo not well >&2; exit 3; }"],
            "Interval": 300_000_000, "Retries": 2,
        }),
    );
    let runs = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
    let pod = bench
        .pod()
        .flags(["-d", "--name", "web"])
        .app(&bench.image(&checked))
        .with(["--app-name", "checked"])
        .sh(runs)
        .app(&busybox)
        .with(["--app-name", "after", "--depends-on", "checked=healthy"])
        .sh("echo after; sleep 1000")
        .app(&busybox)
        .with(["--app-name", "killed", "--restart", "on-failure:1"])
        .with(["--health-cmd", "exit 7", "--health-interval", "300ms"])
        .with(["--health-retries", "1", "--health-on-failure", "kill"])
        .sh(runs)
        .app(&busybox)
        .with(["--app-name", "hangs", "--restart", "always"])
        .with([
            "--health-cmd",
            "sleep 1001 & sleep 1001",
            "--health-interval",
            "300ms",
        ])
        .with([
            "--health-timeout",
            "500ms",
            "--health-retries",
            "1",
            "--health-on-failure",
            "stop",
        ])
        .sh(runs);
    // It returns when all have started, for which one waits.
    let started = pod.start();
    eventually("the pod is there", || isopod(&bench, "status web").status == 0);
    let mut scenarios = Scenarios::default();
    scenarios.run("an app that is unhealthy, and healthy again", || {
        eventually("the check has failed twice", || {
            app(&bench, "web", 0)["health"] == "unhealthy"
        });
        let words = "health check failed: exit status 3: out | not well";
        assert_eq!(app(&bench, "web", 0)["healthText"], words);
        assert_eq!(app(&bench, "web", 0)["ready"], true, "it is shown, and no more");
        let status = text(&bench, "status web");
        assert!(
            status.contains("running (unhealthy)") && status.contains(words),
            "{status}"
        );
        assert!(text(&bench, "list").contains("running (unhealthy)"));
        assert_eq!(app(&bench, "web", 1)["state"], "waiting");
        text(&bench, "exec --app checked web -- touch /tmp/well");
        eventually("the check has succeeded", || {
            app(&bench, "web", 0)["health"] == "healthy"
        });
        let _ = started.wait().expect(0);
        eventually("who waited for it has started", || {
            text(&bench, "logs --app after web") == "after\n"
        });
    });
    scenarios.run("an app that is killed by its check", || {
        eventually("the unhealthy app is not started any more", || {
            app(&bench, "web", 2)["state"] == "exited"
        });
        let killed = app(&bench, "web", 2);
        assert_eq!(
            (&killed["restarts"], &killed["exitStatus"]),
            (&json!(1), &json!(137)),
            "{killed}"
        );
        assert_eq!(killed["endedBecause"], "health check failed: exit status 7");
    });
    scenarios.run("a check that hangs", || {
        eventually("the app whose check hangs is stopped", || {
            app(&bench, "web", 3)["state"] == "exited"
        });
        let hangs = app(&bench, "web", 3);
        assert_eq!(
            (&hangs["restarts"], &hangs["exitStatus"]),
            (&json!(0), &json!(0)),
            "{hangs}"
        );
        assert_eq!(
            hangs["endedBecause"],
            "health check failed: it took longer than 0.5 s"
        );
    });
    scenarios.run("events", || {
        let events = text(&bench, "events --until 0s");
        for word in ["app-unhealthy", "app-healthy", "app-ending"] {
            assert!(events.contains(word), "{word}: {events}");
        }
    });
    text(&bench, "stop web");
    text(&bench, "rm web");
    bench.assert_nothing_left();
}

/// appc's event handlers, which are systemd's to run.
#[test]
fn pre_start_comes_before_each_start_and_post_stop_after_each_end() {
    let bench = Bench::new();
    let import = [
        "image",
        "import",
        "--name",
        "example.com/busybox",
        &bench.busybox(),
    ];
    let _ = bench.isopod_command(import).expect(0);
    let out = bench.source("out", &[]);
    let sh = |script: &str| json!(["/bin/sh", "-c", script]);
    let app = |name: &str, exec: &str, before: &str| {
        let handlers = json!([
            { "name": "pre-start", "exec": sh(before) },
            { "name": "post-stop", "exec": sh(&format!("echo {name} is over as $(id -u) in $COLOUR >>/out/{name}")) },
        ]);
        json!({
            "name": name,
            "image": { "name": "example.com/busybox" },
            "app": {
                "exec": sh(exec), "user": "1000", "group": "1000", "eventHandlers": handlers,
                "environment": [{ "name": "COLOUR", "value": "red" }],
            },
            "mounts": [{ "volume": "out", "path": "/out" }],
        })
    };
    let manifest = json!({
        "acVersion": "0.8.11",
        "acKind": "PodManifest",
        "apps": [
            app("ends", "cat /out/ends; exit 4", "echo before >/out/ends"),
            app("killed", "kill -9 $$", "true"),
            app("never", "echo must not run", "echo cannot fetch >&2; exit 3"),
        ],
        "volumes": [{ "name": "out", "kind": "host", "source": out }],
    });
    let file = bench.dir().join("pod.json");
    std::fs::write(&file, manifest.to_string()).unwrap();
    let pod = bench.pod().flags(["--pod-manifest".as_ref(), file.as_os_str()]);
    let ran = pod.run();
    assert_eq!(ran.text(), "before\n", "{}", ran.stderr);
    assert!([4, 125, 137].contains(&ran.status), "{ran:?}");
    let never = "app `never` did not start: `never.service` failed before its program ran: its pre-start handler failed";
    assert!(
        ran.stderr.contains(never) && ran.stderr.contains("cannot fetch"),
        "{}",
        ran.stderr
    );
    let left = |name: &str| std::fs::read_to_string(out.join(name)).unwrap_or_default();
    assert_eq!(left("ends"), "before\nends is over as 0 in red\n");
    assert_eq!(left("killed"), "killed is over as 0 in red\n");
    bench.assert_nothing_left();
}

#[test]
fn a_lone_app_has_its_post_stop_handler_which_reads_nothing_and_is_reported_when_it_fails() {
    let bench = Bench::new();
    let sh = |script: &str| json!(["/bin/sh", "-c", script]);
    let after = "echo after; cat; echo at the end; exit 3";
    let manifest = json!({
        "acVersion": "0.8.11",
        "acKind": "PodManifest",
        "apps": [{
            "name": "web",
            "image": { "name": "example.com/busybox" },
            "app": {
                "exec": sh("read word; sleep 1; echo main $word; exit 4"), "user": "0", "group": "0",
                "eventHandlers": [{ "name": "post-stop", "exec": sh(after) }],
            },
        }],
    });
    let busybox = bench.busybox();
    let import = ["image", "import", "--name", "example.com/busybox", &busybox];
    let _ = bench.isopod_command(import).expect(0);
    let file = bench.dir().join("pod.json");
    std::fs::write(&file, manifest.to_string()).unwrap();
    let pod = bench.pod().flags(["--pod-manifest".as_ref(), file.as_os_str()]);
    let ran = pod.flags(["-i"]).stdin("word\nand more\n").run();
    assert_eq!(ran.text(), "main word\nafter\nat the end\n", "{}", ran.stderr);
    assert_eq!(ran.status, 4, "{ran:?}");
    let failed = "app `web`: post-stop handler failed: exit status 3";
    assert!(ran.stderr.contains(failed), "{}", ran.stderr);
    bench.assert_nothing_left();
}
