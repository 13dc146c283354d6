//! How a pod is stopped, killed and broken, and that nothing of it stays.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use isopod_tests::faults::{QEMU, command_line, eventually, kill, pods};
use isopod_tests::{Bench, Image, Pod, Running};
use rustix::process::Signal;

/// An app that is ready, and ends in order when it is asked to.
const POLITE: &str = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.1; done";
/// An app that receives nothing.
const STUBBORN: &str = "trap '' TERM INT; echo ready; while :; do sleep 0.1; done";

fn started<'a>(pod: Pod<'a>, bench: &'a Bench, script: &str) -> Running {
    let mut running = pod
        .app(&bench.busybox())
        .with(["--app-name", "app"])
        .sh(script)
        .start();
    running.wait_for("ready\n");
    running
}

fn stops_in_order_on(signal: Signal) {
    let bench = Bench::new();
    let source = bench.source("data", &[]);
    let pod = bench
        .pod()
        .host("data", &source, "")
        .app(&bench.busybox())
        .mount("data", "/data", "");
    let mut running = pod
        .sh("trap 'echo bye | tee /data/bye; exit 3' TERM; echo ready; while :; do sleep 0.1; done")
        .start();
    running.wait_for("ready\n");
    running.signal(signal);
    let out = running.wait().expect(3);
    assert_eq!((out.text(), &*out.stderr), ("ready\nbye\n", ""));
    assert_eq!(std::fs::read_to_string(source.join("bye")).unwrap(), "bye\n");
    bench.assert_nothing_left();
}

#[test]
fn sigterm_stops_the_apps_in_order() {
    stops_in_order_on(Signal::TERM);
}

#[test]
fn sigint_stops_the_apps_in_order() {
    stops_in_order_on(Signal::INT);
}

#[test]
fn the_image_chooses_its_stop_signal() {
    let bench = Bench::new();
    let image = bench.image(&Image::busybox().config("StopSignal", "SIGUSR1".into()));
    let script =
        "trap 'echo usr1; exit 0' USR1; trap 'echo term' TERM; echo ready; while :; do sleep 0.1; done";
    let mut running = bench.pod().app(&image).sh(script).start();
    running.wait_for("ready\n");
    running.signal(Signal::TERM);
    assert_eq!(running.wait().expect(0).text(), "ready\nusr1\n");
    bench.assert_nothing_left();
}

#[test]
fn an_app_that_does_not_stop_is_killed_after_the_grace() {
    let bench = Bench::new();
    let running = started(bench.pod().flags(["--stop-timeout", "2"]), &bench, STUBBORN);
    let begun = std::time::Instant::now();
    running.signal(Signal::TERM);
    let _ = running.wait().expect(128 + 9);
    let took = begun.elapsed();
    assert!((2..12).contains(&took.as_secs()), "{took:?}");
    bench.assert_nothing_left();
}

#[test]
fn a_second_signal_kills_at_once() {
    let bench = Bench::new();
    let running = started(bench.pod().flags(["--stop-timeout", "100"]), &bench, STUBBORN);
    let begun = std::time::Instant::now();
    running.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(300));
    running.signal(Signal::INT);
    let _ = running.wait().expect(128 + 9);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    bench.assert_nothing_left();
}

/// Each app gets its own end, and the pod ends with the last of them.
#[test]
fn all_apps_of_a_pod_are_stopped() {
    let bench = Bench::new();
    let image = bench.busybox();
    let script =
        |n: i32| format!("trap 'echo bye {n}; exit 0' TERM; echo ready {n}; while :; do sleep 0.1; done");
    let pod = bench.pod().app(&image).with(["--app-name", "one"]).sh(&script(1));
    let pod = pod.app(&image).with(["--app-name", "two"]).sh(&script(2));
    let mut running = pod.start();
    running.wait_for("ready 1\n");
    running.wait_for("ready 2\n");
    running.signal(Signal::TERM);
    let out = running.wait().expect(0);
    let mut lines: Vec<&str> = out.text().lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["bye 1", "bye 2", "ready 1", "ready 2"]);
    bench.assert_nothing_left();
}

#[test]
fn a_stop_before_the_guest_is_up_is_honoured() {
    let bench = Bench::new();
    let running = bench.pod().app(&bench.busybox()).sh("sleep 100").start();
    let _ = bench.process(QEMU);
    running.signal(Signal::TERM);
    let out = running.wait();
    assert!(
        out.status != 0 && out.duration < Duration::from_secs(20),
        "{out:?}"
    );
    bench.assert_nothing_left();
}

