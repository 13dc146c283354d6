//! `isopod attach`, and the events that happen on the way.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use isopod_tests::faults::eventually;
use isopod_tests::{Bench, Output, Scenarios};
use rustix::process::Signal;
use serde_json::Value;

fn isopod(bench: &Bench, line: &str) -> Output {
    bench.isopod_command(line.split_whitespace())
}

fn events(bench: &Bench, line: &str) -> Vec<Value> {
    let out = isopod(bench, &format!("events --stream=false --format json {line}")).expect(0);
    let lines = out.text().lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["type"].as_str()).collect()
}

/// One boot for all of it.
#[test]
fn who_attaches_sees_writes_and_signals() {
    let bench = Bench::new();
    let image = bench.busybox();
    let mut follower = bench.isopod_start(["events", "--since", "1m", "--filter", "pod=p"]);
    let pod = bench
        .pod()
        .flags(["-di", "--name", "p"])
        .app(&image)
        .with(["--app-name", "a"]);
    let script = "trap 'echo got; exit 7' USR1; echo before; echo err >&2; exec 3<&0; cat <&3 & while :; do sleep 0.1; done";
    let _ = pod.sh(script).start().wait().expect(0);
    eventually("it has written", || {
        let written = isopod(&bench, "logs p");
        written.text() == "before\n" && written.stderr == "err\n"
    });
    let mut scenarios = Scenarios::default();
    scenarios.run("logs of a time", || {
        assert_eq!(isopod(&bench, "logs --until 1h p").expect(0).text(), "");
        assert_eq!(
            isopod(&bench, "logs --since 1h --until 0 p").expect(0).text(),
            "before\n"
        );
    });
    let start = |words: &str, input: &str| {
        bench.isopod_start_with_input(words.split_whitespace(), input.as_bytes().to_vec())
    };
    scenarios.run(
        "several see, write and signal, and none holds up the others",
        || {
            let mut first = start("attach p", "one\n");
            first.wait_for("one\n");
            let stopped = start("attach p a", "");
            let mut second = start("attach p a", "two\n");
            second.wait_for("two\n");
            first.wait_for("two\n");
            // One that reads nothing holds up none of the others.
            stopped.signal(Signal::STOP);
            let large = "x".repeat(3 << 20) + "\nlast\n";
            let third = start("attach p", &large);
            first.wait_for("last\n");
            stopped.signal(Signal::CONT);
            // Without the signals, it is this command that is interrupted.
            let loose = start("attach --sig-proxy=false --no-stdin p", "three\n");
            let _ = isopod(&bench, "exec p -- sh -c true").expect(0);
            loose.signal(Signal::INT);
            assert_eq!(loose.wait().status, 1002, "by the signal");
            assert!(!isopod(&bench, "logs p").text().contains("three"));

            second.signal(Signal::USR1);
            let (second, first, stopped, third) = (second.wait(), first.wait(), stopped.wait(), third.wait());
            for (out, begins) in [
                (&second, "two\n"),
                (&first, "one\n"),
                (&stopped, ""),
                (&third, ""),
            ] {
                assert_eq!((out.status, &*out.stderr), (7, ""), "{begins}");
                let text = out.text();
                assert!(text.starts_with(begins) && text.ends_with("got\n") && !text.contains("before"));
            }
            assert_eq!(first.text(), format!("one\ntwo\n{large}got\n"));
        },
    );
    scenarios.run("one that comes too late", || {
        let late = isopod(&bench, "attach p");
        assert!(
            late.stderr.starts_with("error: pod `p`: it is no longer running"),
            "{late:?}"
        );
    });

    let _ = isopod(&bench, "rm p").expect(0);
    follower.wait_for(" removed\n");
    follower.signal(Signal::KILL);
    let shown = follower.wait();
    let all = events(&bench, "");
    scenarios.run("events of a life", || {
        assert_eq!(
            types(&all),
            [
                "prepared",
                "started",
                "app-started",
                "app-ready",
                "ready",
                "app-exited",
                "stopping",
                "exited",
                "removed"
            ]
        );
        assert_eq!(shown.text().lines().count(), all.len(), "{shown:?}");
        assert!(
            shown.text().contains(" p a app-exited, exit status 7\n"),
            "{shown:?}"
        );
        assert_eq!(
            (&all[5]["app"], &all[5]["exitStatus"], &all[5]["version"]),
            (&"a".into(), &7.into(), &1.into())
        );
    });
    scenarios.run("events that are filtered", || {
        assert_eq!(
            types(&events(&bench, "--filter event=exited --filter app=a")),
            [""; 0]
        );
        assert_eq!(
            types(&events(&bench, "--filter event=exited --filter event=destroy")),
            ["exited", "removed"]
        );
        assert_eq!(
            events(&bench, "--until 1h").len() + events(&bench, "--since 1h").len(),
            all.len()
        );
    });
    drop(scenarios);
    bench.assert_nothing_left();
}

/// The command that started a pod leaves it without ending it, where its signals are its own. A pod that is gone when it ends
/// has an exit status all the same; one that keeps no input is given none.
#[test]
fn a_pod_that_is_removed_has_a_status() {
    let bench = Bench::new();
    let pod = bench
        .pod()
        .flags(["--sig-proxy=false", "--rm", "--name", "p"])
        .app(&bench.busybox());
    let script = "cat; echo err >&2; trap 'echo bye; exit 4' TERM; while :; do echo tick; sleep 0.2; done";
    let mut started = pod.sh(script).start();
    started.wait_for("tick\n");
    started.signal(Signal::INT);
    let left = started.wait();
    assert_eq!(left.status, 130, "{left:?}");
    assert!(
        left.stderr.contains("err\n")
            && left
                .stderr
                .ends_with("error: given up waiting for the pod, which continues\n"),
        "{left:?}"
    );
    let mut attached = bench.isopod_start_with_input(["attach", "p"], b"ignored\n".to_vec());
    attached.wait_for("tick\n");
    attached.signal(Signal::TERM);
    let out = attached.wait();
    assert_eq!(out.status, 4, "{out:?}");
    assert_eq!(out.text().replace("tick\n", ""), "bye\n");
    eventually("it is reported", || {
        types(&events(&bench, "")).last() == Some(&"removed")
    });
    eventually("its supervisor has ended", || bench.processes().is_empty());
    bench.assert_nothing_left();
}

/// `-i` is for one app.
#[test]
fn input_is_for_one_app() {
    let bench = Bench::new();
    let image = bench.busybox();
    let pod = bench
        .pod()
        .flags(["-di"])
        .app(&image)
        .sh("cat")
        .app(&image)
        .with(["--app-name", "b"]);
    pod.sh("cat").start().wait().assert_refused(
        125,
        "error: `--interactive` is for a pod of one app: several would read the same input\n\
         hint: leave it out, or run that app in a pod of its own",
    );
    bench.assert_nothing_left();
}
