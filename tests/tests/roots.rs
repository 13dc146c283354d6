//! Roots that are directories of the host: of a pod's first apps, and of one that comes later.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use isopod_tests::faults::eventually;
use isopod_tests::{Bench, Output, Scenarios};

fn isopod(bench: &Bench, words: &[&str]) -> Output {
    bench.isopod_command(words.iter().map(std::ffi::OsString::from))
}

fn ok(bench: &Bench, words: &[&str]) -> String {
    isopod(bench, words).expect(0).text().to_owned()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Everything below a directory, with its size or target.
fn tree(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let (path, metadata) = {
                let entry = entry.unwrap();
                (entry.path(), entry.metadata().unwrap())
            };
            let what = match metadata.file_type() {
                kind if kind.is_dir() => "dir".to_owned(),
                kind if kind.is_symlink() => fs::read_link(&path).unwrap().display().to_string(),
                _ => format!("{} bytes", metadata.len()),
            };
            if metadata.is_dir() {
                dirs.push(path.clone());
            }
            found.insert(path.strip_prefix(root).unwrap().to_owned(), what);
        }
    }
    found
}

/// What every app is asked to do: say who it is and what it sees, and write.
const LOOK: &str =
    "id -un; cat /etc/hostname; head -1 /etc/hosts; stat -c %u:%a /srv/www; mount | grep -c ' /proc '";

fn scenario(bench: &Bench, more: &[&str]) {
    let (written, kept, late) = (bench.root("written"), bench.root("kept"), bench.root("late"));
    // `/etc` is a link, as are files in it that the pod has its own of; a volume is mounted by way of another.
    fs::rename(written.join("etc"), written.join("srv/etc")).unwrap();
    symlink("srv/etc", written.join("etc")).unwrap();
    symlink("/nowhere", written.join("srv/etc/resolv.conf")).unwrap();
    symlink("../srv", written.join("usr/link")).unwrap();
    let (written_root, kept_root) = (text(&written), text(&kept));
    let data = bench.source("data", &[("file", "of the host\n")]);
    let volume = format!("{}:/usr/link/data", text(&data));
    let before = tree(&kept);

    let script = format!(
        "{LOOK}; cat /srv/data/file; grep -c nameserver /etc/resolv.conf; echo through > /srv/www/new; \
         echo own >> /etc/hosts; touch /tmp/x; exec sleep 1000"
    );
    let layer = format!("{LOOK}; echo layer > /new; rm /bin/true; cat /new; exec sleep 1000");
    let layer_root = format!("{}:O", text(&kept));
    let run = [
        &["run", "-d", "--name", "p"][..],
        more,
        &[
            "--rootfs",
            "--app-name",
            "through",
            "-v",
            &volume,
            "-u",
            "www",
            &written_root,
            "sh",
            "-c",
            &script,
        ],
        &[
            "---",
            "--rootfs",
            "--app-name",
            "layer",
            &layer_root,
            "sh",
            "-c",
            &layer,
        ],
        &[
            "---",
            "--rootfs",
            "--app-name",
            "reads",
            "--read-only",
            &kept_root,
            "sh",
            "-c",
            "touch /new || echo refused",
        ],
    ]
    .concat();
    // Both have a `www` in their /etc/passwd, and what is theirs is so by number.
    fs::set_permissions(
        written.join("srv/www"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    ok(bench, &run);
    let mut scenarios = Scenarios::default();
    scenarios.run(
        "each app is who it is to be, and sees and writes what it may",
        || {
            let own = if bench.is_ordinary_user() {
                "0:755"
            } else {
                "33:755"
            };
            assert_eq!(
                bench.written("through", "of the host\n1\n"),
                format!("www\np\n127.0.0.1\tlocalhost\n{own}\n1\nof the host\n1\n")
            );
            assert!(bench.written("layer", "layer\n").ends_with("1\nlayer\n"));
            assert_eq!(
                bench.written("reads", "refused\n").lines().last(),
                Some("refused")
            );
        },
    );
    scenarios.run(
        "what is written through is on the host, by its writer, and no file of the pod",
        || {
            if !bench.is_ordinary_user() {
                let new = written.join("srv/www/new");
                eventually("it is on the host", || new.exists());
                assert_eq!(fs::read_to_string(&new).unwrap(), "through\n");
                assert_eq!(fs::metadata(&new).unwrap().uid(), 33);
            }
            assert!(written.join("srv/data").is_dir());
            assert_eq!(fs::metadata(written.join("srv/etc/hosts")).unwrap().len(), 0);
            assert_eq!(
                fs::read_link(written.join("srv/etc/resolv.conf")).unwrap(),
                Path::new("/nowhere")
            );
        },
    );
    scenarios.run("below a layer nothing changes", || {
        assert_eq!(tree(&kept), before);
        assert!(ok(bench, &["diff", "p", "layer"]).contains("D /bin/true\n"));
        for command in [["diff", "p", "through"], ["commit", "--app=through", "p"]] {
            let out = isopod(bench, &command);
            assert!(
                out.status != 0 && out.stderr.contains("host directory"),
                "{}",
                out.stderr
            );
        }
    });
    scenarios.run(
        "one comes later, is executed in, and goes: the directory stays as the app left it",
        || {
            let late_root = text(&late);
            ok(
                bench,
                &[
                    "app",
                    "add",
                    "p",
                    "--rootfs",
                    "-w",
                    "/srv",
                    &late_root,
                    "sh",
                    "-c",
                    "pwd > /wrote; cat /etc/hostname; sleep 1000",
                ],
            );
            eventually("it has written", || {
                fs::read_to_string(late.join("wrote")).is_ok_and(|wrote| wrote == "/srv\n")
            });
            assert_eq!(
                ok(
                    bench,
                    &["exec", "--app", "late", "p", "cat", "/wrote", "/etc/hostname"]
                ),
                "/srv\np\n"
            );
            assert!(ok(bench, &["app", "list", "p"]).contains(&late_root));
            ok(bench, &["app", "stop", "-t", "0", "p", "late"]);
            ok(bench, &["app", "rm", "p", "late"]);
            assert!(late.join("wrote").exists() && late.join("bin/sh").exists());
        },
    );
    ok(bench, &["rm", "-f", "p"]);
    bench.assert_nothing_left();
}

#[test]
fn directories_are_roots() {
    let bench = Bench::new();
    scenario(&bench, &[]);
    // What cannot be one is reported.
    let file = bench.source("file", &[("file", "")]).join("file");
    for (words, why) in [
        (
            &["run", "--rootfs", "/nowhere/at/all", "true"][..],
            "No such file",
        ),
        (&["run", "--rootfs", &text(&file), "true"], "a regular file"),
        (&["run", "--rootfs", "/", "true"], "the host's own root"),
        (&["run", "--rootfs", "/srv:idmap", "true"], "`idmap`"),
        (&["run", "--rootfs", "/srv"], "names no program"),
    ] {
        let out = isopod(&bench, words);
        assert!(
            out.status != 0 && out.stderr.contains(why),
            "{words:?}: {}",
            out.stderr
        );
    }
}

#[test]
fn directories_are_roots_over_9p_for_an_ordinary_user() {
    let bench = Bench::of_ordinary_user();
    scenario(&bench, &["--transport", "9p"]);
}
