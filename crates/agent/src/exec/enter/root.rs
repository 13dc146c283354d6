//! What an app has in its root, as an archive or a list: read in a namespace of mounts in which there is nothing else, so
//! that no link of the app's leads to a file of the guest's or of another app.
//!
//! ```text
//! /upper     what the app wrote           /lower/N   what is below it, the nearest first
//! /whole     the root, without what is mounted in it
//! ```

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use isopod_archive::{Change, ChangeKind, Packed, changes, pack_layer, pack_root};
use isopod_contract::layout::ROOTS;
use isopod_contract::message::RootPart;
use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_change, move_mount,
    open_tree,
};
use rustix::process::chroot;
use rustix::thread::UnshareFlags;

use super::{COPY_BYTES, EnterError, step};
use crate::mounts::mountinfo::{self, Layers};
use crate::process::processes;

const UPPER: &str = "/upper";
const LOWER: &str = "/lower";
const WHOLE: &str = "/whole";

/// Writes what is asked for of the root that is mounted at `root` to `out`; a warning of what is not in it.
pub(super) fn write(root: &str, part: RootPart, out: OwnedFd) -> Result<Option<String>, EnterError> {
    // The kernel may kill this before it kills the agent.
    let adjusted = fs::write("/proc/self/oom_score_adj", "0");
    step("take the agent's protection off", adjusted)?;
    let trees = trees(Path::new(root), part)?;
    let lowers = trees.iter().filter(|(at, _)| at.starts_with(LOWER)).count();
    enter(&trees)?;
    let mut out = BufWriter::with_capacity(COPY_BYTES, File::from(out));
    let packed = match part {
        RootPart::Whole => pack_root(Path::new(WHOLE), &mut out),
        // Nothing was ever written to it.
        _ if trees.is_empty() => Ok(Packed::default()),
        RootPart::Layer => pack_layer(Path::new(UPPER), &mut out),
        RootPart::Changes => {
            let lowers: Vec<PathBuf> = (0..lowers).map(lower).collect();
            let mut report = |change: Change| line(&mut out, &change);
            changes(Path::new(UPPER), &lowers, &mut report).map(|()| Packed::default())
        }
    };
    let packed = packed.map_err(EnterError::Pack)?;
    step("write the archive", out.flush())?;
    match packed.fault() {
        Some(fault) => Err(EnterError::Incomplete(fault)),
        None => Ok(packed.warning()),
    }
}

/// Enters the root that is mounted at `root`, with all that is mounted in it, as the app would find it.
pub(super) fn enter_at_rest(root: &str) -> Result<(), EnterError> {
    let adjusted = fs::write("/proc/self/oom_score_adj", "0");
    step("take the agent's protection off", adjusted)?;
    let mounts = step("read what is mounted", mountinfo::read())?;
    if !mounts.iter().any(|mount| mount.mount_point == Path::new(root)) {
        return Err(EnterError::Root("its root is not mounted".to_owned()));
    }
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = step("copy the mounts", open_tree(CWD, root, flags))?;
    enter(&[(WHOLE.into(), tree)])?;
    step("enter the root", chroot(WHOLE))?;
    step("enter the root", std::env::set_current_dir("/"))
}

fn lower(number: usize) -> PathBuf {
    Path::new(LOWER).join(number.to_string())
}

/// A change as it travels.
fn line(out: &mut impl io::Write, change: &Change) -> io::Result<()> {
    let kind: &[u8] = match change.kind {
        ChangeKind::Added => b"A ",
        ChangeKind::Changed => b"C ",
        ChangeKind::Deleted => b"D ",
    };
    out.write_all(kind)?;
    out.write_all(change.path.as_os_str().as_bytes())?;
    out.write_all(&[0])
}

/// Copies of the mounts that are to be read, with where they are to be; none where nothing can have been written.
fn trees(root: &Path, part: RootPart) -> Result<Vec<(PathBuf, OwnedFd)>, EnterError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = |at: PathBuf, from: &Path| {
        let tree = step("copy the mount", open_tree(CWD, from, flags))?;
        Ok((at, tree))
    };
    if part == RootPart::Whole {
        return Ok(vec![tree(WHOLE.into(), root)?]);
    }
    let text = step("read what is mounted", fs::read("/proc/self/mountinfo"))?;
    let layers = mountinfo::overlay(&text, root).ok_or_else(|| {
        let text = "its root is a host directory, which has what it wrote, or is not mounted".to_owned();
        EnterError::Root(text)
    })?;
    let Layers {
        upper,
        lowers,
        read_only,
    } = layers;
    if read_only {
        return Ok(Vec::new());
    }
    if lowers.len() < 2 {
        let text = "what it wrote is in the VM's memory, together with what the pod has in its root: the host needs \
                    mkfs.ext4(8) (e2fsprogs) for a disk";
        return Err(EnterError::Root(text.to_owned()));
    }
    let lowers = lowers.iter().enumerate().map(|(n, from)| tree(lower(n), from));
    std::iter::once(tree(UPPER.into(), &upper))
        .chain(lowers)
        .collect()
}

/// Enters a root with those mounts alone.
fn enter(trees: &[(PathBuf, OwnedFd)]) -> Result<(), EnterError> {
    step(
        "leave the guest's mounts",
        processes::unshare(UnshareFlags::NEWNS),
    )?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    step("leave the guest's mounts", mount_change("/", private))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    step("mount a root", mount("none", ROOTS, "tmpfs", flags, None))?;
    for (at, tree) in trees {
        let at = Path::new(ROOTS).join(at.strip_prefix("/").unwrap_or(at));
        step("make a mount point", fs::create_dir_all(&at))?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        step("mount there", move_mount(tree, c"", CWD, &at, flags))?;
    }
    step("enter the root", chroot(ROOTS))?;
    step("enter the root", std::env::set_current_dir("/"))
}
