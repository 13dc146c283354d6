//! Apps that come to a pod which runs, and go: as good as those that it starts with, and nothing is left of them.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use isopod_tests::faults::{QEMU, eventually, pods};
use isopod_tests::{Bench, Output, Scenarios};

/// How many apps come and go. `ISOPOD_APPS` says another number.
const APPS: usize = 12;

fn isopod(bench: &Bench, words: &[&str]) -> Output {
    bench.isopod_command(words.iter().map(std::ffi::OsString::from))
}

fn ok(bench: &Bench, words: &[&str]) -> String {
    isopod(bench, words).expect(0).text().to_owned()
}

/// What the guest has at the moment that an app could leave there.
fn left_in_guest(bench: &Bench) -> BTreeMap<&'static str, String> {
    let ask = |script: &str| ok(bench, &["exec", "--app", "eye", "work", "sh", "-c", script]);
    BTreeMap::from([
        ("mounts", ask("wc -l < /proc/1/mountinfo")),
        (
            "units",
            ask("ls /proc/1/root/usr/lib/systemd/system | sort | tr '\n' ' '"),
        ),
        (
            "apps",
            ask(
                "ls /proc/1/root/isopod/apps /proc/1/root/opt/stage2 /proc/1/root/isopod/images | tr '\n' ' '",
            ),
        ),
        (
            "written",
            ask("ls /proc/1/root/isopod/writable/apps /proc/1/root/isopod/writable/volumes | tr '\n' ' '"),
        ),
        (
            "loops",
            ask("cat /sys/block/loop*/loop/backing_file 2>/dev/null | wc -l"),
        ),
        (
            "cgroups",
            ask("find /proc/1/root/sys/fs/cgroup -name '*.service' | wc -l"),
        ),
        (
            "descriptors",
            ask(
                "for p in /proc/[0-9]*; do case $(cat $p/cmdline | tr '\\0' ' ') in *serve*) ls $p/fd | wc -l;; esac; done",
            ),
        ),
    ])
}

fn parent(pid: &str) -> String {
    let status = fs::read_to_string(Path::new("/proc").join(pid).join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    line.unwrap().trim().to_owned()
}

/// Memory that is in use, in KiB: the supervisor's own, and the guest's without what its kernel can give up.
fn memory(bench: &Bench, supervisor: &str) -> [u64; 2] {
    let field = |text: &str, name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let own = fs::read_to_string(Path::new("/proc").join(supervisor).join("status")).unwrap();
    let guest = ok(bench, &["exec", "--app", "eye", "work", "cat", "/proc/meminfo"]);
    let used = [
        "AnonPages:",
        "Shmem:",
        "SUnreclaim:",
        "KernelStack:",
        "PageTables:",
        "Percpu:",
    ];
    [
        field(&own, "RssAnon:"),
        used.iter().map(|name| field(&guest, name)).sum(),
    ]
}

/// What a process holds open at rest: connections that end are closed a moment after their client has its answer.
fn descriptors(pid: &str) -> usize {
    let dir = Path::new("/proc").join(pid).join("fd");
    let looks = (0..20).map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        fs::read_dir(&dir).unwrap().count()
    });
    looks.min().unwrap()
}

