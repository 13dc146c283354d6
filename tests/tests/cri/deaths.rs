//! That nothing stays when a process of a sandbox's, or containerd, dies.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use isopod_tests::cri::soak::SandboxSoak;
use isopod_tests::cri::wire::Message;
use isopod_tests::cri::{Container, ContainerConfig, Containerd, OF_CONTAINERD, RUNNING, Sandbox};
use isopod_tests::{Bench, Scenarios};

/// What dies is cleaned up after, and reported.
#[test]
fn nothing_stays_when_something_dies() {
    let Some(bench) = Bench::of_root() else { return };
    let containerd = Containerd::start(&bench);
    let mut scenarios = Scenarios::default();
    let gone = |sandbox: &Sandbox<'_>, container: &Container<'_>| {
        container.ended();
        let status = container.status().number(7);
        // containerd itself says 255 of one whose shim is gone.
        assert!([137, 255].contains(&status), "{status}");
        let begun = Instant::now();
        while sandbox.status().message(1).number(3) == 0 {
            assert!(begun.elapsed() < Duration::from_secs(60), "the sandbox is ready");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    for victim in ["qemu", "virtiofsd", "containerd-shim-isopod"] {
        scenarios.run(victim, || {
            let sandbox = containerd.sandbox(&format!("of-{}", &victim[..4]));
            let container = sandbox.start("main", ContainerConfig::new(&["sleep", "100000"]));
            let pid = bench.process(victim);
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap();
            let environ = String::from_utf8_lossy(&environ);
            assert!(!environ.contains(OF_CONTAINERD), "{victim}: {environ}");
            rustix::process::kill_process(
                rustix::process::Pid::from_raw(pid).unwrap(),
                rustix::process::Signal::KILL,
            )
            .unwrap();
            gone(&sandbox, &container);
            let namespace = sandbox.namespace();
            sandbox.remove();
            assert!(!Path::new(&namespace).exists(), "{namespace} is left");
            let left = bench
                .processes()
                .into_iter()
                .filter(|(_, line)| !line.starts_with("containerd "));
            assert_eq!(left.collect::<Vec<_>>(), []);
            let pods = fs::read_dir(bench.state().join("pods/started")).unwrap();
            assert_eq!(pods.count(), 0);
        });
    }
    scenarios.run("a container that is stopped in a guest that says nothing", || {
        let sandbox = containerd.sandbox("silent");
        let container = sandbox.start("main", ContainerConfig::new(&["sleep", "100000"]));
        let qemu = rustix::process::Pid::from_raw(bench.process("qemu")).unwrap();
        rustix::process::kill_process(qemu, rustix::process::Signal::STOP).unwrap();
        let begun = Instant::now();
        container.stop(1);
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        assert_eq!(container.status().number(7), 137);
        sandbox.remove();
    });
    scenarios.run("containerd itself", || {
        let privileged = Message::new().message(2, Message::new().number(6, 1));
        let sandbox = containerd
            .sandbox_with("survivor", |config| config.message(8, privileged))
            .unwrap();
        let (_, _, text) = sandbox.run(
            "privileged",
            ContainerConfig::sh("mount -t tmpfs none /tmp && echo mounted; grep CapEff /proc/self/status; ls /dev/kmsg; echo 334 > /proc/sys/net/core/somaxconn && echo set")
                .security(|security| security.number(2, 1)),
        );
        assert!(text.starts_with("mounted\nCapEff:\t000001ffffffffff\n/dev/kmsg\nset\n"), "{text}");
        let container = sandbox.start("main", ContainerConfig::sh("echo before; sleep 4; echo after; sleep 100000"));
        containerd.kill();
        containerd.start_again();
        assert_eq!(container.status().number(3), RUNNING);
        assert_eq!(container.sh("hostname"), "survivor\n");
        std::thread::sleep(Duration::from_secs(5));
        let log = fs::read_to_string(bench.dir().join("containerd/logs/survivor/main.log")).unwrap();
        assert!(log.contains("before") && log.contains("after"), "{log}");
        sandbox.remove();
    });
    drop(scenarios);
    drop(containerd);
    bench.assert_nothing_left();
}

/// A short soak: `cargo xtask soak --sandboxes` is the long one. Of this seed containerd is killed in `RunPodSandbox`, QEMU and virtiofsd
/// while the containers run, the shim in `CreateContainer`, QEMU and containerd in `ExecSync`.
#[test]
fn sandboxes_end_at_random_moments() {
    let Some(bench) = Bench::of_root() else { return };
    let soak = SandboxSoak {
        sandboxes: 4,
        seed: 21521,
    };
    let _ = soak.run(&bench, |_| ());
    bench.assert_nothing_left();
}

/// `cargo xtask soak --sandboxes`, which says how many and from which seed.
#[test]
#[ignore = "takes minutes: `cargo xtask soak --sandboxes N`"]
#[expect(clippy::print_stdout, reason = "the table is what it is run for")]
fn soak() {
    let Some(bench) = Bench::of_root() else { return };
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let sandboxes = usize::try_from(number("ISOPOD_SOAK_LIVES").unwrap_or(100)).unwrap();
    let seed = number("ISOPOD_SOAK_SEED").unwrap_or(1);
    let tally =
        SandboxSoak { sandboxes, seed }.run(&bench, |lived| println!("{lived} of {sandboxes} sandboxes"));
    println!("\n{}", tally.table());
    bench.assert_nothing_left();
}
