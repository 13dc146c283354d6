//! Each app is a container: its own processes and cgroup, and nothing of systemd, of the agent and of its neighbours'.

use std::time::Duration;

use isopod_tests::Bench;

/// What an app of root's tries of its neighbour's, of the agent and of systemd: each line that is printed says what it
/// got.
const TRIES: &str = "\
    for dir in /proc/[0-9]*; do \
        tr '\\0' '\\n' < $dir/environ 2>/dev/null | grep '^SECRET=' && echo environment; \
        ls $dir/root/run/systemd/private $dir/root/isopod 2>/dev/null && echo systemd; \
        ls $dir/root/secret 2>/dev/null && echo files; \
    done; \
    kill -0 2000 2>/dev/null && echo signal; \
    ps | grep -E 'systemd|kthreadd|isopod-agent serve' | grep -v grep; \
    find / -xdev -type s 2>/dev/null; \
    awk 'NR > 1 && $8 ~ /^@/' /proc/net/unix; \
    ls /dev/vport* /dev/virtio-ports /dev/vd* 2>/dev/null; \
    mknod /tmp/port c 246 1 2>/dev/null && cat /tmp/port && echo port; \
    echo tried; ";

/// How an app sees itself.
const ITSELF: &str = "echo own $$ $(cat /proc/1/comm) $(cat /proc/self/cgroup) $(cat /sys/fs/cgroup/memory.max); \
    touch /sys/fs/cgroup/new /proc/sys/kernel/x 2>/dev/null || echo read-only; ";

/// One boot: apps of one user, of which some try what they can, and one that is an init itself.
#[test]
fn an_app_sees_and_reaches_its_own_processes_alone() {
    let bench = Bench::new();
    let image = bench.busybox();
    let pod = bench.pod().flags(["-d", "--name", "p"]);
    let pod = pod
        .app(&image)
        .with(["--app-name", "victim", "-e", "SECRET=xyzzy"])
        .sh("echo mine > /secret; trap 'echo got TERM; exit 7' TERM; sleep 1000 & wait");
    let pod = pod
        .app(&image)
        .with(["--app-name", "other", "--memory", "64m", "--pids-limit", "4"])
        .sh(&format!("{ITSELF}{TRIES}exec sleep 1000"));
    let pod = pod
        .app(&image)
        .with(["--app-name", "first", "--init=false"])
        .sh("echo first $$; (sleep 0.1 & ) ; exec sleep 1000");
    let pod = pod.app(&image).with(["--app-name", "orphans"]).sh(
        "(sleep 0.2 &); (sleep 0.3 &); sleep 1; ps | grep -c '\\[sleep\\]'; kill -TERM 1; sleep 5; echo deaf",
    );
    let _ = pod.start().wait().expect(0);
    assert_eq!(
        bench.written("other", "tried\n"),
        "own 2 isopod-init 0::/ 67108864\nread-only\ntried\n"
    );
    assert_eq!(bench.written("first", "first 1\n"), "first 1\n");
    // Process 1 has reaped them, and passed the signal on.
    assert_eq!(bench.written("orphans", "0\n"), "0\n");
    let within = |app: &str, script: &str| {
        let run = bench.isopod_command(["exec", "--app", app, "p", "sh", "-c", script]);
        run.text().to_owned()
    };
    // A command is among the app's processes, and those alone; it is counted with them, and nothing else is.
    assert_eq!(
        within("victim", "cat /proc/self/cgroup; ls -d /proc/[0-9]* | wc -l"),
        "0::/\n6\n"
    );
    // Of four it has one, the command is another: the third that it begins is one too many.
    let more = "sleep 1 & sleep 1 & echo two; sleep 1 & echo three";
    assert_eq!(within("other", more), "two\n");
    let reached = within("first", TRIES);
    assert_eq!(reached, "tried\n");
    // Stopped and continued are the program and its children, and not a command that is there to see it.
    let kill = |signal: &str| {
        let _ = bench
            .isopod_command(["kill", "--signal", signal, "p", "--app", "victim"])
            .expect(0);
        std::thread::sleep(Duration::from_millis(300));
        within("victim", "grep -h State /proc/2/status /proc/3/status | cut -c 8")
    };
    assert_eq!(kill("STOP"), "T\nT\n");
    assert_eq!(kill("CONT"), "S\nS\n");
    // A signal arrives at the program, by way of both processes before it.
    let _ = bench
        .isopod_command(["kill", "--signal", "TERM", "p", "--app", "victim"])
        .expect(0);
    assert_eq!(bench.written("victim", "got TERM\n"), "got TERM\n");
}

/// One boot: the apps of a pod that shares its processes.
#[test]
fn apps_that_share_their_processes_see_each_other_and_nothing_else() {
    let bench = Bench::new();
    let image = bench.busybox();
    let pod = bench.pod().flags(["-d", "--name", "p", "--pid", "pod"]);
    let pod = pod
        .app(&image)
        .with(["--app-name", "a"])
        .sh("trap 'echo signalled; exit 0' USR1; while :; do sleep 0.1; done");
    let pod = pod.app(&image).with(["--app-name", "b"]).sh(
        "(sleep 0.1 &); sleep 1; echo $(cat /proc/1/comm) $(cat /proc/self/cgroup) $(ps | grep -c '\\[sleep\\]'); \
         ls /proc/1/root/ >/dev/null 2>&1 || echo kept out; ps | grep -E 'systemd|kthreadd|agent serve' | grep -v grep; \
         kill -USR1 $(ps | grep 'trap' | grep -v grep | awk '{print $1}' | head -n 1)",
    );
    let _ = pod.start().wait().expect(0);
    let _ = bench.isopod_command(["wait", "p"]);
    let logs = |app: &str| {
        bench
            .isopod_command(["logs", "--app", app, "p"])
            .text()
            .to_owned()
    };
    let b = "isopod-init 0::/ 0\nkept out\n";
    assert_eq!((logs("a").as_str(), logs("b").as_str()), ("signalled\n", b));
}