#[test]
fn apps_come_to_a_pod_that_waits_and_go_without_a_trace() {
    let bench = Bench::new();
    let image = bench.busybox();
    let source = bench.source("data", &[("file", "of the host")]);
    ok(&bench, &["run", "-d", "--hold", "--pid", "vm", "--name", "work"]);
    assert_eq!(ok(&bench, &["app", "list", "-q", "work"]), "");

    let volume = format!("{}:/data", source.display());
    let mut scenarios = Scenarios::default();
    scenarios.run("one comes with a volume, runs, is looked at and executed in", || {
    let script =
        "cat /data/file; echo more > /data/more; echo root > /root-file; cat /root-file; exec sleep 1000";
    let one = [
        "app",
        "add",
        "work",
        "--app-name",
        "one",
        "-v",
        &volume,
        "-e",
        "A=b",
        &image,
        "sh",
        "-c",
        script,
    ];
    assert_eq!(ok(&bench, &one), "one\n");
    eventually("it has written", || {
        ok(&bench, &["logs", "work"]).ends_with("root\n")
    });
    assert_eq!(ok(&bench, &["logs", "work"]), "of the hostroot\n");
    assert_eq!(fs::read_to_string(source.join("more")).unwrap(), "more\n");
    assert_eq!(ok(&bench, &["exec", "work", "sh", "-c", "echo $A"]), "b\n");
    let listed = ok(&bench, &["app", "list", "work"]);
    assert!(listed.contains("one") && listed.contains("running"), "{listed}");
    });
    scenarios.run(
        "one waits to be started, and the pod continues when it fails",
        || {
            // One waits to be started, and one depends on nothing but fails: the pod continues.
            ok(
                &bench,
                &[
                    "app",
                    "add",
                    "--no-start",
                    "work",
                    "--app-name",
                    "later",
                    &image,
                    "sh",
                    "-c",
                    "echo started; exit 7",
                ],
            );
            assert!(ok(&bench, &["status", "work"]).contains("later  waiting"));
            ok(&bench, &["app", "start", "work", "later"]);
            eventually("it has ended", || {
                ok(&bench, &["app", "list", "work"]).contains("exited (7)")
            });
        },
    );
    scenarios.run("what cannot be is refused before anything is done", || {
        // What cannot be done is reported, before anything is done.
        for (words, why) in [
            (
                &["app", "add", "work", "--app-name", "one", &image][..],
                "used once",
            ),
            (
                &["app", "add", "work", "--name", "x", &image],
                "`--name` is a flag of the whole pod",
            ),
            (
                &["app", "add", "work", "-p", "80", &image],
                "is a flag of the whole pod",
            ),
            (&["app", "add", "work", "/nowhere/at/all"], "/nowhere/at/all"),
            (&["app", "rm", "work", "one"], "it has not ended"),
            (&["app", "rm", "work", "nobody"], "no app `nobody`"),
        ] {
            let out = isopod(&bench, words);
            assert!(
                out.status != 0 && out.stderr.contains(why),
                "{words:?}: {}",
                out.stderr
            );
        }
    });
    scenarios.run("nothing is left of many", || {
        // Many come and go: nothing is left of them, in the guest, in the supervisor, or below the share.
        // QEMU's launcher is its child.
        let supervisor = parent(&parent(&bench.process(QEMU).to_string()));
        ok(
            &bench,
            &["app", "add", "work", "--app-name", "eye", &image, "sleep", "1000"],
        );
        ok(&bench, &["app", "stop", "-t", "0", "work", "one"]);
        ok(&bench, &["app", "rm", "work", "one"]);
        ok(&bench, &["app", "rm", "work", "later"]);
        let round = |name: &str| {
            ok(
                &bench,
                &[
                    "app",
                    "add",
                    "work",
                    "--app-name",
                    name,
                    "-v",
                    &volume,
                    &image,
                    "cat",
                    "/data/file",
                ],
            );
            eventually("it has ended", || {
                ok(&bench, &["app", "list", "work"]).contains("exited (0)")
            });
            ok(&bench, &["app", "rm", "work", name]);
        };
        round("first");
        let (before, held) = (left_in_guest(&bench), descriptors(&supervisor));
        let [own, guest] = memory(&bench, &supervisor);
        let apps = std::env::var("ISOPOD_APPS")
            .ok()
            .and_then(|text| text.parse().ok());
        for number in 0..apps.unwrap_or(APPS) {
            round(&format!("app-{number}"));
        }
        assert_eq!(left_in_guest(&bench), before);
        assert_eq!(descriptors(&supervisor), held);
        let [own_after, guest_after] = memory(&bench, &supervisor);
        assert!(
            own_after < own + 2048,
            "the supervisor keeps memory: {own} KiB, then {own_after}"
        );
        assert!(
            guest_after < guest + 16 * 1024,
            "the guest keeps memory: {guest} KiB, then {guest_after}"
        );
        let on_host = |dir: &str| {
            let pod = pods(&bench).into_iter().find(|pod| pod.join("logs").is_dir());
            let pod = pod.unwrap();
            let entries = fs::read_dir(pod.join(dir)).unwrap();
            entries
                .map(|entry| entry.unwrap().file_name())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (on_host("logs"), on_host("images").len()),
            (vec!["eye.log".into()], 1)
        );
        assert_eq!(ok(&bench, &["app", "list", "-q", "work"]), "eye\n");
    });
    scenarios.run("the pod continues without apps until it is stopped", || {
        // A stop ends the pod, which has held on until then.
        ok(&bench, &["app", "stop", "-t", "0", "work", "eye"]);
        assert!(ok(&bench, &["status", "work"]).contains("state   running"));
        ok(&bench, &["stop", "work"]);
        ok(&bench, &["rm", "work"]);
    });
    drop(scenarios);
    bench.assert_nothing_left();
}

/// A pod that was started with apps takes more, where it has a share; without one it says what to do.
#[test]
fn apps_come_to_a_pod_that_has_some() {
    let bench = Bench::new();
    let image = bench.busybox();
    let source = bench.source("data", &[("file", "")]);
    let volume = format!("{}:/data", source.display());
    ok(
        &bench,
        &[
            "run",
            "-d",
            "--name",
            "p",
            "-v",
            &volume,
            "--app-name",
            "a",
            &image,
            "sleep",
            "1000",
        ],
    );
    ok(
        &bench,
        &[
            "app",
            "add",
            "p",
            "--app-name",
            "b",
            &image,
            "sh",
            "-c",
            "sleep 1000",
        ],
    );
    eventually("both run", || {
        let listed = ok(&bench, &["app", "list", "p"]);
        listed.matches("running").count() == 2
    });
    let out = isopod(&bench, &["app", "rm", "-f", "p", "a"]);
    assert!(
        out.stderr.contains("only an app that came later can be removed"),
        "{}",
        out.stderr
    );
    // Killed: what came later ends with it, and nothing is left.
    ok(&bench, &["rm", "-f", "p"]);
    ok(
        &bench,
        &[
            "run",
            "-d",
            "--name",
            "none",
            "--app-name",
            "a",
            &image,
            "sleep",
            "1000",
        ],
    );
    let out = isopod(&bench, &["app", "add", "none", &image, "true"]);
    assert!(out.stderr.contains("`--hold`"), "{}", out.stderr);
    ok(&bench, &["rm", "-f", "none"]);
    bench.assert_nothing_left();
}