#[test]
fn what_an_app_leaves_running_ends_with_it() {
    let bench = Bench::new();
    let out = bench
        .pod()
        .app(&bench.busybox())
        .sh("sleep 100 & echo done")
        .run()
        .expect(0);
    assert_eq!(out.text(), "done\n");
    assert!(out.duration < Duration::from_secs(50), "{:?}", out.duration);
}

/// The processes of the VM die with their supervisor, and the next pod removes what it left on disk.
#[test]
fn a_killed_supervisor_leaves_no_process() {
    let bench = Bench::new();
    let source = bench.source("data", &[]);
    let pod = bench
        .pod()
        .host("data", &source, "")
        .app(&bench.busybox())
        .mount("data", "/data", "");
    let mut running = pod.sh("echo ready; sleep 100").start();
    running.wait_for("ready\n");
    assert_eq!(pods(&bench).len(), 1);
    running.signal(Signal::KILL);
    assert_eq!(running.wait().status, 1000 + 9);
    eventually("no process is left", || bench.processes().is_empty());
    assert_eq!(pods(&bench).len(), 1, "the dead pod's directory");
    let _ = bench.pod().app(&bench.busybox()).sh("true").run().expect(0);
}

#[test]
fn a_killed_vm_is_an_error_that_names_it() {
    let bench = Bench::new();
    let running = started(bench.pod(), &bench, POLITE);
    kill(bench.process(QEMU), Signal::KILL);
    let out = running.wait().expect(125);
    assert_eq!(out.text(), "ready\n");
    assert!(
        out.stderr
            .starts_with("error: QEMU ended with signal: 9 (SIGKILL)"),
        "{}",
        out.stderr
    );
    bench.assert_nothing_left();
}

#[test]
fn a_killed_virtiofsd_is_an_error_that_names_it() {
    let bench = Bench::new();
    let pod = bench
        .pod()
        .flags(["--transport", "virtiofs", "--network", "user,by=passt"])
        .host("data", bench.source("data", &[]), "");
    let mut running = pod
        .app(&bench.busybox())
        .mount("data", "/data", "")
        .sh(POLITE)
        .start();
    running.wait_for("ready\n");
    kill(bench.process("virtiofsd"), Signal::KILL);
    let out = running.wait().expect(125);
    assert!(
        out.stderr
            .starts_with("error: virtiofsd ended with signal: 9 (SIGKILL)"),
        "{}",
        out.stderr
    );
    bench.assert_nothing_left();
}

/// What asks for no stop is the app's, as with docker.
#[test]
fn other_signals_go_to_the_apps() {
    let bench = Bench::new();
    let script = "trap 'echo usr1' USR1; trap 'echo usr2' USR2; trap 'echo quit; exit 5' QUIT; echo ready; \
                  while :; do sleep 0.1; done";
    let mut running = started(bench.pod(), &bench, script);
    for (signal, said) in [
        (Signal::USR1, "usr1\n"),
        (Signal::USR2, "usr2\n"),
        (Signal::QUIT, "quit\n"),
    ] {
        running.signal(signal);
        running.wait_for(said);
    }
    let out = running.wait().expect(5);
    assert_eq!(out.text(), "ready\nusr1\nusr2\nquit\n");
    bench.assert_nothing_left();
}

/// Output that cannot be written is an error, in the foreground and of a command.
#[test]
fn output_that_cannot_be_written_is_reported() {
    let Some(bench) = Bench::of_root() else { return };
    let pod = bench.pod().behind("exec >/dev/full").app(&bench.busybox());
    let out = pod.sh("echo 1; sleep 100; exit 7").run().expect(125);
    assert_eq!(
        out.stderr,
        "error: cannot write the apps' output; the pod was stopped\n  caused by: No space left on device (os error \
         28)\n"
    );
    let list = bench
        .pod()
        .behind("exec >/dev/full")
        .other(vec!["list".into()])
        .expect(125);
    let words =
        "error: cannot write to standard output\n  caused by: No space left on device (os error 28)\n";
    assert_eq!(list.stderr, words);
    bench.assert_nothing_left();
}

