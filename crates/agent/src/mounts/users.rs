//! Who uses a mount: the processes of a cgroup that have something of it open, are in it, execute or map it.
//!
//! As fuser(1) does it, but by the number of the mount and not by device: two volumes may be of one file system.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use crate::mounts::mountinfo;

/// What of a process leads to one file, and what to many.
const LINKS: [&str; 3] = ["cwd", "root", "exe"];
const DIRECTORIES: [&str; 2] = ["fd", "map_files"];

/// The processes of `cgroup` (a path as `/proc/PID/cgroup` names it) that use what is mounted at or below one of
/// `places`, as they see it; their numbers and names.
pub(crate) fn of(cgroups: &Path, cgroup: &str, places: &[PathBuf]) -> Vec<(u32, String)> {
    let processes = cgroups.join(cgroup.trim_start_matches('/')).join("cgroup.procs");
    let processes = fs::read_to_string(processes).unwrap_or_default();
    let processes = processes.lines().filter_map(|line| line.parse().ok());
    let uses = |pid: &u32| process_uses(&Path::new("/proc").join(pid.to_string()), places);
    processes.filter(uses).map(|pid| (pid, name(pid))).collect()
}

fn name(pid: u32) -> String {
    let comm = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    String::from_utf8_lossy(&comm).trim_end().to_owned()
}

fn process_uses(process: &Path, places: &[PathBuf]) -> bool {
    let mounts = fs::read(process.join("mountinfo")).unwrap_or_default();
    let below = |mount: &mountinfo::Mount| places.iter().any(|place| mount.mount_point.starts_with(place));
    let mounts: HashSet<u64> = mountinfo::parse(&mounts)
        .iter()
        .filter(|mount| below(mount))
        .map(|mount| mount.id.into())
        .collect();
    let links = LINKS.iter().map(|link| process.join(link));
    let directories = DIRECTORIES
        .iter()
        .filter_map(|dir| fs::read_dir(process.join(dir)).ok());
    let listed = directories.flat_map(|entries| entries.flatten().map(|entry| entry.path()));
    // A process that ends meanwhile uses nothing any more.
    !mounts.is_empty()
        && links
            .chain(listed)
            .any(|link| mount_of(&link).is_some_and(|id| mounts.contains(&id)))
}

/// The number of the mount that a link of a process leads to. Nobody is asked for it but the kernel.
fn mount_of(link: &Path) -> Option<u64> {
    let found = statx(CWD, link, AtFlags::STATX_DONT_SYNC, StatxFlags::MNT_ID).ok()?;
    Some(found.stx_mnt_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_and_directories_are_found() {
        // The mount that this test's own temporary files are on.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        let mounts = mountinfo::read().unwrap();
        let at = mountinfo::visible(&mounts, &path).unwrap().mount_point.clone();
        let own = std::process::id();
        let _open = fs::File::create(path.join("file")).unwrap();
        assert!(process_uses(&Path::new("/proc").join(own.to_string()), &[at]));
        assert!(!process_uses(
            &Path::new("/proc").join(own.to_string()),
            &[path.join("nothing")]
        ));
        let cgroups = dir.path().join("cgroup/app.service");
        fs::create_dir_all(&cgroups).unwrap();
        fs::write(cgroups.join("cgroup.procs"), format!("{own}\n999999999\n")).unwrap();
        let users = of(&dir.path().join("cgroup"), "/app.service", &["/".into()]);
        assert_eq!(users, [(own, name(own))]);
    }
}
