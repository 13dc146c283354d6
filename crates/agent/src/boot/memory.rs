//! How much of the guest's memory files may take. The guest's root, which also takes what apps write, is a file system in
//! memory, and so is `/dev/shm`: by the kernel's own measure each may take half of the memory, and one who fills both
//! leaves none for a program.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use isopod_contract::config::GuestMemory;
use rustix::mount::{MountFlags, mount, mount_remount};

/// The pod's shared memory (shm_overview(7)).
pub(crate) const SHM: &str = "/dev/shm";

/// A file takes memory of the kernel's even where it is empty: about a kilobyte. There may be one for so many bytes.
const BYTES_PER_FILE: u64 = 4096;

/// Why the memory that files take is not bounded.
#[derive(Debug, thiserror::Error)]
#[error("cannot limit the memory that files at `{at}` take")]
pub(crate) struct MemoryError {
    at: &'static str,
    #[source]
    source: io::Error,
}

/// Mounts [`SHM`], which systemd then leaves alone.
pub(crate) fn prepare() -> Result<(), MemoryError> {
    mount_shm().map_err(|source| MemoryError { at: SHM, source })
}

/// Bounds the guest's root at what is there and what `memory` says, and [`SHM`].
pub(crate) fn bound(memory: &GuestMemory) -> Result<(), MemoryError> {
    let failed = |at| move |source| MemoryError { at, source };
    root(memory.root_bytes).map_err(failed("/"))?;
    bound_shm(memory.shm_bytes).map_err(failed(SHM))
}

fn root(bytes: u64) -> io::Result<()> {
    let now = rustix::fs::statvfs("/")?;
    let used = (now.f_blocks - now.f_bfree) * now.f_frsize;
    let options = options(used + bytes, now.f_files - now.f_ffree + bytes / BYTES_PER_FILE)?;
    Ok(mount_remount("/", MountFlags::empty(), &*options)?)
}

/// What [`SHM`] is mounted with.
const SHM_FLAGS: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

fn mount_shm() -> io::Result<()> {
    fs::create_dir_all(SHM)?;
    mount("shm", SHM, "tmpfs", SHM_FLAGS, c"")?;
    fs::set_permissions(SHM, fs::Permissions::from_mode(0o1777))
}

fn bound_shm(bytes: u64) -> io::Result<()> {
    let options = options(bytes, bytes / BYTES_PER_FILE)?;
    Ok(mount_remount(SHM, SHM_FLAGS, &*options)?)
}

fn options(bytes: u64, files: u64) -> io::Result<CString> {
    Ok(CString::new(format!("size={bytes},nr_inodes={files}"))?)
}

/// Shows the pod's shared memory at `at`.
pub(crate) fn show_shm(at: &Path) -> io::Result<()> {
    Ok(rustix::mount::mount_bind(SHM, at)?)
}