/// A guest whose first process says something and then does nothing.
#[test]
fn a_guest_that_does_not_come_up_is_given_up() {
    let mut bench = Bench::new();
    let busybox = std::fs::read("/bin/busybox").unwrap();
    let init =
        b"#!/busybox sh\necho this is where it stands > /dev/console\nwhile :; do /busybox sleep 9; done\n";
    bench.break_guest(&[
        ("/usr/lib/systemd/systemd", 0o755, init),
        ("/busybox", 0o755, &busybox),
    ]);
    let out = bench
        .pod()
        .flags(["--boot-timeout", "6"])
        .app(&bench.busybox())
        .sh("true")
        .run()
        .expect(125);
    assert!(
        out.stderr
            .starts_with("error: the guest did not come up within 6 s; its last lines:\n"),
        "{}",
        out.stderr
    );
    assert!(out.stderr.contains("this is where it stands\n"), "{}", out.stderr);
    assert!(
        out.stderr
            .contains("\nhint: give it more time with `--boot-timeout`"),
        "{}",
        out.stderr
    );
    assert!(out.duration < Duration::from_secs(12), "{:?}", out.duration);
}

#[test]
fn a_guest_that_panics_is_an_error_with_its_last_words() {
    let mut bench = Bench::new();
    let busybox = std::fs::read("/bin/busybox").unwrap();
    let init = b"#!/busybox sh\nexit 1\n";
    bench.break_guest(&[
        ("/usr/lib/systemd/systemd", 0o755, init),
        ("/busybox", 0o755, &busybox),
    ]);
    let pod = bench
        .pod()
        .host("data", bench.source("data", &[]), "")
        .app(&bench.busybox())
        .mount("data", "/data", "");
    let out = pod.sh("true").run().expect(125);
    assert!(
        out.stderr.starts_with(
            "error: the guest ended before its apps did: its kernel panicked; its last lines:\n"
        ),
        "{}",
        out.stderr
    );
    assert!(out.stderr.contains("Kernel panic"), "{}", out.stderr);
    // Memory was not the cause, and what the firmware says to a terminal, or systemd always says, is none either.
    for words in ["hint: ", "--vm-memory", "\\u{1b}", "SeaBIOS", "autofs4"] {
        assert!(!out.stderr.contains(words), "{words}: {}", out.stderr);
    }
}

#[test]
fn too_little_memory_is_said_to_be_that() {
    let bench = Bench::new();
    let pod = bench.pod().flags(["--vm-memory", "100m"]).app(&bench.busybox());
    let reported = pod.sh("true").run().expect(125).stderr;
    assert!(
        reported.starts_with("error: invalid value `100m` of `--vm-memory`\n"),
        "{reported}"
    );
    // The least that is taken is enough.
    let pod = bench.pod().flags(["--vm-memory", "160m"]).app(&bench.busybox());
    let _ = pod.sh("true").run().expect(0);
}

#[test]
fn pods_run_side_by_side() {
    let bench = Bench::new();
    let image = bench.busybox();
    let source = bench.source("data", &[]);
    let pod = |n: i32| {
        let pod = bench
            .pod()
            .host("data", &source, "")
            .app(&image)
            .mount("data", "/data", "");
        // Each waits for both others, so all three must run at once.
        pod.sh(&format!(
            "touch /data/{n}; until test -e /data/1 -a -e /data/2 -a -e /data/3; do sleep 0.1; done; echo {n}"
        ))
    };
    let running: Vec<Running> = [1, 2, 3].map(|n| pod(n).start()).into();
    for (running, n) in running.into_iter().zip(1..) {
        assert_eq!(running.wait().expect(0).text(), format!("{n}\n"));
    }
    bench.assert_nothing_left();
}

/// Both import the image and build the guest image, in a state that holds neither.
#[test]
fn the_first_pods_of_a_state_run_side_by_side() {
    let bench = Bench::new();
    let state = bench.dir().join("new");
    let pod = |n: i32| {
        bench
            .pod()
            .state(&state)
            .app(&bench.busybox())
            .sh(&format!("echo {n}"))
    };
    let running: Vec<Running> = [1, 2].map(|n| pod(n).start()).into();
    for (running, n) in running.into_iter().zip(1..) {
        assert_eq!(running.wait().expect(0).text(), format!("{n}\n"));
    }
    assert_eq!(std::fs::read_dir(state.join("images")).unwrap().count(), 1);
    bench.assert_nothing_left_in(&state);
}

