//! Which system calls an app may make (seccomp(2)): as data, without a word on how it is enforced.
//!
//! ```text
//! profile.rs   docker's form of a profile, whose rules go by capabilities and kernel
//! sets.rs      sets of system calls by name
//! rules.rs     what both and plain lists come to
//! ```
//!
//! Names are those of the system calls of x86-64, of i386 and of Linux's errors; their tables come from the crate `syscalls`.

mod profile;
mod rules;
mod sets;

use std::path::PathBuf;

pub use profile::{InvalidProfile, ProfiledProcess, SeccompProfile, read_profile};
pub use rules::{Answer, Comparison, Operator, SyscallRule, SyscallRules};
use serde::{Deserialize, Serialize};
pub use sets::syscall_set;
use syscalls::{Errno, Sysno};

use crate::words;

/// Which system calls an app may make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seccomp {
    /// All of them: the VM is what confines the app.
    #[default]
    Unconfined,
    /// Those that the runtime allows by default (Kubernetes' `RuntimeDefault`): what docker's own profile says.
    RuntimeDefault,
    /// Those of the filter alone (appc `os/linux/seccomp-retain-set`).
    Retain(SyscallFilter),
    /// All but those of the filter (appc `os/linux/seccomp-remove-set`).
    Remove(SyscallFilter),
    /// What a file of the host says, in docker's form ([`read_profile`]).
    Profile(PathBuf),
}

/// System calls, and what becomes of one that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyscallFilter {
    /// Their names (syscalls(2)).
    pub names: Vec<String>,
    /// What one that is not allowed comes to.
    pub refusal: Refusal,
}

/// What a system call that is not allowed comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// The process is killed with SIGSYS.
    #[default]
    Kill,
    /// It fails with this error (errno(3): `EPERM`).
    Errno(String),
}

/// Linux's errors end before this number (errno(3)).
const ERRNO_END: i32 = 134;

/// The number of the system call `name`.
#[must_use]
pub fn syscall_number(name: &str) -> Option<u32> {
    let call: Sysno = name.parse().ok()?;
    u32::try_from(call.id()).ok()
}

/// The number that the system call `name` has for programs of 32 bits (i386).
#[must_use]
pub fn i386_syscall_number(name: &str) -> Option<u32> {
    let call: syscalls::x86::Sysno = name.parse().ok()?;
    u32::try_from(call.id()).ok()
}

/// Whether programs of some kind that the guest executes have the system call `name`.
#[must_use]
pub fn is_syscall(name: &str) -> bool {
    syscall_number(name).is_some() || i386_syscall_number(name).is_some()
}

/// The names of all system calls of x86-64.
pub fn syscall_names() -> impl Iterator<Item = &'static str> {
    Sysno::iter().map(|call| call.name())
}

/// The system call that `name` was perhaps meant to name.
#[must_use]
pub fn nearest_syscall(name: &str) -> Option<&'static str> {
    words::nearest(name, syscall_names())
}

/// The number of the error `name` (`EPERM`).
#[must_use]
pub fn errno_number(name: &str) -> Option<u16> {
    // Names of one number with another name (errno(3)).
    let name = match name {
        "EWOULDBLOCK" => "EAGAIN",
        "EDEADLOCK" => "EDEADLK",
        "ENOTSUP" => "EOPNOTSUPP",
        name => name,
    };
    let number = (1..ERRNO_END).find(|number| Errno::new(*number).name() == Some(name))?;
    u16::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_numbers_of_the_kernel() {
        assert_eq!(
            (syscall_number("read"), syscall_number("mount")),
            (Some(0), Some(165))
        );
        assert_eq!(
            (syscall_number("openat2"), syscall_number("Read")),
            (Some(437), None)
        );
        assert_eq!(nearest_syscall("mkdri"), Some("mkdir"));
        assert_eq!(
            (errno_number("EPERM"), errno_number("ENOTSUP")),
            (Some(1), Some(95))
        );
        assert_eq!(
            (errno_number("EHWPOISON"), errno_number("EDEADLOCK")),
            (Some(133), Some(35))
        );
        assert_eq!((errno_number("eperm"), errno_number("")), (None, None));
    }

    /// Every name that C99 and POSIX.1-2001 have, which appc demands.
    #[test]
    fn every_error_of_posix_is_known() {
        let posix = "E2BIG EACCES EADDRINUSE EADDRNOTAVAIL EAFNOSUPPORT EAGAIN EALREADY EBADF EBADMSG EBUSY ECANCELED \
                     ECHILD ECONNABORTED ECONNREFUSED ECONNRESET EDEADLK EDESTADDRREQ EDOM EDQUOT EEXIST EFAULT EFBIG \
                     EHOSTUNREACH EIDRM EILSEQ EINPROGRESS EINTR EINVAL EIO EISCONN EISDIR ELOOP EMFILE EMLINK EMSGSIZE \
                     EMULTIHOP ENAMETOOLONG ENETDOWN ENETRESET ENETUNREACH ENFILE ENOBUFS ENODATA ENODEV ENOENT ENOEXEC \
                     ENOLCK ENOLINK ENOMEM ENOMSG ENOPROTOOPT ENOSPC ENOSR ENOSTR ENOSYS ENOTCONN ENOTDIR ENOTEMPTY \
                     ENOTSOCK ENOTSUP ENOTTY ENXIO EOPNOTSUPP EOVERFLOW EPERM EPIPE EPROTO EPROTONOSUPPORT EPROTOTYPE \
                     ERANGE EROFS ESPIPE ESRCH ESTALE ETIME ETIMEDOUT ETXTBSY EWOULDBLOCK EXDEV";
        for name in posix.split_whitespace() {
            assert!(errno_number(name).is_some(), "{name}");
        }
    }
}
