//! Pods of an ordinary user: the same, as far as the host allows it, and clear words where it does not.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use isopod_tests::{Bench, Image};
use rustix::process::Signal;

/// Whether an ordinary user may have a user namespace here, which shares need.
fn has_namespaces() -> bool {
    let tried = Command::new("setpriv")
        .args([
            "--reuid",
            "12345",
            "--regid",
            "12345",
            "--clear-groups",
            "unshare",
            "--user",
            "--mount",
            "true",
        ])
        .output();
    !rustix::process::geteuid().is_root() || tried.is_ok_and(|output| output.status.success())
}

/// Whether there is a virtiofsd that works without root: Debian's own does not.
fn has_virtiofsd(bench: &Bench) -> bool {
    let found = std::env::split_paths(&bench.path)
        .map(|dir| dir.join("virtiofsd"))
        .find(|path| path.is_file());
    found.is_some()
}

#[test]
fn a_pod_runs_without_root() {
    let bench = Bench::of_ordinary_user();
    let out = bench
        .pod()
        .app(&bench.busybox())
        .with(["--app-name", "app"])
        .stdin("typed\n")
        .sh("id -u; cat; exit 9")
        .run();
    assert_eq!((out.status, out.text(), &*out.stderr), (9, "0\ntyped\n", ""));
}

fn volumes(transport: &str) {
    let bench = Bench::of_ordinary_user();
    if !has_namespaces() || (transport == "virtiofs" && !has_virtiofsd(&bench)) {
        return;
    }
    let rw = bench.source("rw", &[("from-host", "from host\n")]);
    let ro = bench.source("ro", &[("file", "read me\n")]);
    let conf = bench.source("conf", &[("app.conf", "conf\n")]).join("app.conf");
    let pod = bench.pod().flags(["--transport", transport]);
    let pod = pod
        .host("rw", &rw, "")
        .host("ro", &ro, "readOnly=true")
        .host("conf", &conf, "");
    let pod = pod.app(&bench.busybox()).with(["--cap-add", "ALL"]);
    let pod = pod
        .mount("rw", "/rw", "")
        .mount("ro", "/ro", "")
        .mount("conf", "/etc/app.conf", "");
    let script = "
        awk '$2 == \"/rw\" { print $3 }' /proc/mounts
        cat /rw/from-host /ro/file /etc/app.conf; echo x > /rw/new; mkdir /rw/dir; mv /rw/new /rw/dir/moved
        echo edited > /etc/app.conf; stat -c '%u %g' /rw/dir
        echo x 2> /dev/null > /ro/file || echo refused
        mount -o remount,rw,bind /ro; echo x 2> /dev/null > /ro/new || echo refused again";
    let out = pod.sh(script).run().expect(0);
    let expected = format!("{transport}\nfrom host\nread me\nconf\n0 0\nrefused\nrefused again\n");
    assert_eq!((out.text(), &*out.stderr), (&*expected, ""));
    assert_eq!(fs::read_to_string(rw.join("dir/moved")).unwrap(), "x\n");
    assert_eq!(fs::read_to_string(&conf).unwrap(), "edited\n");
    assert_eq!(fs::read_to_string(ro.join("file")).unwrap(), "read me\n");
    // To the host it was the user who wrote.
    assert_eq!(
        fs::metadata(rw.join("dir/moved")).unwrap().uid(),
        fs::metadata(&rw).unwrap().uid()
    );
}

#[test]
fn volumes_over_virtiofs() {
    volumes("virtiofs");
}

#[test]
fn volumes_over_9p() {
    volumes("9p");
}

/// Debian's virtiofsd does not work without root, so 9p takes its place, and virtiofs is an error that says so.
#[test]
fn without_a_virtiofsd_that_works() {
    let mut bench = Bench::of_ordinary_user();
    if !has_namespaces() {
        return;
    }
    bench.path = "/usr/bin:/bin".into();
    let source = bench.source("data", &[]);
    let pod = |transport| {
        let pod = bench
            .pod()
            .flags(["--transport", transport])
            .host("data", &source, "");
        pod.app(&bench.busybox())
            .mount("data", "/data", "")
            .sh("awk '$2 == \"/data\" { print $3 }' /proc/mounts")
    };
    pod("virtiofs").run().assert_refused(
        125,
        "error: cannot share volumes over virtiofs: no virtiofsd that works without root was found (that of QEMU's package does not)\n\
         hint: `cargo install virtiofsd`; or share over 9p: `--transport 9p`",
    );
    let out = pod("auto").run().expect(0);
    assert_eq!(out.text(), "9p\n");
    let words = "note: host volumes are shared over 9p, which is slower and cannot do all that virtiofs can: \
                 no virtiofsd that works without root was found\n";
    assert_eq!(out.stderr, words);
}

