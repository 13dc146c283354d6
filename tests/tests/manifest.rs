//! A pod from an appc pod manifest: the same VM, described in a file.

use isopod_tests::Bench;
use serde_json::json;

#[test]
fn a_manifest_describes_a_whole_pod() {
    let bench = Bench::new();
    let imported = bench.isopod_command([
        "image",
        "import",
        "--name",
        "example.com/busybox",
        &bench.busybox(),
    ]);
    let imported = imported.expect(0);
    let id = imported.text().trim();
    assert!(id.starts_with("sha256:"), "{id}");
    let data = bench.source("data", &[("file", "of the host\n")]);
    let manifest = json!({
        "acVersion": "0.8.11",
        "acKind": "PodManifest",
        "apps": [
            {
                "name": "writer",
                "image": { "id": id.replace(':', "-"), "name": "example.com/busybox" },
                "app": {
                    "exec": ["/bin/sh", "-c", "cat /data/file; id -u; echo $COLOUR; pwd; echo x > /data/new; echo y > /work/new"],
                    "user": "0",
                    "group": "0",
                    "workingDirectory": "/tmp",
                    "environment": [{ "name": "COLOUR", "value": "red" }],
                    "mountPoints": [{ "name": "data", "path": "/data" }, { "name": "work", "path": "/work" }],
                },
            },
            {
                "name": "reader",
                "image": { "name": "example.com/busybox" },
                "app": {
                    "exec": ["/bin/sh", "-c", "until test -s /work/new; do sleep 0.1; done; touch /work/x || id -u"],
                    "user": "www",
                    "group": "www",
                },
                "mounts": [{ "volume": "work", "path": "/work" }],
            },
        ],
        "volumes": [
            { "name": "data", "kind": "host", "source": data },
            { "name": "work", "kind": "empty", "mode": "0755", "uid": 0, "gid": 0 },
        ],
    });
    let file = bench.dir().join("pod.json");
    std::fs::write(&file, manifest.to_string()).unwrap();
    let pod = bench.pod().flags(["--pod-manifest".as_ref(), file.as_os_str()]);
    let out = pod.run().expect(0);
    let mut lines: Vec<&str> = out.text().lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["/tmp", "0", "33", "of the host", "red"]);
    assert_eq!(std::fs::read_to_string(data.join("new")).unwrap(), "x\n");
}

#[test]
fn all_faults_of_a_manifest_are_reported_with_their_places() {
    let bench = Bench::new();
    let file = bench.dir().join("pod.json");
    let text = r#"{
  "acVersion": "0.8.11",
  "acKind": "PodManifest",
  "apps": [
    {"name": "Web", "image": {"name": "x"}, "mounts": [{"volume": "none", "path": "/a"}]}
  ],
  "volumes": [{"name": "data", "kind": "host", "source": "relative", "sorce": "x"}]
}"#;
    std::fs::write(&file, text).unwrap();
    let pod = bench.pod().flags(["--pod-manifest".as_ref(), file.as_os_str()]);
    let out = pod.run().expect(125);
    assert_eq!(out.text(), "");
    let errors = out
        .stderr
        .lines()
        .filter(|line| line.starts_with("error: "))
        .count();
    assert!(errors >= 3, "{}", out.stderr);
    for words in ["pod.json:5:", "pod.json:7:", "`Web`", "`relative`", "sorce"] {
        assert!(out.stderr.contains(words), "{words}: {}", out.stderr);
    }
}
