//! Whose the files of host volumes are where an ordinary user keeps their owners (`--userns`): the table of docs/volumes.md.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use isopod_tests::{Bench, ORDINARY_UID};

/// The first of the user's subordinate users and groups.
const FIRST: u32 = 2_000_000;

/// What `--userns` is, how volumes are shared, and who the caller is in the guest.
struct Case {
    mode: &'static str,
    transport: &'static str,
    caller: u32,
}

impl Case {
    /// Who a user of the guest is on the host.
    fn on_the_host(&self, guest: u32) -> u32 {
        match guest.cmp(&self.caller) {
            std::cmp::Ordering::Equal => ORDINARY_UID,
            std::cmp::Ordering::Less => FIRST + guest,
            std::cmp::Ordering::Greater => FIRST + guest - 1,
        }
    }
}

fn owner(path: &Path) -> (u32, u32) {
    let found = fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (found.uid(), found.gid())
}

/// A script after which the ordinary user has a name and subordinates, in a mount namespace of the command's own.
fn subordinates(bench: &Bench) -> String {
    let dir = bench.dir().join("etc");
    fs::create_dir(&dir).unwrap();
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let own = format!("{passwd}tester:x:{ORDINARY_UID}:{ORDINARY_UID}::/:/bin/sh\n");
    fs::write(dir.join("passwd"), own).unwrap();
    for file in ["subuid", "subgid"] {
        fs::write(dir.join(file), format!("tester:{FIRST}:65536\n")).unwrap();
    }
    let mounts = ["passwd", "subuid", "subgid"].map(|file| {
        format!(
            "[ -e /etc/{file} ] || touch /etc/{file}; mount --bind {}/{file} /etc/{file}",
            dir.display()
        )
    });
    mounts.join("\n")
}

fn keeps(case: &Case) {
    if Bench::of_root().is_none() {
        return;
    }
    let bench = Bench::of_ordinary_user();
    let data = bench.source("data", &[("mine", "x")]);
    bench.give_away(&data);
    bench.give_away(&data.join("mine"));
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    let given = bench.source("given", &[("deep/file", "whose")]);
    for path in ["", "deep", "deep/file"] {
        bench.give_away(&given.join(path));
    }
    let behind = subordinates(&bench);
    let flags = [
        "--transport",
        case.transport,
        "--userns",
        case.mode,
        "--network",
        "none",
    ];
    let pod = bench
        .pod()
        .behind(&behind)
        .flags(flags)
        .host("data", &data, "")
        .host("given", &given, "");
    let pod = pod
        .app(&bench.busybox())
        .with(["--app-name", "root"])
        .mount("data", "/data", "");
    let pod = pod.sh(
        "cd /data; touch by-root; mkdir of-33; chown 33:33 of-33; touch given; chown 5:6 given; chmod 600 mine
         stat -c '%u:%g' mine by-root of-33 given; touch done",
    );
    let pod = pod
        .app(&bench.busybox())
        .with(["--app-name", "web", "--user", "33:33"]);
    // The host gives it to the app's user (`U`), who alone could not read it then.
    let pod = pod.mount("given", "/given", "U");
    let pod = pod.mount("data", "/data", "").sh(
        "cd /data; until [ -e done ]; do sleep 0.1; done; touch of-33/by-33; { cat mine > of-33/read; } 2> /dev/null || touch of-33/refused
         chmod 700 /given && echo mine >> /given/deep/file && touch /given/new",
    );
    let out = pod.run().expect(0);
    let caller = case.caller;
    assert_eq!(
        out.text(),
        format!("{caller}:{caller}\n0:0\n33:33\n5:6\n"),
        "{}",
        out.stderr
    );
    assert_eq!(out.stderr, "");
    for (file, uid, gid) in [
        ("mine", caller, caller),
        ("by-root", 0, 0),
        ("of-33", 33, 33),
        ("of-33/by-33", 33, 33),
        ("of-33/refused", 33, 33),
        ("given", 5, 6),
    ] {
        let expected = (case.on_the_host(uid), case.on_the_host(gid));
        assert_eq!(
            owner(&data.join(file)),
            expected,
            "{file}, {} {}",
            case.mode,
            case.transport
        );
    }
    let of_33 = (case.on_the_host(33), case.on_the_host(33));
    for file in ["", "deep", "deep/file", "new"] {
        assert_eq!(
            owner(&given.join(file)),
            of_33,
            "{file}, {} {}",
            case.mode,
            case.transport
        );
    }
    assert_eq!(
        fs::read_to_string(given.join("deep/file")).unwrap(),
        "whosemine\n"
    );
}

