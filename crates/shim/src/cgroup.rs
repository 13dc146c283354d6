//! The cgroup of a sandbox, in which this process lives with all that it starts: so the VM counts as the pod's.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

/// How long processes that were killed may take to leave a cgroup. containerd gives `delete` 5 s for everything.
const LEFT_WITHIN: Duration = Duration::from_secs(3);

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

/// Where the hierarchies are.
fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new(ROOT);
    match root.join("cgroup.controllers").exists() {
        true => vec![root.to_owned()],
        false => {
            let hierarchies = V1.iter().map(|controller| root.join(controller));
            hierarchies.filter(|dir| dir.is_dir()).collect()
        }
    }
}

/// The directories of that cgroup, one for each hierarchy.
fn directories(below: &Path) -> Vec<PathBuf> {
    hierarchies()
        .iter()
        .map(|hierarchy| hierarchy.join(below))
        .collect()
}

/// Where this process is: the text of `/proc/self/cgroup` (cgroups(7)).
pub(crate) fn own() -> String {
    fs::read_to_string("/proc/self/cgroup").unwrap_or_default()
}

/// The files that take a process back to where `cgroups` says ([`own`]), one for each hierarchy.
pub(crate) fn entries(cgroups: &str) -> Vec<PathBuf> {
    let places = hierarchies()
        .into_iter()
        .filter_map(|hierarchy| of_process(cgroups, &hierarchy));
    places.map(|dir| dir.join("cgroup.procs")).collect()
}

/// Moves this process there, and with it those that it has started. A hierarchy in which that cannot be is one that does not count the VM.
pub(crate) fn join(path: &Path) {
    let processes = with_children(std::process::id());
    for dir in below_root(path).iter().flat_map(|below| directories(below)) {
        let joined = fs::create_dir_all(&dir).and_then(|()| {
            inherit_cpuset(&dir)?;
            let moved = |process: &u32| fs::write(dir.join("cgroup.procs"), process.to_string());
            // A child may have ended meanwhile.
            let own = processes.first().map_or(Ok(()), moved);
            processes.iter().skip(1).for_each(|child| drop(moved(child)));
            own
        });
        if let Err(error) = joined {
            tracing::debug!("cannot join cgroup `{}`: {error}", dir.display());
        }
    }
}

/// A process, and all that it and its children have started, but for those in sessions of their own: the maker of a template.
fn with_children(process: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let parents: Vec<(u32, u32)> = entries
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let (parent, session) = parent_and_session(&stat)?;
            (session != number).then_some((number, parent))
        })
        .collect();
    let mut all = vec![process];
    let mut next = 0;
    while let Some(known) = all.get(next).copied() {
        all.extend(
            parents
                .iter()
                .filter(|(_, parent)| *parent == known)
                .map(|(number, _)| number),
        );
        next += 1;
    }
    all
}

/// The parent and the session of the process whose `/proc/PID/stat` this is (proc(5)): behind its name, which may hold anything, its state
/// and, between the two, its process group.
fn parent_and_session(stat: &str) -> Option<(u32, u32)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(1);
    Some((fields.next()?.parse().ok()?, fields.nth(1)?.parse().ok()?))
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

/// Removes it. What is still in it, this process or one that makes a template of the pod's VM for others, goes where `to` says ([`own`]).
/// A process that was killed stays in it until its memory is freed, which is waited for.
pub(crate) fn remove(path: &Path, to: &str) {
    let deadline = Instant::now() + LEFT_WITHIN;
    let Some(below) = below_root(path) else { return };
    for dir in directories(&below) {
        let hierarchy = dir.ancestors().nth(below.components().count());
        let other = hierarchy.and_then(|hierarchy| of_process(to, hierarchy));
        while let Err(error) = remove_one(&dir, other.as_deref()) {
            if error.kind() != io::ErrorKind::ResourceBusy || Instant::now() > deadline {
                tracing::debug!("cgroup `{}` is not removed: {error}", dir.display());
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn remove_one(dir: &Path, to: Option<&Path>) -> io::Result<()> {
    let left = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    for pid in left.lines() {
        if let Some(to) = to
            && let Err(error) = fs::write(to.join("cgroup.procs"), pid)
        {
            tracing::debug!("process {pid} stays in `{}`: {error}", dir.display());
        }
    }
    match fs::remove_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Where a process is in a hierarchy, `cgroups` being what `/proc/PID/cgroup` says (cgroups(7)).
fn of_process(cgroups: &str, hierarchy: &Path) -> Option<PathBuf> {
    let wanted = hierarchy.strip_prefix(ROOT).ok()?.to_str()?;
    let lines = cgroups
        .lines()
        .filter_map(|line| line.splitn(3, ':').skip(1).collect::<Vec<_>>().try_into().ok());
    let found = lines
        .map(|fields: [&str; 2]| fields)
        .find(|[controllers, _]| *controllers == wanted);
    let [_, path] = found?;
    Some(hierarchy.join(path.trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_process_is_is_read_for_each_hierarchy() {
        let v1 = "4:memory:/system.slice/a:b\n3:cpu,cpuacct:/\n0::/unified\n";
        let of =
            |cgroups, dir: &str| of_process(cgroups, Path::new(dir)).map(|dir| dir.display().to_string());
        assert_eq!(
            of(v1, "/sys/fs/cgroup/memory").as_deref(),
            Some("/sys/fs/cgroup/memory/system.slice/a:b")
        );
        assert_eq!(
            of(v1, "/sys/fs/cgroup/cpu,cpuacct").as_deref(),
            Some("/sys/fs/cgroup/cpu,cpuacct/")
        );
        assert_eq!(of(v1, "/sys/fs/cgroup/pids"), None);
        assert_eq!(
            of("0::/x\n", "/sys/fs/cgroup").as_deref(),
            Some("/sys/fs/cgroup/x")
        );
    }

    #[test]
    fn the_processes_that_a_process_has_started_are_found() {
        assert_eq!(parent_and_session("12 (a) b (c) S 7 12 13 0"), Some((7, 13)));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let all = with_children(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(all.contains(&child.id()) && all[0] == std::process::id());
    }

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
