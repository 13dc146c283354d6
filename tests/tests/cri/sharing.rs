//! What the containers of a pod have together.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use isopod_tests::Scenarios;
use isopod_tests::cri::{ContainerConfig, ask};

use super::Pod;

pub(crate) fn run(pod: &Pod<'_>, scenarios: &mut Scenarios) {
    let Pod {
        bench, sandbox, main, ..
    } = pod;
    scenarios.run(
        "a container of one pod has what the others have: /dev/shm, localhost",
        || {
            let _ = main.sh("echo shared > /dev/shm/word; httpd -p 127.0.0.1:99 -h /volume");
            let (_, _, text) = sandbox.run(
                "other",
                ContainerConfig::sh(
                    "cat /dev/shm/word; printf 'GET /file HTTP/1.0\\r\\n\\r\\n' | nc 127.0.0.1 99",
                ),
            );
            assert!(text.starts_with("shared\n") && text.contains("changed"), "{text}");
        },
    );
    scenarios.run(
        "port-forward reaches what listens on the guest's loopback alone",
        || {
            let namespace = sandbox.namespace();
            let request = "GET /file HTTP/1.0\r\n\r\n";
            for address in ["127.0.0.1:99", "[::1]:99"] {
                let answer = ask(&namespace, address.parse().unwrap(), request).unwrap();
                assert!(answer.ends_with("changed\n"), "{address}: {answer}");
            }
            let refused = ask(&namespace, "127.0.0.1:98".parse().unwrap(), request).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionReset);
        },
    );
    scenarios.run(
        "processes are a container's own, or shared where that is asked for",
        || {
            let (_, _, own) = sandbox.run("alone", ContainerConfig::sh("ps"));
            assert!(!own.contains("isopod"), "{own}");
            let sharer = sandbox.start(
                "sharer",
                ContainerConfig::new(&["sleep", "4321"]).shares_processes(),
            );
            let (_, _, all) = sandbox.run("sees", ContainerConfig::sh("ps").shares_processes());
            assert!(all.contains("sleep 4321"), "{all}");
            sharer.remove();
        },
    );
    scenarios.run(
        "an update of a ConfigMap is there within seconds, where it is mounted whole",
        || {
            let config = bench.source("config", &[]);
            update(&config, "..1", &[("key", "one\n"), ("old", "")]);
            let part = bench.source("part", &[("key", "one\n")]);
            let container = sandbox.start(
                "configured",
                ContainerConfig::new(&["sleep", "100000"])
                    .mount(&config, "/etc/config", true)
                    .mount(&part.join("key"), "/etc/part", true),
            );
            assert_eq!(
                container.sh("ls /etc/config; cat /etc/config/key /etc/part; readlink /etc/config/key"),
                "key\nold\none\none\n..data/key\n"
            );
            // What is watched is the guest's own, whose changes its kernel reports.
            assert!(
                !container
                    .sh("grep ' /etc/config ' /proc/self/mountinfo")
                    .contains("virtiofs")
            );
            update(&config, "..2", &[("key", "two\n"), ("new", "")]);
            // The kubelet's mount of a part keeps what it was of.
            fs::remove_file(part.join("key")).unwrap();
            let begun = Instant::now();
            while container.sh("cat /etc/config/key") != "two\n" {
                assert!(begun.elapsed() < Duration::from_secs(20), "no update");
                std::thread::sleep(Duration::from_millis(200));
            }
            assert_eq!(
                container.sh("ls -A /etc/config; cat /etc/part"),
                "..2\n..data\nkey\nnew\none\n"
            );
            assert!(
                container
                    .sh("echo x > /etc/config/key")
                    .contains("Read-only file system")
            );
            container.remove();
        },
    );
}

/// Updates a volume as the kubelet does: the files are links through `..data` to those of the last update.
fn update(dir: &Path, name: &str, files: &[(&str, &str)]) {
    fs::create_dir(dir.join(name)).expect("a volume of the test's");
    for (file, content) in files {
        fs::write(dir.join(name).join(file), content).expect("a volume of the test's");
    }
    let last = fs::read_link(dir.join("..data"));
    symlink(name, dir.join("..data_tmp")).expect("a volume of the test's");
    fs::rename(dir.join("..data_tmp"), dir.join("..data")).expect("a volume of the test's");
    for (file, _) in files {
        let _ = symlink(Path::new("..data").join(file), dir.join(file));
    }
    if let Ok(last) = last {
        for link in fs::read_dir(dir)
            .expect("a volume of the test's")
            .map(|entry| entry.expect("a volume of the test's").path())
        {
            if !link.exists() {
                fs::remove_file(link).expect("a volume of the test's");
            }
        }
        fs::remove_dir_all(dir.join(last)).expect("a volume of the test's");
    }
}
