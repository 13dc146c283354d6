//! What keeps ordinary users from user namespaces, by the kernel's settings (sysctl(8)).

/// The kernel's switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserNamespaces {
    /// `kernel.apparmor_restrict_unprivileged_userns`: a program without a profile of its own gets no privileges in one, and so
    /// mounts nothing (Ubuntu, from 24.04 on).
    pub apparmor_restricts: bool,
    /// `kernel.unprivileged_userns_clone`, which Debian's and Arch's kernels have: only root may make one.
    pub only_root: bool,
    /// `user.max_user_namespaces`: how many there may be.
    pub most: u64,
}

impl Default for UserNamespaces {
    /// Those of a kernel that nobody has changed.
    fn default() -> Self {
        Self {
            apparmor_restricts: false,
            only_root: false,
            most: u64::MAX,
        }
    }
}

/// What stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// In one sentence.
    pub reason: String,
    /// What to do about it.
    pub fix: String,
}

impl UserNamespaces {
    /// What of them stands in the way of an ordinary user's pods.
    #[must_use]
    pub fn obstacle(&self) -> Option<Obstacle> {
        let lasting = |setting: &str| {
            format!("`echo {setting} | sudo tee /etc/sysctl.d/60-isopod.conf`, then `sudo sysctl --system`")
        };
        let (reason, fix) = if self.apparmor_restricts {
            (
                "AppArmor lets no program without a profile mount in a user namespace",
                format!(
                    "load the profile that Isopod's package brings (`/etc/apparmor.d/isopod`), or switch this off for all programs: {}",
                    lasting("kernel.apparmor_restrict_unprivileged_userns=0")
                ),
            )
        } else if self.only_root {
            (
                "only root may make user namespaces here",
                lasting("kernel.unprivileged_userns_clone=1"),
            )
        } else if self.most == 0 {
            (
                "this host allows no user namespaces",
                lasting("user.max_user_namespaces=15000"),
            )
        } else {
            return None;
        };
        Some(Obstacle {
            reason: reason.into(),
            fix,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_switch_is_named_by_its_sysctl() {
        let fix = |switches: UserNamespaces| {
            let obstacle = switches.obstacle()?;
            Some(obstacle.fix)
        };
        let usual = UserNamespaces::default();
        assert_eq!(fix(usual), None);
        let (apparmor_restricts, only_root, most) = (true, true, 0);
        let all = [
            (
                UserNamespaces {
                    apparmor_restricts,
                    ..usual
                },
                "kernel.apparmor_restrict_unprivileged_userns=0",
            ),
            (
                UserNamespaces { only_root, ..usual },
                "kernel.unprivileged_userns_clone=1",
            ),
            (UserNamespaces { most, ..usual }, "user.max_user_namespaces=15000"),
        ];
        for (switches, setting) in all {
            assert!(fix(switches).unwrap().contains(setting), "{setting}");
        }
    }
}
