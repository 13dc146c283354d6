//! A volume that is silently not mounted is the worst of all: here the guest is made to get a mount wrong, and no app
//! may start on it.
//!
//! The guest is broken from outside, by files put over its own ([`isopod_tests::faults`]).

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use std::fs;

use isopod_tests::faults::{QEMU, eventually};
use isopod_tests::{Bench, Image, Output};

const UNITS: &str = "/usr/lib/systemd/system";
const UNIT: &str = "opt-stage2-web-rootfs-data.mount";

/// Runs an app that must not start, over a guest with a drop-in for the mount unit of its volume.
fn broken(settings: &str) -> Output {
    let bench = Bench::new().own_templates();
    let source = bench.source("data", &[]);
    let image = bench.busybox();
    // Written to by the other app, so that read-only is for the guest alone to keep.
    let pod = bench.pod().host("data", &source, "");
    let pod = pod
        .app(&image)
        .with(["--app-name", "web"])
        .mount("data", "/data", "readOnly")
        .sh("echo the app ran");
    let pod = pod
        .app(&image)
        .with(["--app-name", "other"])
        .mount("data", "/data", "")
        .sh("echo other > /data/other");
    let running = pod.start();
    bench.tamper(&[(
        &format!("{UNITS}/{UNIT}.d/broken.conf"),
        0o644,
        settings.as_bytes(),
    )]);
    let out = running.wait();
    assert_eq!(out.status, 125, "{}", out.stderr);
    assert_eq!(
        fs::read_to_string(source.join("other")).unwrap(),
        "other\n",
        "the other app has nothing to do with it"
    );
    for named in ["app `web` did not start", "volume `data`", UNIT] {
        assert!(out.stderr.contains(named), "{named}: {}", out.stderr);
    }
    out
}

#[test]
fn a_mount_that_fails_keeps_its_app_from_starting() {
    let out = broken("[Mount]\nWhat=\nWhat=/isopod/agent\nOptions=bind,ro\n");
    assert_eq!(out.text(), "");
    assert!(out.stderr.contains("was not mounted"), "{}", out.stderr);
}

/// systemd has no assertion about the type, so the app may have begun when this is found; it does not count as started.
#[test]
fn a_mount_of_another_file_system_is_found() {
    let out = broken("[Mount]\nWhat=tmpfs\nType=tmpfs\nOptions=ro\n");
    assert!(out.stderr.contains("`tmpfs`"), "{}", out.stderr);
}

#[test]
fn a_mount_that_should_be_read_only_and_is_not_is_found() {
    let out = broken("[Mount]\nOptions=bind,rw\n");
    assert_eq!(out.text(), "");
    assert!(out.stderr.contains("writable"), "{}", out.stderr);
}

/// mount(8) says that it worked and mounts nothing.
#[test]
fn a_mount_program_that_lies_is_found() {
    let bench = Bench::new().own_templates();
    let busybox = fs::read("/bin/busybox").unwrap();
    let script = r#"#!/busybox sh
        case "$*" in */rootfs/data*) exit 0;; esac
        # busybox knows no propagation flag beside others.
        for word; do shift; set -- "$@" "$(echo "$word" | /busybox sed 's/,*private//')"; done
        exec /busybox mount "$@"
    "#;
    let pod = bench
        .pod()
        .host("data", bench.source("data", &[]), "")
        .app(&bench.busybox())
        .with(["--app-name", "web"]);
    let running = pod.mount("data", "/data", "").sh("echo the app ran").start();
    bench.tamper(&[
        ("/usr/bin/mount", 0o755, script.as_bytes()),
        ("/busybox", 0o755, &busybox),
    ]);
    let out = running.wait().expect(125);
    assert_eq!(out.text(), "");
    for named in ["app `web` did not start", "volume `data`", UNIT] {
        assert!(out.stderr.contains(named), "{named}: {}", out.stderr);
    }
}

/// systemd mounts what could not be mounted ahead of it.
#[test]
fn a_mount_that_fails_ahead_of_systemd_is_systemds_to_make() {
    let bench = Bench::new().own_templates();
    let source = bench.source("data", &[("file", "in the volume")]);
    let pod = bench.pod().host("data", &source, "").app(&bench.busybox());
    let pod = pod.mount("data", "/data", "");
    let running = pod
        .sh("cat /data/file; grep -c ' /data ' /proc/self/mountinfo")
        .start();
    bench.break_mounts_ahead();
    let out = running.wait().expect(0);
    assert_eq!(out.text(), "in the volume1\n");
}

/// The links that make the app's service need its mount are gone: the service starts, and its own check finds it.
#[test]
fn a_service_that_no_longer_needs_its_mount_does_not_start_without_it() {
    let bench = Bench::new().own_templates();
    // A unit that is loaded and does nothing, where the mount was.
    let masked = "[Unit]\nDefaultDependencies=no\nConditionPathExists=/nowhere\n[Mount]\nWhat=/mnt/data\nWhere=/opt/stage2/web/rootfs/data\nType=none\nOptions=bind\n";
    let pod = bench
        .pod()
        .host("data", bench.source("data", &[]), "")
        .app(&bench.busybox())
        .with(["--app-name", "web"]);
    let running = pod.mount("data", "/data", "").sh("echo the app ran").start();
    bench.tamper(&[(&format!("{UNITS}/{UNIT}"), 0o644, masked.as_bytes())]);
    let out = running.wait().expect(125);
    assert_eq!(out.text(), "");
    for named in ["app `web` did not start", "volume `data`", "is not mounted"] {
        assert!(out.stderr.contains(named), "{named}: {}", out.stderr);
    }
}

/// The host's side changes while the guest boots: what was a directory is a file when it is to be mounted.
#[test]
fn a_path_that_changes_its_kind_while_the_guest_boots_is_an_error() {
    let bench = Bench::new().own_templates();
    let source = bench.source("data", &[("part/file", "")]);
    let image = bench.image(&Image::busybox());
    let pod = bench
        .pod()
        .host("data", &source, "readOnly=true")
        .app(&image)
        .with(["--app-name", "web"]);
    let running = pod
        .mount("data", "/data", "subPath=part")
        .sh("echo the app ran")
        .start();
    let _ = bench.process(QEMU);
    fs::remove_dir_all(source.join("part")).unwrap();
    fs::write(source.join("part"), "a file now\n").unwrap();
    let out = running.wait().expect(125);
    assert_eq!(out.text(), "");
    for named in ["app `web` did not start", "volume `data`", UNIT] {
        assert!(out.stderr.contains(named), "{named}: {}", out.stderr);
    }
    eventually("nothing is left", || bench.processes().is_empty());
    bench.assert_nothing_left();
}
