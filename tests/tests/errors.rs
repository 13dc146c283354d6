//! What is wrong with a pod or a host is said in words, with what to do about it, and leaves nothing behind.
//!
//! The words are tested, not only that there are some: they are what a user has.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use isopod_tests::faults::QEMU;
use isopod_tests::{Bench, Image, Output, Pod};

fn app<'a>(bench: &'a Bench, pod: Pod<'a>) -> Pod<'a> {
    pod.app(&bench.busybox()).with(["--app-name", "app"]).sh("true")
}

/// The agent is what the guest is made with: what has no guest does without it.
#[test]
fn a_command_without_a_guest_needs_no_agent() {
    let bench = Bench::new();
    let alone = bench.dir().join("alone");
    fs::create_dir(&alone).unwrap();
    let program = alone.join("isopod");
    fs::copy(bench.isopod(), &program).unwrap();
    let isopod = |words: &[&str]| {
        let mut command = Command::new(&program);
        command
            .env_clear()
            .env("PATH", &bench.path)
            .env("HOME", bench.dir());
        let output = command
            .arg("--dir")
            .arg(bench.state())
            .args(words)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let image = bench.busybox();
    for words in [
        &["list"][..],
        &["image", "list"],
        &["image", "fetch", &image],
        &["gc"],
    ] {
        let (status, said) = isopod(words);
        assert_eq!(status, Some(0), "{words:?}: {said}");
    }
    let (status, said) = isopod(&["run", "--accel", "tcg", &image]);
    assert_eq!(status, Some(125), "{said}");
    assert!(
        said.contains("the guest agent (`isopod-agent`) is neither beside `isopod` nor installed")
            && said.contains("ISOPOD_AGENT"),
        "{said}"
    );
}

#[test]
fn an_image_that_is_not_there() {
    let bench = Bench::new();
    let out = bench.pod().app("oci:/nowhere/image").sh("true").run();
    let words = "error: app `image`: cannot get its image `oci:/nowhere/image`\n  caused by: ";
    assert_eq!(
        (out.status, out.stderr.starts_with(words)),
        (125, true),
        "{}",
        out.stderr
    );
    assert!(out.stderr.contains("`/nowhere/image"), "{}", out.stderr);

    let layout = bench.busybox().trim_end_matches(":latest").to_owned();
    let out = bench
        .pod()
        .app(&format!("{layout}:v2"))
        .with(["--app-name", "app"])
        .sh("true")
        .run();
    assert_eq!(out.status, 125);
    assert!(
        out.stderr.contains("`v2`") && out.stderr.contains("`latest`"),
        "{}",
        out.stderr
    );

    let out = bench.pod().app("alpine").sh("true").run();
    assert_eq!(out.status, 125);
    assert!(
        out.stderr.contains("`alpine`") && out.stderr.contains("hint: "),
        "{}",
        out.stderr
    );
}

/// One byte of a layer is another: the digest shows it.
#[test]
fn a_corrupt_layer() {
    let bench = Bench::new();
    let layout = bench.dir().join("corrupt");
    Image::busybox()
        .file("which", 0o644, "this image and no other\n")
        .write(&layout);
    let blobs = fs::read_dir(layout.join("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let layer = blobs
        .max_by_key(|blob| fs::metadata(blob).unwrap().len())
        .unwrap();
    let mut bytes = fs::read(&layer).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&layer, bytes).unwrap();
    let reference = format!("oci:{}:latest", layout.display());
    let out = bench.pod().app(&reference).sh("true").run();
    let words = format!("error: app `corrupt`: cannot get its image `{reference}`\n  caused by: ");
    assert_eq!(
        (out.status, out.stderr.starts_with(&words)),
        (125, true),
        "{}",
        out.stderr
    );
    let digest = format!("sha256:{}", layer.file_name().unwrap().display());
    assert!(out.stderr.contains(&digest), "{}", out.stderr);
    let images = fs::read_dir(bench.state().join("images"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    assert!(
        images
            .into_iter()
            .all(|name| !name.to_string_lossy().starts_with(".new-"))
    );
}

#[test]
fn sources_that_cannot_be_shared() {
    let bench = Bench::new();
    let dir = bench.source("dir", &[]);
    let socket = UnixListener::bind(dir.join("socket")).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(dir.join("pipe"))
            .status()
            .unwrap()
            .success()
    );
    std::os::unix::fs::symlink("nowhere", dir.join("dangling")).unwrap();
    std::os::unix::fs::symlink("circle", dir.join("circle")).unwrap();
    let refused = |source: &Path, reason: &str| {
        let words = format!(
            "error: volume `data`: cannot share `{}`: {reason}",
            source.display()
        );
        app(&bench, bench.pod().host("data", source, ""))
            .mount("data", "/data", "")
            .run()
            .assert_refused(125, &words);
    };
    let missing = "No such file or directory (os error 2)\n\
        hint: create it first: unlike docker, isopod makes no directory of a mistyped path";
    refused(&dir.join("missing"), missing);
    refused(&dir.join("dangling"), missing);
    refused(
        &dir.join("circle"),
        "Too many levels of symbolic links (os error 40)",
    );
    let other = |kind: &str| {
        format!(
            "it is {kind}, which works on one kernel only; directories and regular files can be shared\n\
             hint: share the directory that holds what you need"
        )
    };
    refused(&dir.join("socket"), &other("a socket"));
    refused(&dir.join("pipe"), &other("a named pipe"));
    refused(Path::new("/dev/null"), &other("a device"));
    drop(socket);
}

/// All faults are reported at once.
#[test]
fn pods_that_make_no_sense() {
    let bench = Bench::new();
    let dir = bench.source("dir", &[]);
    let pod = bench.pod().host("data", &dir, "").empty("data", "");
    app(&bench, pod).run().assert_refused(
        125,
        "error: two volumes are named `data`\nhint: name one of them differently",
    );

    let pod = app(&bench, bench.pod().empty("cache", ""))
        .mount("cahce", "/x", "")
        .mount("other", "/y", "");
    pod.run().assert_refused(
        125,
        "error: app `app` mounts volume `cahce` at `/x`, but the pod has no volume of that name\n\
         hint: did you mean `cache`?\n\
         error: app `app` mounts volume `other` at `/y`, but the pod has no volume of that name\n\
         hint: declare it before the first image: `--volume other,kind=...`",
    );

    let image = bench.image(&Image::busybox().symlink("link", "/x"));
    let pod = bench
        .pod()
        .empty("a", "")
        .empty("b", "")
        .app(&image)
        .with(["--app-name", "app"]);
    pod.mount("a", "/x", "")
        .mount("b", "/link", "")
        .sh("true")
        .run()
        .assert_refused(
            125,
            "error: app `app` mounts both volume `a` and volume `b` at `/x`\n\
         hint: give one of them another target",
        );

    let pod = app(&bench, bench.pod())
        .app(&bench.busybox())
        .with(["--app-name", "app"])
        .sh("true");
    pod.run().assert_refused(
        125,
        "error: two apps are named `app`\nhint: name one of them differently: `--app-name NAME`, or `name` in a file",
    );
    app(&bench, bench.pod())
        .with(["--user", "nobody-here"])
        .run()
        .assert_refused(
            125,
            "error: app `app`: the image's /etc/passwd has no user `nobody-here`",
        );
}

#[test]
fn command_lines_that_make_no_sense() {
    let bench = Bench::new();
    let image = bench.busybox();
    let refused = |pod: Pod<'_>, words: &str| {
        let out = pod.run();
        assert_eq!(
            (out.status, out.text(), out.stderr.contains(words)),
            (125, "", true),
            "{}",
            out.stderr
        );
    };
    refused(bench.pod(), "error: there is no image");
    refused(
        bench.pod().app(&image).app(&image).with(["--hostname", "h"]),
        "error: `--hostname` belongs to the whole pod, but stands after `---`",
    );
    refused(
        bench.pod().app(&image).app(&image).with(["--wokrdir", "/"]),
        "hint: did you mean `--workdir`?",
    );
    refused(
        bench.pod().app(&image).with(["--wokrdir", "/"]),
        "tip: did you mean '--workdir'?",
    );
    refused(
        bench.pod().app(&image).with(["--memory-swap", "1g"]),
        "error: `--memory-swap` is not supported\nhint: the guest has no swap space",
    );
    refused(
        bench.pod().flags(["--qqq"]).app(&image),
        "error: unexpected argument '--qqq' found\n\nUsage:",
    );
    refused(
        bench
            .pod()
            .flags(["--volume", "d,kind=host,sorce=/a"])
            .app(&image),
        "hint: did you mean `source`?",
    );
    refused(
        bench.pod().flags(["--pod-manifest", "/nowhere.json"]),
        "cannot read the pod manifest `/nowhere.json`",
    );
    let out = bench.pod().app(&image).args(["--name", "x"]).run().expect(127);
    let hint = "\nhint: what follows an image is its command: write flags before the image\n";
    assert!(out.stderr.ends_with(hint), "{}", out.stderr);
}

/// The programs of a PATH that has almost none.
fn poor_path(bench: &mut Bench, programs: &[&str]) {
    let dir = bench.dir().join("poor");
    fs::create_dir(&dir).unwrap();
    for program in programs {
        std::os::unix::fs::symlink(Path::new("/usr/bin").join(program), dir.join(program)).unwrap();
    }
    bench.path = dir.into();
}

#[test]
fn no_qemu() {
    let mut bench = Bench::new();
    poor_path(&mut bench, &[]);
    app(&bench, bench.pod()).run().assert_refused(
        125,
        "error: QEMU (`qemu-system-x86_64`) was not found in the search path\nhint: install it: `sudo apt install qemu-system-x86`",
    );
}

#[test]
fn no_kernel() {
    let Some(bench) = Bench::of_root() else { return };
    let hide = "mount -t tmpfs none /boot; mount -t tmpfs none /lib/modules";
    let out = app(&bench, bench.pod()).behind(hide).run().expect(125);
    assert!(
        out.stderr
            .starts_with("error: cannot find what the guest image is made of\n  caused by: "),
        "{}",
        out.stderr
    );
    assert!(out.stderr.contains("linux-image-amd64"), "{}", out.stderr);
}

/// A kernel whose modules are gone, as after an upgrade.
#[test]
fn no_modules() {
    let Some(bench) = Bench::of_root() else { return };
    app(&bench, bench.pod())
        .behind("mount -t tmpfs none /lib/modules")
        .run()
        .assert_refused(
            125,
            "error: cannot find what the guest image is made of\n  \
           caused by: no kernel below `/` that has its modules installed\n\
         hint: install it: `sudo apt install linux-image-amd64`",
        );
}

#[test]
fn no_virtiofsd() {
    let Some(mut bench) = Bench::of_root() else { return };
    poor_path(&mut bench, &[QEMU, "unshare", "sh", "mount"]);
    let hide = "mount -t tmpfs none /usr/lib/qemu";
    let source = bench.source("data", &[("file", "there\n")]);
    let pod = |transport| {
        let pod = bench
            .pod()
            .flags(["--transport", transport])
            .behind(hide)
            .host("data", &source, "");
        pod.app(&bench.busybox())
            .mount("data", "/data", "")
            .sh("cat /data/file; grep -c 9p /proc/mounts")
    };
    pod("virtiofs").run().assert_refused(
        125,
        "error: cannot share volumes over virtiofs: no virtiofsd was found\n\
         hint: install it: `sudo apt install qemu-system-common`, or `cargo install virtiofsd`",
    );
    let out = pod("auto").run().expect(0);
    assert_eq!(out.text().lines().next(), Some("there"), "{}", out.text());
}

/// A host on which KVM opens and does not work: emulation takes its place, unless KVM was demanded.
#[test]
fn no_kvm() {
    let Some(bench) = Bench::of_root() else { return };
    let hide = "test ! -e /dev/kvm || mount --bind /dev/null /dev/kvm";
    let pod = |accel| app(&bench, bench.pod()).accel(accel).behind(hide);
    let refused = pod("kvm").run().expect(125);
    assert!(
        refused.stderr.starts_with("error: cannot run with KVM: "),
        "{}",
        refused.stderr
    );
    let hint = "\nhint: leave `--accel` out, or write `--accel tcg`: the VM is emulated then\n";
    assert!(refused.stderr.ends_with(hint), "{}", refused.stderr);
    let emulated = pod("auto").run().expect(0);
    assert!(
        emulated
            .stderr
            .starts_with("note: the VM is emulated, which is slow: "),
        "{}",
        emulated.stderr
    );
}

/// A file system with room for `megabytes`, as the place of the state.
fn full(bench: &Bench, megabytes: usize) -> Output {
    let state = bench.dir().join("small");
    let script = format!(
        "mkdir -p '{0}'; mount -t tmpfs -o size={megabytes}m,mode=0700 none '{0}'",
        state.display()
    );
    app(bench, bench.pod()).state(&state).behind(&script).run()
}

/// Wherever the room ends, that is said, with the file and the way out.
#[test]
fn no_space() {
    let Some(bench) = Bench::of_root() else { return };
    for megabytes in [1, 4, 16, 40, 64] {
        let out = full(&bench, megabytes).expect(125);
        assert!(
            out.stderr.contains("No space left on device"),
            "{megabytes}: {}",
            out.stderr
        );
        assert!(
            out.stderr.contains(&*bench.dir().to_string_lossy()),
            "{megabytes}: {}",
            out.stderr
        );
        assert!(out.stderr.contains("\nhint: "), "{megabytes}: {}", out.stderr);
    }
}

/// Room for everything but the pod's own files.
#[test]
fn no_space_for_the_pod() {
    let Some(bench) = Bench::of_root() else { return };
    let state = bench.dir().join("small");
    let script = format!(
        "mkdir '{0}'; mount -t tmpfs -o size=8k,mode=0700 none '{0}'; ln -s '{1}'/* '{0}/'",
        state.display(),
        bench.state().display()
    );
    let out = app(&bench, bench.pod())
        .state(&state)
        .behind(&script)
        .run()
        .expect(125);
    let words = format!(
        "error: cannot prepare the pod\n  caused by: cannot write `{}/pods/preparing/",
        state.display()
    );
    assert!(out.stderr.contains(&words), "{}", out.stderr);
    let rest = "/pod.cpio`\n  caused by: No space left on device (os error 28)\n\
        hint: make room there, or keep the state elsewhere: `--dir DIR`\n";
    assert!(out.stderr.ends_with(rest), "{}", out.stderr);
}

#[test]
fn state_that_cannot_be_kept() {
    let bench = Bench::new();
    let file = bench.dir().join("file");
    fs::write(&file, "").unwrap();
    let out = app(&bench, bench.pod()).state(&file).run().expect(125);
    assert!(
        out.stderr.starts_with("error: the state directory"),
        "{}",
        out.stderr
    );
    assert!(out.stderr.contains(&*file.to_string_lossy()), "{}", out.stderr);
}

/// A QEMU that fails, as one that lacks a device does.
#[test]
fn a_qemu_that_fails() {
    let mut bench = Bench::new();
    bench.shadow(QEMU, "echo \"$real: no such device\" >&2; exit 1");
    let out = app(&bench, bench.pod()).run().expect(125);
    assert!(
        out.stderr
            .starts_with("error: QEMU ended with exit status: 1; its last lines:\n    "),
        "{}",
        out.stderr
    );
    assert!(
        out.stderr.trim_end().ends_with(": no such device"),
        "{}",
        out.stderr
    );
}

#[test]
fn a_virtiofsd_that_fails() {
    let mut bench = Bench::new();
    let version = "case $1 in --version) echo virtiofsd 1.14.0; exit;; esac";
    bench.shadow("virtiofsd", &format!("{version}; echo out of order >&2; exit 3"));
    let pod = bench
        .pod()
        .flags(["--transport", "virtiofs"])
        .host("data", bench.source("data", &[]), "");
    let pod = pod.app(&bench.busybox()).mount("data", "/data", "").sh("true");
    pod.run().assert_refused(
        125,
        "error: virtiofsd ended with exit status: 3; its last lines:\n    out of order",
    );
}

/// A source that is gone when it is to be shared: looked at as a directory, it is none when the processes start.
#[test]
fn a_source_that_goes_between_plan_and_start() {
    let mut bench = Bench::new();
    let source = bench.source("data", &[]);
    // The first `--version` is asked while facts are gathered, after sources were looked at.
    let script = format!("rmdir '{}'; echo virtiofsd 1.14.0", source.display());
    bench.shadow("virtiofsd", &script);
    let pod = bench
        .pod()
        .flags(["--transport", "virtiofs"])
        .host("data", &source, "");
    let out = pod
        .app(&bench.busybox())
        .mount("data", "/data", "")
        .sh("true")
        .run()
        .expect(125);
    let words = format!("cannot share `{}` as volume `data`: open\n", source.display());
    assert!(
        out.stderr.contains(&words) && out.stderr.contains("No such file or directory"),
        "{}",
        out.stderr
    );
}