/// The supervisor's own part of the host, which no test of libraries sees: up to three more processes, each with a launcher that waits for
/// it. The router is there from the first packet on.
#[test]
fn a_vm_is_three_processes() {
    let script = "trap 'exit 3' TERM; echo ready; until test -e /data/go; do sleep 0.1; done; \
                  nc -w 1 10.0.2.2 9 < /dev/null; echo sent; while :; do sleep 0.1; done";
    let bench = Bench::new();
    let data = bench.source("data", &[]);
    let pod = bench
        .pod()
        .flags(["--transport", "virtiofs"])
        .host("data", &data, "");
    let mut running = pod
        .app(&bench.busybox())
        .mount("data", "/data", "")
        .sh(script)
        .start();
    running.wait_for("ready\n");
    assert_eq!(programs_of(&running), [QEMU, "virtiofsd"]);
    fs::write(data.join("go"), "").unwrap();
    running.wait_for("sent\n");
    assert_eq!(programs_of(&running), ["passt", QEMU, "virtiofsd"]);
    running.signal(Signal::TERM);
    let _ = running.wait().expect(3);
    bench.assert_nothing_left();
}

/// Connections to the pod may come before it has sent anything.
#[test]
fn a_published_port_has_its_router_at_once() {
    let bench = Bench::new();
    let running = started(bench.pod().flags(["-p", "127.0.0.1::80"]), &bench, POLITE);
    assert_eq!(programs_of(&running), ["passt", QEMU]);
    running.signal(Signal::TERM);
    let _ = running.wait().expect(3);
}

/// What a supervisor's launchers have become.
fn programs_of(running: &Running) -> Vec<String> {
    let children = |pid: i32| -> Vec<i32> {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let pids = children.split_whitespace().map(|pid| pid.parse().unwrap());
        pids.collect()
    };
    let program = |pid: i32| {
        let program = command_line(pid).swap_remove(0);
        let name = Path::new(&program).file_name().unwrap();
        name.to_string_lossy().into_owned()
    };
    let launchers = children(running.pid());
    let mut programs: Vec<String> = launchers.into_iter().flat_map(children).map(program).collect();
    programs.sort_unstable();
    programs
}

/// A cgroup with a bound of memory, as the host has its hierarchy; removed with its value.
struct Bounded(PathBuf);

impl Bounded {
    fn new(bytes: u64) -> Option<Self> {
        let name = format!("isopod-test-{}", std::process::id());
        let limits = [("", "memory.max"), ("memory", "memory.limit_in_bytes")];
        limits.iter().find_map(|(hierarchy, limit)| {
            let dir = Path::new("/sys/fs/cgroup").join(hierarchy).join(&name);
            fs::create_dir(&dir).ok()?;
            let bounded = Self(dir);
            // Where the directory is none of the kernel's there is no such file.
            let mut limit = fs::File::options().write(true).open(bounded.0.join(limit)).ok()?;
            limit.write_all(bytes.to_string().as_bytes()).ok()?;
            Some(bounded)
        })
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// The host's kernel kills QEMU where there is no memory left for it: that is what is reported, not that QEMU ended with a signal.
#[test]
fn a_vm_that_the_hosts_kernel_killed_for_memory() {
    let Some(bench) = Bench::of_root() else { return };
    let image = bench.busybox();
    // Its guest image and its image are made outside of the bound.
    let _ = bench.pod().app(&image).sh("true").plan(&[]).expect(0);
    let Some(bounded) = Bounded::new(128 << 20) else {
        return;
    };
    let enter = format!("echo $$ > '{}/cgroup.procs'; exec \"$@\"", bounded.0.display());
    let pod = bench
        .pod()
        .within(["sh", "-c", &enter, "sh"].map(str::to_owned).into());
    let out = pod
        .flags(["--vm-memory", "512m"])
        .app(&image)
        .sh("head -c 400m /dev/zero | tail -c 1 > /dev/null; sleep 100")
        .run()
        .expect(125);
    let words =
        "the host's kernel killed QEMU: the host, or the cgroup that the pod runs in, had no memory left";
    assert!(
        out.stderr.contains(words) && out.stderr.contains("hint: "),
        "{}",
        out.stderr
    );
}
