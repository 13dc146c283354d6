//! Volumes in running pods: what is where, who may write, and whatever else a mount can get wrong.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use isopod_tests::{Bench, Image, Pod};
use serde_json::json;

/// Prints the places where something of a type is mounted, each once: the guest's kernel puts the root of another file
/// system of the host's above a share, at its first use.
const MOUNTED: &str = r#"mounted() { awk -v type="$1" '$3 == type { print $2 }' /proc/mounts | sort -u; }"#;

/// The user's way to ask for a transport, and who serves it.
#[derive(Clone, Copy)]
enum Transport {
    /// virtiofs by the virtiofsd that is found first: the crate's, where the tests' tools are installed.
    Virtiofs,
    /// virtiofs by Debian's own, in C.
    DebianVirtiofs,
    NineP,
}

impl Transport {
    fn choose<'a>(self, bench: &'a mut Bench) -> Pod<'a> {
        let name = match self {
            Self::NineP => "9p",
            Self::Virtiofs => "virtiofs",
            Self::DebianVirtiofs => {
                bench.path = "/usr/sbin:/usr/bin:/sbin:/bin".into();
                "virtiofs"
            }
        };
        bench.pod().flags(["--transport", name])
    }

    fn fs_type(self) -> &'static str {
        if matches!(self, Self::NineP) {
            "9p"
        } else {
            "virtiofs"
        }
    }
}

/// Tries everything on the volumes of [`main_set`] and prints a line about each.
const MAIN_SET: &str = r#"
    say() { name=$1; shift; if "$@" 2> /dev/null; then echo "$name: yes"; else echo "$name: no"; fi; }
    put() { echo "$1" 2> /dev/null > "$2"; }
    fs_type() { awk -v at="$1" '$2 == at { print $3 }' /proc/mounts; }

    echo type $(fs_type /rw)
    cat /rw/from-host; put from-guest /rw/from-guest; mkdir /rw/new; mv /rw/moved /rw/new/here; rm /rw/gone
    ln -s from-host /rw/link; readlink /rw/link; ln /rw/from-host /rw/hard; chmod 640 /rw/new/here

    cat /ro/file; say write put x /ro/file; say create put x /ro/new; say delete rm /ro/file
    say remount mount -o remount,rw,bind /ro
    say write-after-remount put x /ro/file; say create-after-remount put x /ro/new; say chmod chmod 777 /ro/file

    cat /etc/app.conf; put edited /etc/app.conf
    cat /linked/inside
    stat -c '%a %u %g' /empty; put x /empty/x; cat /empty/x
    head -c 900000 /dev/zero > /sized/fits && echo fits; head -c 2000000 /dev/zero 2> /dev/null > /sized/file || echo too large
    stat -c '%a %u %g' /sized
    put twice /one/file; cat /two/file; say write-two put x /two/file

    cat /outer/in-outer /outer/inner/in-inner /outer/inner/deep/er/in-deeper
    ls /outer/inner
    cat /sub/file; cat /sub-file
    awk '$2 == "/flags" { print $4 }' /proc/mounts | tr , '\n' | grep ^no | sort
    printf '#!/bin/sh\necho ran\n' > /flags/program; chmod +x /flags/program; say run /flags/program
"#;

const MAIN_SET_RESULT: &str = "\
from host
from-host
read me
write: no
create: no
delete: no
remount: yes
write-after-remount: no
create-after-remount: no
chmod: no
conf
through a link
1750 7 8
x
fits
too large
700 33 33
twice
write-two: no
outer
inner
deeper
deep
in-inner
sub
sub file
nodev
noexec
nosuid
run: no
";

