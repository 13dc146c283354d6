//! The cgroup of a sandbox, in which this process lives with all that it starts: so the VM counts as the pod's.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Where cgroups are.
const ROOT: &str = "/sys/fs/cgroup";

/// The controllers of cgroup v1 that bound or count what the VM uses.
const V1: [&str; 6] = ["memory", "cpu,cpuacct", "pids", "blkio", "cpuset", "freezer"];

/// The path below a hierarchy's root that `cgroupsPath` names; `None`: none that can be one. systemd's form, `SLICE:PREFIX:NAME`,
/// is the scope within that slice (systemd.slice(5)).
pub(crate) fn below_root(path: &Path) -> Option<PathBuf> {
    let text = path.to_str()?;
    let below = match text.split(':').collect::<Vec<_>>()[..] {
        [slice, prefix, name] => {
            let mut dir = PathBuf::new();
            let parts: Vec<&str> = slice.strip_suffix(".slice")?.split('-').collect();
            for end in 1..=parts.len() {
                dir.push(format!("{}.slice", parts[..end].join("-")));
            }
            dir.join(match prefix.is_empty() {
                true => format!("{name}.scope"),
                false => format!("{prefix}-{name}.scope"),
            })
        }
        _ => text.trim_start_matches('/').into(),
    };
    let plain = below
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    (plain && !below.as_os_str().is_empty()).then_some(below)
}

/// The directories of that cgroup, one for each hierarchy.
fn directories(below: &Path) -> Vec<PathBuf> {
    let root = Path::new(ROOT);
    match root.join("cgroup.controllers").exists() {
        true => vec![root.join(below)],
        false => {
            let hierarchies = V1.iter().map(|controller| root.join(controller));
            hierarchies
                .filter(|dir| dir.is_dir())
                .map(|dir| dir.join(below))
                .collect()
        }
    }
}

/// Moves this process there. A hierarchy in which that cannot be is one that does not count the VM.
pub(crate) fn join(path: &Path) {
    for dir in below_root(path).iter().flat_map(|below| directories(below)) {
        let joined = fs::create_dir_all(&dir).and_then(|()| {
            inherit_cpuset(&dir)?;
            fs::write(dir.join("cgroup.procs"), "0")
        });
        if let Err(error) = joined {
            tracing::debug!("cannot join cgroup `{}`: {error}", dir.display());
        }
    }
}

/// A cpuset of cgroup v1 begins without processors and nodes, and takes no process then.
fn inherit_cpuset(dir: &Path) -> io::Result<()> {
    let mut missing: Vec<&Path> = dir
        .ancestors()
        .take_while(|dir| {
            fs::read_to_string(dir.join("cpuset.cpus")).is_ok_and(|cpus| cpus.trim().is_empty())
        })
        .collect();
    missing.reverse();
    for dir in missing {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let Some(parent) = dir.parent() else { continue };
            fs::write(dir.join(file), fs::read(parent.join(file))?)?;
        }
    }
    Ok(())
}

/// Removes it, when nothing is in it any more.
pub(crate) fn remove(path: &Path) {
    for dir in below_root(path).iter().flat_map(|below| directories(below)) {
        let _ = fs::remove_dir(dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_path_are_read() {
        let below = |path: &str| below_root(Path::new(path)).map(|dir| dir.display().to_string());
        assert_eq!(below("/k8s.io/abc").as_deref(), Some("k8s.io/abc"));
        assert_eq!(
            below("kubepods-burstable-pod1.slice:cri-containerd:abc").as_deref(),
            Some(
                "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-abc.scope"
            )
        );
        assert_eq!(below(""), None);
        assert_eq!(below("/../etc"), None);
    }
}
