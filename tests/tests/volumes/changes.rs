//! What changes on the host while a pod runs.

use std::fs;

use isopod_tests::Bench;

use super::Transport;

/// What the host writes while the guest runs is seen there, and so is a file that is replaced by rename, after the second
/// for which virtiofs knows what a name stands for.
fn live(transport: Transport) {
    let mut bench = Bench::new();
    let source = bench.source("live", &[("file", "old\n")]);
    let image = bench.busybox();
    let script = "cat /live/file; echo ready > /live/ready; until test -e /live/go; do sleep 0.05; done
        until grep new /live/file; do sleep 0.1; done";
    let pod = transport.choose(&mut bench).host("live", &source, "");
    let running = pod.app(&image).mount("live", "/live", "").sh(script).start();
    isopod_tests::faults::eventually("the guest's file on the host", || source.join("ready").exists());
    fs::write(source.join("new"), "new\n").unwrap();
    fs::rename(source.join("new"), source.join("file")).unwrap();
    fs::write(source.join("go"), "").unwrap();
    assert_eq!(running.wait().expect(0).text(), "old\nnew\n");
    bench.assert_nothing_left();
}

#[test]
fn the_hosts_changes_are_seen_over_virtiofs() {
    live(Transport::Virtiofs);
}

#[test]
fn the_hosts_changes_are_seen_over_9p() {
    live(Transport::NineP);
}

/// File systems mounted below a source: read-only with it, or left out.
fn submounts(transport: Transport) {
    let Some(mut bench) = Bench::of_root() else { return };
    let source = bench.source(
        "tree",
        &[("top", "top\n"), ("sub/below", "below\n"), ("file", "below\n")],
    );
    let image = bench.busybox();
    let script = format!(
        "mount -t tmpfs none '{0}/sub'; echo mounted > '{0}/sub/file'; echo other > '{0}/sub/other'
         mount --bind '{0}/sub/other' '{0}/file'",
        source.display()
    );
    let pod = transport.choose(&mut bench).behind(&script);
    let pod = pod
        .host("ro", &source, "readOnly=true")
        .host("flat", &source, "readOnly=true,recursive=false");
    let pod = pod.host("rw", &source, "");
    let pod = pod.app(&image).with(["--cap-add", "ALL"]);
    let pod = pod
        .mount("ro", "/ro", "")
        .mount("flat", "/flat", "")
        .mount("rw", "/rw", "");
    let out = pod.sh(
        "cat /ro/top /ro/sub/file /ro/file /flat/top /flat/sub/below /flat/file; ls /flat/sub
         mount -o remount,rw,bind /ro
         for file in /ro/top /ro/new /ro/sub/file /ro/sub/new /ro/file /flat/top; do
             echo x 2> /dev/null > $file && echo wrote $file
         done
         echo x > /rw/sub/new && cat /ro/sub/new",
    );
    let out = out.run().expect(0);
    assert_eq!(out.text(), "top\nmounted\nother\ntop\nbelow\nbelow\nbelow\nx\n");
    assert_eq!(fs::read_to_string(source.join("sub/below")).unwrap(), "below\n");
}

#[test]
fn submounts_follow_their_volume_over_virtiofs() {
    submounts(Transport::Virtiofs);
}

#[test]
fn submounts_follow_their_volume_over_9p() {
    submounts(Transport::NineP);
}

/// Mounts that the host makes while the pod runs: they appear where that was asked for, and nowhere else.
#[test]
fn later_mounts_of_the_host_appear_on_request() {
    let Some(bench) = Bench::of_root() else { return };
    let source = bench.source("tree", &[]);
    let script = format!(
        "mount -t tmpfs none '{0}'; mount --make-shared '{0}'; mkdir '{0}/late' '{0}/signals'",
        source.display()
    );
    let pod = bench.pod().behind(&script);
    let pod = pod
        .host("follows", &source, "propagation=rslave")
        .host("stays", &source, "");
    let pod = pod
        .app(&bench.busybox())
        .mount("follows", "/follows", "")
        .mount("stays", "/stays", "");
    let mut running = pod
        .sh(
            "ls /follows/late; echo ready; until test -e /follows/signals/go; do sleep 0.05; done
             # What was looked at a moment ago is known for a second.
             until cat /follows/late/file 2> /dev/null; do sleep 0.1; done; ls /stays/late | wc -l",
        )
        .start();
    running.wait_for("ready\n");
    let script = format!(
        "mount -t tmpfs none '{0}/late'; echo late > '{0}/late/file'; touch '{0}/signals/go'",
        source.display()
    );
    let pid = running.pid().to_string();
    let mounted = std::process::Command::new("nsenter")
        .args(["--mount", "--target", &pid, "sh", "-c", &script])
        .status();
    assert!(mounted.unwrap().success());
    assert_eq!(running.wait().expect(0).text(), "ready\nlate\n0\n");
    bench.assert_nothing_left();
}
