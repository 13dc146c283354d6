//! A volume comes to every app of a running pod, and goes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use isopod_tests::faults::{QEMU, eventually};
use isopod_tests::{Bench, Image, Scenarios};

use super::{IDLE, attached, isopod, quoted, refused, runs_again, sh, text, volumes};

/// The names below the share, as its server (`program`) has them.
pub(crate) fn served(bench: &Bench, program: &str) -> Vec<String> {
    let server = bench.process(program);
    let pod = fs::read_dir(bench.state().join("pods/started")).unwrap().next();
    let share = pod.unwrap().unwrap().path().join("share");
    let mountinfo = fs::read_to_string(format!("/proc/{server}/mountinfo")).unwrap();
    let share = share.canonicalize().unwrap().display().to_string();
    let places: Vec<&str> = mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .collect();
    // virtiofsd's root is the share, where it runs as root.
    let prefix = match places.contains(&&*share) {
        true => format!("{share}/"),
        false => "/".to_owned(),
    };
    let names = places.iter().filter_map(|place| place.strip_prefix(&prefix));
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Whether a file server keeps something below `dir` open.
fn holds(server: i32, dir: &Path) -> bool {
    let held = fs::read_dir(format!("/proc/{server}/fd")).unwrap();
    let (device, inode) = dir.metadata().map(|found| (found.dev(), found.ino())).unwrap();
    let mut held = held.flatten().filter_map(|fd| fs::metadata(fd.path()).ok());
    held.any(|found| (found.dev(), found.ino()) == (device, inode))
}

/// All that a volume which comes must be, over one transport.
fn comes_and_goes(bench: &Bench, transport: &str, server: &str) {
    let image = bench.image(
        &Image::busybox()
            .directory("real", 0o755, (0, 0))
            .symlink("link", "/real"),
    );
    let pod = bench
        .pod()
        .flags(["-d", "--name", "p", "--transport", transport])
        .app(&image)
        .with(["--app-name", "a", "--cap-add", "ALL", "--restart", "always"])
        .sh(IDLE)
        .app(&image)
        .with(["--app-name", "b"])
        .sh(IDLE);
    let _ = pod.start().wait().expect(0);

    let mut scenarios = Scenarios::default();
    let data = bench.source("data", &[("from-host", "one\n")]);
    scenarios.run(
        "writable in one app, read-only in the other, below a link of the image",
        || {
            attached(
                bench,
                "data",
                &data,
                &["target=/link/new/data,app=a", "target=/in,readOnly,app=b"],
            );
            assert_eq!(
                sh(
                    bench,
                    "a",
                    "cat /real/new/data/from-host; echo two > /link/new/data/from-app"
                ),
                "one\n"
            );
            assert_eq!(fs::read_to_string(data.join("from-app")).unwrap(), "two\n");
            fs::write(data.join("later"), "three\n").unwrap();
            assert_eq!(
                sh(bench, "b", "cat /in/later; touch /in/x 2> /dev/null || echo no"),
                "three\nno\n"
            );
        },
    );
    let fixed = bench.source("fixed", &[("file", "fixed\n")]);
    scenarios.run("the host keeps read-only what no app writes, whatever the guest's root does", || {
    attached(bench, "fixed", &fixed, &["target=/fixed,readOnly"]);
    let try_all = "mount -o remount,rw,bind /fixed; touch /fixed/x 2> /dev/null || echo no
        nsenter -t 1 -m sh -c 'mount -o remount,rw /mnt; touch /mnt/@2/x' 2> /dev/null || echo no; cat /fixed/file";
    assert_eq!(sh(bench, "a", try_all), "no\nno\nfixed\n");
    });
    scenarios.run("a file on a file of the image, and on one that is made", || {
        let conf = bench
            .source("conf", &[("app.conf", "color=blue\n")])
            .join("app.conf");
        attached(
            bench,
            "conf",
            &conf,
            &["target=/etc/passwd,app=b", "target=/etc/conf.d/app.conf,app=b"],
        );
        assert_eq!(
            sh(bench, "b", "cat /etc/passwd /etc/conf.d/app.conf"),
            "color=blue\ncolor=blue\n"
        );
    });
    scenarios.run("names with any character, a part of a volume", || {
        let odd = bench.source("a, b %s \"c\"", &[("sub dir/x", "odd\n")]);
        let target = quoted("target", "/mnt/%n, \"x\" $HOME");
        attached(
            bench,
            "odd",
            &odd,
            &[
                &format!("{target},app=b"),
                "target=/part,subPath=sub dir,noexec,app=b",
            ],
        );
        assert_eq!(
            sh(bench, "b", "cat '/mnt/%n, \"x\" $HOME/sub dir/x' /part/x"),
            "odd\nodd\n"
        );
        assert!(sh(bench, "b", "grep ' /part ' /proc/mounts").contains("noexec"));
    });
    scenarios.run("a volume within a volume", || {
        attached(
            bench,
            "inner",
            &fixed,
            &["target=/mnt/%n/in,app=a", "target=/real/new/data/inner,app=a"],
        );
        assert_eq!(sh(bench, "a", "cat /link/new/data/inner/file"), "fixed\n");
        assert!(data.join("inner").is_dir(), "made where it is mounted");
    });
    scenarios.run(
        "what has come is listed, and served in the server's namespace",
        || {
            assert_eq!(volumes(bench), ["data", "fixed", "conf", "odd", "inner"]);
            let status = text(bench, "status p");
            assert!(
                status.contains("data:/link/new/data, fixed:/fixed (ro)"),
                "{status}"
            );
            let mut names = served(bench, server);
            names.sort();
            assert_eq!(names, ["@1", "@2", "@3", "@4", "@5"], "in the server's namespace");
            let own = fs::read_to_string("/proc/self/mountinfo").unwrap();
            assert!(!own.contains("share/@"), "and not in the host's: {own}");
        },
    );
    scenarios.run("an app that is restarted has them, and asserts them", || {
        text(bench, "kill p --app a");
        runs_again(bench);
        assert_eq!(
            sh(
                bench,
                "a",
                "cat /link/new/data/later /fixed/file /real/new/data/inner/file"
            ),
            "three\nfixed\nfixed\n"
        );
        assert_eq!(sh(bench, "a", "touch /fixed/x 2> /dev/null || echo no"), "no\n");
    });
    scenarios.run("a volume is detached, unless it is in use", || {
        leaves(bench, server, &data)
    });
    text(bench, "stop p");
    text(bench, "rm p");
    bench.assert_nothing_left();
}

/// What goes, and what does not.
fn leaves(bench: &Bench, server: &str, data: &Path) {
    refused(
        &isopod(bench, "volume detach p data"),
        "error: cannot detach volume `data` from pod `p`\n  \
         caused by: volume `data`: volume `inner` is mounted in it, at `/real/new/data/inner`: detach that one first",
    );
    text(bench, "volume detach p inner");
    let user = [
        "exec",
        "--app",
        "b",
        "p",
        "--",
        "sh",
        "-c",
        "cd /in && exec sleep 1000",
    ];
    let user = bench.isopod_start(user);
    let busy = || isopod(bench, "volume detach p data");
    eventually("it is in use", || sh(bench, "b", "ps").contains("sleep 1000"));
    let out = busy();
    refused(
        &out,
        "error: cannot detach volume `data` from pod `p`\n  caused by: volume `data` is in use by app `b`: `sleep` (process ",
    );
    assert!(out.stderr.contains("hint: end what uses it"), "{out:?}");
    // Refused, and all as it was.
    assert_eq!(sh(bench, "a", "cat /link/new/data/later"), "three\n");
    assert_eq!(sh(bench, "b", "cat /in/later"), "three\n");
    text(bench, "volume detach --force p data");
    assert_eq!(sh(bench, "b", "ls /in"), "");
    assert_eq!(sh(bench, "a", "ls /link/new/data"), "");
    drop(user);

    text(bench, "volume detach p conf");
    assert_eq!(
        sh(bench, "b", "cat /etc/conf.d/app.conf; head -c 5 /etc/passwd"),
        "root:"
    );
    assert_eq!(volumes(bench), ["fixed", "odd"]);
    refused(
        &isopod(bench, "volume detach p conf"),
        "error: cannot detach volume `conf` from pod `p`\n  caused by: volume `conf`: the pod has no such volume",
    );
    // Another of the same name, at the same place, at once: it is the other.
    let other = bench.source("other", &[("later", "other\n")]);
    attached(bench, "data", &other, &["target=/in,app=b"]);
    assert_eq!(sh(bench, "b", "cat /in/later; touch /in/mine"), "other\n");
    assert!(other.join("mine").exists() && !data.join("mine").exists());
    text(bench, "volume detach p data");
    // The host may do with it what it likes: nothing keeps it open.
    let pid = bench.process(server);
    eventually("the server lets it go", || !holds(pid, &other));
    let mut names = served(bench, server);
    names.sort();
    assert_eq!(names, ["@2", "@4"]);
}

#[test]
fn volumes_come_and_go_over_virtiofs() {
    comes_and_goes(&Bench::new(), "virtiofs", "virtiofsd");
}

#[test]
fn volumes_come_and_go_over_9p() {
    comes_and_goes(&Bench::new(), "9p", QEMU);
}

/// What of the host's mounts is part of a volume, and what the host mounts later, is as with a volume of the start.
#[test]
fn mounts_of_the_host_are_part_of_what_comes() {
    let Some(bench) = Bench::of_root() else { return };
    let source = bench.source("tree", &[("early/below", ""), ("late/below", "")]);
    let place = source.display();
    let pod = bench.pod().behind(&format!(
        "mount --bind {place} {place}; mount --make-shared {place}; mount -t tmpfs none {place}/early; \
         touch {place}/early/mounted"
    ));
    let pod = pod.flags(["-d", "--name", "p", "--transport", "virtiofs"]);
    let pod = pod.app(&bench.busybox()).with(["--app-name", "a"]).sh(IDLE);
    let _ = pod.start().wait().expect(0);
    let bring = |name: &str, keys: &str| {
        let volume = format!("{name},kind=host,source={place},{keys}");
        let mount = format!("volume={name},target=/{name}");
        let words = ["volume", "attach", "p", "--volume", &volume, "--mount", &mount];
        let _ = bench.isopod_command(words).expect(0);
    };
    bring("all", "propagation=rslave");
    bring("flat", "recursive=false");
    assert_eq!(
        sh(&bench, "a", "ls /all/early /flat/early"),
        "/all/early:\nmounted\n\n/flat/early:\nbelow\n"
    );
    let supervisor = bench.process("isopod").to_string();
    let later = format!("mount -t tmpfs none {place}/late; touch {place}/late/mounted");
    let words = ["--target", &supervisor, "--mount", "sh", "-c", &later];
    assert!(Command::new("nsenter").args(words).status().unwrap().success());
    eventually("it comes, too", || sh(&bench, "a", "ls /all/late") == "mounted\n");
    assert_eq!(sh(&bench, "a", "ls /flat/late"), "below\n");
    // They go with the volume.
    text(&bench, "volume detach p all");
    text(&bench, "volume detach p flat");
    assert_eq!(sh(&bench, "a", "grep -c virtiofs /proc/mounts || true"), "0\n");
    text(&bench, "rm -f p");
    bench.assert_nothing_left();
}