/// Most of what a volume can be, in one boot.
fn main_set(transport: Transport) {
    let mut bench = Bench::new();
    let rw = bench.source(
        "rw",
        &[
            ("from-host", "from host\n"),
            ("moved", "moved\n"),
            ("gone", "gone\n"),
        ],
    );
    let ro = bench.source("ro", &[("file", "read me\n")]);
    let conf = bench.source("conf", &[("app.conf", "conf\n")]).join("app.conf");
    let real = bench.source("real", &[("inside", "through a link\n")]);
    let linked = bench.dir().join("link-to-real");
    symlink("real", &linked).unwrap();
    assert!(real.is_dir());
    let outer = bench.source("outer", &[("in-outer", "outer\n"), ("inner/hidden", "hidden\n")]);
    let inner = bench.source(
        "inner",
        &[("in-inner", "inner\n"), ("deep/er/hidden", "hidden\n")],
    );
    let deeper = bench.source("deeper", &[("in-deeper", "deeper\n")]);
    let sub = bench.source("sub", &[("a/b/file", "sub\n"), ("a/file", "sub file\n")]);
    let image = bench.image(&Image::busybox().file("etc/app.conf", 0o644, "the image's own\n"));
    let pod = transport.choose(&mut bench);
    let pod = pod
        .host("rw", &rw, "")
        .host("ro", &ro, "readOnly=true")
        .host("conf", &conf, "")
        .host("linked", &linked, "");
    let pod = pod
        .host("outer", &outer, "")
        .host("inner", &inner, "")
        .host("deeper", &deeper, "")
        .host("sub", &sub, "");
    let pod = pod
        .empty("empty", "mode=1750,uid=7,gid=8")
        .empty("sized", "size=1m,mode=0700,uid=33,gid=33");
    let pod = pod.empty("twice", "").empty("flags", "");
    let pod = pod.app(&image).with(["--cap-add", "ALL"]);
    // Children first.
    let pod = pod
        .mount("deeper", "/outer/inner/deep/er", "")
        .mount("inner", "/outer/inner", "");
    let pod = pod
        .mount("outer", "/outer", "")
        .mount("rw", "/rw", "")
        .mount("ro", "/ro", "");
    let pod = pod
        .mount("conf", "/etc/app.conf", "")
        .mount("linked", "/linked", "")
        .mount("empty", "/empty", "");
    let pod = pod
        .mount("sized", "/sized", "")
        .mount("twice", "/one", "")
        .mount("twice", "/two", "readOnly");
    let pod = pod
        .mount("sub", "/sub", "subPath=a/b")
        .mount("sub", "/sub-file", "subPath=a/file");
    let pod = pod.mount("flags", "/flags", "nosuid,nodev,noexec");
    let out = pod.sh(MAIN_SET).run().expect(0);
    let (fs_type, rest) = out.text().split_once('\n').unwrap();
    assert_eq!(fs_type, format!("type {}", transport.fs_type()));
    assert_eq!(rest, MAIN_SET_RESULT);
    let text = |path: &Path| fs::read_to_string(path).unwrap();
    assert_eq!(text(&rw.join("from-guest")), "from-guest\n");
    assert_eq!(text(&rw.join("new/here")), "moved\n");
    assert!(!rw.join("gone").exists() && !rw.join("moved").exists());
    assert_eq!(fs::read_link(rw.join("link")).unwrap(), Path::new("from-host"));
    assert_eq!(text(&conf), "edited\n");
    assert_eq!(text(&ro.join("file")), "read me\n");
    assert!(!ro.join("new").exists());
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(rw.join("new/here")).unwrap().mode() & 0o777, 0o640);
    assert_eq!(fs::metadata(rw.join("hard")).unwrap().nlink(), 2);
}

#[test]
fn everything_a_volume_can_be_over_virtiofs() {
    main_set(Transport::Virtiofs);
}

#[test]
fn everything_a_volume_can_be_over_debians_virtiofsd() {
    if Path::new("/usr/lib/qemu/virtiofsd").is_file() && Bench::of_root().is_some() {
        main_set(Transport::DebianVirtiofs);
    }
}

#[test]
fn everything_a_volume_can_be_over_9p() {
    main_set(Transport::NineP);
}

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

