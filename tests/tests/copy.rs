//! `isopod cp`: files into and out of apps, of pods that run and of those that do not.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use isopod_tests::{Bench, Output};

fn cp(bench: &Bench, source: impl AsRef<Path>, target: impl AsRef<Path>) -> Output {
    bench.isopod_command([
        "cp".as_ref(),
        source.as_ref().as_os_str(),
        target.as_ref().as_os_str(),
    ])
}

fn in_app(bench: &Bench, script: &str) -> String {
    let out = bench.isopod_command(["exec", "one", "--", "sh", "-c", script]);
    out.expect(0).text().to_owned()
}

/// It failed, with these words somewhere.
fn refused(out: &Output, words: &str) {
    assert!(out.status == 125 && out.stderr.starts_with("error: "), "{out:?}");
    assert!(out.stderr.contains(words), "{words}: {out:?}");
}

/// A pod of one app, `one`, with a volume of 2 MiB, one of its own and one of the host.
fn start(bench: &Bench) {
    fs::create_dir(bench.dir().join("shared")).unwrap();
    let shared = format!("{}:/shared", bench.dir().join("shared").display());
    let pod = bench
        .pod()
        .flags(["-d", "--name", "one"])
        .empty("small", "size=2m")
        .app(&bench.busybox())
        .mount("small", "/small", "")
        .with(["-v", "/own", "-v", &shared]);
    let _ = pod.sh("exec sleep 1000").start().wait().expect(0);
}

/// One boot for all of it.
#[test]
fn files_go_both_ways() {
    let bench = Bench::new();
    start(&bench);
    let at = |path: &str| bench.dir().join(path);

    // A tree there, under another user's hands, and back.
    fs::create_dir_all(at("tree/sub/empty")).unwrap();
    fs::write(at("tree/file"), "content\n").unwrap();
    fs::set_permissions(at("tree/file"), PermissionsExt::from_mode(0o750)).unwrap();
    fs::hard_link(at("tree/file"), at("tree/second name")).unwrap();
    symlink("../file", at("tree/sub/link")).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::open(at("tree/file"))
        .unwrap()
        .set_modified(time)
        .unwrap();
    let _ = std::os::unix::fs::chown(at("tree/file"), Some(7), Some(7));
    let out = cp(&bench, "tree", "one:/new").expect(0);
    assert_eq!((out.text(), &*out.stderr), ("", ""));
    assert_eq!(
        in_app(
            &bench,
            "cd /new; stat -c '%a %u %g %Y %h' file; cat 'second name'; readlink sub/link; ls -d sub/empty"
        ),
        "750 0 0 1000000000 2\ncontent\n../file\nsub/empty\n"
    );
    let _ = cp(&bench, "one:new", "back").expect(0);
    let data = fs::metadata(at("back/file")).unwrap();
    assert_eq!(
        (data.mode() & 0o777, data.mtime(), data.nlink()),
        (0o750, 1_000_000_000, 2)
    );
    assert_eq!(fs::read_to_string(at("back/second name")).unwrap(), "content\n");
    assert_eq!(fs::read_link(at("back/sub/link")).unwrap(), Path::new("../file"));
    assert!(at("back/sub/empty").is_dir());
    owners_and_links(&bench);

    where_it_goes(&bench);
    archives_go_through_pipes(&bench);
    a_large_file_comes_whole(&bench);
    what_the_kernel_makes_up_is_copied(&bench);
    what_cannot_be_copied(&bench);

    let _ = in_app(&bench, "echo own > /own/file; sync");
    let _ = bench.isopod_command(["stop", "-t", "1", "one"]).expect(0);
    of_a_pod_that_does_not_run(&bench);
    let _ = bench.isopod_command(["rm", "-f", "one"]).expect(0);
    bench.assert_nothing_left();
}

/// What is known of the pod, but for what a look at it takes.
/// `cp -a` and `cp -L`.
fn owners_and_links(bench: &Bench) {
    let at = |path: &str| bench.dir().join(path);
    let owner = fs::metadata(at("tree/file")).unwrap().uid();
    let _ = bench
        .isopod_command(["cp", "-a", "tree/file", "one:/owned"])
        .expect(0);
    assert_eq!(in_app(bench, "stat -c %u /owned"), format!("{owner}\n"));
    symlink("tree/file", at("link")).unwrap();
    let _ = bench
        .isopod_command(["cp", "-qL", "link", "one:/followed"])
        .expect(0);
    assert_eq!(in_app(bench, "test ! -L /followed && cat /followed"), "content\n");
    let _ = bench
        .isopod_command(["cp", "-L", "one:/new/sub/link", "followed"])
        .expect(0);
    assert!(!at("followed").is_symlink());
    assert_eq!(fs::read_to_string(at("followed")).unwrap(), "content\n");
}

