//! What is left of a sandbox, and must not be.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::PATIENCE;
use crate::cri::Containerd;
use crate::{Bench, leftovers};

/// Where the sockets of all shims are, also those of other containerds of this host.
const SOCKETS: &str = "/run/containerd/s";

/// What was there before a life.
pub(super) struct Before<'a> {
    bench: &'a Bench,
    containerd: &'a Containerd,
    sockets: BTreeSet<PathBuf>,
}

impl<'a> Before<'a> {
    pub(super) fn look(bench: &'a Bench, containerd: &'a Containerd) -> Self {
        let sockets = entries(Path::new(SOCKETS));
        Self {
            bench,
            containerd,
            sockets: sockets.into_iter().collect(),
        }
    }

    /// Waits until there is nothing that was not there before.
    pub(super) fn nothing_more(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = self.left();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left: {left:#?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn left(&self) -> Vec<String> {
        let (dir, state) = (self.bench.dir(), self.bench.state());
        let processes = leftovers::processes(dir).into_iter();
        // containerd itself, and who follows its events.
        let processes = processes.filter(|(_, line)| {
            !["containerd ", "ctr "]
                .iter()
                .any(|program| line.starts_with(program))
        });
        let mut left: Vec<String> = processes
            .map(|(pid, line)| format!("process {pid}: {line}"))
            .collect();
        let mounts = leftovers::mounts(dir).into_iter();
        left.extend(mounts.map(|line| format!("mount: {line}")));
        let directories = leftovers::pods(&state).into_iter();
        let directories = directories.chain(self.of_containerd()).chain(cgroups());
        left.extend(directories.map(|path| path.display().to_string()));
        left.extend(self.links());
        left.extend(self.listed());
        // Where nobody listens any more.
        let sockets = entries(Path::new(SOCKETS)).into_iter();
        let dead = sockets.filter(|path| !self.sockets.contains(path) && UnixStream::connect(path).is_err());
        left.extend(dead.map(|path| format!("socket {}", path.display())));
        left
    }

    /// Directories of sandboxes and containers, network namespaces, addresses that are in use.
    fn of_containerd(&self) -> Vec<PathBuf> {
        let dir = self.containerd.dir();
        let places = [
            "state/io.containerd.runtime.v2.task/k8s.io",
            "state/io.containerd.grpc.v1.cri/sandboxes",
            "state/io.containerd.grpc.v1.cri/containers",
            "state/io.containerd.grpc.v1.cri/netns",
            "root/io.containerd.runtime.v2.task/k8s.io",
            "root/io.containerd.grpc.v1.cri/sandboxes",
            "root/io.containerd.grpc.v1.cri/containers",
        ];
        let found = places.iter().flat_map(|place| entries(&dir.join(place)));
        let addresses = entries(&dir.join("ipam/test")).into_iter();
        let is_address = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(|first: char| first.is_ascii_hexdigit()) && name.contains(['.', ':'])
        };
        found.chain(addresses.filter(is_address)).collect()
    }

    /// The ends of pods' networks, of which the tap and its filters are the other side.
    fn links(&self) -> Vec<String> {
        let mut command = Command::new("ip");
        command.args(["-n", self.containerd.netns(), "-o", "link"]);
        let output = command.output().expect("ip");
        let text = String::from_utf8_lossy(&output.stdout);
        let links = text
            .lines()
            .filter(|line| line.contains("veth") || line.contains("tap"));
        links.map(|line| format!("link: {line}")).collect()
    }

    /// What containerd itself lists.
    fn listed(&self) -> Vec<String> {
        let list = |what: &str| {
            let output = self.containerd.ctr("k8s.io").args([what, "list", "-q"]).output();
            let output = output.expect("ctr");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let lines: Vec<String> = text.lines().map(|id| format!("{what} {id}")).collect();
            lines
        };
        [list("tasks"), list("containers")].concat()
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// The cgroup in which those of the sandboxes are: a kubelet has one for each pod.
pub(super) fn parent_cgroup() -> String {
    format!("isopod-soak-{}", std::process::id())
}

/// Its directory in each hierarchy.
fn parents() -> impl Iterator<Item = PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = std::iter::once(root.to_owned()).chain(entries(root));
    hierarchies
        .map(|dir| dir.join(parent_cgroup()))
        .filter(|dir| dir.is_dir())
}

fn cgroups() -> Vec<PathBuf> {
    let found = parents().flat_map(|parent| entries(&parent));
    found.filter(|path| path.is_dir()).collect()
}

/// Removes what a kubelet would remove.
pub(super) fn remove_cgroups() {
    for parent in parents() {
        fs::remove_dir(&parent).expect("an empty cgroup");
    }
}
