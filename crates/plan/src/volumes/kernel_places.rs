//! The kernel's own file systems in an app's root, `/dev`, `/proc` and `/sys`: what is there whatever the app's image has,
//! and where in them a volume can be mounted.
//!
//! ```text
//! /dev         no: each app has its own, filled by the agent; anywhere below it, as in a container
//! /dev/pts     no: the app's terminals
//! /proc        no
//! /sys         yes; below it, where the kernel has a directory
//! ```

use std::path::Path;

use crate::layout;
use crate::path::{Node, NodeKind};

/// Directories of an app's `/dev`.
const DEV_DIRECTORIES: [&str; 3] = ["mqueue", "pts", "shm"];
/// Its devices.
const DEV_NODES: [&str; 6] = ["full", "null", "random", "tty", "urandom", "zero"];
const DEV_LINKS: [(&str, &str); 6] = [
    ("core", "/proc/kcore"),
    ("fd", "/proc/self/fd"),
    ("ptmx", "pts/ptmx"),
    ("stderr", "/proc/self/fd/2"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
];

/// The directories that every kernel has in its `/sys`, and those that it makes there for others to mount on
/// (`sysfs_create_mount_point`).
const SYS_DIRECTORIES: [&str; 19] = [
    "block",
    "bus",
    "class",
    "dev",
    "devices",
    "firmware",
    "fs",
    "fs/bpf",
    "fs/cgroup",
    "fs/pstore",
    "hypervisor",
    "kernel",
    "kernel/debug",
    "kernel/security",
    "kernel/slab",
    "kernel/tracing",
    "module",
    "power",
    "kernel/mm",
];

const IN_DEV: &str = "in `/dev`, where this is the guest's own";
const OWN: &str = "a directory that the guest itself mounts";
const IN_SYS: &str = "in `/sys`, where the guest's kernel has no such directory and none can be made";
/// Whether `path` is in one of these file systems.
pub(crate) fn contains(path: &Path) -> bool {
    ["/dev", "/proc", "/sys"].iter().any(|dir| path.starts_with(dir))
}

/// What is at `path`, which is in one of them.
pub(crate) fn node(path: &Path) -> Option<Node> {
    let name = |dir: &str| path.strip_prefix(dir).ok().and_then(Path::to_str);
    let kind = match (name("/dev"), name("/sys"), name("/proc")) {
        (Some(""), ..) | (_, Some(""), _) | (.., Some("")) => Some(NodeKind::Directory),
        (Some(name), ..) => dev_kind(name),
        (_, Some(name), _) => SYS_DIRECTORIES.contains(&name).then_some(NodeKind::Directory),
        _ => None,
    };
    kind.map(|kind| Node {
        kind,
        mode: 0o755,
        uid: 0,
        gid: 0,
    })
}

fn dev_kind(name: &str) -> Option<NodeKind> {
    let link = DEV_LINKS.iter().find(|(link, _)| *link == name);
    match link {
        Some((_, target)) => Some(NodeKind::Symlink(target.into())),
        None if DEV_DIRECTORIES.contains(&name) => Some(NodeKind::Directory),
        None if DEV_NODES.contains(&name) => Some(NodeKind::Other),
        None if name == layout::TERMINATION_LOG => Some(NodeKind::File),
        None => None,
    }
}

/// Why nothing can be mounted at `place`, where that is so. Links are followed, and no volume is mounted above it.
pub(crate) fn reserved(place: &Path) -> Option<&'static str> {
    let is = |path: &str| place == Path::new(path);
    match place {
        _ if is("/dev") => Some(OWN),
        _ if place.starts_with("/dev/pts") || place.starts_with(layout::LAUNCH_DIR) => Some(IN_DEV),
        _ if place.starts_with("/proc") => Some(OWN),
        _ if place.starts_with("/sys") && node(place).is_none() => Some(IN_SYS),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::{self, Lookup};

    struct Kernel;

    impl Lookup for Kernel {
        fn node(&self, path: &Path) -> Option<Node> {
            node(path)
        }
    }

    #[test]
    fn volumes_can_be_where_containers_have_them() {
        let at = |path: &str| {
            let found = path::resolve(&Kernel, Path::new(path)).unwrap();
            (found.node.is_some(), reserved(&found.path))
        };
        for path in [
            "/dev/shm",
            "/dev/mqueue",
            "/dev/null",
            "/dev/termination-log",
            "/sys",
            "/sys/fs/cgroup",
        ] {
            assert_eq!(at(path), (true, None), "{path}");
        }
        for path in [
            "/dev/log",
            "/dev/snd",
            "/dev/shm/deep",
            "/dev/net/tun",
            "/device",
            "/system",
        ] {
            assert_eq!(at(path), (false, None), "{path}");
        }
        for path in ["/proc", "/proc/x", "/dev/fd", "/dev/stdout", "/dev/core"] {
            assert_eq!(at(path).1, Some(OWN), "{path}");
        }
        for path in ["/dev/pts", "/dev/pts/0", "/dev/ptmx", "/dev/.isopod"] {
            assert_eq!(at(path).1, Some(IN_DEV), "{path}");
        }
        assert_eq!(at("/dev").1, Some(OWN));
        assert_eq!(at("/sys/new").1, Some(IN_SYS));
    }
}
