//! What `isopod doctor` says of the host that runs the tests.

use isopod_tests::Bench;

/// Each finding that is not as it should be has its fix, and what no pod runs without ends the command with 1.
#[test]
fn every_finding_has_its_fix() {
    let mut bench = Bench::of_ordinary_user();
    let look = |bench: &Bench| {
        let out = bench.isopod_command(["doctor", "--format", "json"]);
        let document: serde_json::Value = serde_json::from_str(out.text()).expect("JSON");
        assert_eq!(document["version"], 1);
        let findings = document["findings"].as_array().expect("findings").clone();
        (out.status, findings)
    };
    let (status, findings) = look(&bench);
    assert_eq!(status, 0, "{findings:?}");
    let topics: Vec<&str> = findings
        .iter()
        .filter_map(|finding| finding["topic"].as_str())
        .collect();
    let all = [
        "QEMU",
        "KVM",
        "guest",
        "volumes",
        "network",
        "networks",
        "disks",
        "namespaces",
        "owners",
        "state",
        "registries",
    ];
    assert_eq!(topics, all);
    for finding in &findings {
        assert_eq!(finding["level"] == "ok", finding["fix"].is_null(), "{finding}");
        assert_ne!(finding["level"], "fault", "{finding}");
    }

    // Nothing is coloured where nobody sees it.
    let out = bench.isopod_command(["doctor"]);
    assert!(
        out.text().contains("ok     QEMU ") && !out.text().contains('\u{1b}'),
        "{}",
        out.text()
    );

    // A search path with nothing of a pod: what makes the command the ordinary user's is all there is.
    let poor = bench.dir().join("poor");
    std::fs::create_dir(&poor).unwrap();
    std::os::unix::fs::symlink("/usr/bin/setpriv", poor.join("setpriv")).unwrap();
    bench.path = poor.into();
    let (status, findings) = look(&bench);
    assert_eq!(status, 1);
    assert_eq!(findings[0]["level"], "fault", "{findings:?}");
    assert_eq!(
        findings[0]["fix"],
        "install it: `sudo apt install qemu-system-x86`"
    );
}