fn known(bench: &Bench) -> String {
    let inspected = bench.isopod_command(["inspect", "one"]).expect(0);
    let events = bench.isopod_command(["events", "--stream=false"]).expect(0);
    format!("{}{}", inspected.text(), events.text())
}

/// What the VM said in the pod's last life, to its end: its file and when that was written.
fn console(bench: &Bench) -> (Vec<u8>, i64) {
    let pod = isopod_tests::faults::pods(bench);
    let path = pod.iter().find(|pod| pod.join("console.log").exists()).unwrap();
    let path = path.join("console.log");
    (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().mtime())
}

/// docker's users copy out of a container that has ended, and into one that they start then. Volumes are as the app finds them.
fn of_a_pod_that_does_not_run(bench: &Bench) {
    let at = |path: &str| bench.dir().join(path);
    let (before, last_life) = (known(bench), console(bench));
    let archive = cp(bench, "one:/there/tree", "-").expect(0).stdout;
    assert!(archive.windows(8).any(|bytes| bytes == b"content\n"));
    let _ = cp(bench, "one:/own/file", "own").expect(0);
    assert_eq!(fs::read_to_string(at("own")).unwrap(), "own\n");
    refused(
        &cp(bench, "one:/nowhere", "y"),
        "cannot read `/nowhere`: No such file",
    );
    fs::write(at("late"), "put there meanwhile\n").unwrap();
    fs::write(at("shared/of-the-host"), "host\n").unwrap();
    let _ = cp(bench, "one:/shared/of-the-host", "of-the-host").expect(0);
    let _ = cp(bench, "late", "one:/etc/late").expect(0);
    let _ = cp(bench, "late", "one:/own/").expect(0);
    let _ = cp(bench, "late", "one:/shared/").expect(0);
    assert!(at("shared/late").exists());
    let changed = bench.isopod_command(["diff", "one"]).expect(0);
    let lines: Vec<&str> = changed.text().lines().collect();
    assert!(
        lines.contains(&"A /etc/late") && lines.contains(&"C /etc"),
        "{lines:?}"
    );
    assert_eq!(console(bench), last_life);
    let exported = bench.isopod_command(["export", "one"]).expect(0).stdout;
    assert!(exported.windows(8).any(|bytes| bytes == b"etc/late"));
    let image = bench
        .isopod_command(["commit", "one", "localhost/of-stopped"])
        .expect(0);
    assert!(image.text().starts_with("sha256:"), "{image:?}");
    // It is as it was: exited, with its end and its events.
    assert_eq!(known(bench), before);
    files_alone_are_an_image(bench, exported);
    let _ = bench.isopod_command(["start", "one"]).expect(0);
    assert_eq!(
        in_app(
            bench,
            "cat /etc/late /own/late /own/file; test -e /new/file && echo there"
        ),
        "put there meanwhile\nput there meanwhile\nown\nthere\n"
    );
    let _ = bench.isopod_command(["rmi", "localhost/of-stopped"]).expect(0);
}

/// `docker export one | docker import - NAME`, and `docker run NAME`.
fn files_alone_are_an_image(bench: &Bench, archive: Vec<u8>) {
    let words = [
        "import",
        "-c",
        "CMD [\"cat\", \"/etc/late\"]",
        "-m",
        "exported",
        "-",
        "of-files",
    ];
    let image = bench.isopod_with_input(words, archive).expect(0);
    assert!(image.text().starts_with("sha256:"), "{image:?}");
    let history = bench.isopod_command(["history", "of-files"]).expect(0);
    assert!(history.text().contains("exported"), "{history:?}");
    let run = ["run", "--rm", "--accel", "tcg", "of-files"];
    let out = bench.isopod_command(run).expect(0);
    assert_eq!(out.text(), "put there meanwhile\n");
    let _ = bench.isopod_command(["rmi", "of-files"]).expect(0);
}

