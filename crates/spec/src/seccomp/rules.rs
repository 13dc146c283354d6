//! Rules by which a system call is answered: what lists of names and docker's profiles come to, for whoever makes a filter
//! of the kernel's of them.

use serde::{Deserialize, Serialize};

use super::{Refusal, SyscallFilter, errno_number};

/// What a filter answers to a system call (seccomp(2), "SECCOMP_RET_*"). The stricter is the lesser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The process is killed with SIGSYS.
    KillProcess,
    /// The thread is killed with SIGSYS.
    KillThread,
    /// The thread is sent SIGSYS, which it may handle.
    Trap,
    /// The call fails with this error; with 0 it seems to succeed.
    Errno(u16),
    /// A tracer decides, which gets this number; without one the call fails with `ENOSYS`.
    Trace(u16),
    /// It is allowed and logged.
    Log,
    Allow,
}

impl Answer {
    /// Whether a system call can take place that is answered so.
    #[must_use]
    pub fn allows(self) -> bool {
        self >= Self::Trace(0)
    }
}

/// How an argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operator {
    /// It is another.
    NotEqual,
    Less,
    /// It is less, or the same.
    LessOrEqual,
    /// It is the same.
    Equal,
    /// It is greater, or the same.
    GreaterOrEqual,
    Greater,
    /// What the bits of this mask have of it is the same.
    MaskedEqual(u64),
}

/// What an argument of a system call is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// Which argument, from 0 to 5.
    pub argument: u8,
    /// How it is compared.
    pub operator: Operator,
    /// With what, as a number without sign.
    pub value: u64,
}

/// How some system calls are answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyscallRule {
    /// Their names (syscalls(2)).
    pub names: Vec<String>,
    pub answer: Answer,
    /// What all holds of their arguments, each of which is compared once; empty: nothing has to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<Comparison>,
}

/// How all system calls are answered. As with libseccomp a rule without arguments goes before those with some, and of
/// several the first counts; of rules with arguments that hold at once the strictest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyscallRules {
    /// Where no rule says otherwise.
    pub default: Answer,
    /// Whether what is newer than all that the rules name fails with `ENOSYS`, so that a program takes the older one.
    pub newer_unknown: bool,
    /// Whether programs of 32 bits go by the rules as well; otherwise their first call kills them.
    pub compat: bool,
    pub rules: Vec<SyscallRule>,
}

impl SyscallRules {
    /// Those of a list whose system calls alone are allowed, or all but they.
    #[must_use]
    pub fn of_list(filter: &SyscallFilter, allowed: bool) -> Self {
        let refused = match &filter.refusal {
            Refusal::Kill => Answer::KillProcess,
            Refusal::Errno(name) => errno_number(name).map_or(Answer::KillProcess, Answer::Errno),
        };
        let (answer, default) = match allowed {
            true => (Answer::Allow, refused),
            false => (refused, Answer::Allow),
        };
        Self {
            default,
            newer_unknown: false,
            compat: true,
            rules: vec![SyscallRule {
                names: filter.names.clone(),
                answer,
                arguments: Vec::new(),
            }],
        }
    }
}
