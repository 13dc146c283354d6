//! Which system calls an app may make (seccomp(2)): as data, without a word on how it is enforced.
//!
//! ```text
//! profile.rs   docker's form of a profile, whose rules go by capabilities and kernel
//! sets.rs      sets of system calls by name
//! rules.rs     what both and plain lists come to
//! ```
//!
//! Names are those of the system calls of each architecture's programs, of 64 and of 32 bits, and of Linux's errors; their tables come
//! from the crate `syscalls`.

mod profile;
mod rules;
mod sets;

use std::path::PathBuf;

pub use profile::{InvalidProfile, ProfiledProcess, SeccompProfile, read_profile};
pub use rules::{Answer, Comparison, Operator, SyscallRule, SyscallRules};
use serde::{Deserialize, Serialize};
pub use sets::syscall_set;
use syscalls::Errno;

use crate::Architecture;
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

/// The number of the system call `name` for programs of 64 bits.
#[must_use]
pub fn syscall_number(architecture: Architecture, name: &str) -> Option<u32> {
    let id = match architecture {
        Architecture::Amd64 => name.parse::<syscalls::x86_64::Sysno>().ok()?.id(),
        // The crate has it by the name of the C library's function; the kernel's and libseccomp's is that of x86-64.
        Architecture::Arm64 if name == "newfstatat" => syscalls::aarch64::Sysno::fstatat.id(),
        Architecture::Arm64 => name.parse::<syscalls::aarch64::Sysno>().ok()?.id(),
    };
    u32::try_from(id).ok()
}

/// The number that the system call `name` has for the programs of 32 bits that the same kernel executes: those of i386, and of ARM's EABI.
#[must_use]
pub fn compat_syscall_number(architecture: Architecture, name: &str) -> Option<u32> {
    let id = match architecture {
        Architecture::Amd64 => name.parse::<syscalls::x86::Sysno>().ok()?.id(),
        Architecture::Arm64 => name.parse::<syscalls::arm::Sysno>().ok()?.id(),
    };
    u32::try_from(id).ok()
}

/// Whether programs that a guest of that architecture executes have the system call `name`.
#[must_use]
pub fn has_syscall(architecture: Architecture, name: &str) -> bool {
    syscall_number(architecture, name).is_some() || compat_syscall_number(architecture, name).is_some()
}

/// Whether the system call `name` is there at all, on whatever architecture.
#[must_use]
pub fn is_syscall(name: &str) -> bool {
    Architecture::ALL
        .into_iter()
        .any(|architecture| has_syscall(architecture, name))
}

/// The names of all system calls of an architecture's programs of 64 bits.
pub fn syscall_names(architecture: Architecture) -> Vec<&'static str> {
    match architecture {
        Architecture::Amd64 => syscalls::x86_64::Sysno::iter().map(|call| call.name()).collect(),
        Architecture::Arm64 => syscalls::aarch64::Sysno::iter().map(|call| call.name()).collect(),
    }
}

/// The system call that `name` was perhaps meant to name.
#[must_use]
pub fn nearest_syscall(name: &str) -> Option<&'static str> {
    let names = Architecture::ALL.into_iter().flat_map(syscall_names);
    words::nearest(name, names)
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
        let numbers = |architecture, name| {
            (
                syscall_number(architecture, name),
                compat_syscall_number(architecture, name),
            )
        };
        for (name, amd64, arm64) in [
            ("read", (Some(0), Some(3)), (Some(63), Some(3))),
            ("mount", (Some(165), Some(21)), (Some(40), Some(21))),
            ("newfstatat", (Some(262), None), (Some(79), None)),
            ("open", (Some(2), Some(5)), (None, Some(5))),
            ("arch_prctl", (Some(158), Some(384)), (None, None)),
            ("openat2", (Some(437), Some(437)), (Some(437), Some(437))),
            ("Read", (None, None), (None, None)),
        ] {
            assert_eq!(numbers(Architecture::Amd64, name), amd64, "{name}");
            assert_eq!(numbers(Architecture::Arm64, name), arm64, "{name}");
        }
        assert!(is_syscall("open") && !has_syscall(Architecture::Arm64, "arch_prctl"));
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
