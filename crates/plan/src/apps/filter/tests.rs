use std::collections::BTreeSet;

use isopod_spec::seccomp::{ProfiledProcess, SeccompProfile, SyscallRule, read_profile, syscall_names};
use isopod_spec::{Refusal, SyscallFilter};

use super::*;

/// What the program answers to a system call: the kernel's interpreter for these instructions.
fn answer(program: &SyscallProgram, arch: u32, nr: u32, arguments: &[u64]) -> u32 {
    let word = |offset: u32| match offset {
        NR => nr,
        ARCH => arch,
        offset => {
            let (index, half) = ((offset - ARGUMENTS) / 8, (offset - ARGUMENTS) % 8);
            let argument = arguments.get(index as usize).copied().unwrap_or_default();
            (argument >> (8 * half)) as u32
        }
    };
    let (mut at, mut loaded) = (0, 0);
    loop {
        let (code, jt, jf, k) = program.0[at];
        at += 1;
        match code {
            LD_W_ABS => loaded = word(k),
            AND => loaded &= k,
            JEQ => at += usize::from(if loaded == k { jt } else { jf }),
            JGT => at += usize::from(if loaded > k { jt } else { jf }),
            JGE => at += usize::from(if loaded >= k { jt } else { jf }),
            RET => return k,
            JA => at += usize::try_from(k).unwrap(),
            other => panic!("{other:x}"),
        }
    }
}

fn list(architecture: Architecture, names: &[&str], allowed: bool, refusal: Refusal) -> SyscallProgram {
    let names = names.iter().map(|&name| name.to_owned()).collect();
    let rules = SyscallRules::of_list(&SyscallFilter { names, refusal }, allowed);
    program(architecture, &rules).unwrap()
}

fn profile(text: &str, capabilities: &[&str]) -> SyscallProgram {
    let profile = read_profile(text).unwrap();
    let capabilities = capabilities.iter().map(|&name| name.to_owned()).collect();
    let around = ProfiledProcess {
        architecture: Architecture::Amd64,
        capabilities: &capabilities,
        kernel: "6.1",
    };
    program(Architecture::Amd64, &profile.rules(&around)).unwrap()
}

#[test]
fn a_call_is_known_by_the_number_of_its_kind_of_program() {
    for (allowed, refusal, refused) in [
        (false, Refusal::Errno("EPERM".into()), RET_ERRNO | 1),
        (true, Refusal::Errno("ENOSYS".into()), RET_ERRNO | 38),
        (true, Refusal::Kill, RET_KILL_PROCESS),
    ] {
        let names = ["mount", "umount2", "mmap2"];
        let program = list(Architecture::Amd64, &names, allowed, refusal.clone());
        let of_arm = list(Architecture::Arm64, &names, allowed, refusal);
        let (named, others) = if allowed {
            (RET_ALLOW, refused)
        } else {
            (refused, RET_ALLOW)
        };
        let x32 = if allowed { refused } else { RET_ERRNO | 38 };
        // asm/unistd_64.h, asm/unistd_32.h.
        for (arch, nr, expected) in [
            (AUDIT_ARCH_X86_64, 165, named),
            (AUDIT_ARCH_X86_64, 166, named),
            (AUDIT_ARCH_X86_64, 21, others),
            (AUDIT_ARCH_X86_64, 192, others),
            (AUDIT_ARCH_X86_64, 9999, others),
            (AUDIT_ARCH_X86_64, X32_SYSCALL_BIT | 165, x32),
            (AUDIT_ARCH_X86_64, X32_SYSCALL_BIT | 21, x32),
            (AUDIT_ARCH_I386, 21, named),
            (AUDIT_ARCH_I386, 52, named),
            (AUDIT_ARCH_I386, 192, named),
            (AUDIT_ARCH_I386, 165, others),
            (0xc000_00b7, 21, RET_KILL_PROCESS),
        ] {
            assert_eq!(
                answer(&program, arch, nr, &[]),
                expected,
                "{arch:x} {nr} {allowed}"
            );
        }
        // asm-generic/unistd.h, arch/arm/tools/syscall.tbl.
        for (arch, nr, expected) in [
            (AUDIT_ARCH_AARCH64, 40, named),
            (AUDIT_ARCH_AARCH64, 39, named),
            (AUDIT_ARCH_AARCH64, 165, others),
            (AUDIT_ARCH_AARCH64, X32_SYSCALL_BIT | 40, others),
            (AUDIT_ARCH_ARM, 21, named),
            (AUDIT_ARCH_ARM, 192, named),
            (AUDIT_ARCH_ARM, 40, others),
            (AUDIT_ARCH_X86_64, 165, RET_KILL_PROCESS),
        ] {
            let found = answer(&of_arm, arch, nr, &[]);
            assert_eq!(found, expected, "{arch:x} {nr} {allowed}");
        }
    }
}