/// To the host, an ordinary user's pod is one user. The caller's files are the app's own, whoever that is, and what it writes is
/// the caller's; over virtiofs the guest's root may change their owner, which is without effect.
fn an_app_that_is_not_root(transport: &str) {
    let bench = Bench::of_ordinary_user();
    if !has_namespaces() || (transport == "virtiofs" && !has_virtiofsd(&bench)) {
        return;
    }
    let data = bench.source("data", &[("private", "mine\n")]);
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(data.join("private"), fs::Permissions::from_mode(0o600)).unwrap();
    let pod = bench
        .pod()
        .flags(["--transport", transport])
        .host("data", &data, "");
    let pod = pod
        .app(&bench.busybox())
        .with(["--app-name", "web", "--user", "www"]);
    let pod = pod.mount("data", "/data", "").sh(
        "cd /data; { id -u; cat private; mkdir dir; chmod 700 dir; echo x > dir/new; stat -c '%u %a' . dir dir/new; } > said 2>&1
         touch done",
    );
    let pod = pod
        .app(&bench.busybox())
        .with(["--app-name", "root"])
        .mount("data", "/data", "");
    let out = pod
        .sh(
            "cd /data; until [ -e done ]; do sleep 0.1; done; cat said; echo y >> dir/new
             chown -R 5:6 dir 2> /dev/null && echo changed || echo unchanged",
        )
        .run()
        .expect(0);
    // QEMU has no way to do as if.
    let changed = if transport == "9p" { "unchanged" } else { "changed" };
    let expected = format!("33\nmine\n33 755\n33 700\n33 644\n{changed}\n");
    assert_eq!((out.text(), &*out.stderr), (&*expected, ""));
    let new = data.join("dir/new");
    assert_eq!(fs::read_to_string(&new).unwrap(), "x\ny\n");
    let owner = |path: &Path| {
        let found = fs::metadata(path).unwrap();
        (found.uid(), found.gid())
    };
    assert_eq!(owner(&new), owner(&data));
}

#[test]
fn an_app_that_is_not_root_writes_over_virtiofs() {
    an_app_that_is_not_root("virtiofs");
}

#[test]
fn an_app_that_is_not_root_writes_over_9p() {
    an_app_that_is_not_root("9p");
}

/// Several users: the caller's files are root's, and each app writes where their modes let others.
#[test]
fn apps_of_several_users_write_where_others_may() {
    let bench = Bench::of_ordinary_user();
    if !has_namespaces() || !has_virtiofsd(&bench) {
        return;
    }
    let data = bench.source("data", &[("mine", "x")]);
    fs::set_permissions(&data, fs::Permissions::from_mode(0o777)).unwrap();
    let mut pod = bench
        .pod()
        .flags(["--transport", "virtiofs"])
        .host("data", &data, "");
    for user in ["33", "7"] {
        let name = format!("u{user}");
        pod = pod
            .app(&bench.busybox())
            .with(["--app-name", &name, "--user", user]);
        pod = pod
            .mount("data", "/data", "")
            .sh("cd /data; echo x > by-$(id -u) && { echo y > mine; } 2> /dev/null || echo refused");
    }
    let out = pod.run().expect(0);
    assert_eq!(out.text(), "refused\nrefused\n");
    for user in [33, 7] {
        let words = format!(
            "note: app `u{user}` runs as user {user}, and your files in volume `data` belong to user 0 in the guest: it \
             can write only to those whose mode allows others\n"
        );
        assert!(out.stderr.contains(&words), "{}", out.stderr);
        assert_eq!(
            fs::read_to_string(data.join(format!("by-{user}"))).unwrap(),
            "x\n"
        );
    }
}

#[test]
fn what_the_user_may_not_read_is_an_error() {
    let Some(root) = Bench::of_root() else { return };
    let bench = Bench::of_ordinary_user();
    let closed = root.source("closed", &[("inner/file", "secret\n")]);
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let inner = closed.join("inner");
    let pod = bench
        .pod()
        .host("data", &inner, "")
        .app(&bench.busybox())
        .mount("data", "/data", "");
    let words = format!(
        "error: volume `data`: cannot share `{}`: Permission denied (os error 13)",
        inner.display()
    );
    pod.sh("true").run().assert_refused(125, &words);

    let out = bench
        .pod()
        .app(&bench.busybox())
        .state(Path::new("/proc/nowhere"))
        .sh("true")
        .run()
        .expect(125);
    assert!(
        out.stderr.starts_with("error: cannot open the image store"),
        "{}",
        out.stderr
    );
    assert!(out.stderr.contains("/proc/nowhere"), "{}", out.stderr);
}

/// A kernel that only root may read, as other distributions have it.
#[test]
fn a_kernel_that_only_root_may_read_is_an_error() {
    let Some(_) = Bench::of_root() else { return };
    let bench = Bench::of_ordinary_user();
    let hide = format!(
        "mkdir '{0}/boot'; cp /boot/vmlinuz* '{0}/boot/'; chmod 600 '{0}'/boot/*; mount --bind '{0}/boot' /boot",
        bench.dir().display()
    );
    let out = bench
        .pod()
        .app(&bench.busybox())
        .behind(&hide)
        .sh("true")
        .run()
        .expect(125);
    assert!(
        out.stderr.contains("/boot/vmlinuz") && out.stderr.contains("Permission denied"),
        "{}",
        out.stderr
    );
}

#[test]
fn signals_and_cleaning_up_need_no_root() {
    let bench = Bench::of_ordinary_user();
    let image = bench.image(&Image::busybox());
    let source = bench.source("data", &[]);
    let pod = if has_namespaces() {
        bench.pod().host("data", &source, "")
    } else {
        bench.pod().empty("data", "")
    };
    let pod = pod.app(&image).mount("data", "/data", "");
    let mut running = pod
        .sh("trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done")
        .start();
    running.wait_for("ready\n");
    running.signal(Signal::TERM);
    let _ = running.wait().expect(3);
    bench.assert_nothing_left();
}
