//! Pods of Kubernetes: Debian's containerd with the shim, asked over CRI as a kubelet asks.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

mod benchmark;
mod deaths;
mod ends;
mod limits;
mod names;
mod security;
mod sharing;
mod spares;
mod streams;
mod world;

use std::path::{Path, PathBuf};
use std::process::Command;

use isopod_tests::cri::wire::Message;
use isopod_tests::cri::{Container, ContainerConfig, Containerd, IMAGE, Sandbox};
use isopod_tests::{Bench, Scenarios};

/// What the scenarios of one sandbox share.
struct Pod<'a> {
    bench: &'a Bench,
    /// On the host; a volume of `main`.
    volume: &'a Path,
    sandbox: &'a Sandbox<'a>,
    /// A container that does nothing, until the last scenarios stop it.
    main: &'a Container<'a>,
}

/// A tmpfs of the host's, as long as this is there.
struct Mounted(PathBuf);

impl Mounted {
    fn at(dir: PathBuf) -> Self {
        std::fs::create_dir(&dir).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "none"])
            .arg(&dir)
            .status();
        assert!(mount.unwrap().success(), "mount");
        Self(dir)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn number(value: i64) -> Message {
    Message::new().number(1, value)
}

/// Pods in one VM after another; each scenario is what critest or a kubelet does.
#[test]
fn a_sandbox_is_a_vm_and_its_containers_are_as_any_runtimes() {
    let Some(bench) = Bench::of_root() else { return };
    let containerd = Containerd::start(&bench);
    let volume = bench.source("volume", &[("file", "from the host\n")]);
    // Before the sandbox: hosts on which mounts are private have it, too.
    let mounted = Mounted::at(volume.join("below"));
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
            .config(|config| {
                let variable = Message::new().text(1, "NAME").text(2, "a b=c");
                config.message(6, variable).text(5, "/tmp")
            }),
    );
    let pod = Pod {
        bench: &bench,
        volume: &volume,
        sandbox: &sandbox,
        main: &main,
    };
    for group in [
        world::run,
        security::run,
        sharing::run,
        limits::run,
        streams::run,
        ends::run,
    ] {
        group(&pod, &mut scenarios);
    }
    main.remove();
    let namespace = sandbox.namespace();
    sandbox.remove();
    drop(scenarios);
    assert!(!Path::new(&namespace).exists(), "{namespace} is left");
    drop(containerd);
    drop(mounted);
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
    assert!(refused.text.contains("is not auto, warm or cold"), "{refused:?}");
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
    run.args([IMAGE, "one", "sh", "-c", "echo $A; ip link; echo err >&2; exit 3"]);
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
