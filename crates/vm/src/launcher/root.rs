//! A root file system with the process's own files only, in the launcher's mount namespace.
//!
//! ```text
//! /  (tmpfs, read-only)
//! ├── usr, lib, lib64, ...   the host's programs and libraries, read-only
//! ├── etc/ld.so.cache, ...   what the dynamic linker and the resolver read
//! ├── dev/null, kvm, ...     devices that are no one's secret
//! ├── proc/PID, proc/self    of this process alone, and three numbers of /proc/sys; for passt of all processes of its namespace
//! ├── tmp                    empty: passt mounts its own root there
//! └── POD                    the pod directory: of its files those that are named, at the same place
//! ```
//!
//! So whoever breaks out of the guest into the process finds no other file of the host, no other pod's and no other
//! process. It decides nothing: which files these are, the plan says.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use isopod_plan::vm::qemu::Access;
use rustix::fs::{CWD, FileType};
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use super::{LauncherError, sys};

/// Programs, and what they load. `/nix` and `/gnu` are where NixOS and Guix have them.
const SYSTEM: [&str; 9] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix", "/gnu",
];

/// Single files: of the dynamic linker, of QEMU's network, of a file server (how many files it may open, which
/// capabilities there are).
const FILES: [&str; 6] = [
    "/etc/ld.so.cache",
    "/etc/resolv.conf",
    "/etc/alternatives",
    "/proc/sys/fs/file-max",
    "/proc/sys/fs/nr_open",
    "/proc/sys/kernel/cap_last_cap",
];

const DEVICES: [&str; 6] = [
    "/dev/full",
    "/dev/kvm",
    "/dev/null",
    "/dev/random",
    "/dev/urandom",
    "/dev/zero",
];

/// What a program that is not among [`SYSTEM`] may have beside it.
const BESIDE: [&str; 3] = ["lib", "lib64", "share/qemu"];

/// What of /proc a process finds in its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proc {
    /// What is of itself.
    Itself,
    /// All processes of its namespace, and nothing but processes: for one that looks at its own children. Where such a /proc cannot
    /// be mounted (in containers that hide parts of theirs), as [`Proc::Itself`].
    Namespace,
}

/// What a process finds in its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    pub proc: Proc,
    /// The pod directory, absolute: the working directory. Files are relative to it, unless they are absolute.
    pub dir: PathBuf,
    /// The files and directories.
    pub files: Vec<(Access, PathBuf)>,
}

/// A mount that is not attached yet.
struct Tree {
    place: PathBuf,
    tree: OwnedFd,
    kind: FileType,
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> LauncherError {
    move |source| LauncherError::Namespace { what, source }
}

/// Makes `root` the root of this process, whose program `program` is. The working directory is the pod directory
/// before and after.
pub(super) fn enter(root: &Root, program: Option<&Path>) -> Result<(), LauncherError> {
    let own = own_number()?;
    let trees = collect(root, program, &own)?;
    let options = MountFlags::NOSUID | MountFlags::NODEV;
    // The pod directory is a place that is always there, and only this namespace sees what is mounted on it.
    rustix::mount::mount("tmpfs", &root.dir, "tmpfs", options, Some(c"mode=0755,size=1m"))
        .map_err(|error| failed("mount a tmpfs for its root")(error.into()))?;
    std::env::set_current_dir(&root.dir).map_err(failed("enter its root"))?;
    for dir in SYSTEM {
        if let Ok(target) = fs::read_link(dir) {
            symlink(target, inside(Path::new(dir))).map_err(failed("make a link of its root"))?;
        }
    }
    fs::create_dir("tmp").map_err(failed("make its /tmp"))?;
    fs::create_dir("proc").map_err(failed("make its /proc"))?;
    let mounted = root.proc == Proc::Namespace && mount_proc().is_ok();
    if !mounted {
        symlink(own, "proc/self").map_err(failed("make its /proc"))?;
    }
    let of_proc = |tree: &&Tree| tree.place.starts_with("/proc");
    for tree in trees.iter().filter(|tree| !(mounted && of_proc(tree))) {
        attach(tree).map_err(|source| LauncherError::File {
            path: tree.place.clone(),
            source,
        })?;
    }
    fs::create_dir_all(inside(&root.dir)).map_err(failed("make its working directory"))?;
    sys::make_read_only(Path::new(".")).map_err(failed("make its root read-only"))?;
    // pivot_root(2), "pivot_root(".", ".")": the old root lies on the new one then, and goes.
    rustix::process::pivot_root(".", ".").map_err(|error| failed("pivot_root")(error.into()))?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)
        .map_err(|error| failed("leave the host's root")(error.into()))?;
    std::env::set_current_dir(&root.dir).map_err(failed("enter the pod directory"))
}

