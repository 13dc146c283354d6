//! Reads a profile as docker, podman and the kubelet take it (<https://docs.docker.com/engine/security/seccomp/>), and makes
//! rules of it for a process, as docker (`profiles/seccomp`) and runc (`libcontainer/seccomp`) do: conditions are looked at
//! once, names that only other processors know are passed over, of a rule that compares an argument twice each comparison
//! is a rule.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Answer, Comparison, Operator, SyscallRule, SyscallRules, errno_number, has_syscall};
use crate::Architecture;
use crate::words::shown;

/// The profile of [`super::Seccomp::RuntimeDefault`]: docker's own (`crates/spec/data/README.md`).
const DEFAULT: &str = include_str!("../../data/seccomp/docker-default.json");

/// The error that a system call fails with where a profile does not say: `EPERM`.
const DEFAULT_ERRNO: u16 = 1;
/// `ENOSYS`.
const ENOSYS: u16 = 38;
/// The largest error that the kernel gives (`MAX_ERRNO` of `linux/err.h`).
const MAX_ERRNO: u16 = 4095;

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidProfile {
    /// It is no profile.
    #[error("it is not a seccomp profile")]
    Parse(#[from] serde_json::Error),
    /// A part of it is invalid.
    #[error("{0}")]
    Part(String),
    /// It asks for what cannot be had.
    #[error("{what} is not supported")]
    Unsupported {
        /// What it asks for.
        what: String,
        /// What to do about it.
        hint: &'static str,
    },
}

impl InvalidProfile {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unsupported { hint, .. } => hint,
            Self::Parse(_) | Self::Part(_) => {
                "docs.docker.com/engine/security/seccomp describes the form; `seccomp=builtin`, in a pod file \
                 `type: RuntimeDefault`, is docker's own profile"
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeccompProfile {
    default: Answer,
    /// The architectures whose programs of 32 bits go by it, too.
    compat: Vec<Architecture>,
    rules: Vec<(Conditions, SyscallRule)>,
}

/// What is known of a process and of its kernel when a profile is applied.
#[derive(Clone, Copy, Debug)]
pub struct ProfiledProcess<'a> {
    /// The guest's architecture.
    pub architecture: Architecture,
    /// The capabilities that it may have.
    pub capabilities: &'a BTreeSet<String>,
    /// The kernel's release, as uname(1) prints it.
    pub kernel: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProfileDocument {
    default_action: String,
    default_errno_ret: Option<u16>,
    #[serde(default)]
    default_errno: String,
    #[serde(default)]
    listener_path: String,
    flags: Option<Vec<String>>,
    architectures: Option<Vec<String>>,
    arch_map: Option<Vec<ArchMap>>,
    syscalls: Option<Vec<ProfileRule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProfileRule {
    #[serde(default)]
    name: String,
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u16>,
    #[serde(default)]
    errno: String,
    args: Option<Vec<Argument>>,
    includes: Option<Condition>,
    excludes: Option<Condition>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u8,
    #[serde(default)]
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    caps: Option<BTreeSet<String>>,
    arches: Option<BTreeSet<String>>,
    min_kernel: Option<String>,
}

/// Under which a rule counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Conditions {
    includes: Condition,
    excludes: Condition,
}

/// Reads the profile `text`.
///
/// # Errors
/// [`InvalidProfile`] for what is none, and for one that asks for what the guest cannot give.
pub fn read_profile(text: &str) -> Result<SeccompProfile, InvalidProfile> {
    let document: ProfileDocument = serde_json::from_str(text)?;
    if !document.listener_path.is_empty() {
        return Err(InvalidProfile::Unsupported {
            what: "a listener".into(),
            hint: "leave out `listenerPath`: no process answers for a system call",
        });
    }
    let flags = document.flags.unwrap_or_default();
    // Of one thread there are no others.
    if let Some(flag) = flags.iter().find(|flag| *flag != "SECCOMP_FILTER_FLAG_TSYNC") {
        return Err(InvalidProfile::Unsupported {
            what: format!("the flag `{}`", shown(flag)),
            hint: "leave it out",
        });
    }
    let default_errno = errno(document.default_errno_ret, &document.default_errno)?;
    let compat = compat(document.architectures, document.arch_map)?;
    let default = answer(&document.default_action, default_errno)?;
    let mut rules = Vec::new();
    for rule in document.syscalls.unwrap_or_default() {
        rules.extend(rule.read()?);
    }
    Ok(SeccompProfile {
        default,
        compat,
        rules,
    })
}

/// How libseccomp calls the programs of 64 and of 32 bits.
fn libseccomp_names(architecture: Architecture) -> (&'static str, &'static str) {
    match architecture {
        Architecture::Amd64 => ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86"),
        Architecture::Arm64 => ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
    }
}

/// The architectures whose programs of 32 bits go by the profile, too; those of 64 always do.
fn compat(
    architectures: Option<Vec<String>>,
    map: Option<Vec<ArchMap>>,
) -> Result<Vec<Architecture>, InvalidProfile> {
    let architectures = architectures.unwrap_or_default();
    let map = map.unwrap_or_default();
    if !architectures.is_empty() && !map.is_empty() {
        let both = "it has `architectures` and `archMap`, of which only one can be given";
        return Err(InvalidProfile::Part(both.into()));
    }
    let goes_by_it = |architecture: &Architecture| {
        let (own, compat) = libseccomp_names(*architecture);
        let own = map.iter().find(|map| map.architecture == own);
        let sub = own.and_then(|map| map.sub_architectures.as_ref());
        let mut named = architectures.iter().chain(sub.into_iter().flatten());
        named.any(|arch| arch == compat)
    };
    Ok(Architecture::ALL.into_iter().filter(goes_by_it).collect())
}

/// The error that is asked for by number (docker) or by name or number (podman, where that goes first).
fn errno(number: Option<u16>, name: &str) -> Result<u16, InvalidProfile> {
    let named =
        match name {
            "" => None,
            name => Some(errno_number(name).or_else(|| name.parse().ok()).ok_or_else(|| {
                InvalidProfile::Part(format!("`{}` is not an error of errno(3)", shown(name)))
            })?),
        };
    let errno = named.or(number).unwrap_or(DEFAULT_ERRNO);
    match errno <= MAX_ERRNO {
        true => Ok(errno),
        false => Err(InvalidProfile::Part(format!(
            "the error {errno} is above {MAX_ERRNO}, the largest that there is"
        ))),
    }
}

fn answer(action: &str, errno: u16) -> Result<Answer, InvalidProfile> {
    Ok(match action {
        "SCMP_ACT_ALLOW" => Answer::Allow,
        "SCMP_ACT_LOG" => Answer::Log,
        "SCMP_ACT_TRACE" => Answer::Trace(errno),
        "SCMP_ACT_ERRNO" => Answer::Errno(errno),
        "SCMP_ACT_TRAP" => Answer::Trap,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Answer::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Answer::KillProcess,
        "SCMP_ACT_NOTIFY" => {
            return Err(InvalidProfile::Unsupported {
                what: "the action `SCMP_ACT_NOTIFY`".into(),
                hint: "let `SCMP_ACT_ERRNO` answer: no process answers for a system call",
            });
        }
        other => {
            let reason = format!("`{}` is not an action of a seccomp profile", shown(other));
            return Err(InvalidProfile::Part(reason));
        }
    })
}

impl ProfileRule {
    /// The rule with its conditions, or several where it compares an argument twice.
    fn read(self) -> Result<Vec<(Conditions, SyscallRule)>, InvalidProfile> {
        let mut names = self.names.unwrap_or_default();
        if !self.name.is_empty() {
            if !names.is_empty() {
                let both = "a rule has `name` and `names`, of which only one can be given";
                return Err(InvalidProfile::Part(both.into()));
            }
            names.push(self.name);
        }
        let answer = answer(&self.action, errno(self.errno_ret, &self.errno)?)?;
        let conditions = Conditions {
            includes: self.includes.unwrap_or_default(),
            excludes: self.excludes.unwrap_or_default(),
        };
        for condition in [&conditions.includes, &conditions.excludes] {
            if let Some(text) = &condition.min_kernel
                && release(text).is_none()
            {
                let reason = format!("`minKernel` `{}` is not a kernel version", shown(text));
                return Err(InvalidProfile::Part(reason));
            }
        }
        let arguments: Vec<Comparison> = self
            .args
            .unwrap_or_default()
            .into_iter()
            .map(Argument::read)
            .collect::<Result<_, _>>()?;
        let indexes: BTreeSet<u8> = arguments.iter().map(|comparison| comparison.argument).collect();
        let all: Vec<Vec<Comparison>> = match indexes.len() == arguments.len() {
            true => vec![arguments],
            false => arguments.into_iter().map(|one| vec![one]).collect(),
        };
        let rule = |arguments| SyscallRule {
            names: names.clone(),
            answer,
            arguments,
        };
        let rules = all.into_iter().map(|all| (conditions.clone(), rule(all)));
        Ok(rules.collect())
    }
}

impl Argument {
    fn read(self) -> Result<Comparison, InvalidProfile> {
        if self.index > 5 {
            let reason = format!(
                "a rule looks at the argument {}, and 5 is the last one",
                self.index
            );
            return Err(InvalidProfile::Part(reason));
        }
        let (operator, value) = match self.op.as_str() {
            "SCMP_CMP_NE" => (Operator::NotEqual, self.value),
            "SCMP_CMP_LT" => (Operator::Less, self.value),
            "SCMP_CMP_LE" => (Operator::LessOrEqual, self.value),
            "SCMP_CMP_EQ" => (Operator::Equal, self.value),
            "SCMP_CMP_GE" => (Operator::GreaterOrEqual, self.value),
            "SCMP_CMP_GT" => (Operator::Greater, self.value),
            "SCMP_CMP_MASKED_EQ" => (Operator::MaskedEqual(self.value), self.value_two & self.value),
            other => {
                let reason = format!("`{}` is not a comparison of a seccomp profile", shown(other));
                return Err(InvalidProfile::Part(reason));
            }
        };
        Ok(Comparison {
            argument: self.index,
            operator,
            value,
        })
    }
}

/// The version in a kernel's release, as far as a profile can ask for it.
fn release(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.split_once('.')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some((major.parse().ok()?, rest[..end].parse().ok()?))
}

impl Condition {
    fn is_kernel(&self, around: &ProfiledProcess<'_>) -> Option<bool> {
        let least = release(self.min_kernel.as_deref()?)?;
        Some(release(around.kernel).is_some_and(|kernel| kernel >= least))
    }
}

impl Conditions {
    /// Whether a rule under them counts: each of `includes` must hold, with all its capabilities; none of `excludes` may,
    /// with any of them.
    fn hold(&self, around: &ProfiledProcess<'_>) -> bool {
        let given = |set: &Option<BTreeSet<String>>| set.clone().filter(|set| !set.is_empty());
        let (includes, excludes) = (&self.includes, &self.excludes);
        let arch = around.architecture.name();
        let included = given(&includes.arches).is_none_or(|arches| arches.contains(arch))
            && given(&includes.caps).is_none_or(|caps| caps.is_subset(around.capabilities))
            && includes.is_kernel(around).unwrap_or(true);
        let excluded = given(&excludes.arches).is_some_and(|arches| arches.contains(arch))
            || given(&excludes.caps).is_some_and(|caps| !caps.is_disjoint(around.capabilities))
            || excludes.is_kernel(around).unwrap_or(false);
        included && !excluded
    }
}

impl SeccompProfile {
    /// The profile that the runtime applies by default.
    ///
    /// # Errors
    /// None: it is part of this crate, and a test reads it.
    pub fn runtime_default() -> Result<Self, InvalidProfile> {
        read_profile(DEFAULT)
    }

    /// The rules for a process. Names that none of its programs have are left out.
    #[must_use]
    pub fn rules(&self, around: &ProfiledProcess<'_>) -> SyscallRules {
        let held = self
            .rules
            .iter()
            .filter(|(conditions, _)| conditions.hold(around));
        let known = held.map(|(_, rule)| SyscallRule {
            names: rule
                .names
                .iter()
                .filter(|name| has_syscall(around.architecture, name))
                .cloned()
                .collect(),
            ..rule.clone()
        });
        SyscallRules {
            default: self.default,
            newer_unknown: !self.default.allows() && self.default != Answer::Errno(ENOSYS),
            compat: self.compat.contains(&around.architecture),
            rules: known.filter(|rule| !rule.names.is_empty()).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
