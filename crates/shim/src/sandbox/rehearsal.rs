//! A container that ends at once, in a VM that waits for its sandbox: what the guest executes for the first time is slow where it is
//! emulated, and so it has been executed when the first container comes.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Sandbox, SandboxError, failed};
use crate::tasks::{Key, Stdio};

/// The container's ID and name.
const ID: &str = "isopod-rehearsal";

/// How long it may take.
const WITHIN: Duration = Duration::from_secs(60);

/// Its program, in its root.
const PROGRAM: &str = "agent";

impl Sandbox {
    /// Runs a container, and removes it. `dir` is its bundle.
    pub(crate) async fn rehearse(self: &Arc<Self>, dir: &Path) -> Result<(), SandboxError> {
        let Some(program) = &self.settings.agent else {
            return Ok(());
        };
        // One that does nothing where it is called like this.
        let root = dir.join("rootfs");
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).map_err(failed)?;
        fs::copy(program, root.join(PROGRAM)).map_err(failed)?;
        for name in ["hostname", "hosts", "resolv.conf"] {
            fs::write(dir.join(name), "").map_err(failed)?;
        }
        let config = config(dir).to_string();
        fs::write(dir.join("config.json"), config).map_err(failed)?;
        let key = Key::new(ID, "");
        self.create(ID, dir, &[], Stdio::default()).await?;
        self.start(&key).await?;
        let ended = tokio::time::timeout(WITHIN, self.wait(&key)).await;
        let late = || SandboxError::Failed(format!("the rehearsal took longer than {} s", WITHIN.as_secs()));
        ended.map_err(|_| late())??;
        self.delete(&key).await?;
        fs::remove_dir_all(&root).map_err(failed)
    }
}

/// Its configuration: of what an engine's containers have, as much of each kind as makes a difference to the guest.
fn config(dir: &Path) -> Value {
    let mount = |target: &str, kind: &str, source: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": source, "options": options});
    let file = |name: &str| {
        mount(
            &format!("/etc/{name}"),
            "bind",
            &dir.join(name).display().to_string(),
            &["rbind", "rprivate", "rw"],
        )
    };
    let namespace = |kind: &str| json!({ "type": kind });
    json!({
        "annotations": {
            "io.kubernetes.cri.container-type": "container",
            "io.kubernetes.cri.sandbox-id": "spare",
            "io.kubernetes.cri.container-name": ID,
        },
        "root": {"path": "rootfs"},
        "process": {
            "args": [format!("/{PROGRAM}")], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0},
            "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
        },
        "mounts": [
            mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
            file("hostname"), file("hosts"), file("resolv.conf"),
        ],
        "linux": {
            "namespaces": [namespace("pid"), namespace("ipc"), namespace("uts"), namespace("mount"), namespace("network")],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/sys"],
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["acct", "swapon", "reboot"], "action": "SCMP_ACT_ERRNO"}],
            },
        },
    })
}
