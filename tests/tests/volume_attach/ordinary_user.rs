//! The same for an ordinary user's pod.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use isopod_tests::Bench;

use super::{IDLE, attached, sh, text};

/// Whether an ordinary user may have a user namespace here.
fn has_namespaces() -> bool {
    let words = "--reuid 12345 --regid 12345 --clear-groups unshare --user --mount true";
    let tried = Command::new("setpriv").args(words.split(' ')).output();
    !rustix::process::geteuid().is_root() || tried.is_ok_and(|output| output.status.success())
}

fn for_an_ordinary_user(transport: &str) {
    let bench = Bench::of_ordinary_user();
    let virtiofsd = || std::env::split_paths(&bench.path).any(|dir| dir.join("virtiofsd").is_file());
    if !has_namespaces() || (transport == "virtiofs" && !virtiofsd()) {
        return;
    }
    let pod = bench.pod().flags(["-d", "--name", "p", "--transport", transport]);
    let pod = pod
        .app(&bench.busybox())
        .with(["--app-name", "a", "--cap-add", "ALL"]);
    let _ = pod.sh(IDLE).start().wait().expect(0);
    let data = bench.source("data", &[("f", "mine\n")]);
    attached(&bench, "data", &data, &["target=/data"]);
    assert_eq!(sh(&bench, "a", "cat /data/f; echo x > /data/new"), "mine\n");
    let owner = |path: PathBuf| path.metadata().unwrap().uid();
    assert_eq!(owner(data.join("new")), owner(data.clone()));
    let fixed = bench.source("fixed", &[("f", "fixed\n")]);
    attached(&bench, "fixed", &fixed.join("f"), &["target=/fixed,ro"]);
    let script = "mount -o remount,rw,bind /fixed; echo x 2> /dev/null > /fixed || cat /fixed";
    assert_eq!(sh(&bench, "a", script), "fixed\n");
    text(&bench, "volume detach p data");
    text(&bench, "volume detach p fixed");
    assert_eq!(sh(&bench, "a", "ls /data; wc -c < /fixed"), "0\n");
    text(&bench, "rm -f p");
    bench.assert_nothing_left();
}

#[test]
fn an_ordinary_users_volumes_over_virtiofs() {
    for_an_ordinary_user("virtiofs");
}

#[test]
fn an_ordinary_users_volumes_over_9p() {
    for_an_ordinary_user("9p");
}
