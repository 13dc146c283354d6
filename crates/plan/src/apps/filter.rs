//! Rules on system calls as a program for the kernel (seccomp(2), bpf(4)): what each instruction is, and nothing of who
//! installs it.
//!
//! ```text
//!   load arch ── 64 bits ─> load nr ── which range it is in, by halves:
//!      │                      ├── of the x32 ABI (x86-64) ──> refuse
//!      │                      ├── newer than all in the rules ──> ENOSYS, where they say so
//!      │                      └── in the rules ── its arguments hold ──> the rule's answer ── otherwise ──> the default
//!      ├── 32 bits ─> load nr ── likewise, by the numbers of i386 or ARM's EABI; or kill, where the rules are not for these
//!      └── another ─> kill
//! ```
//!
//! The crate `seccompiler` has one answer for all of a filter's rules, knows no programs of 32 bits, and installs nothing without
//! `PR_SET_NO_NEW_PRIVS`.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use isopod_contract::launch::SyscallProgram;
use isopod_spec::Architecture;
use isopod_spec::seccomp::{
    Answer, Comparison, Operator, SyscallRules, compat_syscall_number, syscall_number,
};

/// `linux/audit.h`: the kinds of program that a guest's kernel executes.
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const AUDIT_ARCH_I386: u32 = 0x4000_0003;
const AUDIT_ARCH_AARCH64: u32 = 0xc000_00b7;
const AUDIT_ARCH_ARM: u32 = 0x4000_0028;
/// `asm/unistd.h`: what numbers of the x32 ABI begin at. They come with the architecture of x86-64.
const X32_SYSCALL_BIT: u32 = 0x4000_0000;

/// `linux/seccomp.h`: what a filter answers.
const RET_KILL_PROCESS: u32 = 0x8000_0000;
const RET_KILL_THREAD: u32 = 0;
const RET_TRAP: u32 = 0x0003_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_TRACE: u32 = 0x7ff0_0000;
const RET_LOG: u32 = 0x7ffc_0000;
const RET_ALLOW: u32 = 0x7fff_0000;
/// `ENOSYS`.
const ENOSYS: Answer = Answer::Errno(38);

/// The most instructions that the kernel takes (`BPF_MAXINSNS` of `linux/bpf_common.h`).
const MAX_INSTRUCTIONS: usize = 4096;

/// `struct seccomp_data`: where the number of the system call is, the architecture, and the first argument, of 8 bytes.
const NR: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

/// `linux/bpf_common.h`: loads a word, masks it, jumps, jumps if equal, greater or not less, returns.
const LD_W_ABS: u16 = 0x20;
const AND: u16 = 0x54;
const JA: u16 = 0x05;
const JEQ: u16 = 0x15;
const JGT: u16 = 0x25;
const JGE: u16 = 0x35;
const RET: u16 = 0x06;

type Instruction = (u16, u8, u8, u32);

/// A rule of one system call.
type Rule<'a> = (&'a [Comparison], Answer);

/// What a filter knows an architecture by: its programs of 64 and of 32 bits; whether the former have a second ABI, and the latter calls
/// that stand for several.
struct Kinds {
    native: u32,
    compat: u32,
    has_x32: bool,
    is_multiplexed: bool,
}

fn kinds(architecture: Architecture) -> Kinds {
    match architecture {
        Architecture::Amd64 => Kinds {
            native: AUDIT_ARCH_X86_64,
            compat: AUDIT_ARCH_I386,
            has_x32: true,
            is_multiplexed: true,
        },
        Architecture::Arm64 => Kinds {
            native: AUDIT_ARCH_AARCH64,
            compat: AUDIT_ARCH_ARM,
            has_x32: false,
            is_multiplexed: false,
        },
    }
}

/// The program of `rules` for a guest of that architecture; `None` where it is longer than the kernel takes.
pub(crate) fn program(architecture: Architecture, rules: &SyscallRules) -> Option<SyscallProgram> {
    let kinds = kinds(architecture);
    let mut instructions = vec![(LD_W_ABS, 0, 0, ARCH)];
    let native = by_number(rules, |name| syscall_number(architecture, name));
    let native = kind(rules, native, kinds.has_x32);
    add_kind(&mut instructions, kinds.native, native);
    if rules.compat {
        let mut numbers = by_number(rules, |name| compat_syscall_number(architecture, name));
        let multiplexed = match kinds.is_multiplexed {
            true => multiplexed(rules),
            false => Vec::new(),
        };
        for (number, comparison, answer) in &multiplexed {
            let of_number = numbers.entry(*number).or_default();
            of_number.push((std::slice::from_ref(comparison), *answer));
        }
        add_kind(&mut instructions, kinds.compat, kind(rules, numbers, false));
    }
    instructions.push((RET, 0, 0, RET_KILL_PROCESS));
    (instructions.len() <= MAX_INSTRUCTIONS).then_some(SyscallProgram(instructions))
}

