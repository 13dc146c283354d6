//! What apps reach of the guest's devices, kernel and memory.

use std::ffi::OsString;

use isopod_tests::Bench;
use isopod_tests::faults::{QEMU, eventually, guest_memory};

/// Nodes that no app can make, since no container has them: disks, memory, the port to the host.
const NO_NODES: &str = "for n in 'b 254 0' 'b 254 16' 'b 254 32' 'c 1 1' 'c 10 237' 'c 5 2' 'c 246 1'; do \
    mknod /tmp/node $n 2>/dev/null && echo made $n; done; \
    mknod /tmp/null c 1 3 && echo gone > /tmp/null && echo null; \
    mknod /tmp/console c 5 1 && { echo x > /tmp/console; } 2>/dev/null || echo no console; ";

/// What is hidden and what is read-only, as in a container.
const MASKS: &str = "wc -c < /proc/kcore; wc -c < /proc/keys; ls /proc/acpi /sys/firmware | wc -w; \
    for file in sys/kernel/panic sysrq-trigger irq/default_smp_affinity; do \
        { echo 1 > /proc/$file; } 2>/dev/null && echo wrote $file; done; \
    touch /sys/new /sys/fs/cgroup/new 2>/dev/null || echo read-only; cat /sys/fs/cgroup/cgroup.controllers | wc -l; ";

/// A terminal for whoever asks.
const TERMINAL: &str = "exec 9<>/dev/ptmx && ls /dev/pts; stat -c %a /dev/pts/ptmx; df -k /dev/shm | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2; ";

/// One boot for all of it: an app of root's and its neighbours.
#[test]
fn apps_reach_what_a_container_reaches() {
    let bench = Bench::new();
    let image = bench.busybox();
    let conf = bench.source("conf", &[("log", "the log\n")]);
    let pod = bench.pod().flags(["-d", "--name", "p"]);
    let pod = pod
        .empty("disk", "size=16m,medium=disk")
        .empty("shm", "size=1m,mode=1777")
        .empty("cgroup", "")
        .empty("sys", "")
        .host("log", conf.join("log"), "readOnly=true")
        .host("snd", &conf, "");
    let pod = pod.app(&image).with(["--app-name", "a"]).sh(&format!(
        "{NO_NODES}{MASKS}{TERMINAL}ls /sys/block; exec sleep 1000"
    ));
    // `/sys/firmware` of a volume that is `/sys` is the volume's.
    let pod = pod
        .app(&image)
        .with(["--app-name", "volumes", "--user", "www"])
        .mount("shm", "/dev/shm", "")
        .mount("log", "/dev/log", "")
        .mount("snd", "/dev/snd", "")
        .mount("disk", "/dev/mqueue", "")
        .mount("cgroup", "/sys/fs/cgroup", "")
        .sh(
            "df -k /dev/shm | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2; echo x > /dev/shm/x && cat /dev/log; ls /dev/snd /sys/fs/cgroup; \
             ls -d /sys/kernel; test -c /dev/null && echo x > /dev/null && echo null; exec 9<>/dev/ptmx && ls /dev/pts; exec sleep 1000",
        );
    let pod = pod
        .app(&image)
        .with(["--app-name", "sys"])
        .mount("sys", "/sys", "")
        .sh("echo mine > /sys/file; cat /sys/file; ls /sys/kernel 2>/dev/null; exec sleep 1000");
    let _ = pod.start().wait().expect(0);
    assert_eq!(
        bench.written("a", "vdc\n"),
        "null\nno console\n0\n0\n2\nread-only\n1\n0\nptmx\n666\n65536\nvda\nvdb\nvdc\n"
    );
    assert_eq!(
        bench.written("volumes", "ptmx\n"),
        "1024\nthe log\n/dev/snd:\nlog\n\n/sys/fs/cgroup:\n/sys/kernel\nnull\n0\nptmx\n"
    );
    assert_eq!(bench.written("sys", "mine\n"), "mine\n");

    // Nor what is executed in the app later, which has a terminal of the app where it asks for one.
    let exec = |flags: &[&str], script: &str| {
        let command = ["--app", "a", "p", "--", "sh", "-c", script];
        let words = ["exec"].iter().chain(flags).chain(&command);
        bench.isopod_command(words.map(OsString::from))
    };
    let out = exec(&[], &format!("rm /tmp/null /tmp/console; {NO_NODES}")).expect(0);
    assert_eq!(out.text(), "null\nno console\n");
    let _ = bench.isopod_command(["stop", "-t", "1", "p"]).expect(0);
    let _ = bench.isopod_command(["rm", "p"]);
    bench.assert_nothing_left();
}

