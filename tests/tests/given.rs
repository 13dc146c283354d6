//! Volumes that are images, and App Container Images, in a VM.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use std::ffi::OsString;
use std::fs;
use std::process::Command;

use isopod_tests::{Bench, Image, Output};

/// Packs a directory as an ACI whose program is busybox.
fn aci(bench: &Bench) -> String {
    let layout = bench.dir().join("layout");
    fs::create_dir_all(layout.join("rootfs/bin")).unwrap();
    fs::copy("/bin/busybox", layout.join("rootfs/bin/busybox")).unwrap();
    fs::create_dir(layout.join("rootfs/tmp")).unwrap();
    let script = "busybox id -u; busybox id -g; busybox pwd; echo $GREETING; \
                  busybox grep -E 'CapBnd|NoNewPrivs' /proc/self/status; \
                  busybox cat /sys/fs/cgroup/memory.max; \
                  busybox mkdir /tmp/x";
    let manifest = serde_json::json!({
        "acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/aci",
        "labels": [{"name": "os", "value": "linux"}, {"name": "arch", "value": "amd64"}],
        "app": {
            "exec": ["/bin/busybox", "sh", "-c", script], "user": "33", "group": "44", "workingDirectory": "/tmp",
            "environment": [{"name": "GREETING", "value": "hello"}, {"name": "PATH", "value": "/bin"}],
            "isolators": [
                {"name": "resource/memory", "value": {"limit": "64Mi"}},
                {"name": "os/linux/no-new-privileges", "value": true},
                {"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_KILL"]}},
                {"name": "os/linux/seccomp-remove-set", "value": {"set": ["mkdir", "mkdirat"], "errno": "ENOTSUP"}}
            ]
        }
    });
    fs::write(layout.join("manifest"), manifest.to_string()).unwrap();
    let file = bench.dir().join("image.aci");
    let tar = Command::new("tar")
        .args(["-z", "--owner=0", "--group=0", "-cf"])
        .arg(&file)
        .arg("-C")
        .arg(&layout)
        .args(["manifest", "rootfs"])
        .status()
        .unwrap();
    assert!(tar.success());
    format!("aci:{}", file.display())
}

#[test]
fn images_are_volumes_and_acis_are_apps() {
    let bench = Bench::new();
    let model = Image::scratch()
        .directory("model", 0o755, (0, 0))
        .file("model/weights", 0o644, "weights\n")
        .symlink("current", "/model");
    let model = bench.image(&model);
    let volume = format!("m,kind=image,image={model}");
    let image = bench.busybox();
    let pod = bench.pod().flags(["--log-level", "info", "--volume", &volume]);
    let out = pod
        .app(&image)
        .with(["--app-name", "reader"])
        .mount("m", "/m", "")
        .mount("m", "/one", "subPath=current/weights")
        .sh("cat /m/model/weights /one >&2; touch /m/x 2>&1 | sed 's/.*: //' >&2")
        .app(&aci(&bench))
        .with(["--app-name", "aci"])
        .run();
    let read: Vec<&str> = out.stderr.lines().filter(|line| !line.contains("INFO")).collect();
    for line in ["weights", "Read-only file system"] {
        assert!(read.contains(&line), "{line}: {}", out.stderr);
    }
    assert_eq!(read.iter().filter(|line| **line == "weights").count(), 2);
    let refused = "can't create directory '/tmp/x': Operation not supported";
    assert!(out.stderr.contains(refused), "{}", out.stderr);
    let said: Vec<&str> = out.text().lines().collect();
    assert_eq!(
        said,
        [
            "33",
            "44",
            "/tmp",
            "hello",
            "CapBnd:\t0000000000000020",
            "NoNewPrivs:\t1",
            "67108864"
        ],
        "{}",
        out.stderr
    );
    // mkdir failed, and was the script's last word.
    assert_eq!(out.status, 1, "{}", out.stderr);
}

fn exec(bench: &Bench, script: &str) -> Output {
    let words = ["exec", "--app", "a", "p", "--", "sh", "-c", script];
    bench.isopod_command(words.map(OsString::from))
}

#[test]
fn what_is_executed_in_an_app_has_its_limits() {
    let bench = Bench::new();
    let rules = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
        {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38,
         "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}]}]}"#;
    fs::write(bench.dir().join("profile.json"), rules).unwrap();
    let pod = bench.pod().flags(["-d", "--name", "p"]).app(&bench.busybox());
    let pod = pod
        .with([
            "--app-name",
            "a",
            "--security-opt",
            "seccomp=profile.json",
            "--ulimit",
            "nofile=50:60",
        ])
        .with(["--oom-score-adj", "77", "--memory", "32m"])
        .sh("exec sleep 1000");
    let _ = pod.start().wait().expect(0);
    let out = exec(
        &bench,
        "ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj; kill -0 $$; kill -USR1 $$; mkdir /tmp/x",
    )
    .expect(1);
    assert_eq!(out.text(), "50\n60\n77\n");
    assert!(out.stderr.contains("No space left on device"), "{}", out.stderr);
    assert_eq!(
        out.stderr.matches("Function not implemented").count(),
        1,
        "{}",
        out.stderr
    );
    // What is executed counts as the app's: with it the app has outgrown its memory, and both end.
    assert_eq!(exec(&bench, "tail /dev/zero").status, 137);
    let _ = bench
        .isopod_command(["rm", "-f", "p"].map(OsString::from))
        .expect(0);
    bench.assert_nothing_left();
}
