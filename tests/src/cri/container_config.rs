//! Containers to be, as a kubelet asks for them.

use std::path::Path;

use super::IMAGE;
use super::wire::Message;

/// Whether a namespace is a pod's or a container's own (`NamespaceMode`).
const OF_POD: i64 = 0;
const OF_CONTAINER: i64 = 1;

/// A container to be.
#[derive(Clone, Debug)]
pub struct ContainerConfig {
    pub(super) config: Message,
    pub(super) linux: Message,
    pub(super) security: Message,
    pub(super) namespaces: Message,
}

impl ContainerConfig {
    /// A container that executes a command.
    #[must_use]
    pub fn new(command: &[&str]) -> Self {
        let image = Message::new().text(1, IMAGE);
        Self {
            config: Message::new().message(2, image).texts(3, command),
            linux: Message::new(),
            security: hidden_and_locked(Message::new()),
            namespaces: Message::new().number(2, OF_CONTAINER),
        }
    }

    /// A shell's script.
    #[must_use]
    pub fn sh(script: &str) -> Self {
        Self::new(&["sh", "-c", script])
    }

    /// More of `ContainerConfig`.
    #[must_use]
    pub fn config(mut self, more: impl FnOnce(Message) -> Message) -> Self {
        self.config = more(self.config);
        self
    }

    /// Limits (`LinuxContainerResources`).
    #[must_use]
    pub fn limits(mut self, limits: Message) -> Self {
        self.linux = self.linux.message(1, limits);
        self
    }

    /// More of `LinuxContainerSecurityContext`.
    #[must_use]
    pub fn security(mut self, more: impl FnOnce(Message) -> Message) -> Self {
        self.security = more(self.security);
        self
    }

    /// Among the processes of the pod's other containers.
    #[must_use]
    pub fn shares_processes(mut self) -> Self {
        self.namespaces = Message::new().number(2, OF_POD);
        self
    }

    /// With a mount of the host's `from`.
    #[must_use]
    pub fn mount(self, from: &Path, at: &str, read_only: bool) -> Self {
        let mount = Message::new()
            .text(1, at)
            .text(2, from.as_os_str().as_encoded_bytes());
        self.config(|config| config.message(7, mount.number(3, read_only.into())))
    }
}

/// What the kubelet has hidden and locked in a container whose `procMount` is not said (`pkg/securitycontext/util.go`).
fn hidden_and_locked(security: Message) -> Message {
    const MASKED: [&str; 9] = [
        "/proc/asound",
        "/proc/acpi",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/sys/firmware",
    ];
    const READ_ONLY: [&str; 5] = [
        "/proc/bus",
        "/proc/fs",
        "/proc/irq",
        "/proc/sys",
        "/proc/sysrq-trigger",
    ];
    let security = MASKED
        .into_iter()
        .fold(security, |security, path| security.text(13, path));
    READ_ONLY
        .into_iter()
        .fold(security, |security, path| security.text(14, path))
}