/// Whatever an app fills, it finds no space left, and everybody else has memory.
#[test]
fn an_app_that_fills_its_files_leaves_memory_for_others() {
    let bench = Bench::new();
    let image = bench.busybox();
    let pod = bench.pod().flags(["--vm-memory", "160M"]);
    // What is full takes no more, but something can go. Empty files count too: there is a bound of them.
    let fill = "touch /data/filling; touch /data/looking; \
        for dir in /tmp /dev/shm; do dd if=/dev/zero of=$dir/x bs=64k 2>&1 | grep -o 'No space left'; \
            test $(df -i $dir | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2) -lt 8000 && echo bounded; done; \
        rm /data/filling; while test -e /data/looking; do sleep 0.5; done";
    let others = "until test -e /data/looking; do sleep 0.5; done; while test -e /data/filling; do sleep 0.5; done; \
        dd if=/dev/zero of=/dev/null bs=8M count=1 2>&1 | head -n 1; grep -c MemTotal /proc/meminfo; rm /data/looking";
    let out = pod
        .empty("data", "mode=0777")
        .app(&image)
        .with(["--app-name", "greedy", "--user", "www", "--tmpfs", "/tmp"])
        .mount("data", "/data", "")
        .sh(fill)
        .app(&image)
        .with(["--app-name", "other"])
        .mount("data", "/data", "")
        .sh(others)
        .run()
        .expect(0);
    for (words, count) in [("No space left", 2), ("bounded", 1)] {
        assert_eq!(out.text().matches(words).count(), count, "{}", out.text());
    }
    assert!(out.text().ends_with("1+0 records in\n1\n"), "{}", out.text());
    bench.assert_nothing_left();
}

/// An app that is privileged, and one that is given a device and may have the kernel load modules.
#[test]
fn a_privileged_app_has_all_of_the_guest() {
    let bench = Bench::new();
    let image = bench.busybox();
    let all = "grep CapEff /proc/self/status; test -b /dev/vda && head -c 4 /dev/vda | wc -c; \
        ls /sys/firmware | grep -c acpi; cat /proc/sys/kernel/panic > /tmp/n; cat /tmp/n > /proc/sys/kernel/panic && echo wrote; \
        mknod /dev/loop-control c 10 237; losetup -f";
    let vpn = "exec 9<>/dev/net/tun && echo tun; test -e /dev/fuse || echo no fuse; \
        for kind in dummy bridge wireguard; do ip link add new-$kind type $kind && ip -o link show new-$kind | cut -d ' ' -f 2; done";
    let pod = bench
        .pod()
        .app(&image)
        .with(["--app-name", "all", "--privileged"])
        .sh(all);
    let out = pod.run().expect(0);
    assert_eq!(out.text(), "CapEff:\t000001ffffffffff\n4\n1\nwrote\n/dev/loop0\n");
    let pod = bench.pod().app(&image).with([
        "--app-name",
        "vpn",
        "--cap-add",
        "NET_ADMIN",
        "--device",
        "/dev/net/tun",
    ]);
    let out = pod.sh(vpn).run().expect(0);
    assert_eq!(
        out.text(),
        "tun\nno fuse\nnew-dummy:\nnew-bridge:\nnew-wireguard:\n"
    );
    bench.assert_nothing_left();
}

/// An app has 1.5 GB without a flag. The guest reports pages that it has freed, and the host has them again.
#[test]
fn memory_that_an_app_freed_is_the_hosts() {
    let bench = Bench::new();
    let pod = bench.pod().flags(["-d", "--name", "p"]);
    let pod = pod.app(&bench.busybox()).with(["--tmpfs", "/m:size=1500m"]);
    let _ = pod
        .sh("trap 'exit 0' TERM; while :; do sleep 0.1; done")
        .start()
        .wait()
        .expect(0);
    let qemu = bench.process(QEMU);
    let resident_mib = || {
        let maps = std::fs::read_to_string(format!("/proc/{qemu}/smaps")).unwrap();
        let guest = guest_memory(&maps).unwrap();
        let rss = guest.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
        rss.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
    };
    let exec = |script: &str| bench.isopod_command(["exec", "p", "sh", "-c", script]).expect(0);
    let before = resident_mib();
    let _ = exec("dd if=/dev/zero of=/m/x bs=1000000 count=1500 2>/dev/null");
    let taken = resident_mib();
    assert!(taken > before + 1350, "{before} MiB, then {taken} MiB");
    let _ = exec("rm /m/x");
    eventually("it is given back", || resident_mib() < before + 100);
    let _ = bench.isopod_command(["rm", "-f", "p"]).expect(0);
    bench.assert_nothing_left();
}
