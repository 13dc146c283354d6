//! Pods of another architecture than the host's: an emulated VM whose guest is made of a distribution in a directory.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use std::fs;
use std::path::Path;

use isopod_tests::{Bench, Debian, Image, faults, say};

/// What a guest of arm64 is made of, and a program for it.
const PACKAGES: [&str; 3] = ["linux-image-arm64", "systemd", "busybox-static"];

/// An image with busybox of that distribution, and the applets that the test needs.
fn busybox(root: &Path) -> Image {
    let image = Image::scratch()
        .of_architecture("arm64")
        .directory("bin", 0o755, (0, 0))
        .directory("proc", 0o755, (0, 0))
        .directory("tmp", 0o1777, (0, 0))
        .file("bin/busybox", 0o755, fs::read(root.join("bin/busybox")).unwrap());
    let applets = ["sh", "cat", "uname", "id", "sleep"];
    applets.iter().fold(image, |image, applet| {
        image.symlink(&format!("bin/{applet}"), "busybox")
    })
}

/// What docs/hosts.md says of arm64 on another host: two boots, over virtiofs and over 9p; then what is refused.
#[test]
fn a_pod_of_arm64_has_its_volumes_its_exit_code_and_exec() {
    let Some(bench) = Bench::of_root().map(Bench::own_templates) else {
        return;
    };
    let agent = bench.isopod().with_file_name("isopod-agent-aarch64");
    if !agent.is_file() {
        return say("skipped: there is no agent for arm64");
    }
    let root = Debian::of_architecture("arm64", &PACKAGES).root().to_owned();
    let image = bench.image(&busybox(&root));
    let source = bench.source("data", &[("from-host", "hello\n")]);
    let script = "uname -m; cat /data/from-host; echo me > /data/from-guest\n\
                  until [ -e /data/go ]; do sleep 0.1; done; exit 7";
    for transport in ["virtiofs", "9p"] {
        let flags = [
            "--platform",
            "linux/arm64",
            "--rm",
            "--name",
            transport,
            "--transport",
            transport,
        ];
        let pod = bench
            .pod()
            .flags(flags)
            .env("ISOPOD_GUEST_ROOT", &root)
            .host("data", &source, "")
            .app(&image)
            .mount("data", "/data", "")
            .sh(script);
        let running = pod.start();
        faults::eventually("the app writes to its volume", || {
            fs::read_to_string(source.join("from-guest")).is_ok_and(|text| text == "me\n")
        });
        let exec = bench.isopod_command(["exec", transport, "--", "sh", "-c", "uname -m; id -u; exit 3"]);
        assert_eq!(exec.expect(3).text(), "aarch64\n0\n");
        fs::write(source.join("go"), "").unwrap();
        assert_eq!(running.wait().expect(7).text(), "aarch64\nhello\n");
        for name in ["go", "from-guest"] {
            fs::remove_file(source.join(name)).unwrap();
        }
    }

    // Ahead of a start; the store has it already.
    let fetch = |image: &str| bench.isopod_command(["image", "fetch", "--platform", "linux/arm64", image]);
    assert!(fetch(&image).expect(0).text().starts_with("sha256"));
    let other = fetch(&bench.busybox()).expect(125);
    assert!(
        other
            .stderr
            .contains("the image is for `linux/amd64`, and not for `linux/arm64`"),
        "{}",
        other.stderr
    );

    let refused = |flags: &[&str], image: &str, words: &str| {
        let out = bench.pod().flags(flags).app(image).sh("true").run().expect(125);
        assert!(out.stderr.contains(words), "{}", out.stderr);
    };
    let guest_root = root.to_str().unwrap();
    refused(
        &["--guest-root", guest_root],
        &bench.busybox(),
        "the image is for `linux/amd64`, and not for `linux/arm64`",
    );
    refused(
        &["--guest-root", guest_root, "--platform", "linux/amd64"],
        &image,
        "it has systemd of arm64",
    );
    refused(
        &["--platform", "linux/arm64"],
        &image,
        "and no directory with one is given",
    );
    refused(
        &["--guest-root", guest_root, "--accel", "kvm"],
        &image,
        "its processor is arm64, and the host's amd64",
    );
    refused(
        &["--guest-root", guest_root, "--start", "warm"],
        &image,
        "VMs for arm64 cannot be saved",
    );
}