#[test]
fn two_apps_share_a_volume_one_of_them_read_only() {
    let bench = Bench::new();
    let image = bench.busybox();
    let source = bench.source("data", &[]);
    let pod = bench.pod().host("data", &source, "").empty("box", "mode=0777");
    let pod = pod
        .app(&image)
        .with(["--app-name", "writer"])
        .mount("data", "/data", "")
        .mount("box", "/box", "");
    let pod =
        pod.sh("echo one > /data/file; echo two > /box/file; until test -e /box/read; do sleep 0.05; done");
    let pod = pod.app(&image).with(["--app-name", "reader", "--user", "www"]);
    let pod = pod.mount("data", "/in", "readOnly").mount("box", "/box", "");
    let pod = pod.sh(
        "until test -s /box/file; do sleep 0.05; done; cat /in/file /box/file
         touch /in/new 2> /dev/null || echo refused; touch /box/read",
    );
    let out = pod.run().expect(0);
    assert_eq!(out.text(), "one\ntwo\nrefused\n");
    let note = "note: volume `data` is read-only for app `reader` by the guest alone, since another mount of it is writable\n";
    assert_eq!(out.stderr, note);
    assert!(!source.join("new").exists());
}

/// What one app has mounted below a volume is nothing to another app, nor to another mount of that volume.
#[test]
fn nested_volumes_stay_in_their_app() {
    let bench = Bench::new();
    let image = bench.busybox();
    let data = bench.source("data", &[("sub/file", "of the volume\n")]);
    let secret = bench.source("secret", &[("file", "secret\n")]);
    let pod = bench
        .pod()
        .host("data", &data, "")
        .host("secret", &secret, "")
        .empty("turn", "mode=0777");
    let pod = pod
        .app(&image)
        .with(["--app-name", "nested"])
        .mount("data", "/data", "")
        .mount("secret", "/data/sub", "");
    let pod = pod.mount("data", "/again", "").mount("turn", "/turn", "");
    let pod = pod.sh("cat /data/sub/file /again/sub/file; touch /turn/over");
    let pod = pod
        .app(&image)
        .with(["--app-name", "plain"])
        .mount("data", "/data", "")
        .mount("turn", "/turn", "");
    let pod = pod.sh("until test -e /turn/over; do sleep 0.1; done; cat /data/sub/file");
    assert_eq!(
        pod.run().expect(0).text(),
        "secret\nof the volume\nof the volume\n"
    );
}

/// Targets that systemd, QEMU or a shell would take for something else, and what must be at them.
fn hostile_targets() -> Vec<OsString> {
    let long = format!("/{}", ["component-of-forty-bytes-length-exactly!"; 8].join("/"));
    let mut targets: Vec<OsString> = [
        "/100%",
        "/%n/%i%%",
        "/ends with blanks  ",
        "/ leads",
        "/ends with tab\t",
        "/\"double\"",
        "/it's",
        "/back\\slash",
        "/ends with backslash\\",
        "/com,ma",
        "/col:on",
        "/equals=sign",
        "/$HOME",
        "/*",
        "/-dash",
        "/.hidden",
        "/...",
        "/ünïcödé/日本",
        "/bell\u{7}\u{1b}",
        "/a/../climbs/./here",
        "/../../../top",
    ]
    .map(OsString::from)
    .into();
    targets.push(long.into());
    targets.push(format!("/{}", "x".repeat(255)).into());
    targets
}

#[test]
fn hostile_targets_are_mounted_exactly_there() {
    let bench = Bench::new();
    let targets = hostile_targets();
    let mut pod = bench.pod();
    for (i, _) in targets.iter().enumerate() {
        let source = bench.source(&format!("v{i}"), &[("id", &format!("{i}\n"))]);
        pod = pod.host(&format!("v{i}"), source, "");
    }
    pod = pod.app(&bench.busybox());
    for (i, target) in targets.iter().enumerate() {
        pod = pod.mount(&format!("v{i}"), target, "");
    }
    // A shell follows `..` where it leads, and the plan takes it away before it looks.
    let clean = |target: &OsString| match target.to_str() {
        Some("/a/../climbs/./here") => "/climbs/here".into(),
        _ => target.clone(),
    };
    let script = r#"for target; do cat "$target/id"; done; mounted virtiofs | wc -l"#;
    let script = &format!("{MOUNTED}\n{script}");
    let out = pod
        .args(["/bin/sh", "-c", script, "sh"])
        .args(targets.iter().map(clean))
        .run()
        .expect(0);
    let expected: String = (0..targets.len())
        .chain([targets.len()])
        .map(|i| format!("{i}\n"))
        .collect();
    assert_eq!((out.text(), &*out.stderr), (&*expected, ""));
}

