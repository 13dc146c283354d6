//! Where volumes come from.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use isopod_tests::Bench;

use super::{MOUNTED, Transport};

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
