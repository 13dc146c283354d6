//! What apps may take of their VM, and what they may do, in a VM.

use isopod_tests::Bench;

/// The cgroup's own files, as the guest's root sees them through an app's `/sys`.
const CGROUP: &str =
    "cd /sys/fs/cgroup/*.slice/$AC_APP_NAME.service && cat memory.max memory.low cpu.max cpu.weight pids.max";

#[test]
fn limits_hold_for_one_app_and_end_it_alone() {
    let bench = Bench::new();
    let pod = bench.pod().flags([
        "--log-level",
        "info",
        "--sysctl",
        "kernel.pid_max=31337",
        "--pid",
        "vm",
    ]);
    let out = pod
        .app(&bench.busybox())
        .with(["--app-name", "hungry", "--memory", "24m"])
        .sh("echo begun; exec tail /dev/zero")
        .app(&bench.busybox())
        .with(["--app-name", "bounded", "--memory", "64m", "--memory-reservation", "32m"])
        .with(["--cpus", "0.5", "--cpu-shares", "256", "--pids-limit", "9", "--oom-score-adj", "77"])
        .with(["--ulimit", "nofile=50:60", "--group-add", "audio", "--group-add", "7"])
        .sh(&format!(
            "{CGROUP}; ulimit -Sn; ulimit -Hn; id -G; cat /proc/self/oom_score_adj; cat /proc/sys/kernel/pid_max; \
             cat ../memory.low; sleep 3; echo alive"
        ))
        .app(&bench.busybox())
        .with(["--app-name", "plain"])
        .sh(&format!("{CGROUP} | tr '\\n' ' ' >&2"))
        .run();
    assert!(out.text().contains("begun\n"), "{}", out.text());
    assert!(out.stderr.contains("max 0 max 100000 100 "), "{}", out.stderr);
    let said: Vec<&str> = out.text().lines().filter(|line| *line != "begun").collect();
    assert_eq!(
        said,
        [
            "67108864",
            "33554432",
            "50000 100000",
            "25",
            "9",
            "50",
            "60",
            "0 7 29",
            "77",
            "31337",
            "33554432",
            "alive"
        ],
        "{}",
        out.stderr
    );
    let reported = "app `hungry` was killed: it needed more memory than its limit; `--memory` gives it more";
    assert_eq!(out.stderr.matches("memory").count(), 2, "{}", out.stderr);
    assert!(out.stderr.contains(reported), "{}", out.stderr);
    assert_eq!(out.status, 128 + 9, "{}", out.stderr);
}

#[test]
fn privileges_and_system_calls_are_kept_from_apps() {
    let bench = Bench::new();
    let profile = bench.dir().join("profile.json");
    let rules = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
        {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38,
         "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}]}]}"#;
    std::fs::write(&profile, rules).unwrap();
    let docker = include_str!("../../crates/spec/data/seccomp/docker-default.json");
    std::fs::write(bench.dir().join("docker.json"), docker).unwrap();
    let pod = bench.pod().flags(["--log-level", "info"]);
    let out = pod
        .app(&bench.busybox())
        .with(["--app-name", "nnp", "--security-opt", "no-new-privileges"])
        .sh("grep NoNewPrivs /proc/self/status | sed 's/^/nnp /'")
        .app(&bench.busybox())
        .with(["--app-name", "errno", "--security-opt", "seccomp=profile.json"])
        .sh("mkdir /tmp/x 2>&1 | sed 's/^/errno /'; touch /tmp/y && echo errno touched; \
             kill -0 $$ && echo errno kill 0; kill -USR1 $$ 2>&1 | sed 's/.*: /errno kill 10: /'")
        .app(&bench.busybox())
        .with(["--app-name", "docker", "--security-opt", "seccomp=docker.json"])
        .sh("mkdir /tmp/x && echo docker made; unshare -U true 2>&1 | sed 's/.*: /docker unshare: /'")
        .app(&bench.busybox())
        .with(["--app-name", "default", "--security-opt", "seccomp=builtin", "--cap-add", "SYS_ADMIN"])
        .sh("mount -t tmpfs x /tmp && echo default mounted; date -s 2020-01-01 2>&1 >/dev/null | sed 's/^/default /'")
        .run();
    let mut said: Vec<&str> = out.text().lines().collect();
    said.sort_unstable();
    assert_eq!(
        said,
        [
            "default date: can't set date: Operation not permitted",
            "default mounted",
            "docker made",
            "docker unshare: Operation not permitted",
            "errno kill 0",
            "errno kill 10: Function not implemented",
            "errno mkdir: can't create directory '/tmp/x': No space left on device",
            "errno touched",
            "nnp NoNewPrivs:\t1",
        ],
        "{}",
        out.stderr
    );
}

#[test]
fn a_parameter_that_the_kernel_does_not_have_keeps_the_apps_from_starting() {
    let bench = Bench::new();
    let pod = bench.pod().flags(["--sysctl", "kernel.nonsense=1"]);
    let out = pod.app(&bench.busybox()).sh("echo ran").run();
    assert_eq!((out.status, out.text()), (125, ""), "{}", out.stderr);
    let reported = "cannot set the kernel's parameter `kernel.nonsense` to `1`: No such file or directory";
    assert!(out.stderr.contains(reported), "{}", out.stderr);
}
