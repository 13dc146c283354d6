//! `isopod exec` and `stats` in a running pod.

use std::ffi::OsString;
use std::time::Duration;

use isopod_tests::faults::{QEMU, Stopped, eventually};
use isopod_tests::{Bench, Output, Scenarios};
use rustix::process::Signal;
use serde_json::Value;

fn exec(bench: &Bench, flags: &[&str], script: &str) -> Output {
    let command = ["--app", "a", "p", "--", "sh", "-c", script];
    let words = ["exec"].iter().chain(flags).chain(&command);
    bench.isopod_command(words.map(OsString::from))
}

/// One boot for all of it.
#[test]
fn commands_run_in_a_running_app() {
    let bench = Bench::new();
    let image = bench.busybox();
    let pod = bench.pod().flags(["-d", "--name", "p"]).app(&image);
    let pod = pod
        .with(["--app-name", "a", "-e", "A=of the app"])
        .sh("exec sleep 1000");
    let pod = pod.app(&image).with(["--app-name", "b"]).sh("exec sleep 1000");
    let _ = pod.start().wait().expect(0);

    let mut scenarios = Scenarios::default();
    scenarios.run("streams, variables, user and exit status", || {
        let out = exec(&bench, &["-e", "B=given"], "echo $A, $B; echo err >&2; exit 7").expect(7);
        assert_eq!((out.text(), &*out.stderr), ("of the app, given\n", "err\n"));
        assert_eq!(
            exec(&bench, &["-u", "7:8", "-w", "/tmp"], "id -u; id -g; pwd")
                .expect(0)
                .text(),
            "7\n8\n/tmp\n"
        );
        assert_eq!(exec(&bench, &[], "kill -9 $$").status, 137);
    });
    scenarios.run("what cannot be executed", || {
        let missing = bench.isopod_command(["exec", "--app", "a", "p", "--", "/no/such"]);
        let no_such = "error: cannot execute `/no/such`: No such file or directory (os error 2)\n";
        assert_eq!((missing.status, &*missing.stderr), (127, no_such));
        let stranger = exec(&bench, &["-u", "nosuch"], "id");
        let no_user = "error: the app's /etc/passwd has no user `nosuch`\n";
        assert_eq!((stranger.status, &*stranger.stderr), (126, no_user));
    });
    scenarios.run("the caller's own variables", || {
        // The caller's own variables, and none where there is none.
        let own = bench.pod().env("OWN", "the caller's");
        let words = [
            "exec",
            "-e",
            "OWN",
            "-e",
            "NONE",
            "--app",
            "a",
            "p",
            "--",
            "sh",
            "-c",
            "echo $OWN; env | grep -c NONE",
        ];
        let out = own.other(words.map(OsString::from).into()).expect(1);
        assert_eq!(out.text(), "the caller's\n0\n");
    });
    scenarios.run("a reader that is gone", || {
        // Who reads no more is no fault.
        let unread = r#"{ "$@"; echo "status $?" >&2; } | head -n 1"#;
        let unread = bench
            .pod()
            .within(["sh", "-c", unread, "sh"].map(str::to_owned).into());
        for words in [
            &["exec", "--app", "a", "p", "--", "yes"][..],
            &["cp", "p:a:/bin/busybox", "-"],
        ] {
            let out = unread.other(words.iter().map(OsString::from).collect());
            assert_eq!(out.expect(0).stderr, "status 141\n", "{words:?}");
        }
    });
    scenarios.run("which pod and app is meant", || {
        let several = bench.isopod_command(["exec", "p", "--", "true"]);
        assert!(
            several
                .stderr
                .starts_with("error: pod `p` has several apps\nhint: name one"),
            "{several:?}"
        );
        let nobody = bench.isopod_command(["exec", "nobody", "--", "true"]);
        assert!(nobody.stderr.starts_with("error: there is no pod"), "{nobody:?}");
    });
    scenarios.run("more input than a window holds", || {
        // More input than any window holds, and its end.
        let input: Vec<u8> = (0..1_000_000_u32).flat_map(|i| [b'a' + (i % 26) as u8]).collect();
        let words = ["exec", "-i", "--app", "a", "p", "--", "cat"].map(OsString::from);
        let out = bench.isopod_with_input(words, input.clone()).expect(0);
        assert!(
            out.text().as_bytes() == input,
            "{} bytes came back",
            out.text().len()
        );
    });
    scenarios.run("a caller that is killed", || {
        // Whoever is gone takes the command along.
        let mut running = bench.isopod_start([
            "exec",
            "--app",
            "a",
            "p",
            "--",
            "sh",
            "-c",
            "echo begun; exec sleep 4321",
        ]);
        running.wait_for("begun\n");
        running.signal(Signal::KILL);
        let _ = running.wait();
        eventually("the command is gone", || {
            !exec(&bench, &[], "ps").expect(0).text().contains("4321")
        });
    });
    scenarios.run("a signal", || {
        // A signal is the command's.
        let mut running = bench.isopod_start([
            "exec",
            "--app",
            "a",
            "p",
            "--",
            "sh",
            "-c",
            "trap 'exit 9' TERM; echo begun; while :; do sleep 0.1; done",
        ]);
        running.wait_for("begun\n");
        running.signal(Signal::TERM);
        assert_eq!(running.wait().status, 9);
    });
    scenarios.run("twenty commands at once", || {
        let many: Vec<_> = (0..20)
            .map(|i| {
                bench.isopod_start([
                    "exec".to_owned(),
                    "--app".into(),
                    "a".into(),
                    "p".into(),
                    "--".into(),
                    "echo".into(),
                    i.to_string(),
                ])
            })
            .collect();
        for (i, running) in many.into_iter().enumerate() {
            assert_eq!(running.wait().expect(0).text(), format!("{i}\n"));
        }
    });
    scenarios.run("stats", || {
        let out = bench.isopod_command(["stats", "--format", "json", "p"]).expect(0);
        let stats: Value = serde_json::from_str(out.text()).unwrap();
        assert_eq!(
            (&stats["apps"][0]["name"], &stats["apps"][1]["name"]),
            (&"a".into(), &"b".into())
        );
        assert_eq!(stats["apps"][1]["processes"], 1);
        assert!(
            stats["apps"][0]["memoryBytes"]
                .as_u64()
                .is_some_and(|bytes| bytes > 0),
            "{stats}"
        );
        assert!(
            stats["memoryTotalBytes"]
                .as_u64()
                .is_some_and(|bytes| bytes > 100 << 20),
            "{stats}"
        );
    });
    scenarios.run("a guest that is silent", || {
        // A guest that has fallen silent: one SIGTERM ends the command whatever it does.
        let qemu = bench.process(QEMU);
        let mut silent = bench.isopod_start([
            "exec",
            "--app",
            "a",
            "p",
            "--",
            "sh",
            "-c",
            "echo begun; sleep 1000",
        ]);
        silent.wait_for("begun\n");
        let stopped = Stopped::new(qemu);
        silent.signal(Signal::TERM);
        let out = silent.wait().expect(128 + 15);
        let words = "error: given up waiting for the command, which is killed with this one\n";
        assert_eq!(out.stderr, words);
        drop(stopped);
    });
    scenarios.run("a pod that is stopped", || {
        let begun = std::time::Instant::now();
        let _ = bench.isopod_command(["stop", "-t", "1", "p"]).expect(0);
        assert!(begun.elapsed() < Duration::from_secs(20));
        let stopped = exec(&bench, &[], "true");
        assert!(
            stopped
                .stderr
                .starts_with("error: pod `p`: it is no longer running"),
            "{stopped:?}"
        );
    });
    let _ = bench.isopod_command(["rm", "p"]).expect(0);
    bench.assert_nothing_left();
}

