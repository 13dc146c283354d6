//! What a launcher gives up before it becomes its program: capabilities, and where it is to be somebody else its user.

use std::io;
use std::os::unix::fs::MetadataExt as _;

use rustix::process::{Gid, Resource, Rlimit, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

/// Lets the program open as many files as it may, since a file server holds a descriptor for many that the guest knows, and leave
/// no memory behind when it crashes: its own holds keys, and what it shares with QEMU is the guest's.
pub(super) fn set_limits() {
    let mut files = rustix::process::getrlimit(Resource::Nofile);
    files.current = files.maximum;
    let _ = rustix::process::setrlimit(Resource::Nofile, files);
    let core = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = rustix::process::setrlimit(Resource::Core, core);
    // A program that core(5) pipes to is not bound by the limit: private memory only, and no guest's, for it.
    let _ = std::fs::write("/proc/self/coredump_filter", "0x31");
}

/// Leaves of what the program could have from being root no more than `kept`: what is not in the bounding set is not in an
/// executed program's sets either (capabilities(7), "Transformation of capabilities during execve()").
///
/// # Errors
/// The system's.
pub(super) fn keep_capabilities(kept: CapabilitySet) -> io::Result<()> {
    bound(kept)?;
    let mut sets = rustix::thread::capabilities(None)?;
    sets.inheritable = CapabilitySet::empty();
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

/// Becomes `user`, whose program has the capabilities `kept` and no others. Of groups it has its own, and that of /dev/kvm.
///
/// # Errors
/// The system's.
pub(super) fn become_user(user: u32, kept: CapabilitySet) -> io::Result<()> {
    bound(kept)?;
    rustix::thread::set_keep_capabilities(true)?;
    let kvm = std::fs::metadata("/dev/kvm").ok().map(|device| device.gid());
    let groups: Vec<Gid> = kvm
        .filter(|gid| *gid != 0)
        .into_iter()
        .map(Gid::from_raw)
        .collect();
    rustix::thread::set_thread_groups(&groups)?;
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: kept,
    };
    rustix::thread::set_capabilities(None, sets)?;
    // What a program that is not root's keeps is what is ambient.
    for capability in kept.iter() {
        rustix::thread::configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}

/// Bounds what this process's program can ever have.
fn bound(kept: CapabilitySet) -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    for capability in CapabilitySet::all().difference(kept).iter() {
        // What this kernel does not know, or this process may not drop, since it has none: EINVAL, EPERM.
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
    Ok(rustix::thread::clear_ambient_capability_set()?)
}
