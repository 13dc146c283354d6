//! The one system call of the agent that no safe crate offers.
#![expect(
    unsafe_code,
    reason = "seccomp(2) has no safe wrapper that leaves no_new_privs alone"
)]

use std::io;

use isopod_contract::launch::SyscallProgram;

/// Installs the filter for this thread and what it executes.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for a program that is too long, and the kernel's own.
pub(super) fn install_filter(program: &SyscallProgram) -> io::Result<()> {
    let mut instructions: Vec<libc::sock_filter> = program
        .0
        .iter()
        .map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k })
        .collect();
    let program = libc::sock_fprog {
        len: u16::try_from(instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: instructions.as_mut_ptr(),
    };
    // SAFETY: `program` points to `len` instructions that live until the call returns; the kernel copies and checks them.
    // JUSTIFICATION: rustix has no seccomp(2), and the crates that do forbid new privileges with every filter, which the app
    // did not ask for.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