/// Mounts a /proc of this process's namespace with processes alone (proc(5), `subset`).
fn mount_proc() -> io::Result<()> {
    let options = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(rustix::mount::mount(
        "proc",
        "proc",
        "proc",
        options,
        Some(c"subset=pid"),
    )?)
}

/// This process's number in the host's /proc, which is not the one in its own namespace of processes.
fn own_number() -> Result<PathBuf, LauncherError> {
    fs::read_link("/proc/self").map_err(failed("find itself in /proc"))
}

/// Where in the new root, which is the working directory, `path` is.
fn inside(path: &Path) -> PathBuf {
    Path::new(".").join(path.strip_prefix("/").unwrap_or(path))
}

/// Opens everything that the root is to hold, before the host's root is out of sight.
fn collect(root: &Root, program: Option<&Path>, own: &Path) -> Result<Vec<Tree>, LauncherError> {
    let mut trees = Vec::new();
    let system = SYSTEM.iter().map(Path::new).filter(|dir| !dir.is_symlink());
    let beside = program.into_iter().flat_map(beside);
    let optional = system
        .map(Path::to_owned)
        .chain(FILES.iter().map(PathBuf::from))
        .chain(beside);
    for path in optional {
        trees.extend(clone(&path, path.clone(), Access::Read).ok());
    }
    for device in DEVICES {
        trees.extend(clone(Path::new(device), device.into(), Access::Write).ok());
    }
    let own = Path::new("/proc").join(own);
    trees.push(clone(&own, own.clone(), Access::Write).map_err(failed("open its own /proc"))?);
    for (access, file) in &root.files {
        let place = root.dir.join(file);
        let tree = clone(&place, place.clone(), *access);
        trees.push(tree.map_err(|source| LauncherError::File { path: place, source })?);
    }
    Ok(trees)
}

/// The program itself and what may belong to it, where it is not among the system's.
fn beside(program: &Path) -> Vec<PathBuf> {
    if SYSTEM.iter().any(|dir| program.starts_with(dir)) {
        return Vec::new();
    }
    let mut found = vec![program.to_owned()];
    if let Some(prefix) = program
        .parent()
        .and_then(Path::parent)
        .filter(|prefix| prefix.parent().is_some())
    {
        found.extend(BESIDE.iter().map(|name| prefix.join(name)));
    }
    found
}

/// Clones the mount of `path`, links followed, and what is mounted below it.
fn clone(path: &Path, place: PathBuf, access: Access) -> io::Result<Tree> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(CWD, path, flags)?;
    if access == Access::Read {
        sys::set_attributes(&tree, true, true)?;
    }
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&tree)?.st_mode);
    Ok(Tree { place, tree, kind })
}

fn attach(tree: &Tree) -> io::Result<()> {
    let place = inside(&tree.place);
    if !place.exists() {
        let parent = place.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent)?;
        match tree.kind {
            FileType::Directory => fs::create_dir(&place)?,
            _ => fs::write(&place, b"")?,
        }
    }
    rustix::mount::move_mount(
        &tree.tree,
        c"",
        CWD,
        &place,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )?;
    Ok(())
}
