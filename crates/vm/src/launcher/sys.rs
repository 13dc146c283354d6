//! The system calls of the launcher that no safe crate offers.
#![expect(
    unsafe_code,
    reason = "unshare(2), fork(2), mount_setattr(2), close_range(2) and TUNSETIFF have no safe wrapper for these uses"
)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::process::Pid;
use rustix::thread::UnshareFlags;

/// Leaves the host's namespaces of those kinds.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    let flags = flags.difference(UnshareFlags::FILES);
    // SAFETY: `unshare` is unsafe only for CLONE_FILES, which would break the ownership of descriptors, and which is
    // taken away above. JUSTIFICATION: there is no other way into a new namespace without a child.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(Into::into)
}

/// fork(2): `None` in the child. A process of several threads has none.
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("this process has several threads"));
    }
    // SAFETY: a child of a process of one thread, as was looked at above, may do all that its parent may: no lock is held
    // by a thread that it has not. JUSTIFICATION: a namespace of processes is entered by a child, and to execute this program
    // once more for it would double the time that a launcher takes.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// Ends a child of [`fork`] at once: what its parent has begun is the parent's to end.
pub(crate) fn exit(status: i32) -> ! {
    // SAFETY: `_exit` takes a number and does not return. JUSTIFICATION: std ends a process by running what its parent registered.
    unsafe { libc::_exit(status) }
}

/// Makes a tap in this thread's network namespace, without queues of its own, with a name that the kernel makes of `pattern`.
pub(crate) fn open_tap(pattern: &str) -> io::Result<(OwnedFd, String)> {
    const NAME_BYTES: usize = libc::IFNAMSIZ;
    let tap = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")?;
    // `struct ifreq`: the name, then what the request is about, here its flags.
    let mut request = [0_u8; size_of::<libc::ifreq>()];
    if pattern.len() >= NAME_BYTES {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    request[..pattern.len()].copy_from_slice(pattern.as_bytes());
    let flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    request[NAME_BYTES..NAME_BYTES + 2].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: `request` has the size of the `struct ifreq` that TUNSETIFF reads and writes, and lives until the call returns.
    // JUSTIFICATION: rustix has no such request.
    match unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF as _, request.as_mut_ptr()) } {
        -1 => Err(io::Error::last_os_error()),
        _ => {
            let name = request[..NAME_BYTES].split(|byte| *byte == 0).next();
            let name = String::from_utf8_lossy(name.unwrap_or_default()).into_owned();
            Ok((tap.into(), name))
        }
    }
}

/// Makes the mount at `dir`, without those below it, read-only.
pub(super) fn make_read_only(dir: &Path) -> io::Result<()> {
    let path = std::ffi::CString::new(dir.as_os_str().as_bytes())?;
    mount_setattr(libc::AT_FDCWD, &path, 0, (libc::MOUNT_ATTR_RDONLY, 0), 0)
}

/// Makes a detached mount, without those below it, read-only.
pub(super) fn make_detached_read_only(tree: impl AsFd) -> io::Result<()> {
    let attributes = (libc::MOUNT_ATTR_RDONLY, 0);
    mount_setattr(tree.as_fd().as_raw_fd(), c"", libc::AT_EMPTY_PATH, attributes, 0)
}

/// Makes a detached mount writable.
pub(super) fn make_writable(tree: impl AsFd) -> io::Result<()> {
    let attributes = (0, libc::MOUNT_ATTR_RDONLY);
    mount_setattr(tree.as_fd().as_raw_fd(), c"", libc::AT_EMPTY_PATH, attributes, 0)
}

/// Makes a detached tree of mounts read-only and private, all of it at once.
pub(super) fn set_attributes(tree: impl AsFd, read_only: bool, private: bool) -> io::Result<()> {
    let set = if read_only { libc::MOUNT_ATTR_RDONLY } else { 0 };
    let propagation = if private { libc::MS_PRIVATE } else { 0 };
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    mount_setattr(tree.as_fd().as_raw_fd(), c"", flags, (set, 0), propagation)
}

/// Lets no descriptor of those numbers, of those that are open now, be inherited by an executed program.
pub(crate) fn close_on_exec(numbers: std::ops::RangeInclusive<u32>) -> io::Result<()> {
    // SAFETY: with CLOSE_RANGE_CLOEXEC the call closes nothing: it sets a flag of descriptors, whoever owns them.
    // JUSTIFICATION: rustix has no close_range, and to set the flag one by one needs borrowed descriptors of unknown owners.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            *numbers.start(),
            *numbers.end(),
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// mount_setattr(2).
fn mount_setattr(
    dir: libc::c_int,
    path: &CStr,
    flags: libc::c_int,
    (set, clear): (u64, u64),
    propagation: u64,
) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: set,
        attr_clr: clear,
        propagation,
        userns_fd: 0,
    };
    // SAFETY: `path` is a NUL-terminated string and `attributes` a `mount_attr` of the size that is passed; both live
    // until the call returns, and the kernel only reads them. JUSTIFICATION: rustix has no mount_setattr, and to make
    // a tree of mounts read-only in one step there is nothing else.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir,
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
