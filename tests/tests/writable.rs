//! The disk that takes what apps write: what stays how long, what is full, and what a killed VM loses.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use isopod_tests::faults::{QEMU, eventually, kill, pods, pods_in};
use isopod_tests::{Bench, Image, Output, Pod, Random, SmallDisk};
use rustix::process::Signal;
use serde_json::json;

fn isopod(bench: &Bench, line: &str) -> Output {
    bench.isopod_command(line.split_whitespace())
}

/// What a script prints in the app of a pod.
fn exec(bench: &Bench, pod: &str, script: &str) -> String {
    let words = ["exec", pod, "sh", "-c", script];
    bench.isopod_command(words).expect(0).text().to_owned()
}

/// A pod in the background, whose app sleeps.
fn sleeping<'a>(bench: &'a Bench, name: &str, image: &str) -> Pod<'a> {
    let pod = bench.pod().flags(["-d", "--name", name]);
    pod.app(image)
        .sh("trap 'exit 0' TERM; while :; do sleep 0.1; done")
}

/// The file of the only pod that is the disk.
fn disk(bench: &Bench) -> PathBuf {
    let mut found = pods(bench).into_iter().map(|pod| pod.join("writable"));
    found.find(|disk| disk.is_file()).unwrap()
}

/// How much of the host's disk it takes, in KiB.
fn taken_kib(disk: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(disk).unwrap()) / 2
}

/// The file system is sound: the journal of a killed VM is played back in a copy first, as the guest's kernel does.
fn assert_sound(bench: &Bench, disk: &Path) {
    let copy = bench.dir().join("copy");
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).arg(&copy).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let copied = Command::new("cp")
        .arg("--sparse=always")
        .arg(disk)
        .arg(&copy)
        .status();
    assert!(copied.unwrap().success());
    let _ = run("/sbin/e2fsck", &["-E", "journal_only", "-y"]);
    let (status, said) = run("/sbin/e2fsck", &["-f", "-n"]);
    assert_eq!(status, Some(0), "{said}");
    std::fs::remove_file(&copy).unwrap();
}

/// With docker, an app's root and its volumes stay until it is removed.
#[test]
fn what_an_app_wrote_stays_until_the_pod_goes() {
    let bench = Bench::new();
    let image = Image::busybox()
        .directory("var/lib/db", 0o2770, (33, 33))
        .file("var/lib/db/there", 0o640, "from the image")
        .config("Volumes", json!({ "/var/lib/db": {} }));
    let image = bench.image(&image);
    let pod = sleeping(&bench, "p", &image)
        .flags(["--storage-opt", "size=2g"])
        .with(["-v", "/own"]);
    let _ = pod.with(["--tmpfs", "/tmp"]).start().wait().expect(0);
    let wrote = exec(
        &bench,
        "p",
        "echo root > /etc/mine; rm /etc/group; mkdir /a && chmod 1711 /a; echo own > /own/x; echo db >> /var/lib/db/there; echo \
         t > /tmp/t; stat -c '%a %u' /var/lib/db; df -m / /own /var/lib/db | awk 'NR > 1 { print ($2 > 2030 && $2 <= 2048) }'",
    );
    assert_eq!(wrote, "2770 33\n1\n1\n1\n");
    for verb in ["stop p", "start p"] {
        let _ = isopod(&bench, verb).expect(0);
    }
    let kept = exec(
        &bench,
        "p",
        "cat /etc/mine /own/x /var/lib/db/there; ls /etc/group /tmp/t 2>&1; stat -c %a /a; head -n 1 /etc/hosts",
    );
    assert_eq!(
        kept,
        "root\nown\nfrom the imagedb\nls: /etc/group: No such file or directory\nls: /tmp/t: No such file or directory\n\
         1711\n127.0.0.1\tlocalhost\n"
    );
    // What is removed is the host's again.
    let file = disk(&bench);
    let before = taken_kib(&file);
    let _ = exec(
        &bench,
        "p",
        "dd if=/dev/urandom of=/big bs=1M count=64 conv=fsync 2>/dev/null",
    );
    assert!(taken_kib(&file) > before + 60_000);
    let _ = exec(&bench, "p", "rm /big; sync");
    eventually("the room is given back", || taken_kib(&file) < before + 8_000);
    let _ = isopod(&bench, "rm -f p").expect(0);
    bench.assert_nothing_left();
}

/// The disk is the pod's alone, and the only thing of it that is full: others write on, and so do volumes.
#[test]
fn a_full_disk_is_the_apps_own() {
    let bench = Bench::new();
    let image = bench.busybox();
    let pod = bench.pod().flags(["--storage-opt", "size=64m"]);
    let script = "dd if=/dev/zero of=/fill bs=1M 2>&1 | grep -o 'No space left on device'; echo x 2>/dev/null > /more || echo full; \
                  echo memory > /dev/shm/x && cat /dev/shm/x; rm /fill; echo y > /more && cat /more; touch /done";
    let out = pod.app(&image).sh(script).run().expect(0);
    assert_eq!(out.text(), "No space left on device\nfull\nmemory\ny\n");
    // Read-only roots have none to write to, and so no disk; nor is there one where nothing makes a file system.
    let out = bench.pod().app(&image).with(["--read-only", "--tmpfs", "/tmp"]);
    let out = out
        .sh("touch /x; touch /tmp/x && df / | tail -n 1 | cut -d ' ' -f 1")
        .run()
        .expect(0);
    assert!(out.stderr.contains("Read-only file system"), "{out:?}");
    assert_eq!(out.text(), "overlay\n");
}

