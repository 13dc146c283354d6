//! VMs that are up before their sandboxes are known.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use isopod_tests::cri::wire::Message;
use isopod_tests::cri::{ContainerConfig, Containerd, Sandbox, ask};
use isopod_tests::{Bench, Scenarios};
use rustix::process::{Pid, Signal, kill_process};

/// A plugin of CNI that adds an interface to the sandbox's namespace.
const SECOND_INTERFACE: &str = r#"#!/bin/sh
case $CNI_COMMAND in
VERSION) echo '{"cniVersion": "0.4.0", "supportedVersions": ["0.4.0"]}' ;;
ADD)
    nsenter --net="$CNI_NETNS" sh -e -c '
        ip link add eth1 type veth peer name eth1-end
        ip addr add 10.99.0.1/24 dev eth1
        ip link set eth1-end up
        ip link set eth1 up' && jq -c .prevResult ;;
esac
"#;

/// The places of spares, and in each whether one listens.
fn places(bench: &Bench) -> Vec<(PathBuf, bool)> {
    let below = |dir: PathBuf| {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.path())
    };
    let programs = below(bench.state().join("spares"));
    let places = programs.flat_map(below).flat_map(below);
    places
        .map(|place| {
            let listens = fs::exists(place.join("socket")).unwrap()
                && fs::metadata(place.join("lock")).is_ok()
                && UnixStream::connect(place.join("socket")).is_ok();
            (place, listens)
        })
        .collect()
}

