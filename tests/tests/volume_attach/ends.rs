//! What ends, starts again or is killed beside it.

use std::time::Duration;

use isopod_tests::Bench;
use isopod_tests::faults::kill;
use rustix::process::Signal;

use super::comes_and_goes::served;
use super::{IDLE, attached, runs_again, sh, text, volumes};

/// systemd mounts it again for an app that starts again, and an app that cannot have it does not start.
#[test]
fn an_app_that_starts_anew_has_it_or_fails() {
    let bench = Bench::new();
    let data = bench.source("data", &[("f", "data\n")]);
    let pod = bench
        .pod()
        .flags(["-d", "--name", "p", "--transport", "virtiofs", "--pid", "vm"]);
    let pod = pod
        .app(&bench.busybox())
        .with(["--app-name", "a", "--cap-add", "ALL", "--restart", "always"]);
    let _ = pod.sh(IDLE).start().wait().expect(0);
    attached(&bench, "data", &data, &["target=/data"]);
    let in_guest = |script: &str| {
        let words = [
            "exec", "--app", "a", "p", "--", "nsenter", "-t", "1", "-m", "sh", "-c", script,
        ];
        let _ = bench.isopod_command(words).expect(0);
    };
    in_guest("umount /opt/stage2/a/rootfs/data");
    text(&bench, "kill p --app a");
    runs_again(&bench);
    assert_eq!(sh(&bench, "a", "cat /data/f"), "data\n");
    in_guest("umount /opt/stage2/a/rootfs/data; mount -t tmpfs none /mnt");
    text(&bench, "kill p --app a");
    let status = text(&bench, "status --wait p");
    let words = "a: volume `data` was not mounted (`opt-stage2-a-rootfs-data.mount`): ";
    assert!(
        status.contains("state   exited (125)") && status.contains(words),
        "{status}"
    );
    text(&bench, "rm p");
    bench.assert_nothing_left();
}

/// Commands that are killed half-way, and several at once, leave a pod that works.
#[test]
fn killed_and_concurrent_commands() {
    let bench = Bench::new();
    let pod = bench
        .pod()
        .flags(["-d", "--name", "p", "--transport", "virtiofs"]);
    let pod = pod.app(&bench.busybox()).with(["--app-name", "a"]).sh(IDLE);
    let _ = pod.start().wait().expect(0);
    let source = |i: usize| bench.source(&format!("s{i}"), &[("f", &format!("{i}\n"))]);
    let words = |i: usize| {
        let volume = format!("v{i},kind=host,source={}", source(i).display());
        let mount = format!("volume=v{i},target=/v{i}");
        ["volume", "attach", "p", "--volume", &volume, "--mount", &mount].map(str::to_owned)
    };
    for i in 0..6 {
        let running = bench.isopod_start(words(i));
        std::thread::sleep(Duration::from_millis(20 * (i as u64) * 2));
        kill(running.pid(), Signal::KILL);
        drop(running);
    }
    let all: Vec<_> = (10..14).map(|i| bench.isopod_start(words(i))).collect();
    for running in all {
        let _ = running.wait().expect(0);
    }
    // Of those that were killed each came, or did not; what is listed is there.
    let listed = volumes(&bench);
    assert!((10..14).all(|i| listed.contains(&format!("v{i}"))), "{listed:?}");
    for name in &listed {
        let number = &name[1..];
        assert_eq!(sh(&bench, "a", &format!("cat /{name}/f")), format!("{number}\n"));
    }
    assert_eq!(served(&bench, "virtiofsd").len(), listed.len());
    for name in &listed {
        text(&bench, &format!("volume detach p {name}"));
    }
    assert!(served(&bench, "virtiofsd").is_empty() && volumes(&bench).is_empty());
    let events = text(
        &bench,
        "events --stream=false --filter event=volume-attached --filter event=volume-detached",
    );
    let count = |what: &str| events.lines().filter(|line| line.contains(what)).count();
    assert_eq!(
        (count(" volume-attached v"), count(" volume-detached v")),
        (listed.len(), listed.len()),
        "{events}"
    );
    assert_eq!(sh(&bench, "a", "grep -c virtiofs /proc/mounts || true"), "0\n");
    text(&bench, "rm -f p");
    bench.assert_nothing_left();
}
