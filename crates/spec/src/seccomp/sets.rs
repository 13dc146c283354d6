//! Sets of system calls that have a name (appc specification, `os/linux/seccomp-*-set`; rkt's documentation, "Seccomp
//! isolators guide"): docker's and rkt's, which are the same. The lists are data (`crates/spec/data`).

use std::collections::BTreeSet;

use super::is_syscall;
use super::profile::{InvalidProfile, ProfiledProcess, SeccompProfile};
use crate::Architecture;

/// What docker's documentation lists as blocked.
const BLOCKED: &str = include_str!("../../data/seccomp/blocked.txt");

/// What docker's profile refuses with `ENOSYS` so that clone(2) is taken, whose arguments it can look at: a set that has
/// clone(2) as a whole has this as well.
const CLONE3: &str = "clone3";

/// The system calls of the set `name`; `None` where it is not one. Rules on arguments are not part of a set: who has the
/// system call has it with all of them.
///
/// # Errors
/// None: the profile is part of this crate, and a test reads it.
pub fn syscall_set(name: &str) -> Result<Option<BTreeSet<String>>, InvalidProfile> {
    match name {
        "@docker/default-whitelist" | "@rkt/default-whitelist" => allowed().map(Some),
        "@docker/default-blacklist" | "@rkt/default-blacklist" => {
            let blocked = BLOCKED.lines().filter(|name| is_syscall(name));
            Ok(Some(blocked.map(str::to_owned).collect()))
        }
        _ => Ok(None),
    }
}

/// What docker's profile allows a container with docker's capabilities, of which it asks for one.
/// What an architecture does not have is passed over where a program is made of the set.
fn allowed() -> Result<BTreeSet<String>, InvalidProfile> {
    let capabilities = BTreeSet::from(["CAP_SYS_CHROOT".to_owned()]);
    let profile = SeccompProfile::runtime_default()?;
    let rules = Architecture::ALL.into_iter().flat_map(|architecture| {
        let around = ProfiledProcess {
            architecture,
            capabilities: &capabilities,
            kernel: "5.0",
        };
        profile.rules(&around).rules
    });
    let allowed = rules.filter(|rule| rule.answer.allows());
    let names = allowed.flat_map(|rule| rule.names);
    Ok(names.chain([CLONE3.to_owned()]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_has_what_its_name_says() {
        let sets = [
            "@docker/default-whitelist",
            "@docker/default-blacklist",
            "@rkt/default-whitelist",
            "@rkt/default-blacklist",
        ];
        let sets = sets.map(|name| syscall_set(name).unwrap().unwrap());
        let [allowed, blocked, rkt_allowed, rkt_blocked] = &sets;
        assert_eq!((allowed, blocked), (rkt_allowed, rkt_blocked));
        for name in [
            "read",
            "clone",
            "clone3",
            "personality",
            "chroot",
            "arch_prctl",
            "socket",
            "mmap2",
        ] {
            assert!(allowed.contains(name) && !blocked.contains(name), "{name}");
        }
        for name in ["mount", "umount2", "reboot", "unshare", "swapon", "stime"] {
            assert!(blocked.contains(name) && !allowed.contains(name), "{name}");
        }
        assert_eq!(
            blocked.len(),
            BLOCKED.lines().count(),
            "a name that no kernel has"
        );
        // Both name it: ptrace(2) is blocked by old kernels only.
        let both: Vec<_> = allowed.intersection(blocked).collect();
        assert!(
            both.iter()
                .all(|name| ["ptrace", "clock_adjtime"].contains(&name.as_str())),
            "{both:?}"
        );
        assert!(syscall_set("@docker/other").unwrap().is_none());
    }
}
