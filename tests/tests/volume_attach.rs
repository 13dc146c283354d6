//! Volumes that come to a pod while it runs, and go: what its apps see, what the host keeps, and what is refused.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use isopod_tests::faults::{QEMU, eventually, kill};
use isopod_tests::{Bench, Image, Output, Scenarios};
use rustix::process::Signal;
use serde_json::Value;

/// An app that does nothing.
const IDLE: &str = "trap 'exit 0' TERM; while :; do sleep 0.2; done";

fn isopod(bench: &Bench, line: &str) -> Output {
    bench.isopod_command(line.split_whitespace())
}

#[track_caller]
fn text(bench: &Bench, line: &str) -> String {
    isopod(bench, line).expect(0).text().to_owned()
}

/// What a shell script in an app of the pod `p` says.
#[track_caller]
fn sh(bench: &Bench, app: &str, script: &str) -> String {
    let out = bench.isopod_command(["exec", "--app", app, "p", "--", "sh", "-c", script]);
    out.expect(0).text().to_owned()
}

/// Waits until the first app was restarted.
fn runs_again(bench: &Bench) {
    eventually("it runs again", || {
        let status: Value = serde_json::from_str(&text(bench, "status --format json p")).unwrap();
        status["apps"][0]["restarts"] == 1 && status["apps"][0]["state"] == "running"
    });
}

/// A field of a CSV record in quotes, whatever is in it.
fn quoted(key: &str, value: &str) -> String {
    format!("\"{key}={}\"", value.replace('"', "\"\""))
}

fn attach(bench: &Bench, name: &str, source: &Path, mounts: &[&str]) -> Output {
    let source = quoted("source", source.to_str().unwrap());
    let mut words: Vec<OsString> = ["volume", "attach", "p", "--volume"].map(OsString::from).into();
    words.push(format!("{name},kind=host,{source}").into());
    for mount in mounts {
        words.push("--mount".into());
        words.push(format!("volume={name},{mount}").into());
    }
    bench.isopod_command(words)
}

#[track_caller]
fn attached(bench: &Bench, name: &str, source: &Path, mounts: &[&str]) {
    let out = attach(bench, name, source, mounts).expect(0);
    assert_eq!(out.text(), format!("{name}\n"));
}

#[track_caller]
fn refused(out: &Output, words: &str) {
    assert!(out.status == 125 && out.stderr.starts_with(words), "{out:?}");
    assert_eq!(out.text(), "");
}

fn volumes(bench: &Bench) -> Vec<String> {
    let list: Value = serde_json::from_str(&text(bench, "volume list p --format json")).unwrap();
    let volumes = list["volumes"].as_array().unwrap();
    volumes
        .iter()
        .map(|volume| volume["name"].as_str().unwrap().to_owned())
        .collect()
}

/// The names below the share, as its server (`program`) has them.
fn served(bench: &Bench, program: &str) -> Vec<String> {
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

    // Writable in one app and read-only in the other, below a link of the image's.
    let data = bench.source("data", &[("from-host", "one\n")]);
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

    // Read-only everywhere: the host keeps it so, whatever the guest's root does.
    let fixed = bench.source("fixed", &[("file", "fixed\n")]);
    attached(bench, "fixed", &fixed, &["target=/fixed,readOnly"]);
    let try_all = "mount -o remount,rw,bind /fixed; touch /fixed/x 2> /dev/null || echo no
        nsenter -t 1 -m sh -c 'mount -o remount,rw /mnt; touch /mnt/@2/x' 2> /dev/null || echo no; cat /fixed/file";
    assert_eq!(sh(bench, "a", try_all), "no\nno\nfixed\n");

    // A file on a file of the image's, and on one that is made.
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

    // Names with everything in them, a part of a volume, a volume within a volume.
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
    attached(
        bench,
        "inner",
        &fixed,
        &["target=/mnt/%n/in,app=a", "target=/real/new/data/inner,app=a"],
    );
    assert_eq!(sh(bench, "a", "cat /link/new/data/inner/file"), "fixed\n");
    assert!(data.join("inner").is_dir(), "made where it is mounted");

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

    // An app that starts anew has them, and asserts them.
    text(bench, "kill p a");
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

    leaves(bench, server, &data);
    text(bench, "stop p");
    text(bench, "rm p");
    bench.assert_nothing_left();
}

