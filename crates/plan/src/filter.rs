//! A list of system calls as a program for the kernel (seccomp(2), bpf(4)): what each instruction is, and nothing of who
//! installs it.
//!
//! ```text
//!   load arch ── x86-64 ──> load nr ── nr of the x32 ABI ──> refuse
//!      │                      └── nr in the list ──> allow or refuse ── otherwise ──> the other
//!      ├── i386 ────> load nr ── likewise, by i386's numbers
//!      └── another ─> kill
//! ```

use std::collections::BTreeSet;

use isopod_protocol::launch::SyscallProgram;
use isopod_spec::seccomp::{i386_syscall_number, syscall_number};

/// `linux/audit.h`: the kinds of program that the guest's kernel executes.
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const AUDIT_ARCH_I386: u32 = 0x4000_0003;
/// `asm/unistd.h`: what numbers of the x32 ABI begin at. They come with the architecture of x86-64.
const X32_SYSCALL_BIT: u32 = 0x4000_0000;

/// `linux/seccomp.h`: what a filter answers.
const RET_KILL_PROCESS: u32 = 0x8000_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_ALLOW: u32 = 0x7fff_0000;

/// `struct seccomp_data`: where the number of the system call is, and where the architecture.
const NR: u32 = 0;
const ARCH: u32 = 4;

/// `linux/bpf_common.h`: loads a word, jumps if equal, jumps if not less, returns.
const LD_W_ABS: u16 = 0x20;
const JEQ: u16 = 0x15;
const JGE: u16 = 0x35;
const RET: u16 = 0x06;

type Instruction = (u16, u8, u8, u32);

/// The program that allows the calls `names` alone, or all others; the rest fails with `errno` or kills the process.
/// Each name counts for what kinds of program have such a call.
pub(crate) fn program(names: &BTreeSet<&str>, allowed: bool, errno: Option<u16>) -> SyscallProgram {
    let refuse = errno.map_or(RET_KILL_PROCESS, |errno| RET_ERRNO | u32::from(errno));
    let (named, others) = match allowed {
        true => (RET_ALLOW, refuse),
        false => (refuse, RET_ALLOW),
    };
    let mut instructions = vec![(LD_W_ABS, 0, 0, ARCH)];
    for (arch, number) in [
        (AUDIT_ARCH_X86_64, syscall_number as fn(&str) -> Option<u32>),
        (AUDIT_ARCH_I386, i386_syscall_number),
    ] {
        let numbers: BTreeSet<u32> = names.iter().filter_map(|name| number(name)).collect();
        let mut part = vec![(LD_W_ABS, 0, 0, NR)];
        if arch == AUDIT_ARCH_X86_64 {
            part.extend([(JGE, 0, 1, X32_SYSCALL_BIT), (RET, 0, 0, refuse)]);
        }
        for number in numbers {
            part.extend([(JEQ, 0, 1, number), (RET, 0, 0, named)]);
        }
        part.push((RET, 0, 0, others));
        instructions.extend(skip_unless(arch, part.len()));
        instructions.extend(part);
    }
    instructions.push((RET, 0, 0, RET_KILL_PROCESS));
    SyscallProgram(instructions)
}

/// Goes on where the architecture, which is loaded, is `arch`, and otherwise `count` instructions further. A conditional
/// jump reaches 255 of them only.
fn skip_unless(arch: u32, count: usize) -> [Instruction; 2] {
    /// `linux/bpf_common.h`: jumps.
    const JA: u16 = 0x05;
    [
        (JEQ, 1, 0, arch),
        (JA, 0, 0, u32::try_from(count).unwrap_or(u32::MAX)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program answers to a system call: the kernel's interpreter for these instructions.
    fn answer(program: &SyscallProgram, arch: u32, nr: u32) -> u32 {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let (code, jt, jf, k) = program.0[at];
            at += 1;
            match code {
                LD_W_ABS => loaded = if k == NR { nr } else { arch },
                JEQ => at += usize::from(if loaded == k { jt } else { jf }),
                JGE => at += usize::from(if loaded >= k { jt } else { jf }),
                RET => return k,
                _ => at += usize::try_from(k).unwrap(),
            }
        }
    }

    #[test]
    fn a_call_is_known_by_the_number_of_its_kind_of_program() {
        let names = BTreeSet::from(["mount", "umount2", "mmap2"]);
        for (allowed, errno, refused) in [
            (false, Some(1), RET_ERRNO | 1),
            (true, Some(38), RET_ERRNO | 38),
            (true, None, RET_KILL_PROCESS),
        ] {
            let program = program(&names, allowed, errno);
            let (named, others) = if allowed {
                (RET_ALLOW, refused)
            } else {
                (refused, RET_ALLOW)
            };
            // asm/unistd_64.h, asm/unistd_32.h.
            for (arch, nr, expected) in [
                (AUDIT_ARCH_X86_64, 165, named),
                (AUDIT_ARCH_X86_64, 166, named),
                (AUDIT_ARCH_X86_64, 21, others),
                (AUDIT_ARCH_X86_64, 192, others),
                (AUDIT_ARCH_X86_64, X32_SYSCALL_BIT | 165, refused),
                (AUDIT_ARCH_X86_64, X32_SYSCALL_BIT | 21, refused),
                (AUDIT_ARCH_I386, 21, named),
                (AUDIT_ARCH_I386, 52, named),
                (AUDIT_ARCH_I386, 192, named),
                (AUDIT_ARCH_I386, 165, others),
                (0xc000_00b7, 21, RET_KILL_PROCESS),
            ] {
                assert_eq!(answer(&program, arch, nr), expected, "{arch:x} {nr} {allowed}");
            }
        }
    }

    /// The kernel takes 4096 instructions (`BPF_MAXINSNS`).
    #[test]
    fn every_list_fits() {
        let all: Vec<&str> = isopod_spec::seccomp::syscall_names().collect();
        let program = program(&all.into_iter().collect(), true, None);
        assert!(program.0.len() < 4096, "{}", program.0.len());
        assert_eq!(answer(&program, AUDIT_ARCH_X86_64, 0), RET_ALLOW);
        assert_eq!(answer(&program, AUDIT_ARCH_I386, 3), RET_ALLOW);
    }
}
