//! Where volumes are mounted.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use isopod_tests::{Bench, Image};

use super::MOUNTED;

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
    let note = "note: volume `data` is read-only for app `reader` in the guest only, since another mount of it is \
         writable\n";
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
