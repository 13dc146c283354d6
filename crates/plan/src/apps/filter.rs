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
mod tests;
