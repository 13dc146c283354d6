//! VMs that are restored from a template: what they have of their own, what becomes of a template that is broken, and that
//! nothing counts as one that is not whole.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use isopod_tests::faults::{eventually, kill, pods};
use isopod_tests::{Bench, Output, Pod};
use rustix::process::Signal;
use serde_json::Value;

fn isopod(bench: &Bench, line: &str) -> Output {
    bench.isopod_command(line.split_whitespace())
}

fn text(bench: &Bench, line: &str) -> String {
    isopod(bench, line).expect(0).text().to_owned()
}

/// The keys of the templates that there are.
fn keys(bench: &Bench) -> Vec<String> {
    let lines = text(bench, "template list -q");
    lines.lines().map(str::to_owned).collect()
}

/// Makes the template of VMs of the usual size.
fn make(bench: &Bench) -> String {
    text(bench, "template make --accel tcg").trim_end().to_owned()
}

fn template_file(bench: &Bench, name: &str) -> PathBuf {
    bench.state().join("templates").join(&keys(bench)[0]).join(name)
}

fn warm<'a>(bench: &'a Bench, image: &str) -> Pod<'a> {
    bench
        .pod()
        .flags(["--start", "warm", "--log-level", "debug"])
        .app(image)
}

const SLEEP: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";

