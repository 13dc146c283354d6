//! What apps see of the kernel's own file systems: `/proc` and `/sys` as a container has them. `/sys` is mounted once for all of
//! the pod's apps, whose units bind it; `/proc` and the cgroups show each app what is its own, so that a process of its own
//! mounts them. A privileged app has them as the guest does.
//!
//! ```text
//! /isopod/sys       sysfs    read-only, some directories empty
//! APP /proc         proc     some files empty, some directories empty, some parts read-only
//! APP /sys/fs/cgroup  cgroup2  read-only
//! ```
//!
//! Which these are is docker's list (moby, `oci/defaults.go`).

use std::io;
use std::path::{Path, PathBuf};

use isopod_contract::launch::GuestPaths;
use isopod_contract::layout::APP_SYS;
use rustix::fs::StatVfsMountFlags;
use rustix::mount::{
    MountFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_remount, unmount,
};

/// What is empty in an app's `/proc`, where the kernel has it.
const MASKED_PROC: [&str; 9] = [
    "acpi",
    "asound",
    "kcore",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
];

/// What of it cannot be written.
const READ_ONLY_PROC: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// What is empty in an app's `/sys`.
const MASKED_SYS: [&str; 2] = ["firmware", "devices/virtual/powercap"];

/// The flags of all of these, as docker has them.
const FLAGS: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

/// Why an app's `/proc` or `/sys` is not there.
#[derive(Debug, thiserror::Error)]
#[error("cannot mount `{}`", .path.display())]
pub(crate) struct KernelFsError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Mounts the `/sys` of all apps. Where it cannot be made that is an error: without it an app would see what it must not.
pub(crate) fn prepare() -> Result<(), KernelFsError> {
    let sys = Path::new(APP_SYS);
    let cgroup = mount_sys(sys)?;
    for name in MASKED_SYS {
        mask(&sys.join(name))?;
    }
    // Of these mounts alone: the file systems are the guest's, too.
    make_read_only(sys)?;
    make_read_only(&cgroup)
}

/// Mounts `/proc` in the root of the app whose process this is: its processes, with what `paths` says of them and of other files, and
/// where there is a file `boot_id`, that in the place of the kernel's.
pub(crate) fn show_processes(
    privileged: bool,
    paths: Option<&GuestPaths>,
    boot_id: &Path,
) -> Result<(), KernelFsError> {
    let proc = Path::new("/proc");
    made(proc, mount("proc", proc, "proc", FLAGS, c""))?;
    match paths {
        _ if privileged => {}
        None => hide_processes(proc)?,
        Some(paths) => hide(paths)?,
    }
    if boot_id.exists() {
        // After the parts that are bound, which would lie above it.
        let place = proc.join("sys/kernel/random/boot_id");
        made(&place, mount_bind(boot_id, &place))?;
        make_read_only(&place)?;
    }
    Ok(())
}

fn hide_processes(proc: &Path) -> Result<(), KernelFsError> {
    for name in MASKED_PROC {
        mask(&proc.join(name))?;
    }
    for name in READ_ONLY_PROC {
        read_only(&proc.join(name))?;
    }
    Ok(())
}

/// What an engine says is empty or read-only, which is not in `/proc` and `/sys` alone.
fn hide(paths: &GuestPaths) -> Result<(), KernelFsError> {
    for path in &paths.masked {
        mask(Path::new(path))?;
    }
    for path in paths.read_only.iter().map(Path::new).filter(|path| path.exists()) {
        let data = made_of(path, rustix::fs::statvfs(path))?;
        let flags = [
            (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
            (StatVfsMountFlags::NODEV, MountFlags::NODEV),
            (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        ];
        let kept = flags.iter().filter(|(flag, _)| data.f_flag.contains(*flag));
        let kept = kept.fold(MountFlags::empty(), |flags, (_, flag)| flags | *flag);
        made(path, mount_bind_recursive(path, path))?;
        made(
            path,
            mount_remount(path, MountFlags::BIND | MountFlags::RDONLY | kept, c""),
        )?;
    }
    Ok(())
}

/// Mounts the cgroups of the app whose process this is in its `/sys`, in place of the guest's.
pub(crate) fn show_cgroups(privileged: bool) -> Result<(), KernelFsError> {
    let cgroup = Path::new("/sys/fs/cgroup");
    made(cgroup, unmount(cgroup, UnmountFlags::DETACH))?;
    made(cgroup, mount("cgroup2", cgroup, "cgroup2", FLAGS, c""))?;
    match privileged {
        true => Ok(()),
        false => make_read_only(cgroup),
    }
}

/// Gives an app a `/sys` of its own at `at`, in which something can be mounted that others do not see: like that of all
/// apps, or of a privileged one's.
pub(crate) fn own_sys(at: &Path, privileged: bool) -> Result<(), KernelFsError> {
    match privileged {
        true => mount_sys(at).map(drop),
        false => made(at, mount_bind_recursive(APP_SYS, at)),
    }
}

/// Mounts a sysfs, and in it the cgroups; returns where those are.
fn mount_sys(at: &Path) -> Result<PathBuf, KernelFsError> {
    made(at, mount("sysfs", at, "sysfs", FLAGS, c""))?;
    let cgroup = at.join("fs/cgroup");
    // systemd's own options: they are those of the hierarchy, whoever mounts it.
    let options = c"nsdelegate,memory_recursiveprot";
    made(&cgroup, mount("cgroup2", &cgroup, "cgroup2", FLAGS, options))?;
    Ok(cgroup)
}

/// Makes a file or directory empty.
fn mask(path: &Path) -> Result<(), KernelFsError> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => made(
            path,
            mount("tmpfs", path, "tmpfs", FLAGS | MountFlags::RDONLY, c""),
        ),
        Ok(_) => made(path, mount_bind("/dev/null", path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => made(path, Err(error)),
    }
}

fn read_only(path: &Path) -> Result<(), KernelFsError> {
    if !path.exists() {
        return Ok(());
    }
    made(path, mount_bind(path, path))?;
    make_read_only(path)
}

/// Makes a mount read-only, and not its file system.
fn make_read_only(path: &Path) -> Result<(), KernelFsError> {
    let flags = MountFlags::BIND | MountFlags::RDONLY | FLAGS;
    made(path, mount_remount(path, flags, c""))
}

fn made(path: &Path, result: Result<(), impl Into<io::Error>>) -> Result<(), KernelFsError> {
    made_of(path, result)
}

fn made_of<T>(path: &Path, result: Result<T, impl Into<io::Error>>) -> Result<T, KernelFsError> {
    result.map_err(|error| KernelFsError {
        path: path.to_owned(),
        source: error.into(),
    })
}