#[test]
fn targets_that_cannot_be_written_down_are_refused() {
    let bench = Bench::new();
    let source = bench.source("data", &[]);
    let image = bench.busybox();
    let refused = |target: &OsStr, words: &str| {
        let pod = bench
            .pod()
            .host("data", &source, "")
            .app(&image)
            .with(["--app-name", "app"]);
        let shown = target.to_string_lossy();
        let shown = if shown == "/.." { "/".into() } else { shown };
        let shown = shown.replace('\n', "\\n");
        let words = format!("error: app `app`, volume `data`: cannot mount at `{shown}`: {words}");
        pod.mount("data", target, "")
            .sh("true")
            .run()
            .assert_refused(125, &words);
    };
    refused(
        OsStr::new("/new\nline"),
        "systemd has no way to write a line break in a path",
    );
    refused(OsStr::from_bytes(b"/\xff"), "systemd reads only UTF-8");
    refused(OsStr::new("/"), "it is the app's root filesystem");
    refused(OsStr::new("/.."), "it is the app's root filesystem");
    refused(
        OsStr::new("/proc/sys"),
        "it is a directory that the guest itself mounts",
    );
    refused(
        OsStr::new("/dev"),
        "it is a directory that the guest itself mounts",
    );
    refused(
        OsStr::new("/etc/passwd/below"),
        "`/etc/passwd` is not a directory",
    );
    refused(
        OsStr::new("/etc/passwd"),
        "it is a file, and a directory cannot be mounted there",
    );
    let name = format!("/{}", "x".repeat(256));
    refused(OsStr::new(&name), "a name in it is longer than 255 bytes");
    let long = format!("/{}", vec!["x".repeat(200); 21].join("/"));
    let in_guest = long.len() + "/opt/stage2/app/rootfs".len();
    refused(
        OsStr::new(&long),
        &format!("it is {in_guest} bytes long in the guest, and a path has at most 4095"),
    );
}

#[test]
fn targets_lead_through_the_images_links_and_never_out() {
    let bench = Bench::new();
    let image = Image::busybox()
        .directory("real", 0o755, (0, 0))
        .directory("real/deep", 0o755, (0, 0))
        .symlink("absolute", "/real/one")
        .symlink("relative", "real/two")
        .symlink("chain", "chain-2/x")
        .symlink("chain-2", "./real/../real/deep")
        .symlink("out", "../../../../../../../../outside")
        .symlink("real/proc-like", "/absolute-missing/dir")
        .symlink("loop", "loop-2")
        .symlink("loop-2", "/loop");
    let image = bench.image(&image);
    let places = [
        ("/absolute", "/real/one"),
        ("/relative", "/real/two"),
        ("/chain", "/real/deep/x"),
        ("/out", "/outside"),
        ("/real/proc-like/z", "/absolute-missing/dir/z"),
    ];
    let mut pod = bench.pod();
    for (i, _) in places.iter().enumerate() {
        pod = pod.host(
            &format!("v{i}"),
            bench.source(&format!("v{i}"), &[("id", &format!("{i}\n"))]),
            "",
        );
    }
    pod = pod.app(&image);
    for (i, (target, _)) in places.iter().enumerate() {
        pod = pod.mount(&format!("v{i}"), target, "");
    }
    let script = format!("{MOUNTED}\nfor path; do cat $path/id; done; mounted virtiofs; readlink /loop");
    let paths = places.iter().flat_map(|(target, place)| [*target, *place]);
    let out = pod
        .args(["/bin/sh", "-c", &script, "sh"])
        .args(paths)
        .run()
        .expect(0);
    let read = "0\n0\n1\n1\n2\n2\n3\n3\n4\n4\n";
    let (found, mounted) = out.text().split_at(read.len());
    assert_eq!(found, read);
    let mut mounted: Vec<&str> = mounted.lines().collect();
    mounted.sort_unstable();
    assert_eq!(
        mounted,
        [
            "/absolute-missing/dir/z",
            "/outside",
            "/real/deep/x",
            "/real/one",
            "/real/two",
            "loop-2"
        ]
    );

    let pod = bench
        .pod()
        .empty("v", "")
        .app(&image)
        .with(["--app-name", "app"])
        .mount("v", "/loop/x", "");
    let words = "error: app `app`, volume `v`: cannot mount at `/loop/x`: too many symbolic links, `/loop-2` is among them";
    let out = pod.sh("true").run();
    assert_eq!(out.status, 125);
    // Which link of the circle is the 41st is nobody's concern.
    assert_eq!(out.stderr.trim_end().replace("`/loop` is", "`/loop-2` is"), words);
}