/// `docker create`, `docker cp`, `docker start`.
#[test]
fn into_a_pod_that_was_never_started() {
    let bench = Bench::new();
    fs::write(bench.dir().join("script"), "echo from the file\n").unwrap();
    let image = bench.busybox();
    let words = [
        "create",
        "--accel",
        "tcg",
        "--name",
        "made",
        "-p",
        "127.0.0.1::80",
        &image,
        "sh",
        "/script",
    ];
    let _ = bench.isopod_command(words).expect(0);
    let _ = cp(&bench, "script", "made:/script").expect(0);
    let state = bench
        .isopod_command(["inspect", "-f", "{{.State.Status}}", "made"])
        .expect(0);
    assert_eq!(state.text(), "created\n");
    let _ = cp(&bench, "made:/bin/busybox", "busybox").expect(0);
    let started = bench.isopod_command(["start", "-a", "made"]).expect(0);
    assert_eq!(started.text(), "from the file\n");
    let _ = bench.isopod_command(["rm", "made"]).expect(0);
    bench.assert_nothing_left();
}

/// docker's rules, for a target that is there and one that is not.
fn where_it_goes(bench: &Bench) {
    let at = |path: &str| bench.dir().join(path);
    let _ = in_app(bench, "mkdir /there; echo app > /there/f");
    // Into a directory under its own name; `/.` what is in it; a file as a file, also over one that is there.
    let _ = cp(bench, "tree", "one:/there").expect(0);
    let _ = cp(bench, "tree/.", "one:there").expect(0);
    let _ = cp(bench, "tree/file", "one:/there/f").expect(0);
    let _ = cp(bench, "tree/file", "one:/there/").expect(0);
    assert_eq!(
        in_app(bench, "cd /there; ls tree/file sub/link -d file; cat f"),
        "file\nsub/link\ntree/file\ncontent\n"
    );
    fs::create_dir(at("here")).unwrap();
    let _ = cp(bench, "one:/there/sub", "here").expect(0);
    let _ = cp(bench, "one:/there/sub/.", "here").expect(0);
    let _ = cp(bench, "one:/there/f", "here/").expect(0);
    let _ = cp(bench, "one:/there/sub", "here/fresh/").expect(0);
    let _ = cp(bench, "one:/there/f", "here/f2").expect(0);
    for path in [
        "here/sub/empty",
        "here/empty",
        "here/f",
        "here/fresh/empty",
        "here/f2",
    ] {
        assert!(at(path).exists(), "{path}");
    }
    // A link is copied as one, and never followed where it is written.
    let _ = in_app(bench, "ln -s /etc/passwd /there/passwd; ln -s /there /whole");
    let _ = cp(bench, "one:/there/passwd", "here").expect(0);
    assert_eq!(
        fs::read_link(at("here/passwd")).unwrap(),
        Path::new("/etc/passwd")
    );
    let _ = cp(bench, "one:/whole/", "here").expect(0);
    assert!(at("here/whole/tree").is_dir());
}

fn archives_go_through_pipes(bench: &Bench) {
    let archive = cp(bench, "one:/there/tree", "-").expect(0).stdout;
    let mut names: Vec<String> = tar::Archive::new(&archive[..])
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    names.sort();
    assert!(names.contains(&"tree/sub/link".to_owned()), "{names:?}");
    let _ = in_app(bench, "mkdir /unpacked; chown 5:6 /there/tree/file");
    let archive = cp(bench, "one:/there/tree", "-").expect(0).stdout;
    let words = ["cp", "-", "one:/unpacked"];
    let _ = bench.isopod_with_input(words, archive).expect(0);
    assert_eq!(
        in_app(bench, "stat -c '%u %g' /unpacked/tree/file"),
        "5 6\n",
        "an archive's owners are kept"
    );
    // As `tar c FILE` writes it, without the directories above; and compressed.
    let mut bare = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o600);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    bare.append_data(&mut header, "q/r/f", &b"f\n"[..]).unwrap();
    let bare = bare.into_inner().unwrap();
    let _ = bench.isopod_with_input(words, bare).expect(0);
    assert_eq!(
        in_app(bench, "cat /unpacked/q/r/f; stat -c '%a %u' /unpacked/q/r"),
        "f\n755 0\n"
    );
    let compressed = bench.isopod_with_input(words, b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec());
    refused(
        &compressed,
        "the archive is compressed with gzip: decompress it first, with `gzip -dc`",
    );
    let nonsense = bench.isopod_with_input(words, vec![b'x'; 3000]);
    refused(&nonsense, "cannot read the archive");
}

