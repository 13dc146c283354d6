//! Becoming who an app's process is: one way for the app's own program and for the commands in it, so that one can do no
//! more than the other. In this order, which matters:
//!
//! ```text
//!   limits of setrlimit(2) ── bounding set ── groups, group, user ── no new privileges ── [program looked up] ── filter
//! ```
//!
//! The filter of system calls comes last, since it may forbid all of that, and is installed by a process that still has
//! `CAP_SYS_ADMIN` in hand: without that, the kernel takes filters only of those that forgo new privileges for good
//! (seccomp(2)), and a set-user-ID program would gain nothing. The execution itself takes the capability away: what a
//! user other than root holds then is nothing, and what root does is its bounding set (capabilities(7)).

use std::io;

use isopod_contract::launch::{GuestIdentity, GuestProcess, SyscallProgram};
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_no_new_privs, set_thread_gid, set_thread_groups, set_thread_uid,
};

pub(crate) mod limits;
mod sys;

/// What could not be done, in words that continue after "cannot".
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}")]
pub(crate) struct AssumeError {
    step: &'static str,
    #[source]
    source: io::Error,
}

fn step<T>(step: &'static str, result: Result<T, impl Into<io::Error>>) -> Result<T, AssumeError> {
    result.map_err(|source| AssumeError {
        step,
        source: source.into(),
    })
}

/// Whether a process can be of that user or group: the kernel takes the last number for "no change" (setreuid(2)).
pub(crate) fn is_id(id: u32) -> bool {
    id != u32::MAX
}

/// Becomes `identity`, bound by what `process` may do but for its filter ([`confine`]).
pub(crate) fn assume(process: &GuestProcess, identity: &GuestIdentity) -> Result<(), AssumeError> {
    for rlimit in &process.rlimits {
        step("set the app's limits", limits::set(rlimit))?;
    }
    bound(process.capabilities)?;
    become_user(identity)?;
    if process.no_new_privileges {
        step("set `no_new_privs`", set_no_new_privs(true))?;
    }
    Ok(())
}

/// Drops all other capabilities for good.
fn bound(capabilities: u64) -> Result<(), AssumeError> {
    for bit in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        if capabilities & one.bits() != 0 {
            continue;
        }
        match remove_capability_from_bounding_set(one) {
            // The kernel has no more of them.
            Err(rustix::io::Errno::INVAL) => break,
            result => step("drop capabilities", result)?,
        }
    }
    Ok(())
}

/// Becomes the user; what the process may is kept back until the execution, and not in effect.
fn become_user(identity: &GuestIdentity) -> Result<(), AssumeError> {
    let ids = || {
        [identity.uid, identity.gid]
            .into_iter()
            .chain(identity.groups.iter().copied())
    };
    if !ids().all(is_id) {
        return step("become the user", Err(rustix::io::Errno::INVAL));
    }
    let groups: Vec<Gid> = identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    step("keep capabilities", set_keep_capabilities(true))?;
    step("become the user", set_thread_groups(&groups))?;
    step("become the user", set_thread_gid(Gid::from_raw(identity.gid)))?;
    step("become the user", set_thread_uid(Uid::from_raw(identity.uid)))
}

/// Keeps this thread, and what it executes, to the filter. From here on only execution is sure to be allowed.
pub(crate) fn confine(program: &SyscallProgram) -> Result<(), AssumeError> {
    let doing = "confine the process to the app's system calls";
    let held = step(doing, capabilities(None))?;
    let admin = held.permitted & CapabilitySet::SYS_ADMIN;
    let armed = CapabilitySets {
        effective: held.effective | admin,
        ..held
    };
    step(doing, set_capabilities(None, armed))?;
    step(doing, sys::install_filter(program))
}