#[test]
fn paths_within_a_volume_never_leave_it() {
    let bench = Bench::new();
    let source = bench.source(
        "data",
        &[("inside/file", "inside\n"), ("etc/hostname", "of the volume\n")],
    );
    fs::write(bench.dir().join("secret"), "secret\n").unwrap();
    symlink("/etc", source.join("absolute")).unwrap();
    symlink("../../../../../../../..", source.join("relative")).unwrap();
    symlink("inside", source.join("good")).unwrap();
    let image = bench.busybox();
    let pod = bench.pod().host("data", &source, "").app(&image);
    let pod = pod
        .mount("data", "/absolute", "subPath=absolute")
        .mount("data", "/good", "subPath=good");
    let pod =
        pod.mount("data", "/relative", "subPath=relative/etc")
            .mount("data", "/new", "subPath=made/here");
    let out = pod
        .sh("cat /absolute/hostname /relative/hostname /good/file; echo new > /new/file; ls /absolute")
        .run()
        .expect(0);
    assert_eq!(out.text(), "of the volume\nof the volume\ninside\nhostname\n");
    assert_eq!(
        fs::read_to_string(source.join("made/here/file")).unwrap(),
        "new\n"
    );

    let refused = |sub_path: &str, words: &str| {
        let pod = bench.pod().host("data", &source, "").app(&image);
        let out = pod
            .mount("data", "/x", &format!("subPath={sub_path}"))
            .sh("true")
            .run();
        assert_eq!(
            (out.status, out.stderr.contains(words)),
            (125, true),
            "{}",
            out.stderr
        );
    };
    refused("../secret", "it must be a relative path without `..`");
    refused("/etc", "it must be a relative path without `..`");
    refused("inside/file/below", "`/inside/file` is not a directory");
}

#[test]
fn a_mount_point_that_nobody_may_make_is_refused() {
    let bench = Bench::new();
    let (outer, inner) = (bench.source("outer", &[]), bench.source("inner", &[("file", "")]));
    let image = bench.busybox();
    let pod = |more: &str| {
        let pod = bench
            .pod()
            .host("outer", &outer, more)
            .host("inner", &inner, "")
            .host("file", inner.join("file"), "");
        pod.app(&image)
            .with(["--app-name", "app"])
            .mount("outer", "/outer", "")
    };
    pod("readOnly=true").mount("inner", "/outer/inner", "").sh("true").run().assert_refused(
        125,
        "error: app `app`, volume `inner`: cannot mount at `/outer/inner`: it does not exist, and the app may not write \
         to volume `outer`, in which it would be\n\
         hint: create `/outer/inner` in volume `outer`'s source, or let the app write to that volume",
    );
    assert_eq!(fs::read_dir(&outer).unwrap().count(), 0);
    // Where the app may write, it is made: a directory, or an empty file. So is the app's working directory.
    let out = pod("")
        .mount("inner", "/outer/inner", "")
        .mount("file", "/outer/deep/file", "")
        .with(["--workdir", "/outer/work/dir"])
        .sh("ls /outer/inner; echo written > /outer/deep/file; pwd")
        .run()
        .expect(0);
    assert_eq!(out.text(), "file\n/outer/work/dir\n");
    assert!(outer.join("inner").is_dir());
    assert_eq!(fs::read(outer.join("deep/file")).unwrap(), b"");
    assert_eq!(fs::read(inner.join("file")).unwrap(), b"written\n");
}