/// What goes, and what does not.
fn leaves(bench: &Bench, server: &str, data: &Path) {
    refused(
        &isopod(bench, "volume detach p data"),
        "error: cannot detach volume `data` from pod `p`\n  \
         caused by: volume `data`: volume `inner` is mounted in it, at `/real/new/data/inner`: detach that one before",
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

/// What cannot be is refused, with the reason, and changes nothing.
#[test]
fn what_cannot_come_is_refused() {
    let bench = Bench::new();
    let data = bench.source("data", &[("f", "data\n")]);
    let start = bench.source("start", &[]);
    let pod = bench
        .pod()
        .flags(["-d", "--name", "p"])
        .host("start", &start, "")
        .empty("tmp", "")
        .flags(["--volume", &format!("img,kind=image,image={}", bench.busybox())]);
    let pod = pod.app(&bench.busybox()).with(["--app-name", "a"]);
    let pod = pod
        .mount("start", "/s/start", "")
        .mount("tmp", "/tmp/t", "")
        .mount("img", "/img", "")
        .sh(IDLE);
    let pod = pod
        .app(&bench.busybox())
        .with(["--app-name", "fixed", "--read-only"])
        .sh(IDLE);
    let _ = pod.start().wait().expect(0);
    sh(&bench, "a", "mkdir /made; ln -s /made /app-link");
    let no = |mount: &str, words: &str| {
        let out = attach(&bench, "data", &data, &[mount]);
        refused(&out, words);
        assert_eq!(volumes(&bench), ["start", "img", "tmp"], "{mount}");
    };
    let mut scenarios = Scenarios::default();
    scenarios.run("a target that cannot be", || {
        no(
            "target=/x,app=nobody",
            "error: app `nobody`: the pod has no such app\n",
        );
        no(
            "target=/s/start,app=a",
            "error: app `a` mounts both volume `start` and volume `data` at `/s/start`\n",
        );
        no(
            "target=/s,app=a",
            "error: app `a`, volume `data`: cannot mount at `/s`: it would hide volume `start` at `/s/start`\n",
        );
        no(
            "target=/proc/x,app=a",
            "error: app `a`, volume `data`: cannot mount at `/proc/x`: it is a directory that the guest itself mounts",
        );
        no(
            "target=/etc/passwd,app=a",
            "error: app `a`, volume `data`: cannot mount at `/etc/passwd`: it is a file, and a directory cannot be mounted",
        );
        no(
            "target=/new,app=fixed",
            "error: app `fixed`, volume `data`: cannot mount at `/new`: it does not exist, and the app's root filesystem is",
        );
        no(
            "target=/img/new,app=a",
            "error: app `a`, volume `data`: cannot mount at `/img/new`: it does not exist, and the app may not write to volume `img`",
        );
    });
    scenarios.run("a link that the app made", || {
        // The app made it after its image was looked at.
        no(
            "target=/app-link/x,app=a",
            "error: cannot attach volume `data` to pod `p`\n  caused by: cannot reach `/app-link/x`, on which the volume is to \
             be mounted: a link was made there\n",
        );
    });
    scenarios.run("a source that is not there", || {
        let missing = attach(&bench, "data", &bench.dir().join("nothere"), &["target=/x"]);
        refused(&missing, "error: volume `data`: cannot share `");
    });
    scenarios.run("a name that the pod has", || {
        let again = attach(&bench, "start", &data, &["target=/x,app=a"]);
        refused(&again, "error: volume `start`: the pod has a volume of this name");
    });
    scenarios.run("flags that are wrong", || {
        refused(
            &isopod(
                &bench,
                "volume attach p --volume e,kind=empty --mount volume=e,target=/x,app=a",
            ),
            "error: cannot attach volume `e`: only a volume of kind `host` can come to a pod that runs\nhint: ",
        );
        refused(
            &isopod(
                &bench,
                "volume attach p --volume e,kind=hos --mount volume=e,targe=/x",
            ),
            "error: invalid value `e,kind=hos` of `--volume`\n  caused by: `hos` is no value of `kind`: it must be `host`, \
             `empty` or `image`\nerror: invalid value `volume=e,targe=/x` of `--mount`\n",
        );
    });
    scenarios.run("a volume of the start", || {
        refused(
            &isopod(&bench, "volume detach p start"),
            "error: cannot detach volume `start` from pod `p`\n  caused by: volume `start`: the pod was started with it",
        );
    });
    scenarios.run("a part that fails takes the others along", || {
        // A part that fails takes the others with it.
        let mounts = ["target=/good,app=a", "target=/app-link/x,app=a"];
        refused(
            &attach(&bench, "data", &data, &mounts),
            "error: cannot attach volume `data`",
        );
        assert_eq!(
            sh(&bench, "a", "ls /good 2>&1; grep good /proc/mounts || echo none"),
            "none\n"
        );
        assert_eq!(served(&bench, "virtiofsd"), ["start"]);
    });
    scenarios.run("what can come does, in volumes too", || {
        // And after all that, what can come does, in the volumes too.
        attached(
            &bench,
            "data",
            &data,
            &[
                "target=/s/start/in,app=a",
                "target=/tmp/t/in,app=a",
                "target=/img/tmp,app=a",
                "target=/tmp,app=fixed",
            ],
        );
        assert_eq!(
            sh(&bench, "a", "cat /s/start/in/f /tmp/t/in/f /img/tmp/f"),
            "data\ndata\ndata\n"
        );
        assert_eq!(sh(&bench, "fixed", "cat /tmp/f"), "data\n");
    });
    scenarios.run("a pod that has stopped", || {
        text(&bench, "stop p");
        assert_eq!(
            volumes(&bench),
            ["start", "img", "tmp"],
            "it lasted until the stop"
        );
        refused(
            &attach(&bench, "late", &data, &["target=/x"]),
            "error: pod `p`: it does not run any more",
        );
        text(&bench, "start p");
        assert_eq!(sh(&bench, "a", "ls /s/start/in"), "");
    });
    text(&bench, "rm -f p");
    bench.assert_nothing_left();
}

/// systemd mounts it anew for an app that starts anew, and an app that cannot have it does not start.
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
    text(&bench, "kill p a");
    runs_again(&bench);
    assert_eq!(sh(&bench, "a", "cat /data/f"), "data\n");
    in_guest("umount /opt/stage2/a/rootfs/data; mount -t tmpfs none /mnt");
    text(&bench, "kill p a");
    let status = text(&bench, "status --wait p");
    let words = "a: volume `data` was not mounted (`opt-stage2-a-rootfs-data.mount`): ";
    assert!(
        status.contains("state   exited (125)") && status.contains(words),
        "{status}"
    );
    text(&bench, "rm p");
    bench.assert_nothing_left();
}

/// A pod that was started without a share says so, and how it is started.
#[test]
fn a_pod_without_a_share_is_told_apart() {
    let bench = Bench::new();
    let data = bench.source("data", &[]);
    let pod = bench.pod().flags(["-d", "--name", "p"]).app(&bench.busybox());
    let _ = pod.with(["--app-name", "a"]).sh(IDLE).start().wait().expect(0);
    assert_eq!(
        attach(&bench, "data", &data, &["target=/x"]).stderr,
        "error: cannot attach volume `data`: the pod was started without a device for volumes of the host\n\
         hint: start it with a host volume, or with `--transport virtiofs` or `--transport 9p`, which gives it the device\n"
    );
    assert_eq!(
        text(&bench, "volume list p"),
        "VOLUME  SOURCE  ACCESS  SINCE  MOUNTS\n"
    );
    text(&bench, "rm -f p");
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
        "events --filter type=volume-attached --filter type=volume-detached",
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