/// What fsync(2) said is written is there after the VM was killed, whatever it was doing; the file system is sound.
fn is_killed_and_started(times: u32, seed: u64) {
    let bench = Bench::new();
    // Each life writes to a directory of its own, and says how many files of it are synced.
    let script = "life=$(cat /proc/sys/kernel/random/uuid); mkdir -p /d/$life; n=0; while :; do n=$((n + 1)); at=/d/$life/$n; \
                  head -c 65536 /dev/urandom > $at.new; md5sum < $at.new > $at.sum; mv $at.new $at; sync; echo $life $n; \
                  [ $((n % 7)) = 0 ] && rm -r /junk; mkdir -p /junk; cp $at /junk/$n; done";
    let pod = bench.pod().flags(["-d", "--name", "p"]).app(&bench.busybox());
    let _ = pod.sh(script).start().wait().expect(0);
    let mut random = Random(seed);
    for time in 0..times {
        let pause = 500 + random.number() % 2500;
        std::thread::sleep(Duration::from_millis(pause));
        kill(bench.process(QEMU), Signal::KILL);
        eventually("the pod has ended", || {
            isopod(&bench, "status p").expect(0).text().contains("exited")
        });
        let log = isopod(&bench, "logs p").expect(0).text().to_owned();
        let synced = log.lines().last().and_then(|line| line.split_once(' '));
        let (life, last) = synced.unwrap_or(("none", "0"));
        assert_sound(&bench, &disk(&bench));
        let _ = isopod(&bench, "start p").expect(0);
        let check = format!(
            "cd /d/{life}; for n in $(seq 1 {last}); do md5sum < $n | cmp -s - $n.sum || echo lost $n; done; echo checked"
        );
        assert_eq!(
            exec(&bench, "p", &check),
            "checked\n",
            "time {time}, {last} files"
        );
    }
    let _ = isopod(&bench, "rm -f p").expect(0);
    bench.assert_nothing_left();
}

#[test]
fn what_was_synced_survives_a_killed_vm() {
    is_killed_and_started(2, 7);
}

#[test]
#[ignore = "takes minutes: `cargo nextest run -p isopod-tests --run-ignored only writable::`"]
fn what_was_synced_survives_twenty_killed_vms() {
    is_killed_and_started(20, 1);
}

/// More than the memory holds, written, synced and read back, here and there.
#[test]
fn data_may_be_larger_than_the_memory() {
    let bench = Bench::new();
    let script = "dd if=/dev/urandom of=/seed bs=1M count=16 2>/dev/null; md5sum < /seed > /sum; \
                  for i in $(seq 40); do cat /seed; done > /data/big; sync; \
                  for i in 0 19 39; do dd if=/data/big bs=16M count=1 skip=$i 2>/dev/null | md5sum | cmp - /sum; done; \
                  wc -c < /data/big";
    let pod = bench.pod().flags(["--vm-memory", "256m"]).app(&bench.busybox());
    let out = pod.with(["-v", "/data"]).sh(script).run().expect(0);
    assert_eq!(out.text(), format!("{}\n", 640 << 20));
}

/// The host has no room any more: the app gets the error, and neither its VM nor what it synced before is gone.
#[test]
fn a_full_host_is_an_error_of_the_app() {
    let Some(bench) = Bench::of_root() else { return };
    let small = SmallDisk::new(&bench, 256);
    let pod = small
        .pod(&bench)
        .flags(["-d", "--name", "p", "--storage-opt", "size=1g"]);
    let pod = pod
        .app(&bench.busybox())
        .sh("trap 'exit 0' TERM; while :; do sleep 0.1; done");
    let _ = pod.start().wait().expect(0);
    let exec = |script: &str| {
        let words = ["exec", "p", "sh", "-c", script].map(Into::into);
        small.pod(&bench).other(words.into())
    };
    let _ = exec("echo before > /before; sync").expect(0);
    small.fill(1024);
    let out = exec("dd if=/dev/urandom of=/big bs=1M count=32 conv=fsync");
    assert!(out.status != 0, "{out:?}");
    assert!(
        out.stderr.contains("error") || out.stderr.contains("Read-only"),
        "{out:?}"
    );
    // The VM is there and answers.
    assert_eq!(exec("cat /before").expect(0).text(), "before\n");
    small.empty();
    let _ = small.isopod(&bench, "stop p").expect(0);
    let _ = small.isopod(&bench, "start p").expect(0);
    assert_eq!(
        exec("cat /before; echo after > /after; sync; cat /after")
            .expect(0)
            .text(),
        "before\nafter\n"
    );
    let _ = small.isopod(&bench, "rm -f p").expect(0);
    assert!(pods_in(&small.from_outside()).is_empty());
}