#[test]
fn the_caller_keeps_his_number_over_virtiofs() {
    keeps(&Case {
        mode: "keep-id",
        transport: "virtiofs",
        caller: ORDINARY_UID,
    });
}

#[test]
fn the_caller_keeps_his_number_over_9p() {
    keeps(&Case {
        mode: "keep-id",
        transport: "9p",
        caller: ORDINARY_UID,
    });
}

#[test]
fn the_caller_is_the_guests_root_over_virtiofs() {
    keeps(&Case {
        mode: "host",
        transport: "virtiofs",
        caller: 0,
    });
}

#[test]
fn the_caller_is_the_guests_root_over_9p() {
    keeps(&Case {
        mode: "host",
        transport: "9p",
        caller: 0,
    });
}

#[test]
fn the_caller_is_another_user_over_9p() {
    keeps(&Case {
        mode: "keep-id:uid=1000,gid=1000",
        transport: "9p",
        caller: 1000,
    });
}

/// Runs what follows in a user namespace of the same users, in which nobody makes another. Its maps are written from outside, and what
/// is executed after that is root of it.
const WITHOUT_USER_NAMESPACES: &str = r#"
(
    while [ "$(readlink /proc/$$/ns/user)" = "$(readlink /proc/self/ns/user)" ]; do :; done
    for map in uid_map gid_map; do echo 0 0 4294967294 > /proc/$$/$map; done
) &
exec unshare --user sh -c '
    until grep -q . /proc/self/gid_map; do :; done
    exec sh -c "echo 0 > /proc/sys/user/max_user_namespaces; exec \"\$@\"" sh "$@"' sh "$@"
"#;

/// The row of a host whose users make no user namespaces: a device for each volume, and all that is written is the caller's.
#[test]
fn a_device_for_each_volume_has_one_owner() {
    if Bench::of_root().is_none() {
        return;
    }
    let bench = Bench::of_ordinary_user();
    let data = bench.source("data", &[("mine", "x")]);
    bench.give_away(&data);
    bench.give_away(&data.join("mine"));
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    let pod = || {
        let pod = bench.pod().within(
            ["sh", "-c", WITHOUT_USER_NAMESPACES, "sh"]
                .map(str::to_owned)
                .into(),
        );
        pod.flags(["--network", "none"]).host("data", &data, "")
    };
    let script = "cd /data; touch by-root; chown 33:33 by-root 2> /dev/null || echo not changed; stat -c '%u:%g' mine by-root; touch done";
    let app = pod().app(&bench.busybox()).with(["--app-name", "root"]);
    let other = app
        .mount("data", "/data", "")
        .sh(script)
        .app(&bench.busybox())
        .with(["--app-name", "web", "--user", "33:33"]);
    let out = other
        .mount("data", "/data", "")
        .sh("cd /data; until [ -e done ]; do sleep 0.1; done; { touch by-33; } 2> /dev/null || exit 3")
        .run();
    assert_eq!(
        (out.status, out.text()),
        (
            3,
            &format!("not changed\n{ORDINARY_UID}:{ORDINARY_UID}\n{ORDINARY_UID}:{ORDINARY_UID}\n")[..]
        ),
        "{}",
        out.stderr
    );
    for words in ["this host allows no user namespaces", "a device"] {
        assert!(out.stderr.contains(words), "{}", out.stderr);
    }
    assert_eq!(owner(&data.join("by-root")), (ORDINARY_UID, ORDINARY_UID));
    assert!(!data.join("by-33").exists());
    let kept = pod().flags(["--userns", "keep-id"]).app(&bench.busybox());
    let out = kept.mount("data", "/data", "").sh("true").run().expect(125);
    assert!(
        out.stderr
            .contains("error: cannot keep the owners of files (`--userns`): "),
        "{}",
        out.stderr
    );
}

#[test]
fn owners_that_cannot_be_kept_are_refused() {
    let bench = Bench::of_ordinary_user();
    let data = bench.source("data", &[]);
    let pod = bench.pod().flags(["--userns", "keep-id"]).host("data", &data, "");
    let out = pod
        .app(&bench.busybox())
        .mount("data", "/data", "")
        .sh("true")
        .run();
    let words = "error: cannot keep the owners of files (`--userns`): you have no subordinate users and groups here\n\
                 hint: `isopod doctor` says what is missing (`/etc/subuid`, `/etc/subgid`, `newuidmap`)";
    out.assert_refused(125, words);
    let Some(bench) = Bench::of_root() else { return };
    let pod = bench.pod().flags(["--userns", "keep-id"]);
    let out = pod.app(&bench.busybox()).sh("true").run().expect(125);
    assert!(
        out.stderr.contains("root is not mapped to another user"),
        "{}",
        out.stderr
    );
}