/// Waits until so many spares listen.
pub(super) fn await_spares(bench: &Bench, number: usize) {
    let begun = Instant::now();
    loop {
        let places = places(bench);
        if places.iter().filter(|(_, listens)| *listens).count() == number {
            return;
        }
        let logs = places
            .iter()
            .map(|(place, _)| fs::read_to_string(place.join("log")).unwrap_or_default());
        assert!(
            begun.elapsed() < Duration::from_secs(90),
            "not {number} spares: {places:?}\n{}",
            logs.collect::<String>()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The processes that are spares, or were when they began.
fn spares(bench: &Bench) -> Vec<i32> {
    let all = bench.processes().into_iter();
    all.filter(|(_, line)| line.contains("-namespace spare"))
        .map(|(pid, _)| pid)
        .collect()
}

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

/// A sandbox whose host name is `name`, of a VM of 512 MiB.
fn sandbox<'a>(containerd: &'a Containerd, name: &str) -> Sandbox<'a> {
    containerd
        .sandbox_with(name, |config| {
            let linux = Message::new().entry(3, "net.core.somaxconn", "333");
            config.message(8, linux).entry(7, "io.isopod.memory-mib", "512")
        })
        .unwrap()
}

/// What its guest is: host name, parameter, and the address that CNI gave.
fn is_itself(sandbox: &Sandbox<'_>, name: &str) {
    let script = "hostname; cat /proc/sys/net/core/somaxconn; ip -4 -o addr show dev eth0; ip link show dev eth0; ip route";
    let (status, _, text) = sandbox.run(&format!("of-{name}"), ContainerConfig::sh(script));
    let address = sandbox.status().message(1).message(5).text(1);
    assert_eq!(status, 0, "{text}");
    assert!(text.starts_with(&format!("{name}\n333\n")), "{text}");
    assert!(text.contains(&format!("inet {address}/24 ")), "{address}: {text}");
    let there = text.contains("default via 10.88.9.1 ") && text.contains(",MULTICAST,UP,LOWER_UP>");
    assert!(there && !text.contains("169.254."), "{text}");
}

#[test]
fn a_spare_becomes_the_sandbox_that_comes() {
    let Some(bench) = Bench::of_root() else { return };
    let containerd = Containerd::start_with_spares(&bench, "warm", 1);
    let mut scenarios = Scenarios::default();

    let first = sandbox(&containerd, "first");
    await_spares(&bench, 1);
    let [spare] = spares(&bench)[..] else {
        panic!("{:?}", bench.processes())
    };
    scenarios.run(
        "it is the sandbox's server, with its name, network and cgroup",
        || {
            let second = sandbox(&containerd, "second");
            assert_eq!(second.pid(), i64::from(spare), "{}", containerd.log());
            is_itself(&second, "second");
            is_itself(&first, "first");
            let cgroup = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
            let own = cgroup(spare);
            assert!(own.contains(&second.id), "{own}");
            let qemus = bench.processes().into_iter();
            let qemus = qemus.filter(|(_, line)| line.contains("qemu-system"));
            // QEMU, and what it began as.
            assert_eq!(qemus.filter(|(pid, _)| cgroup(*pid) == own).count(), 2);
        },
    );
    scenarios.run("pods of the sandbox's network reach each other", || {
        let third = sandbox(&containerd, "third");
        let server = third.start(
            "server",
            ContainerConfig::sh("echo it is third | nc -l -p 80; sleep 1000"),
        );
        let address = third.status().message(1).message(5).text(1);
        let script =
            format!("for i in 1 2 3 4 5 6 7 8 9; do nc {address} 80 </dev/null && exit; sleep 0.3; done");
        let (_, _, text) = first.run("client", ContainerConfig::sh(&script));
        assert_eq!(text, "it is third\n");
        server.remove();
        third.remove();
    });
    scenarios.run(
        "port-forward is of the sandbox's namespace, and of no other",
        || {
            await_spares(&bench, 1);
            let [.., before] = spares(&bench)[..] else {
                panic!("no spare")
            };
            let fourth = sandbox(&containerd, "fourth");
            assert_eq!(fourth.pid(), i64::from(before));
            let server = fourth.start(
                "server",
                ContainerConfig::sh("while :; do echo fourth | nc -l -p 99; done"),
            );
            let namespace = fourth.namespace();
            let begun = Instant::now();
            let answer = loop {
                match ask(&namespace, "127.0.0.1:99".parse().unwrap(), "\n") {
                    Ok(answer) => break answer,
                    Err(error) => assert!(begun.elapsed() < Duration::from_secs(20), "{error}"),
                }
                std::thread::sleep(Duration::from_millis(200));
            };
            assert_eq!(answer, "fourth\n");
            let engine = format!("--net=/proc/{}/ns/net", bench.process("containerd"));
            let tables = std::process::Command::new("nsenter")
                .args([&engine, "nft", "list", "tables"])
                .output()
                .unwrap();
            let tables = String::from_utf8_lossy(&tables.stdout);
            assert!(!tables.contains("isopod"), "{tables}");
            server.remove();
            fourth.remove();
        },
    );
    scenarios.run("another size has another one", || {
        await_spares(&bench, 1);
        let before = spares(&bench);
        let other = containerd
            .sandbox_with("other", |config| config.entry(7, "io.isopod.memory-mib", "640"))
            .unwrap();
        assert!(!before.contains(&i32::try_from(other.pid()).unwrap()));
        other.remove();
    });
    scenarios.run("two at once, of which one gets it", || {
        // Those of both sizes.
        await_spares(&bench, 2);
        std::thread::scope(|scope| {
            for name in ["left", "right"] {
                let containerd = &containerd;
                scope.spawn(move || {
                    let sandbox = sandbox(containerd, name);
                    is_itself(&sandbox, name);
                    sandbox.remove();
                });
            }
        });
    });
    scenarios.run("one that does not fit is given up", || {
        await_spares(&bench, 2);
        containerd.with_plugin(Some(SECOND_INTERFACE));
        let two = sandbox(&containerd, "two");
        containerd.with_plugin(None);
        is_itself(&two, "two");
        let (_, _, text) = two.run("second", ContainerConfig::sh("ip -4 -o addr show dev eth1"));
        assert!(text.contains("inet 10.99.0.1/24 "), "{text}");
        two.remove();
    });
    scenarios.run("one that is killed leaves nothing, and is replaced", || {
        await_spares(&bench, 2);
        spares(&bench).into_iter().for_each(kill);
        let pods = || fs::read_dir(bench.state().join("pods/started")).unwrap().count();
        let next = sandbox(&containerd, "next");
        is_itself(&next, "next");
        await_spares(&bench, 1);
        next.remove();
        // The first sandbox, and the spare.
        assert_eq!(pods(), 2);
    });
    first.remove();
    drop(scenarios);
    drop(containerd);
}