/// The rules of each system call by its number, those left out that answer as the default does.
fn by_number(rules: &SyscallRules, number: impl Fn(&str) -> Option<u32>) -> BTreeMap<u32, Vec<Rule<'_>>> {
    let mut numbers: BTreeMap<u32, Vec<Rule<'_>>> = BTreeMap::new();
    for rule in &rules.rules {
        for number in rule.names.iter().filter_map(|name| number(name)) {
            let of_number = numbers.entry(number).or_default();
            if rule.answer != rules.default {
                of_number.push((&rule.arguments, rule.answer));
            }
        }
    }
    numbers
}

/// Appends the instructions for one kind of program, passed over by others. A conditional jump reaches 255 of them only.
fn add_kind(instructions: &mut Vec<Instruction>, arch: u32, part: Vec<Instruction>) {
    instructions.extend([(JEQ, 1, 0, arch), (JA, 0, 0, length(&part))]);
    instructions.extend(part);
}

/// What answers the system calls from one number on, up to the next one's.
type Range = (u32, Vec<Instruction>);

fn kind(rules: &SyscallRules, numbers: BTreeMap<u32, Vec<Rule<'_>>>, has_x32: bool) -> Vec<Instruction> {
    let constant = |answer: Answer| vec![(RET, 0, 0, code(answer))];
    let mut ranges: Vec<Range> = vec![(0, constant(rules.default))];
    let mut add = |from: u32, answers: Vec<Instruction>| {
        // The default's, of which nothing is left.
        ranges.pop_if(|(last, _)| *last == from);
        if ranges.last().is_none_or(|(_, of_last)| *of_last != answers) {
            ranges.push((from, answers));
        }
    };
    let newest = numbers.last_key_value().map(|(last, _)| *last);
    for (number, of_number) in numbers {
        add(number, answers(of_number, rules.default));
        add(number.saturating_add(1), constant(rules.default));
    }
    if let Some(newest) = newest.filter(|_| rules.newer_unknown) {
        add(newest.saturating_add(1), constant(ENOSYS));
    }
    if has_x32 {
        let refuse = if rules.default.allows() {
            ENOSYS
        } else {
            rules.default
        };
        add(X32_SYSCALL_BIT, constant(refuse));
    }
    let mut part = vec![(LD_W_ABS, 0, 0, NR)];
    part.extend(search(&ranges));
    part
}

/// Finds the range of the number that is loaded, by halves: the kernel tries the program on every number when it is installed.
fn search(ranges: &[Range]) -> Vec<Instruction> {
    let (below, above) = ranges.split_at(ranges.len() / 2);
    let (Some((from, _)), false) = (above.first(), below.is_empty()) else {
        return ranges.iter().flat_map(|(_, answers)| answers.clone()).collect();
    };
    let below = search(below);
    let mut found = match u8::try_from(below.len()) {
        Ok(over) => vec![(JGE, over, 0, *from)],
        Err(_) => vec![(JGE, 0, 1, *from), (JA, 0, 0, length(&below))],
    };
    found.extend(below);
    found.extend(search(above));
    found
}

/// What answers one system call: the first rule that looks at no argument, or else the strictest whose comparisons hold.
fn answers(mut rules: Vec<Rule<'_>>, default: Answer) -> Vec<Instruction> {
    if let Some((_, answer)) = rules.iter().find(|(comparisons, _)| comparisons.is_empty()) {
        return vec![(RET, 0, 0, code(*answer))];
    }
    rules.sort_by_key(|(_, answer)| *answer);
    let of_rule = |(comparisons, answer): &Rule<'_>| {
        let mut rest = vec![(RET, 0, 0, code(*answer))];
        for comparison in comparisons.iter().rev() {
            let fail = u8::try_from(rest.len()).unwrap_or(u8::MAX);
            rest.splice(0..0, holds(comparison, fail));
        }
        rest
    };
    let mut answers: Vec<_> = rules.iter().flat_map(of_rule).collect();
    answers.push((RET, 0, 0, code(default)));
    answers
}