/// What of two VMs that were restored from one template differs, and that the pods in them are whole.
#[test]
fn clones_are_no_twins() {
    let bench = Bench::new().own_templates();
    let image = bench.busybox();
    let line = "template make --accel tcg --vm-memory 512m";
    let key = text(&bench, line).trim_end().to_owned();
    assert_eq!(keys(&bench), [&*key]);
    let start = |mode: &str| {
        let plan = bench
            .pod()
            .flags(["--start", mode, "--vm-memory", "512m"])
            .app(&image)
            .plan(&["--format", "json"]);
        let plan: Value = serde_json::from_str(plan.expect(0).text()).unwrap();
        let start = &plan["hypervisor"]["start"];
        (start["kind"].clone(), start["template"].clone())
    };
    assert_eq!(start("warm"), ("warm".into(), key.clone().into()));
    assert_eq!(start("cold"), ("cold".into(), Value::Null));

    let data = bench.source("data", &[("file", "shared\n")]);
    let shared = warm(&bench, &image)
        .flags(["-d", "--vm-memory", "512m", "--name", "shared"])
        .host("data", &data, "")
        .mount("data", "/data", "");
    let _ = shared.sh(SLEEP).start().wait().expect(0);
    for name in ["alone", "other"] {
        let pod = warm(&bench, &image).flags(["-d", "--vm-memory", "512m", "--name", name]);
        let _ = pod.sh(SLEEP).start().wait().expect(0);
    }
    let exec = |pod: &str, script: &str| {
        let words = ["exec", pod, "sh", "-c", script];
        bench.isopod_command(words).expect(0).text().to_owned()
    };
    let pods = ["shared", "alone", "other"];
    for own in [
        "cat /proc/sys/kernel/random/boot_id",
        "cat /proc/sys/kernel/random/uuid",
        "head -c 32 /dev/urandom | od -An -tx1",
        "head -c 32 /dev/random | od -An -tx1",
        "hostname",
    ] {
        let mut found = pods.map(|pod| exec(pod, own));
        assert!(found.iter().all(|text| text.ends_with('\n')), "{own}: {found:?}");
        found.sort();
        assert!(found[0] != found[1] && found[1] != found[2], "{own}: {found:?}");
    }
    // The ID is the same all over the VM's life, and can be written by nobody.
    let id = "cat /proc/sys/kernel/random/boot_id";
    assert_eq!(exec("alone", id), exec("alone", id));
    let _ = bench
        .isopod_command([
            "exec",
            "alone",
            "sh",
            "-c",
            "echo x > /proc/sys/kernel/random/boot_id",
        ])
        .expect(1);
    // As a pod that was booted: disk, share, network.
    assert_eq!(
        exec(
            "shared",
            "cat /data/file; echo back > /data/back; touch /own && ls /sys/class/net | sort | tr '\n' ' '"
        ),
        "shared\neth0 lo "
    );
    assert_eq!(fs::read_to_string(data.join("back")).unwrap(), "back\n");
    for pod in pods {
        let (before, guest) = (SystemTime::now(), exec(pod, "adjtimex | grep time.tv_"));
        let after = SystemTime::now();
        let number = |name: &str| -> u64 {
            let line = guest.lines().find(|line| line.contains(name)).unwrap();
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        let guest = Duration::from_secs(number("tv_sec")) + part_of_second(number("tv_usec"));
        let guest = SystemTime::UNIX_EPOCH + guest;
        let within = Duration::from_millis(50);
        assert!(before - within <= guest && guest <= after + within, "{pod}");
    }
    // Pages of the template are the VMs' that need nothing shared with another process; each has its own otherwise.
    let common = format!("/memfd:isopod-template-{key}");
    let of_common = |pod: &str| maps(&bench, pod).contains(&common);
    assert_eq!(pods.map(of_common), [false, true, true]);
    assert!(maps(&bench, "shared").contains("/memfd:isopod-memory"));
    // What its VMs run on, without its name.
    assert_eq!(
        text(&bench, &format!("template rm {}", &key[..12])),
        format!("{key}\n")
    );
    for pod in pods {
        let _ = isopod(&bench, &format!("stop {pod}")).expect(0);
    }
}

/// The part of a second: busybox shows microseconds, or nanoseconds where the kernel counts so.
fn part_of_second(number: u64) -> Duration {
    match number {
        0..1_000_000 => Duration::from_micros(number),
        _ => Duration::from_nanos(number),
    }
}

/// The numbers of the bench's QEMUs.
fn qemus(bench: &Bench) -> Vec<i32> {
    let is_qemu = |line: &str| {
        line.split(' ')
            .next()
            .is_some_and(|program| program.ends_with("qemu-system-x86_64"))
    };
    let all = bench.processes().into_iter();
    all.filter(|(_, line)| is_qemu(line))
        .map(|(pid, _)| pid)
        .collect()
}

/// What QEMU of that pod has in its memory (proc_pid_maps(5)).
fn maps(bench: &Bench, pod: &str) -> String {
    let named = |dir: &PathBuf| {
        let record = fs::read_to_string(dir.join("pod.json")).unwrap();
        record.contains(&format!("\"name\":\"{pod}\""))
    };
    let dir = pods(bench).into_iter().find(named).unwrap();
    let uuid = dir.file_name().unwrap().to_string_lossy().into_owned();
    let of_pod = |pid: &i32| {
        let cwd = fs::read_link(format!("/proc/{pid}/cwd"));
        cwd.is_ok_and(|cwd| cwd.to_string_lossy().contains(&uuid))
    };
    let qemu = qemus(bench).into_iter().find(of_pod).unwrap();
    fs::read_to_string(format!("/proc/{qemu}/maps")).unwrap()
}

/// A template that cannot be restored is given up in one line, and the pod runs.
#[test]
fn a_broken_template_is_dropped_and_the_pod_boots() {
    let bench = Bench::new().own_templates();
    let image = bench.busybox();
    make(&bench);
    let state = template_file(&bench, "state");
    let length = fs::metadata(&state).unwrap().len();
    let file = fs::File::options().write(true).open(&state).unwrap();
    file.write_all_at(&[0xff; 64], length / 2).unwrap();
    let out = warm(&bench, &image).sh("echo ran").run().expect(0);
    assert_eq!(out.text(), "ran\n");
    let lines: Vec<&str> = out.stderr.lines().filter(|line| line.contains("WARN")).collect();
    assert!(
        lines.len() == 1 && lines[0].contains("the VM is booted, and the template is dropped"),
        "{}",
        out.stderr
    );
    assert!(keys(&bench).is_empty());
}

/// Whatever ends a maker at whatever moment: there is no template, no process, and the next one makes it.
#[test]
fn a_killed_maker_leaves_no_template() {
    let bench = Bench::new().own_templates();
    for after_ms in [300, 2500, 4500, 6500] {
        let making = bench.isopod_start(["template", "make", "--accel", "tcg"]);
        std::thread::sleep(Duration::from_millis(after_ms));
        let was_there = !keys(&bench).is_empty();
        kill(making.pid(), Signal::KILL);
        let _ = making.wait();
        eventually("QEMU has ended", || qemus(&bench).is_empty());
        if was_there || !keys(&bench).is_empty() {
            break;
        }
    }
    let _ = isopod(&bench, "template rm --all");
    assert!(keys(&bench).is_empty());
    // Two that want it make one.
    let first = bench.isopod_start(["template", "make", "--accel", "tcg"]);
    let key = make(&bench);
    assert_eq!(first.wait().expect(0).text(), format!("{key}\n"));
    let entries = fs::read_dir(bench.state().join("templates")).unwrap();
    let names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(!names.iter().any(|name| name.starts_with(".new-")), "{names:?}");
    assert!(
        text(&bench, "system df")
            .lines()
            .any(|line| line.split_whitespace().take(2).eq(["Templates", "1"]))
    );
}

/// The first start does not wait for its template, and the next one has it: as an ordinary user, with 9p and without a share.
#[test]
fn the_first_start_makes_a_template_for_the_next() {
    let bench = Bench::of_ordinary_user();
    let image = bench.busybox();
    let pod = || {
        let pod = bench.pod().env("ISOPOD_START", "auto");
        pod.flags(["--log-level", "debug"]).app(&image)
    };
    let out = pod().sh("echo cold").start().wait().expect(0);
    assert!(
        out.text() == "cold\n" && !out.stderr.contains("restored from template"),
        "{}",
        out.stderr
    );
    eventually("a template", || !keys(&bench).is_empty());
    let data = bench.source("data", &[("file", "shared\n")]);
    let out = pod().sh("echo warm").run().expect(0);
    assert!(
        out.text() == "warm\n" && out.stderr.contains("restored from template"),
        "{}",
        out.stderr
    );
    let shared = bench.pod().env("ISOPOD_START", "auto");
    let shared = shared
        .flags(["--log-level", "debug", "--transport", "9p"])
        .host("data", &data, "");
    let out = shared
        .app(&image)
        .mount("data", "/data", "")
        .sh("cat /data/file")
        .run()
        .expect(0);
    assert!(
        out.text() == "shared\n" && out.stderr.contains("restored from template"),
        "{}",
        out.stderr
    );
}