/// An image's mount point without a volume: a volume that begins with what the image has there, mode, owners and content.
#[test]
fn an_image_gets_the_volumes_it_wants() {
    let bench = Bench::new();
    let image = Image::busybox()
        .directory("srv/www", 0o2770, (33, 44))
        .file("srv/www/of-the-image", 0o640, "of the image\n")
        .directory("srv/www/deep, er:", 0o1770, (5, 6))
        .directory("var/lib/db", 0o700, (7, 8))
        .file("var/lib/db/init", 0o600, "")
        .symlink("db", "/var/lib/db")
        .config("Volumes", json!({ "/srv/www": {}, "/var/new": {}, "/db": {} }));
    let image = bench.image(&image);
    let script = "stat -c '%a %u %g' /srv/www /var/new /srv/www/of-the-image '/srv/www/deep, er:' /var/lib/db /db/init
        grep -c -E ' (/srv/www|/var/lib/db) overlay ' /proc/mounts; touch /srv/www/x /var/new/x /db/x && echo writable
        cat /srv/www/of-the-image; echo more >> /srv/www/of-the-image; rm /db/init; ls /srv/www /var/lib/db";
    let out = bench
        .pod()
        .app(&image)
        .with(["--app-name", "web", "--read-only"])
        .sh(script)
        .run()
        .expect(0);
    assert_eq!(
        out.text(),
        "2770 33 44\n755 0 0\n640 0 0\n1770 5 6\n700 7 8\n600 0 0\n2\nwritable\nof the image\n\
         /srv/www:\ndeep, er:\nof-the-image\nx\n\n/var/lib/db:\nx\n"
    );
    let note =
        |path, gets| format!("note: app `web`: its image wants a volume at `{path}`: it gets {gets}\n");
    let own = "one of its own, which begins as the image has it";
    assert_eq!(
        out.stderr,
        [
            note("/srv/www", own),
            note("/var/new", "an empty one"),
            note("/db", own)
        ]
        .concat()
    );

    let pod = bench
        .pod()
        .flags(["--no-implicit-volumes"])
        .app(&image)
        .with(["--app-name", "web"])
        .sh("true");
    let out = pod.run().expect(125);
    assert!(
        out.stderr.contains("`/srv/www`") && out.stderr.contains("`/var/new`"),
        "{}",
        out.stderr
    );

    // A volume of the user's at that path is the one.
    let pod = bench
        .pod()
        .empty("mine", "mode=0701")
        .app(&image)
        .mount("mine", "/srv/www", "")
        .mount("mine", "/db", "")
        .mount("mine", "/var/new", "");
    let out = pod.sh("stat -c %a /srv/www").run().expect(0);
    assert_eq!((out.text(), &*out.stderr), ("701\n", ""));
}

#[test]
fn an_app_may_be_kept_from_writing_to_its_root() {
    let bench = Bench::new();
    let source = bench.source("data", &[]);
    let pod = bench
        .pod()
        .host("data", &source, "")
        .empty("tmp", "mode=1777")
        .app(&bench.busybox());
    let pod = pod
        .with(["--read-only"])
        .mount("data", "/made/by/the/plan", "")
        .mount("tmp", "/tmp", "");
    let script = "
        for file in /new /etc/passwd /made/new; do echo x 2> /dev/null >> $file && echo wrote $file; done
        mkdir /etc/new 2> /dev/null || echo refused
        echo x > /tmp/x && echo x > /made/by/the/plan/x && echo x > /dev/shm/x && echo wrote";
    assert_eq!(pod.sh(script).run().expect(0).text(), "refused\nwrote\n");
    assert!(source.join("x").exists());
    // Without the flag it may.
    let out = bench
        .pod()
        .app(&bench.busybox())
        .sh("echo x > /new && cat /new")
        .run()
        .expect(0);
    assert_eq!(out.text(), "x\n");
}