#[test]
fn every_list_fits() {
    for architecture in Architecture::ALL {
        let all: Vec<&str> = syscall_names(architecture);
        let program = list(architecture, &all, true, Refusal::Kill);
        let kinds = kinds(architecture);
        let read = syscall_number(architecture, "read").unwrap();
        assert_eq!(answer(&program, kinds.native, read, &[]), RET_ALLOW);
        assert_eq!(answer(&program, kinds.compat, 3, &[]), RET_ALLOW);
    }
    let long = SyscallRules {
        rules: (0..500)
            .map(|value| SyscallRule {
                names: vec!["read".into()],
                answer: Answer::Trap,
                arguments: vec![Comparison {
                    argument: 0,
                    operator: Operator::Equal,
                    value,
                }],
            })
            .collect(),
        ..SyscallRules::of_list(
            &SyscallFilter {
                names: Vec::new(),
                refusal: Refusal::Kill,
            },
            false,
        )
    };
    assert!(super::program(Architecture::Amd64, &long).is_none());
}

/// Every comparison, at and around the borders of both halves of an argument.
#[test]
fn arguments_are_compared_as_numbers_of_64_bits() {
    let around = |value: u64| [value.wrapping_sub(1), value, value.wrapping_add(1)];
    let values: BTreeSet<u64> = [0, 1 << 31, 1 << 32, 3 << 32 | 7, u64::MAX]
        .into_iter()
        .flat_map(around)
        .collect();
    let operators = [
        Operator::NotEqual,
        Operator::Less,
        Operator::LessOrEqual,
        Operator::Equal,
        Operator::GreaterOrEqual,
        Operator::Greater,
        Operator::MaskedEqual(0xffff_0000_0001),
    ];
    for operator in operators {
        for &value in &values {
            let value = match operator {
                Operator::MaskedEqual(mask) => value & mask,
                _ => value,
            };
            let comparison = |argument| Comparison {
                argument,
                operator,
                value,
            };
            let rules = SyscallRules {
                default: Answer::Trap,
                newer_unknown: false,
                compat: false,
                rules: vec![SyscallRule {
                    names: vec!["read".into()],
                    answer: Answer::Log,
                    arguments: (0..6).map(comparison).collect(),
                }],
            };
            let program = program(Architecture::Amd64, &rules).unwrap();
            for &argument in &values {
                let holds = match operator {
                    Operator::NotEqual => argument != value,
                    Operator::Less => argument < value,
                    Operator::LessOrEqual => argument <= value,
                    Operator::Equal => argument == value,
                    Operator::GreaterOrEqual => argument >= value,
                    Operator::Greater => argument > value,
                    Operator::MaskedEqual(mask) => argument & mask == value,
                };
                let expected = if holds { RET_LOG } else { RET_TRAP };
                let found = answer(&program, AUDIT_ARCH_X86_64, 0, &[argument; 6]);
                assert_eq!(found, expected, "{operator:?} {value:x} {argument:x}");
            }
        }
    }
}

#[test]
fn of_several_rules_the_one_without_arguments_counts_or_else_the_strictest() {
    let rule = |action: &str, args: &str| {
        format!(r#"{{"names": ["personality"], "action": "SCMP_ACT_{action}", "args": [{args}]}}"#)
    };
    let one = r#"{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}"#;
    let any = r#"{"index": 0, "value": 0, "op": "SCMP_CMP_GE"}"#;
    for (rules, expected) in [
        ([rule("TRAP", one), rule("ALLOW", "")], RET_ALLOW),
        ([rule("ALLOW", ""), rule("TRAP", one)], RET_ALLOW),
        ([rule("ALLOW", ""), rule("TRAP", "")], RET_ALLOW),
        ([rule("ALLOW", any), rule("TRAP", one)], RET_TRAP),
        ([rule("TRAP", one), rule("ALLOW", any)], RET_TRAP),
    ] {
        let text = format!(
            r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{}]}}"#,
            rules.join(",")
        );
        let found = answer(&profile(&text, &[]), AUDIT_ARCH_X86_64, 135, &[1]);
        assert_eq!(found, expected, "{rules:?}");
    }
}