fn a_large_file_comes_whole(bench: &Bench) {
    let at = |path: &str| bench.dir().join(path);
    let bytes: Vec<u8> = (0..64_u64 << 20)
        .map(|i| (i.wrapping_mul(i >> 7) >> 3) as u8)
        .collect();
    fs::write(at("large"), &bytes).unwrap();
    let there = cp(bench, "large", "one:/large").expect(0).duration;
    let back = cp(bench, "one:/large", "larger").expect(0).duration;
    assert!(fs::read(at("larger")).unwrap() == bytes, "it is another");
    // Some 20 MiB/s under emulation on a busy host: a minute would be another algorithm.
    assert!(
        (there + back).as_secs() < 60,
        "64 MiB: {there:?} in, {back:?} out"
    );
    let _ = in_app(bench, "rm /large");
}

/// Files that say they are empty, and sockets, which are in no archive.
fn what_the_kernel_makes_up_is_copied(bench: &Bench) {
    let at = |path: &str| bench.dir().join(path);
    let _ = cp(bench, "one:/proc/version", "version").expect(0);
    assert_eq!(
        fs::read_to_string(at("version")).unwrap(),
        in_app(bench, "cat /proc/version")
    );
    fs::create_dir(at("listens")).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(at("listens/s.sock")).unwrap();
    let reported = "`listens/s.sock` is a socket, which is not copied\n";
    let out = cp(bench, "listens", "one:/").expect(0);
    assert_eq!(out.stderr, format!("warning: {reported}"));
    refused(&cp(bench, "listens/s.sock", "one:/"), reported);
    // In the app: the tree of a process has a file that nobody can read.
    let out = bench.isopod_command(["cp", "one:/proc/1/task/1/mem", "x"]);
    refused(
        &out,
        "cannot read `/proc/1/task/1/mem`, which does not report its size",
    );
}

fn what_cannot_be_copied(bench: &Bench) {
    let at = |path: &str| bench.dir().join(path);
    for (source, target, words) in [
        ("one:/nowhere", "x", "cannot read `/nowhere`: No such file"),
        (
            "nowhere",
            "one:/x",
            "cannot read `nowhere`\n  caused by: No such file",
        ),
        (
            "one:/there/f",
            "nowhere/x",
            "cannot copy to `nowhere/x`\n  caused by: No such file",
        ),
        ("one:/there/f", "x/", "cannot copy to `x/`"),
        (
            "tree/file",
            "one:/nowhere/x",
            "cannot copy to `/nowhere/x`: No such file",
        ),
        ("tree/file", "one:/there/f/x", "Not a directory"),
        ("tree", "one:/there/f", "Not a directory"),
        ("one:/there", "tree/file", "Not a directory"),
        ("one:/there/f/", "x", "Not a directory"),
        ("large", "one:/small/large", "No space left on device"),
        ("tree", "one:/proc/x", "cannot write"),
        ("one:/dev/null", "x", "of a kind that is not copied"),
        ("one:/there/f", "/dev/null", "it is not a file"),
        ("one:other:/f", "x", "has no app `other`"),
        ("nobody:/f", "x", "there is no pod"),
        ("one:/f", "one:/g", "one side of a copy must be on this host"),
        ("f", "g", "one side of a copy must be in a pod"),
    ] {
        refused(&cp(bench, source, target), words);
    }
    assert!(!at("x").exists());
    // The agent is as it was, and no process is left of what failed.
    assert_eq!(in_app(bench, "cat /there/f"), "content\n");
}

/// Two apps need a name; the one that has ended is there too.
#[test]
fn one_app_of_several() {
    let bench = Bench::new();
    let image = bench.busybox();
    let pod = bench
        .pod()
        .flags(["-d", "--name", "two"])
        .app(&image)
        .with(["--app-name", "a"]);
    let pod = pod
        .sh("echo a > /f; exec sleep 1000")
        .app(&image)
        .with(["--app-name", "b"]);
    let _ = pod.sh("echo b > /f").start().wait().expect(0);
    isopod_tests::faults::eventually("the other has ended", || {
        let out = bench
            .isopod_command(["status", "--format", "json", "two"])
            .expect(0);
        let status: serde_json::Value = serde_json::from_str(out.text()).unwrap();
        status["apps"][1]["state"] == "exited"
    });
    let _ = cp(&bench, "two:a:/f", "f").expect(0);
    assert_eq!(fs::read_to_string(bench.dir().join("f")).unwrap(), "a\n");
    refused(
        &cp(&bench, "two:/f", "f"),
        "hint: name one between pod and path, POD:APP:PATH: `a`, `b`",
    );
    // As with docker, also of one that has ended.
    let _ = cp(&bench, "two:b:/f", "f").expect(0);
    assert_eq!(fs::read_to_string(bench.dir().join("f")).unwrap(), "b\n");
    let _ = bench.isopod_command(["rm", "-f", "two"]).expect(0);
    bench.assert_nothing_left();
}