#[test]
fn forty_volumes_need_one_share() {
    let bench = Bench::new();
    let mut pod = bench.pod();
    for i in 0..40 {
        pod = pod.host(
            &format!("v{i}"),
            bench.source(&format!("v{i}"), &[("id", &format!("{i}\n"))]),
            "",
        );
    }
    pod = pod.app(&bench.busybox());
    for i in 0..40 {
        pod = pod.mount(
            &format!("v{i}"),
            format!("/v/{i}"),
            if i % 2 == 0 { "" } else { "readOnly" },
        );
    }
    let script =
        "i=0; while test $i -lt 40; do cat /v/$i/id; i=$((i+1)); done; mounted virtiofs | grep -c ^/v/";
    let pod = pod.sh(&format!("{MOUNTED}\n{script}"));
    let plan: serde_json::Value =
        serde_json::from_str(pod.plan(&["--format", "json"]).expect(0).text()).unwrap();
    assert!(
        plan["hypervisor"]["devicesUsed"].as_u64().unwrap() < 8,
        "{}",
        plan["hypervisor"]
    );
    let expected: String = (0..40)
        .map(|i| format!("{i}\n"))
        .chain(["40\n".to_owned()])
        .collect();
    assert_eq!(pod.run().expect(0).text(), expected);
}

fn hostile_sources(transport: Transport) {
    let mut bench = Bench::new();
    let names: [&[u8]; 9] = [
        b"com,ma",
        b"new\nline",
        b"\xff\xfe",
        b"ends with blank ",
        b"per%cent",
        b"quo\"te'",
        b"back\\",
        b"--share",
        "日本".as_bytes(),
    ];
    let sources = bench.source("sources", &[]);
    for name in names {
        fs::create_dir(sources.join(OsStr::from_bytes(name))).unwrap();
        fs::write(sources.join(OsStr::from_bytes(name)).join("name"), name).unwrap();
    }
    let image = bench.busybox();
    let mut pod = transport.choose(&mut bench);
    for (i, name) in names.iter().enumerate() {
        pod = pod.host(&format!("v{i}"), sources.join(OsStr::from_bytes(name)), "");
    }
    pod = pod.app(&image);
    for (i, _) in names.iter().enumerate() {
        pod = pod.mount(&format!("v{i}"), format!("/v{i}"), "");
    }
    let out = pod
        .sh(r"for i in 0 1 2 3 4 5 6 7 8; do cat /v$i/name; printf '\0'; done")
        .run()
        .expect(0);
    let found: Vec<&[u8]> = out.stdout.split(|byte| *byte == 0).collect();
    assert_eq!(found[..names.len()], names);
}

#[test]
fn hostile_sources_are_shared_over_virtiofs() {
    hostile_sources(Transport::Virtiofs);
}

#[test]
fn hostile_sources_are_shared_over_9p() {
    hostile_sources(Transport::NineP);
}

/// The state's own path is in QEMU's and virtiofsd's command lines.
#[test]
fn state_may_be_kept_below_a_hostile_path() {
    let bench = Bench::new();
    let source = bench.source("data", &[("file", "there\n")]);
    let state = bench.dir().join("sta,te \"100%\" with=all,of it");
    fs::create_dir(&state).unwrap();
    for name in ["images", "locks", "guest"] {
        symlink(bench.state().join(name), state.join(name)).unwrap();
    }
    for transport in ["virtiofs", "9p"] {
        let pod = bench.pod().state(&state).flags(["--transport", transport]);
        let pod = pod
            .host("data", &source, "")
            .app(&bench.busybox())
            .mount("data", "/data", "");
        assert_eq!(
            pod.sh("cat /data/file").run().expect(0).text(),
            "there\n",
            "{transport}"
        );
    }
}

/// docker's short form.
#[test]
fn a_bind_mount_is_written_as_with_docker() {
    let bench = Bench::new();
    let _ = bench.source("site", &[("index.html", "<p>\n")]);
    let pod = bench
        .pod()
        .app(&bench.busybox())
        .with(["-v", "./site:/usr/share/web:ro"]);
    let out = pod
        .sh("cat /usr/share/web/index.html; touch /usr/share/web/x 2> /dev/null || echo refused")
        .run()
        .expect(0);
    assert_eq!(out.text(), "<p>\nrefused\n");
}

