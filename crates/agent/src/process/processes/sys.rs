//! The system calls of a process's beginning that no safe crate offers.
#![expect(
    unsafe_code,
    reason = "unshare(2), fork(2), sigprocmask(2), sigwaitinfo(2) and kill(2) with any number have no safe wrapper"
)]

use std::io;
use std::mem::MaybeUninit;

use rustix::process::Pid;
use rustix::thread::UnshareFlags;

/// A set of signals.
#[derive(Clone, Copy)]
pub(super) struct Signals(libc::sigset_t);

/// Leaves the namespaces of those kinds.
pub(super) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    let flags = flags.difference(UnshareFlags::FILES);
    // SAFETY: `unshare` is unsafe only for CLONE_FILES, which would break the ownership of descriptors, and which is
    // taken away above. JUSTIFICATION: there is no other way into a new namespace without a child.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(Into::into)
}

/// fork(2): `None` in the child. The caller is one of the agent's short-lived programs, which have one thread.
pub(super) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: a child of a process of one thread may do all that its parent may: no lock is held by a thread that it has
    // not. JUSTIFICATION: a namespace of processes is entered by a child, and to execute this program once more for it
    // would double the time that an app's start takes.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// Holds every signal back until [`wait`] fetches it; with what was held back before.
pub(super) fn hold_all() -> Signals {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset writes all of the set that it is given. JUSTIFICATION: rustix has no sets of signals.
    let all = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        all.assume_init()
    };
    set_held(Signals(all))
}

/// Holds back those alone; with what was held back before.
pub(super) fn set_held(signals: Signals) -> Signals {
    let mut before = signals.0;
    // SAFETY: both sets live until the call returns; the kernel reads one and writes the other. Such a call cannot fail.
    // JUSTIFICATION: rustix has no sigprocmask.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const signals.0, &raw mut before) };
    Signals(before)
}

/// Waits for a signal among all that are held back; its number.
pub(super) fn wait() -> libc::c_int {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    loop {
        // SAFETY: sigfillset writes the set, which sigwaitinfo reads; it writes nothing where it is given no place.
        // JUSTIFICATION: a handler would be unsafe, too, and a descriptor for signals takes more system calls.
        let signal = unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::sigwaitinfo(all.as_ptr(), std::ptr::null_mut())
        };
        if signal > 0 {
            return signal;
        }
    }
}

/// kill(2), also for a signal that has no name.
pub(super) fn kill(pid: Pid, signal: libc::c_int) {
    // SAFETY: the call touches no memory. JUSTIFICATION: rustix takes signals with a name alone.
    unsafe { libc::kill(pid.as_raw_nonzero().get(), signal) };
}

/// Ends this process by a signal; where that cannot be, with what a shell would exit with.
pub(super) fn end_by(signal: libc::c_int) -> std::process::ExitCode {
    // SAFETY: the default action is no function of ours. JUSTIFICATION: rustix sets no actions of signals.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    kill(rustix::process::getpid(), signal);
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset writes all of the set that it is given. JUSTIFICATION: as above.
    let none = unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        none.assume_init()
    };
    set_held(Signals(none));
    std::process::ExitCode::from(128_u8.saturating_add(u8::try_from(signal).unwrap_or_default()))
}
