//! Reads a profile as docker, podman and the kubelet take it (<https://docs.docker.com/engine/security/seccomp/>), as far
//! as it says just what a [`SyscallFilter`] can say: one list, and one answer to all that is not allowed.
//!
//! What it cannot say is refused: conditions on arguments or capabilities, several answers, answers that ask a
//! supervisor. Names that only other processors know are passed over, as the others do.

use serde::Deserialize;

use super::{ERRNO_END, Refusal, Seccomp, SyscallFilter, syscall_number};
use syscalls::Errno;

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidProfile {
    /// It is no profile.
    #[error("it is not a seccomp profile")]
    Parse(#[from] serde_json::Error),
    /// It says what cannot be kept exactly.
    #[error("it {what}, which a filter of system calls by name cannot do")]
    Inexact {
        /// What it does.
        what: String,
    },
    /// It lists no system call that this machine has.
    #[error("it lists no system call of this machine's")]
    Empty,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<i32>,
    #[serde(default)]
    listener_path: String,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    syscalls: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    name: String,
    #[serde(default)]
    names: Vec<String>,
    action: String,
    errno_ret: Option<i32>,
    #[serde(default)]
    args: Option<Vec<serde::de::IgnoredAny>>,
    #[serde(default)]
    includes: Option<Conditions>,
    #[serde(default)]
    excludes: Option<Conditions>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Conditions {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

impl Conditions {
    fn any(&self) -> bool {
        let some = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
        some(&self.caps) || some(&self.arches) || self.min_kernel.is_some()
    }
}

/// What an action comes to; `None`: the system call is allowed.
fn answer(action: &str, errno: Option<i32>) -> Result<Option<Refusal>, InvalidProfile> {
    let inexact = |what: String| InvalidProfile::Inexact { what };
    match action {
        "SCMP_ACT_ALLOW" => Ok(None),
        "SCMP_ACT_KILL_PROCESS" => Ok(Some(Refusal::Kill)),
        "SCMP_ACT_ERRNO" => {
            let number = errno.unwrap_or(1);
            let name = (1..ERRNO_END)
                .contains(&number)
                .then(|| Errno::new(number).name())
                .flatten();
            let name = name.ok_or_else(|| inexact(format!("answers with the error {number}")))?;
            Ok(Some(Refusal::Errno(name.to_owned())))
        }
        other => Err(inexact(format!(
            "has the action `{}`",
            crate::words::shown(other)
        ))),
    }
}

/// Reads the profile `text`.
///
/// # Errors
/// [`InvalidProfile`] for what is none, and for one that cannot be kept to the letter.
pub fn read_profile(text: &str) -> Result<Seccomp, InvalidProfile> {
    let inexact = |what: &str| InvalidProfile::Inexact {
        what: what.to_owned(),
    };
    let profile: Profile = serde_json::from_str(text)?;
    if !profile.listener_path.is_empty() || !profile.flags.is_empty() {
        return Err(inexact("has flags or a listener"));
    }
    let default = answer(&profile.default_action, profile.default_errno_ret)?;
    let mut names = Vec::new();
    let mut refusal: Option<Refusal> = None;
    for rule in profile.syscalls {
        if rule.args.is_some_and(|args| !args.is_empty()) {
            return Err(inexact("looks at arguments"));
        }
        if [&rule.includes, &rule.excludes]
            .into_iter()
            .flatten()
            .any(Conditions::any)
        {
            return Err(inexact("has rules under conditions"));
        }
        let of_rule = answer(&rule.action, rule.errno_ret)?;
        if of_rule == default {
            continue;
        }
        if default.is_some() == of_rule.is_some()
            || refusal
                .as_ref()
                .is_some_and(|other| Some(other) != of_rule.as_ref())
        {
            return Err(inexact("answers in several ways"));
        }
        refusal = refusal.or(of_rule);
        let named = rule
            .names
            .into_iter()
            .chain(Some(rule.name).filter(|name| !name.is_empty()));
        names.extend(named.filter(|name| syscall_number(name).is_some()));
    }
    let filter = |refusal| SyscallFilter {
        names: names.clone(),
        refusal,
    };
    match (default, refusal) {
        (None, None) => Ok(Seccomp::Unconfined),
        _ if names.is_empty() => Err(InvalidProfile::Empty),
        (Some(default), _) => Ok(Seccomp::Retain(filter(default))),
        (None, Some(refusal)) => Ok(Seccomp::Remove(filter(refusal))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(default: &str, rules: &str) -> Result<Seccomp, InvalidProfile> {
        read_profile(&format!(
            r#"{{"defaultAction": "SCMP_ACT_{default}", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [{rules}]}}"#
        ))
    }

    #[test]
    fn lists_of_names_are_filters() {
        let allow = r#"{"names": ["read", "_llseek"], "action": "SCMP_ACT_ALLOW", "args": [], "includes": {}},
                       {"name": "write", "action": "SCMP_ACT_ALLOW", "args": null}"#;
        let filter = |names: &[&str], refusal| SyscallFilter {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            refusal,
        };
        let eperm = Refusal::Errno("EPERM".to_owned());
        assert_eq!(
            profile("ERRNO", allow).unwrap(),
            Seccomp::Retain(filter(&["read", "write"], eperm))
        );
        let deny = r#"{"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}"#;
        let enosys = Refusal::Errno("ENOSYS".to_owned());
        assert_eq!(
            profile("ALLOW", deny).unwrap(),
            Seccomp::Remove(filter(&["mount"], enosys))
        );
        let kill = r#"{"names": ["mount"], "action": "SCMP_ACT_KILL_PROCESS"}"#;
        assert_eq!(
            profile("ALLOW", kill).unwrap(),
            Seccomp::Remove(filter(&["mount"], Refusal::Kill))
        );
        assert_eq!(profile("ALLOW", "").unwrap(), Seccomp::Unconfined);
    }

    #[test]
    fn what_a_filter_cannot_keep_is_refused() {
        for (default, rules) in [
            ("LOG", ""),
            ("KILL", ""),
            ("ERRNO", ""),
            ("ERRNO", r#"{"names": ["_llseek"], "action": "SCMP_ACT_ALLOW"}"#),
            (
                "ERRNO",
                r#"{"names": ["read"], "action": "SCMP_ACT_KILL_PROCESS"}"#,
            ),
            (
                "ERRNO",
                r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0}]}"#,
            ),
            (
                "ERRNO",
                r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}}"#,
            ),
            ("ALLOW", r#"{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}"#),
            (
                "ALLOW",
                r#"{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4000}"#,
            ),
            (
                "ALLOW",
                r#"{"names": ["read"], "action": "SCMP_ACT_ERRNO"}, {"names": ["write"], "action": "SCMP_ACT_KILL_PROCESS"}"#,
            ),
        ] {
            let error = profile(default, rules).unwrap_err();
            assert!(
                !matches!(error, InvalidProfile::Parse(_)),
                "{default} {rules}: {error}"
            );
        }
        assert!(matches!(read_profile("[]"), Err(InvalidProfile::Parse(_))));
    }
}