/// docker's and Kubernetes' rule, and not systemd's.
#[test]
fn a_variable_may_have_any_name_for_the_app_its_health_check_and_commands_in_it() {
    let bench = Bench::new();
    let image = bench.busybox();
    let programs = bench.source("programs", &[("noexec", "#!/bin/sh\n")]);
    let variables = "tr '\\0' '\\n' </proc/$$/environ | grep -v ^PATH=; id -u";
    let pod = bench.pod().flags(["-d", "--name", "p"]);
    let pod = pod.host("programs", &programs, "").app(&image);
    let pod = pod.with([
        "--app-name",
        "a",
        "--user",
        "www",
        "-e",
        "discovery.type=single-node",
    ]);
    let pod = pod.with(["-e", "a-b=$x \"y\"\nz", "-e", "1 2=", "-e", "ISOPOD_ENV_0=x=y"]);
    let pod = pod.with([
        "--security-opt",
        "no-new-privileges",
        "--security-opt",
        "seccomp=builtin",
    ]);
    let check = "tr '\\0' '\\n' </proc/$$/environ | grep -q ^discovery.type=single-node";
    let pod = pod.with(["--health-cmd", check, "--health-interval", "300ms"]);
    let mut pod = pod.sh(&format!("{variables}; exec sleep 1000"));
    for (name, program) in [("missing", "/programs/nowhere"), ("refused", "/programs/noexec")] {
        let app = pod.app(&image).with(["--app-name", name, "-e", "a.b=c"]);
        let app = app.with(["--depends-on", "a=healthy"]);
        pod = app.mount("programs", "/programs", "").args([program]);
    }
    let _ = pod.start().wait().expect(0);

    let log = |app: &str| bench.isopod_command(["logs", "--app", app, "p"]).expect(0);
    let statuses = || {
        let shown = bench
            .isopod_command(["status", "--format", "json", "p"])
            .expect(0);
        let pod: Value = serde_json::from_slice(&shown.stdout).unwrap();
        [1, 2].map(|app| pod["apps"][app]["exitStatus"].clone())
    };
    eventually("the apps that cannot be executed have ended", || {
        statuses() == [127, 126]
    });
    let expected = "1 2=\nAC_APP_NAME=a\nHOME=/srv/www\nHOSTNAME=p\nISOPOD_ENV_0=x=y\na-b=$x \"y\"\nz\n\
                    discovery.type=single-node\n33\n";
    assert_eq!(log("a").text(), expected);
    assert_eq!(exec(&bench, &[], variables).expect(0).text(), expected);
    let _ = bench.isopod_command(["rm", "--force", "p"]).expect(0);
    bench.assert_nothing_left();
}
