//! Pods of Kubernetes': Debian's containerd with the shim, asked over CRI as a kubelet asks.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use isopod_tests::cri::wire::Message;
use isopod_tests::cri::{ContainerConfig, Containerd, EXITED, RUNNING, ask};
use isopod_tests::{Bench, Scenarios};

fn number(value: i64) -> Message {
    Message::new().number(1, value)
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

/// Pods in one VM after another; each scenario is what critest or a kubelet does.
#[test]
fn a_sandbox_is_a_vm_and_its_containers_are_as_any_runtimes() {
    let Some(bench) = Bench::of_root() else { return };
    let containerd = Containerd::start(&bench);
    let volume = bench.source("volume", &[("file", "from the host\n"), ("words", "")]);
    fs::set_permissions(volume.join("words"), fs::Permissions::from_mode(0o666)).unwrap();
    let sandbox = containerd
        .sandbox_with("pod", |config| {
            let linux = Message::new().entry(3, "net.core.somaxconn", "333");
            config.message(8, linux).entry(7, "io.isopod.memory-mib", "512")
        })
        .unwrap();
    let mut scenarios = Scenarios::default();

    let main = sandbox.start(
        "main",
        ContainerConfig::new(&["sleep", "100000"])
            .mount(&volume, "/volume", false)
            .mount(&volume, "/locked", true)
            .mount(&volume.join("file"), "/etc/one-file", true)
            .mount(&volume.join("words"), "/dev/termination-log", false)
            .config(|config| {
                let variable = Message::new().text(1, "NAME").text(2, "a b=c");
                config.message(6, variable).text(5, "/tmp")
            }),
    );
    scenarios.run(
        "a sandbox has an address of each kind, and the guest has it",
        || {
            let network = sandbox.status().message(1).message(5);
            let four = network.text(1);
            let six = network.messages(2).first().map(|more| more.text(1)).unwrap();
            let addresses = main.sh("ip addr show eth0");
            assert!(
                addresses.contains(&format!("inet {four}/24")),
                "{four}: {addresses}"
            );
            assert!(
                addresses.contains(&format!("inet6 {six}/64")),
                "{six}: {addresses}"
            );
            assert!(main.sh("ip route").contains("default via 10.88.9.1"));
        },
    );
    scenarios.run(
        "a command has the container's world, and its own exit status",
        || {
            let done = main
                .try_exec(&["sh", "-c", "echo out; echo err >&2; exit 7"], 60)
                .unwrap();
            assert_eq!(done, (7, "out\n".to_owned(), "err\n".to_owned()));
            assert_eq!(main.sh("pwd"), "/tmp\n");
            assert_eq!(main.sh("echo $NAME; echo $HOME; hostname"), "a b=c\n/root\npod\n");
            assert!(main.sh("ps").lines().nth(1).unwrap().contains("sleep 100000"));
        },
    );
    scenarios.run("a command that is not there is refused at once", || {
        let begun = Instant::now();
        let refused = main.try_exec(&["no-such-program"], 60).unwrap_err();
        assert!(
            refused.text.contains("executable file not found in $PATH"),
            "{refused:?}"
        );
        assert!(begun.elapsed() < Duration::from_secs(20));
    });
    scenarios.run("a command that leaves a process behind has ended", || {
        assert_eq!(main.sh("(sleep 1000 &) ; echo done"), "done\n");
    });
    scenarios.run("a command that takes too long is ended", || {
        let refused = main.try_exec(&["sleep", "2345"], 2).unwrap_err();
        assert!(refused.text.contains("timeout"), "{refused:?}");
        assert!(!main.sh("ps").contains("sleep 2345"));
    });
    scenarios.run("volumes: directories and files, writable and not", || {
        assert_eq!(
            main.sh("cat /volume/file /etc/one-file"),
            "from the host\nfrom the host\n"
        );
        assert!(
            main.sh("echo x > /volume/new; chown 12:34 /volume/new")
                .is_empty()
        );
        let made = fs::metadata(volume.join("new")).unwrap();
        assert_eq!((made.uid(), made.gid()), (12, 34));
        for target in ["/locked/x", "/etc/one-file"] {
            assert!(
                main.sh(&format!("echo x > {target}"))
                    .contains("Read-only file system")
            );
        }
        fs::write(volume.join("file"), "changed\n").unwrap();
        // As long as a directory's entries may be cached in the guest.
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(main.sh("cat /volume/file"), "changed\n");
    });
    scenarios.run("the root is the container's own and can be written to", || {
        assert_eq!(main.sh("echo x > /made; cat /made; stat -c %a /tmp"), "x\n1777\n");
    });
    scenarios.run("devices and kernel file systems are a container's", || {
        let devices = main.sh("ls /dev");
        let devices: BTreeSet<&str> = devices.split_whitespace().collect();
        for device in [
            "null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "mqueue", "fd",
        ] {
            assert!(devices.contains(device), "{device}: {devices:?}");
        }
        assert!(
            !devices.contains("vda") && !devices.contains("mem"),
            "{devices:?}"
        );
        assert!(
            main.sh("echo 1 > /proc/sysrq-trigger")
                .contains("Read-only file system")
        );
        assert!(main.sh("mount -t tmpfs none /srv").contains("denied"), "a mount");
        assert_eq!(main.sh("cat /proc/sys/net/core/somaxconn"), "333\n");
        assert_eq!(
            main.sh("grep CapEff /proc/1/status"),
            "CapEff:\t00000000a80425fb\n"
        );
    });
    scenarios.run("a user other than root, with its groups", || {
        let config = ContainerConfig::sh("id -u; id -g; id -G; grep CapEff /proc/self/status; touch /x")
            .security(|security| {
                let security = security.message(5, number(1234)).message(12, number(5678));
                security.number(8, 5).number(8, 7)
            });
        let (status, _, text) = sandbox.run("user", config);
        assert_eq!(status, 1);
        assert!(
            text.starts_with("1234\n5678\n5678 5 7\nCapEff:\t0000000000000000\n"),
            "{text}"
        );
        assert!(text.contains("Permission denied"), "{text}");
    });
    scenarios.run(
        "capabilities, no new privileges, a filter of system calls",
        || {
            let config = ContainerConfig::sh(
                "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; \
                              ip link add dummy1 type dummy && echo made; unshare -U true",
            )
            .security(|security| {
                let capabilities = Message::new().text(1, "NET_ADMIN").text(2, "CHOWN");
                // The runtime's own filter.
                security
                    .message(1, capabilities)
                    .number(11, 1)
                    .message(15, Message::new().number(1, 0))
            });
            let (status, _, text) = sandbox.run("secured", config);
            assert_eq!(status, 1);
            assert!(
                // The module comes with the container that may have it loaded.
                text.starts_with("CapEff:\t00000000a80435fa\nNoNewPrivs:\t1\nSeccomp:\t2\nmade\n"),
                "{text}"
            );
            assert!(text.contains("Operation not permitted"), "{text}");
        },
    );
    scenarios.run("a root that cannot be written to", || {
        let config = ContainerConfig::sh("touch /x; touch /dev/shm/x && echo shared")
            .security(|security| security.number(7, 1));
        let (status, _, text) = sandbox.run("locked", config);
        assert_eq!(status, 0);
        assert!(
            text.contains("Read-only file system") && text.contains("shared"),
            "{text}"
        );
    });
    scenarios.run("exit statuses, output, and a program that is not there", || {
        let (status, reason, text) = sandbox.run(
            "fails",
            ContainerConfig::sh("echo err >&2; printf unfinished; exit 42"),
        );
        assert_eq!((status, &*reason), (42, "Error"));
        assert!(text.contains("!err\n") && text.contains("unfinished"), "{text}");
        let (status, reason, text) = sandbox.run("succeeds", ContainerConfig::new(&["echo", "all", "well"]));
        assert_eq!((status, &*reason, &*text), (0, "Completed", "all well\n"));
        let refused = sandbox
            .try_start("absent", ContainerConfig::new(&["/no/such"]))
            .err()
            .unwrap();
        assert!(refused.text.contains("/no/such"), "{refused:?}");
    });
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
        "a container that needs more memory than it may have is killed for it",
        || {
            let limits = Message::new().number(4, 30 << 20).number(5, 500);
            let config = ContainerConfig::new(&["dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1"])
                .limits(limits);
            let (status, reason, _) = sandbox.run("hungry", config);
            assert_eq!((status, &*reason), (137, "OOMKilled"));
        },
    );
    scenarios.run(
        "a process of a container's that is killed for want of memory is told of",
        || {
            let limits = Message::new().number(4, 30 << 20).number(5, 500);
            let config =
                ContainerConfig::sh("dd if=/dev/zero of=/dev/null bs=100M count=1; exit 3").limits(limits);
            let (status, reason, _) = sandbox.run("survives", config);
            assert_eq!((status, &*reason), (3, "OOMKilled"));
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
            // What is watched is the guest's own, of whose changes its kernel tells.
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
    scenarios.run("what is to be hidden or locked is", || {
        let config = ContainerConfig::sh(
            "wc -c < /etc/group; ls -A /srv; echo x > /tmp/x; echo 1 > /proc/sys/net/ipv4/ip_forward",
        );
        let (_, _, text) = sandbox.run(
            "hides",
            config.security(|security| {
                let security = security
                    .text(13, "/etc/group")
                    .text(13, "/srv")
                    .text(13, "/no/such");
                security.text(14, "/tmp")
            }),
        );
        assert!(text.starts_with("0\n") && !text.contains("www"), "{text}");
        for locked in [
            "/tmp/x: Read-only file system",
            "ip_forward: Read-only file system",
        ] {
            assert!(text.contains(locked), "{text}");
        }
    });
    scenarios.run("limits hold, and can be changed", || {
        let limits = Message::new()
            .number(1, 100_000)
            .number(2, 50_000)
            .number(4, 100 << 20);
        let _ = main.call("UpdateContainerResources", |of| of.message(2, limits));
        assert_eq!(
            main.sh("cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max"),
            "104857600\n50000 100000\n"
        );
    });
    scenarios.run("what it uses is counted", || {
        let stats = main.call("ContainerStats", |of| of).message(1);
        assert!(stats.message(2).message(2).number(1) > 0, "no processor time");
        let memory = stats.message(3);
        let (working, used) = (memory.message(2).number(1), memory.message(4).number(1));
        assert!(
            0 < working && working <= used && used < 100 << 20,
            "{working} of {used}"
        );
    });
    scenarios.run("a terminal, attached to, with its size and keys", || {
        let config = ContainerConfig::new(&["sh"]).config(|config| config.number(12, 1).number(14, 1));
        let container = sandbox.start("terminal", config);
        let mut streams = container.attach(true);
        streams.resize(100, 33);
        streams.write("stty size; tty; echo $((6*7))\n");
        let text = streams.until("42\r\n");
        assert!(text.contains("33 100") && text.contains("/dev/pts/"), "{text}");
        streams.write("exit 9\n");
        container.ended();
        assert_eq!(container.status().number(7), 9);
        container.remove();
    });
    scenarios.run("a command's streams, with and without a terminal", || {
        let mut streams = main.exec(&["sh"], true);
        streams.resize(90, 30);
        streams.write("stty size; exit 4\n");
        let text = streams.until("\"ExitCode\"");
        assert!(
            text.contains("30 90") && text.contains("\"message\":\"4\""),
            "{text}"
        );
        let mut streams = main.exec(&["cat"], false);
        streams.write("through\n");
        assert!(streams.until("through\n").contains("through\n"));
        streams.close();
    });
    scenarios.run("input that is given once ends with whoever gives it", || {
        let config = ContainerConfig::new(&["wc", "-c"]).config(|config| config.number(12, 1).number(13, 1));
        let container = sandbox.start("once", config);
        let mut streams = container.attach(false);
        streams.write("12345");
        std::thread::sleep(Duration::from_millis(300));
        streams.close();
        container.ended();
        assert_eq!(container.output(), "5\n");
        container.remove();
    });
    scenarios.run("a log that is rotated goes on in a new file", || {
        let talker = sandbox.start(
            "talker",
            ContainerConfig::sh("while true; do echo word; sleep 0.1; done"),
        );
        let log = bench.dir().join("containerd/logs/pod/talker.log");
        fs::rename(&log, log.with_extension("old")).unwrap();
        let _ = talker.call("ReopenContainerLog", |of| of);
        let begun = Instant::now();
        while talker.output().is_empty() {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "nothing in the new file"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        talker.stop(0);
        assert_eq!(talker.status().number(7), 137);
        talker.remove();
    });
    scenarios.run("a container stops in its own way, or is killed", || {
        let config =
            ContainerConfig::sh("trap 'echo bye; exit 5' TERM; echo ready; while true; do sleep 0.1; done");
        let container = sandbox.start("polite", config);
        let begun = Instant::now();
        while container.output() != "ready\n" {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is not ready");
            std::thread::sleep(Duration::from_millis(50));
        }
        container.stop(30);
        assert_eq!(
            (container.status().number(7), &*container.output()),
            (5, "ready\nbye\n")
        );
        container.remove();
        main.stop(1);
        assert_eq!((main.status().number(3), main.status().number(7)), (EXITED, 137));
        // The kubelet reads that file of the host's.
        assert!(main.try_exec(&["true"], 10).is_err());
    });
    main.remove();
    let namespace = sandbox.namespace();
    sandbox.remove();
    drop(scenarios);
    assert!(!Path::new(&namespace).exists(), "{namespace} is left");
    drop(containerd);
    bench.assert_nothing_left();
}

/// What dies is cleaned up after, and told of.
#[test]
fn nothing_stays_when_something_dies() {
    let Some(bench) = Bench::of_root() else { return };
    let mut containerd = Containerd::start(&bench);
    let mut scenarios = Scenarios::default();
    let gone = |sandbox: &isopod_tests::cri::Sandbox<'_>, container: &isopod_tests::cri::Container<'_>| {
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
        let (sandbox_id, container_id) = (sandbox.id.clone(), container.id.clone());
        drop((sandbox, container));
        containerd.restart();
        let of = |id: &str| Message::new().text(1, id);
        let status = containerd.call("ContainerStatus", &of(&container_id)).message(1);
        assert_eq!(status.number(3), RUNNING);
        let exec = containerd.call("ExecSync", &of(&container_id).text(2, "hostname").number(3, 30));
        assert_eq!(exec.text(1), "survivor\n");
        std::thread::sleep(Duration::from_secs(5));
        let log = fs::read_to_string(bench.dir().join("containerd/logs/survivor/main.log")).unwrap();
        assert!(log.contains("before") && log.contains("after"), "{log}");
        for method in ["StopPodSandbox", "RemovePodSandbox"] {
            let _ = containerd.call(method, &of(&sandbox_id));
        }
    });
    drop(scenarios);
    drop(containerd);
    bench.assert_nothing_left();
}

/// What a VM cannot be is refused with the reason, and leaves nothing.
#[test]
fn what_a_vm_cannot_have_is_refused() {
    let Some(bench) = Bench::of_root() else { return };
    let containerd = Containerd::start(&bench);
    let namespaces = |network: i64, ipc: i64| {
        let options = Message::new().number(1, network).number(2, 1).number(3, ipc);
        Message::new().message(2, Message::new().message(1, options))
    };
    for (what, linux, expected) in [
        ("network", namespaces(2, 0), "hostNetwork"),
        ("ipc", namespaces(0, 2), "hostIPC"),
    ] {
        let refused = containerd
            .sandbox_with(what, |config| config.message(8, linux))
            .err()
            .unwrap();
        assert!(refused.text.contains(expected), "{refused:?}");
    }
    let refused = containerd
        .sandbox_with("start", |config| config.entry(7, "io.isopod.start", "hot"))
        .err()
        .unwrap();
    assert!(
        refused.text.contains("none of auto, warm and cold"),
        "{refused:?}"
    );
    drop(containerd);
    bench.assert_nothing_left();
}

/// `ctr run`: a container that is alone in its VM, without a network.
#[test]
fn ctr_runs_a_container_by_itself() {
    let Some(bench) = Bench::of_root() else { return };
    let containerd = Containerd::start(&bench);
    let mut run = containerd.ctr("default");
    run.args([
        "run",
        "--rm",
        "--runtime",
        "io.containerd.isopod.v2",
        "--env",
        "A=b",
    ]);
    run.args([
        isopod_tests::cri::IMAGE,
        "one",
        "sh",
        "-c",
        "echo $A; ip link; echo err >&2; exit 3",
    ]);
    let output = run.output().unwrap();
    let (out, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(
        output.status.code(),
        Some(3),
        "{out}{error}\n{}",
        containerd.log()
    );
    assert!(out.starts_with("b\n1: lo") && !out.contains("eth0"), "{out}");
    assert!(error.contains("err"), "{error}");
    drop(containerd);
    bench.assert_nothing_left();
}

/// What a kubelet waits for, beside runc on the same containerd, alternating: `cargo xtask bench cri`. Times are in seconds.
#[test]
#[ignore = "a benchmark"]
fn benchmark() {
    const ROUNDS: usize = 7;
    const AT_ONCE: usize = 10;
    let Some(bench) = Bench::of_root() else { return };
    let containerd = Containerd::start_with(&bench, "auto");
    let runtimes = ["isopod", "runc"];
    let steps = ["sandbox", "container", "both", "exec", "remove"];
    let round = |runtime: &str, name: &str| {
        let mut times = Vec::new();
        let mut last = Instant::now();
        let mut step = |times: &mut Vec<f64>| {
            times.push(last.elapsed().as_secs_f64());
            last = Instant::now();
        };
        let sandbox = containerd.sandbox_by(runtime, name, |config| config).unwrap();
        step(&mut times);
        let container = sandbox.start("main", ContainerConfig::new(&["sleep", "100000"]));
        step(&mut times);
        times.push(times[0] + times[1]);
        container.try_exec(&["true"], 60).unwrap();
        step(&mut times);
        sandbox.remove();
        step(&mut times);
        times
    };
    // The first has a template made.
    let _ = round("isopod", "first");
    let template = bench.state().join("templates");
    let made = || {
        fs::read_dir(&template)
            .is_ok_and(|mut entries| entries.any(|entry| entry.unwrap().path().join("memory").exists()))
    };
    let begun = Instant::now();
    while !made() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(200));
    }
    let mut all = [Vec::new(), Vec::new()];
    for number in 0..ROUNDS {
        for (times, runtime) in all.iter_mut().zip(runtimes) {
            times.push(round(runtime, &format!("{runtime}-{number}")));
        }
    }
    let median = |times: &[Vec<f64>], step: usize| {
        let mut column: Vec<f64> = times.iter().map(|times| times[step]).collect();
        column.sort_by(f64::total_cmp);
        column[column.len() / 2]
    };
    let mut table = "| | isopod | runc | ratio |\n|---|---|---|---|\n".to_owned();
    for (number, step) in steps.iter().enumerate() {
        let [ours, theirs] = [0, 1].map(|of| median(&all[of], number));
        table += &format!("| {step} | {ours:.2} | {theirs:.2} | {:.1} |\n", ours / theirs);
    }
    let [ours, theirs] = runtimes.map(|runtime| {
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for number in 0..AT_ONCE {
                let containerd = &containerd;
                scope.spawn(move || {
                    let sandbox = containerd
                        .sandbox_by(runtime, &format!("at-once-{runtime}-{number}"), |config| config)
                        .unwrap();
                    let _ = sandbox.start("main", ContainerConfig::new(&["sleep", "100000"]));
                    sandbox
                });
            }
        });
        begun.elapsed().as_secs_f64()
    });
    table += &format!(
        "| {AT_ONCE} pods at once, all up | {ours:.2} | {theirs:.2} | {:.1} |\n",
        ours / theirs
    );
    fs::write(
        std::env::var("ISOPOD_BENCH_TABLE").unwrap_or("/dev/stdout".to_owned()),
        table,
    )
    .unwrap();
}