/// Goes on behind itself where the comparison holds, and otherwise `fail` instructions further: a rule has six of at most
/// six instructions. The upper half of an argument is compared first.
fn holds(comparison: &Comparison, fail: u8) -> Vec<Instruction> {
    let place = ARGUMENTS + 8 * u32::from(comparison.argument);
    let halves = |value: u64| ((value >> 32) as u32, (value & u64::from(u32::MAX)) as u32);
    let (high, low) = halves(comparison.value);
    let (load_high, load_low) = ((LD_W_ABS, 0, 0, place + 4), (LD_W_ABS, 0, 0, place));
    let ordered = |above: u8, below: u8, last: Instruction| {
        vec![
            load_high,
            (JGT, above, 0, high),
            (JEQ, 0, below, high),
            load_low,
            last,
        ]
    };
    match comparison.operator {
        Operator::Equal => vec![load_high, (JEQ, 0, fail + 2, high), load_low, (JEQ, 0, fail, low)],
        Operator::NotEqual => vec![load_high, (JEQ, 0, 2, high), load_low, (JEQ, fail, 0, low)],
        Operator::MaskedEqual(mask) => {
            let (mask_high, mask_low) = halves(mask);
            vec![
                load_high,
                (AND, 0, 0, mask_high),
                (JEQ, 0, fail + 3, high),
                load_low,
                (AND, 0, 0, mask_low),
                (JEQ, 0, fail, low),
            ]
        }
        Operator::Greater => ordered(3, fail + 2, (JGT, 0, fail, low)),
        Operator::GreaterOrEqual => ordered(3, fail + 2, (JGE, 0, fail, low)),
        Operator::Less => ordered(fail + 3, 2, (JGE, fail, 0, low)),
        Operator::LessOrEqual => ordered(fail + 3, 2, (JGT, fail, 0, low)),
    }
}

fn length(instructions: &[Instruction]) -> u32 {
    u32::try_from(instructions.len()).unwrap_or(u32::MAX)
}

fn code(answer: Answer) -> u32 {
    match answer {
        Answer::KillProcess => RET_KILL_PROCESS,
        Answer::KillThread => RET_KILL_THREAD,
        Answer::Trap => RET_TRAP,
        Answer::Errno(errno) => RET_ERRNO | u32::from(errno),
        Answer::Trace(number) => RET_TRACE | u32::from(number),
        Answer::Log => RET_LOG,
        Answer::Allow => RET_ALLOW,
    }
}

/// What i386 has a second way to: the calls of socketcall(2) and ipc(2), whose first argument says which is meant
/// (`linux/net.h`, `linux/ipc.h`).
const MULTIPLEXED: [(&str, &[(&str, u64)]); 2] = [
    (
        "socketcall",
        &[
            ("socket", 1),
            ("bind", 2),
            ("connect", 3),
            ("listen", 4),
            ("accept", 5),
            ("getsockname", 6),
            ("getpeername", 7),
            ("socketpair", 8),
            ("send", 9),
            ("recv", 10),
            ("sendto", 11),
            ("recvfrom", 12),
            ("shutdown", 13),
            ("setsockopt", 14),
            ("getsockopt", 15),
            ("sendmsg", 16),
            ("recvmsg", 17),
            ("accept4", 18),
            ("recvmmsg", 19),
            ("sendmmsg", 20),
        ],
    ),
    (
        "ipc",
        &[
            ("semop", 1),
            ("semget", 2),
            ("semctl", 3),
            ("semtimedop", 4),
            ("msgsnd", 11),
            ("msgrcv", 12),
            ("msgget", 13),
            ("msgctl", 14),
            ("shmat", 21),
            ("shmdt", 22),
            ("shmget", 23),
            ("shmctl", 24),
        ],
    ),
];

/// The rules that the ways of [`MULTIPLEXED`] come to. The arguments of the call itself are in memory there, where no filter
/// looks: a rule that refuses by them refuses the call, one that allows by them does not count.
fn multiplexed(rules: &SyscallRules) -> Vec<(u32, Comparison, Answer)> {
    let mut found = Vec::new();
    for (way, calls) in MULTIPLEXED {
        let Some(number) = compat_syscall_number(Architecture::Amd64, way) else {
            continue;
        };
        for (call, value) in calls {
            let mut of_call: Vec<_> = rules
                .rules
                .iter()
                .filter(|rule| rule.names.iter().any(|name| name == call) && rule.answer != rules.default)
                .filter(|rule| rule.arguments.is_empty() || !rule.answer.allows())
                .collect();
            of_call.sort_by_key(|rule| Reverse(rule.arguments.is_empty()));
            if let Some(rule) = of_call.first() {
                let comparison = Comparison {
                    argument: 0,
                    // The upper half of ipc's has a version in it.
                    operator: Operator::MaskedEqual(0xffff),
                    value: *value,
                };
                found.push((number, comparison, rule.answer));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
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
}
