//! What becomes of an app that runs when it gets other limits or another restart policy: the properties of its unit
//! (org.freedesktop.systemd1(5)), in the numbers that systemd has behind the settings of [`limits`](super::limits).

use isopod_contract::change::AppChange;
use isopod_spec::{Resources, RestartPolicy};
use serde::{Deserialize, Serialize};

use super::lifecycle::guest_restart;
use super::limits::{MIN_CPU_MILLIS, MIN_MEMORY_BYTES, cpu_weight};

/// systemd's number for no limit.
pub const NO_LIMIT: u64 = u64::MAX;

/// What is to be other than it was; what is not said stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Update {
    /// What the app may take. `pids_limit` may be [`NO_LIMIT`].
    pub resources: Resources,
    /// When it is restarted.
    pub restart: Option<RestartPolicy>,
}

impl Update {
    /// This, and where it says nothing what `before` says.
    #[must_use]
    pub fn or(self, before: Self) -> Self {
        Self {
            resources: self.resources.or(before.resources),
            restart: self.restart.or(before.restart),
        }
    }

    /// Why it cannot be.
    ///
    /// # Errors
    /// The reason, in words.
    pub fn check(&self) -> Result<(), String> {
        let resources = &self.resources;
        if resources
            .memory_limit_bytes
            .is_some_and(|limit| limit < MIN_MEMORY_BYTES)
        {
            return Err(format!(
                "a memory limit is at least {} MiB: no program starts with less",
                MIN_MEMORY_BYTES >> 20
            ));
        }
        if resources.memory_request_bytes.is_some() || resources.oom_score_adj.is_some() {
            return Err(
                "what memory an app keeps, and how readily it is killed, is decided when its pod starts"
                    .to_owned(),
            );
        }
        match *self == Self::default() {
            true => Err("there is nothing to change".to_owned()),
            false => Ok(()),
        }
    }

    /// What the agent is asked to do.
    #[must_use]
    pub fn changes(&self) -> Vec<AppChange> {
        let resources = &self.resources;
        let mut properties = Vec::new();
        let mut set =
            |name: &str, value: Option<u64>| properties.extend(value.map(|value| (name.to_owned(), value)));
        set("MemoryMax", resources.memory_limit_bytes);
        // Microseconds of a second.
        let quota = |millis: u32| u64::from(millis.max(MIN_CPU_MILLIS)) * 1000;
        set("CPUQuotaPerSecUSec", resources.cpu_limit_millis.map(quota));
        let weight = |millis| u64::from(cpu_weight(millis));
        set("CPUWeight", resources.cpu_request_millis.map(weight));
        set("TasksMax", resources.pids_limit);
        let properties = (!properties.is_empty()).then_some(AppChange::Properties(properties));
        let restart = self
            .restart
            .map(|policy| AppChange::Restart(guest_restart(policy)));
        properties.into_iter().chain(restart).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_is_what_systemd_counts_in() {
        let update = Update {
            resources: Resources {
                memory_limit_bytes: Some(64 << 20),
                cpu_limit_millis: Some(500),
                cpu_request_millis: Some(2000),
                pids_limit: Some(NO_LIMIT),
                ..Resources::default()
            },
            restart: Some(RestartPolicy::No),
        };
        assert_eq!(update.check(), Ok(()));
        let [AppChange::Properties(properties), AppChange::Restart(None)] = &update.changes()[..] else {
            panic!("{:?}", update.changes())
        };
        let expected = [
            ("MemoryMax", 64 << 20),
            ("CPUQuotaPerSecUSec", 500_000),
            ("CPUWeight", 200),
            ("TasksMax", u64::MAX),
        ];
        assert_eq!(
            properties[..],
            expected.map(|(name, value)| (name.to_owned(), value))
        );
        // The least that the kernel accounts for.
        let little = Update {
            resources: Resources {
                cpu_limit_millis: Some(1),
                ..Resources::default()
            },
            ..Update::default()
        };
        let expected = AppChange::Properties(vec![("CPUQuotaPerSecUSec".to_owned(), 10_000)]);
        assert_eq!(little.changes(), [expected]);
        assert_eq!(little.or(update).resources.memory_limit_bytes, Some(64 << 20));
    }

    #[test]
    fn what_cannot_be_is_said() {
        let of = |resources| Update {
            resources,
            restart: None,
        };
        let small = Resources {
            memory_limit_bytes: Some(1 << 20),
            ..Resources::default()
        };
        let kept = Resources {
            memory_request_bytes: Some(64 << 20),
            ..Resources::default()
        };
        for resources in [small, kept, Resources::default()] {
            assert!(of(resources).check().is_err(), "{resources:?}");
        }
    }
}