/// With what was asked for as its size, in a pod with more disks than the board has slots; and in memory alike.
#[test]
fn an_empty_volume_may_be_kept_on_disk() {
    let bench = Bench::new();
    let mut pod = bench
        .pod()
        // It has more devices than a template has places for.
        .env("ISOPOD_START", "cold")
        .empty("scratch", "medium=disk,size=32m,mode=1770,uid=7,gid=8")
        .empty("memory", "size=1m");
    let more: Vec<String> = (0..30).map(|i| format!("d{i}")).collect();
    for name in &more {
        pod = pod.empty(name, "medium=disk,size=1m");
    }
    let mut app = pod
        .app(&bench.busybox())
        .mount("scratch", "/scratch", "")
        .mount("scratch", "/part", "subPath=made/here")
        .mount("memory", "/memory", "");
    for name in &more {
        app = app.mount(name, format!("/d/{name}"), "");
    }
    let app = app.sh(
        "stat -c '%a %u %g' /scratch /scratch/made /part; ls -A /scratch
         awk '$2 == \"/scratch\" { print $3 }' /proc/mounts
         echo part > /part/file; cat /scratch/made/here/file; rm /part/file
         head -c 33000000 /dev/zero > /scratch/file && rm /scratch/file && echo fits
         head -c 34000000 /dev/zero 2> /dev/null > /scratch/file || echo too large
         for at in /memory /d/*; do
             head -c 1000000 /dev/zero > $at/1 && ! head -c 100000 /dev/zero 2> /dev/null > $at/2 && echo bounded
         done | uniq -c",
    );
    let out = app.run().expect(0);
    assert_eq!(
        out.text(),
        "1770 7 8\n1770 0 8\n1770 0 8\nmade\next4\npart\nfits\ntoo large\n     31 bounded\n"
    );
}

/// Between the look at a source and its sharing others may change what its path leads to: what is there then is shared only
/// where it is what was looked at.
#[test]
fn a_source_that_became_something_else_is_not_shared() {
    for transport in ["virtiofs", "9p"] {
        let bench = Bench::new();
        let place = bench.source("place", &[("data/conf", "asked for\n"), ("data/dir/file", "x")]);
        let _ = bench.source("secret", &[("conf", "secret\n"), ("dir/file", "secret\n")]);
        let (data, away) = (place.join("data"), place.join("away"));
        let pod = bench
            .pod()
            .subcommand("prepare")
            .flags(["--name", "p", "--transport", transport]);
        let pod = pod
            .host("conf", data.join("conf"), "")
            .host("dir", data.join("dir"), "");
        let pod = pod
            .app(&bench.busybox())
            .mount("conf", "/conf", "")
            .mount("dir", "/dir", "");
        let _ = pod.sh("cat /conf").start().wait().expect(0);
        let start = || bench.isopod_command(["start", "--attach", "p"]);
        let refused = |words: &str| {
            let out = start();
            assert!(out.status == 125 && out.stderr.contains(words), "{out:?}");
            assert!(!out.text().contains("secret"), "{out:?}");
        };

        // A parent is a link now.
        fs::rename(&data, &away).unwrap();
        std::os::unix::fs::symlink("../secret", &data).unwrap();
        refused("a symbolic link is in its path, which was not there when it was looked at");
        // Another directory and another file of the same names.
        fs::remove_file(&data).unwrap();
        fs::create_dir_all(data.join("dir")).unwrap();
        fs::write(data.join("conf"), "secret\n").unwrap();
        refused("it is another file or directory than when it was looked at");
        fs::remove_dir_all(&data).unwrap();
        fs::rename(&away, &data).unwrap();
        assert_eq!(start().expect(0).text(), "asked for\n");
        if transport == "9p" {
            continue;
        }
        // For the next life of the pod a configuration is what an editor has put in its place.
        fs::write(data.join("new"), "edited\n").unwrap();
        fs::rename(data.join("new"), data.join("conf")).unwrap();
        assert_eq!(start().expect(0).text(), "edited\n");
        let _ = bench.isopod_command(["rm", "p"]).expect(0);
        bench.assert_nothing_left();
    }
}
