//! What docker's users do to a pod that runs: hold it, look at its processes and at what it changed, keep that as an image.

use std::time::Duration;

use isopod_tests::faults::eventually;
use isopod_tests::{Bench, Image, Output, Scenarios};
use serde_json::Value;

fn isopod(bench: &Bench, words: &str) -> Output {
    bench.isopod_command(words.split(' '))
}

fn sh(bench: &Bench, app: &str, script: &str) -> Output {
    bench.isopod_command(["exec", "--app", app, "held", "sh", "-c", script])
}

const LIMITS: &str = "cd /sys/fs/cgroup; cat memory.max pids.max cpu.max";

/// What the shell in app `a` has counted so far.
fn counted(bench: &Bench) -> String {
    isopod(bench, "logs --app a -n 1 held")
        .expect(0)
        .text()
        .to_owned()
}

fn state(bench: &Bench, app: usize) -> String {
    let out = isopod(bench, "status --format json held").expect(0);
    let status: Value = serde_json::from_str(out.text()).expect("JSON");
    status["apps"][app]["state"].as_str().expect("a state").to_owned()
}

/// One boot for all of it, and one for the image that was made.
#[test]
fn a_running_pod_is_held_looked_at_and_kept() {
    let bench = Bench::new();
    let image = Image::busybox()
        .file("etc/gone", 0o644, "x")
        .file("var/x", 0o644, "x")
        .file("srv/web/old", 0o644, "old\n")
        .file("srv/web/kept", 0o4755, "kept\n");
    let image = bench.image(&image);
    // Its liveness probe would end it within two seconds of silence.
    let pod = bench.pod().flags(["-d", "--name", "held"]).app(&image);
    let pod = pod.with([
        "--app-name",
        "a",
        "-e",
        "A=of the app",
        "-v",
        "/data",
        "-w",
        "/srv",
    ]);
    let pod = pod.with([
        "--health-cmd",
        "true",
        "--health-interval",
        "300ms",
        "--health-timeout",
        "1s",
    ]);
    let pod = pod.with(["--health-retries", "1", "--health-on-failure", "kill"]);
    let pod = pod.sh("trap 'echo bye; exit 7' TERM; n=0; while :; do n=$((n + 1)); echo $n; sleep 0.1; done");
    let pod = pod
        .app(&image)
        .with(["--app-name", "b", "-u", "7"])
        .sh("exec sleep 1000");
    let _ = pod.start().wait().expect(0);
    let mut scenarios = Scenarios::default();

    scenarios.run("the processes are docker's list", || {
        let begun = || {
            isopod(&bench, "top held")
                .expect(0)
                .text()
                .ends_with("  sleep 1000\n")
        };
        eventually("all programs have begun", begun);
        let out = isopod(&bench, "top held").expect(0);
        let lines: Vec<Vec<&str>> = out
            .text()
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            lines[0],
            ["APP", "UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
        );
        let of = |app: &str, command: &str| {
            let mut lines = lines.iter().filter(|line| line[0] == app);
            lines.any(|line| line[8..].join(" ").starts_with(command))
        };
        assert!(
            of("a", "/bin/sh -c trap") && of("b", "sleep 1000"),
            "{}",
            out.text()
        );
        // Its own alone, by the numbers that the app sees.
        let pids = isopod(&bench, "top --app b held -o pid,uid,args").expect(0);
        assert_eq!(pids.text(), "PID  UID  CMD\n2    7    sleep 1000\n");
        assert!(sh(&bench, "b", "ps").expect(0).text().contains("2 7"));
    });
    scenarios.run("a pod that is held does nothing", || {
        assert_eq!(isopod(&bench, "pause held").expect(0).text(), "held\n");
        let before = counted(&bench);
        assert_eq!(state(&bench, 0), "paused");
        let listed = isopod(
            &bench,
            "ps --filter status=paused --format {{.Names}}:{{.State}}:{{.Status}}",
        );
        let listed = listed.expect(0).text().to_owned();
        assert!(
            listed.starts_with("held:paused:Up ") && listed.ends_with(" (Paused)\n"),
            "{listed}"
        );
        let again = isopod(&bench, "pause held");
        again.assert_refused(125, "error: pod `held`: it is already paused");
        let exec = sh(&bench, "a", "true");
        assert!(exec.stderr.contains("is paused"), "{exec:?}");
        // Longer than its probe would let it live.
        std::thread::sleep(Duration::from_secs(4));
        assert_eq!(counted(&bench), before);
        assert_eq!(
            isopod(&bench, "inspect -f {{.State.Paused}} held")
                .expect(0)
                .text(),
            "true\n"
        );
        let _ = isopod(&bench, "container unpause held").expect(0);
        eventually("it continues", || counted(&bench) != before);
        let again = isopod(&bench, "unpause held");
        again.assert_refused(125, "error: pod `held`: it is not paused");
        eventually("it is healthy", || {
            let status = isopod(&bench, "status --format json held").expect(0);
            let status: Value = serde_json::from_str(status.text()).unwrap();
            assert_eq!(
                (&status["apps"][0]["restarts"], &status["apps"][0]["exitStatus"]),
                (&0.into(), &Value::Null)
            );
            status["apps"][0]["health"] == "healthy"
        });
    });
    scenarios.run("one app of several", || {
        let _ = isopod(&bench, "pause --app b held").expect(0);
        assert_eq!(
            (state(&bench, 0), state(&bench, 1)),
            ("running".into(), "paused".into())
        );
        assert_eq!(sh(&bench, "a", "echo x").expect(0).text(), "x\n");
        // A signal lets it continue, as with docker.
        let _ = isopod(&bench, "kill -s WINCH held --app b").expect(0);
        eventually("it continues", || sh(&bench, "b", "true").status == 0);
        assert_eq!(state(&bench, 1), "running");
        let events = isopod(
            &bench,
            "events --stream=false --filter pod=held --filter event=app-paused",
        );
        assert_eq!(events.expect(0).text().lines().count(), 3);
    });
    scenarios.run("other limits, and another restart policy", || {
        let flags = "update --app b -m 64m --pids-limit 20 --cpus 0.5 --restart always held";
        assert_eq!(isopod(&bench, flags).expect(0).text(), "held\n");
        // With the two processes of the agent.
        assert_eq!(
            sh(&bench, "b", LIMITS).expect(0).text(),
            "67108864\n22\n50000 100000\n"
        );
        let template =
            "{{(index .Apps 1).HostConfig.Memory}} {{(index .Apps 1).HostConfig.RestartPolicy.Name}}";
        let inspected = bench
            .isopod_command(["inspect", "-f", template, "held"])
            .expect(0);
        assert_eq!(inspected.text(), "67108864 always\n");
        let _ = isopod(&bench, "kill held --app b").expect(0);
        eventually("it is restarted", || {
            let status = isopod(&bench, "status --format json held").expect(0);
            let status: Value = serde_json::from_str(status.text()).unwrap();
            status["apps"][1]["restarts"] == 1 && status["apps"][1]["state"] == "running"
        });
        assert_eq!(
            sh(&bench, "b", LIMITS).expect(0).text(),
            "67108864\n22\n50000 100000\n"
        );
        let little = isopod(&bench, "update --app b -m 1m held");
        little.assert_refused(
            125,
            "error: a memory limit is at least 6 MiB: no program starts with less",
        );
        let stats = isopod(&bench, "stats --format json held").expect(0);
        let stats: Value = serde_json::from_str(stats.text()).unwrap();
        assert!(stats["hostResidentBytes"].as_u64().unwrap() > 50 << 20, "{stats}");
    });
    scenarios.run("what it changed", || {
        let script = "rm /etc/gone; rm -r /srv/web; mkdir /srv/web; echo new > /srv/web/new; ln /srv/web/new /srv/web/link; \
                      chown 7:8 /srv/web/new; mkdir -p /opt/deep; echo v > /data/v; ln -s /isopod /opt/out";
        let _ = sh(&bench, "a", script).expect(0);
        let expected = "C /etc\nD /etc/gone\nA /opt\nA /opt/deep\nA /opt/out\nC /srv\nC /srv/web\nD /srv/web/kept\n\
                        A /srv/web/link\nA /srv/web/new\nD /srv/web/old\n";
        assert_eq!(isopod(&bench, "diff held a").expect(0).text(), expected);
        assert_eq!(isopod(&bench, "diff held b").expect(0).text(), "");
    });
    scenarios.run("the whole root", || {
        let out = isopod(&bench, "export held a").expect(0);
        let mut archive = tar::Archive::new(&out.stdout[..]);
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let path = entry.path().unwrap().into_owned();
            found.push((path, entry.header().uid().unwrap()));
        }
        let uid = |name: &str| {
            found
                .iter()
                .find(|(path, _)| path.as_os_str() == name)
                .map(|(_, uid)| *uid)
        };
        assert_eq!(
            (uid("srv/web/new"), uid("bin/busybox"), uid("data")),
            (Some(7), Some(0), Some(0))
        );
        assert_eq!(
            (uid("data/v"), uid("etc/gone"), uid("proc/1")),
            (None, None, None)
        );
    });
    scenarios.run("an image of what it wrote", || {
        let change = ["-c", "CMD [\"cat\", \"/srv/web/link\"]", "-m", "by hand"];
        let words = ["commit", "--app", "a"].iter().chain(&change).chain(&["held", "localhost/kept:2"]);
        let id = bench.isopod_command(words).expect(0).text().trim().to_owned();
        assert!(id.starts_with("sha256:"), "{id}");
        assert_eq!(state(&bench, 0), "running");
        let script = "ls -l /srv/web /etc/gone 2>&1 | grep -c rw; stat -c '%u %g %h' /srv/web/new; readlink /opt/out; echo $A; pwd; \
                      [ -e /data/v ] || echo none";
        let run = ["run", "--pull", "never", "localhost/kept:2", "sh", "-c", script];
        assert_eq!(bench.isopod_command(run).expect(0).text(), "2\n7 8 2\n/isopod\nof the app\n/srv\nnone\n");
        // With its layers, for others.
        let file = bench.dir().join("kept.tar");
        let saved = isopod(&bench, &format!("save -o {} localhost/kept:2", file.display())).expect(0);
        assert_eq!(saved.stderr, "");
        let history = isopod(&bench, "history localhost/kept:2").expect(0);
        assert!(history.text().contains("by hand"), "{}", history.text());
    });
    scenarios.run("a pod that is held stops", || {
        let _ = isopod(&bench, "pause held").expect(0);
        let _ = isopod(&bench, "stop held").expect(0);
        let status = isopod(&bench, "status --format json held").expect(0);
        let status: Value = serde_json::from_str(status.text()).unwrap();
        // It had its signal, and time for it.
        assert_eq!(
            (&status["apps"][0]["exitStatus"], &status["apps"][0]["state"]),
            (&7.into(), &"exited".into())
        );
    });
    scenarios.run("what was updated holds in the next life", || {
        let _ = isopod(&bench, "start held").expect(0);
        eventually("it has its limits", || {
            sh(&bench, "b", LIMITS).text() == "67108864\n22\n50000 100000\n"
        });
        let _ = isopod(&bench, "rm -f held").expect(0);
    });
    bench.assert_nothing_left();
}