#[test]
fn i386_has_no_second_way_to_what_is_refused() {
    let x86 = r#""architectures": ["SCMP_ARCH_X86"]"#;
    let vsock = r#""args": [{"index": 0, "value": 40, "op": "SCMP_CMP_EQ"}]"#;
    let text = |default: &str, rules: &str| {
        format!(r#"{{"defaultAction": "SCMP_ACT_{default}", {x86}, "syscalls": [{rules}]}}"#)
    };
    let refuse = |args: &str| {
        format!(r#"{{"names": ["socket", "shmat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5{args}}}"#)
    };
    for args in [String::new(), format!(", {vsock}")] {
        let program = profile(&text("ALLOW", &refuse(&args)), &[]);
        // socket(2) itself, and by socketcall(2); connect(2); shmat(2) by ipc(2), in its version 1.
        for (nr, argument, expected) in [
            (359, 40, RET_ERRNO | 5),
            (102, 1, RET_ERRNO | 5),
            (102, 3, RET_ALLOW),
            (117, 0x1_0015, RET_ERRNO | 5),
            (117, 1, RET_ALLOW),
        ] {
            let found = answer(&program, AUDIT_ARCH_I386, nr, &[argument]);
            assert_eq!(found, expected, "{args} {nr} {argument}");
        }
    }
    let allow = format!(r#"{{"names": ["socket"], "action": "SCMP_ACT_ALLOW", {vsock}}}"#);
    let program = profile(&text("KILL", &allow), &[]);
    assert_eq!(answer(&program, AUDIT_ARCH_I386, 102, &[1]), RET_KILL_THREAD);
    assert_eq!(answer(&program, AUDIT_ARCH_I386, 359, &[40]), RET_ALLOW);
}

/// Against what docker's container has by this profile; each line was tried with libseccomp 2.5 as well.
#[test]
fn dockers_own_profile() {
    let rules = |capabilities: &[&str]| {
        let capabilities = capabilities.iter().map(|&name| name.to_owned()).collect();
        let around = ProfiledProcess {
            architecture: Architecture::Amd64,
            capabilities: &capabilities,
            kernel: "6.1.0-1-amd64",
        };
        let rules = SeccompProfile::runtime_default().unwrap().rules(&around);
        program(Architecture::Amd64, &rules).unwrap()
    };
    let (plain, admin) = (rules(&["CAP_SYS_CHROOT"]), rules(&["CAP_SYS_ADMIN"]));
    let (eperm, enosys) = (RET_ERRNO | 1, RET_ERRNO | 38);
    const NEWUSER: u64 = 0x1000_0000;
    for (call, argument, plainly, with_admin) in [
        ("read", 0, RET_ALLOW, RET_ALLOW),
        ("mount", 0, eperm, RET_ALLOW),
        ("unshare", NEWUSER, eperm, RET_ALLOW),
        ("clone", 17, RET_ALLOW, RET_ALLOW),
        ("clone", NEWUSER | 17, eperm, RET_ALLOW),
        ("clone3", 0, enosys, RET_ALLOW),
        ("personality", 0, RET_ALLOW, RET_ALLOW),
        ("personality", 8, RET_ALLOW, RET_ALLOW),
        ("personality", 0xffff_ffff, RET_ALLOW, RET_ALLOW),
        ("personality", 0x1_0000_0008, eperm, eperm),
        ("personality", 1, eperm, eperm),
        ("ptrace", 0, RET_ALLOW, RET_ALLOW),
        ("chroot", 0, RET_ALLOW, eperm),
        ("reboot", 0, eperm, eperm),
        ("keyctl", 0, eperm, eperm),
        ("arch_prctl", 0, RET_ALLOW, RET_ALLOW),
    ] {
        let nr = syscall_number(Architecture::Amd64, call).unwrap();
        for (program, expected) in [(&plain, plainly), (&admin, with_admin)] {
            let found = answer(program, AUDIT_ARCH_X86_64, nr, &[argument]);
            assert_eq!(found, expected, "{call} {argument:x}");
        }
    }
    // What the profile is too old to know: runc's rule. A hole in its list is not newer.
    assert_eq!(answer(&plain, AUDIT_ARCH_X86_64, 500, &[]), enosys);
    assert_eq!(answer(&plain, AUDIT_ARCH_X86_64, 329, &[]), eperm);
    assert_eq!(answer(&plain, AUDIT_ARCH_I386, 3, &[]), RET_ALLOW);
    assert_eq!(answer(&plain, AUDIT_ARCH_I386, 21, &[]), eperm);
    assert_eq!(answer(&plain, 0xc000_00b7, 1, &[]), RET_KILL_PROCESS);
}
