//! Most of what a volume can be, over each transport.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown, symlink};
use std::path::Path;

use isopod_tests::{Bench, Image};

use super::Transport;

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
    stat -c '%u %g' /given /given/deep/file; touch /rw/of-7; chown 7:8 /rw/of-7; stat -c '%u %g' /rw/of-7
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
0 0
0 0
7 8
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
    let given = bench.source("given", &[("deep/file", "whose\n")]);
    let is_root = rustix::process::geteuid().is_root();
    for path in ["", "deep", "deep/file"].iter().filter(|_| is_root) {
        chown(given.join(path), Some(33), Some(44)).unwrap();
    }
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
        .host("sub", &sub, "")
        .host("given", &given, "");
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
    let pod = pod
        .mount("flags", "/flags", "nosuid,nodev,noexec")
        .mount("given", "/given", "U");
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
    let owner = |path: &Path| {
        let found = fs::metadata(path).unwrap();
        (found.uid(), found.gid())
    };
    if is_root {
        // By number, and given by the host (`U`).
        assert_eq!(owner(&rw.join("of-7")), (7, 8));
        assert_eq!(owner(&given), (0, 0));
        assert_eq!(owner(&given.join("deep/file")), (0, 0));
    }
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
