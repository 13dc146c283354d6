//! What the API takes for fields that nothing here acts on: words of which one must be there, and numbers that are not
//! negative. A field that is acted on says so where it is read.

use crate::located::Node;

/// Type, field, and the words that it may have, each in backticks.
const WORDS: [(&str, &str, &str); 22] = [
    (
        "CronJobSpec",
        "concurrencyPolicy",
        "`Allow`, `Forbid` or `Replace`",
    ),
    ("DaemonSetUpdateStrategy", "type", "`RollingUpdate` or `OnDelete`"),
    ("DeploymentStrategy", "type", "`RollingUpdate` or `Recreate`"),
    (
        "JobSpec",
        "podReplacementPolicy",
        "`TerminatingOrFailed` or `Failed`",
    ),
    (
        "NodeSelectorRequirement",
        "operator",
        "`In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt` or `Lt`",
    ),
    (
        "PersistentVolumeSpec",
        "persistentVolumeReclaimPolicy",
        "`Retain`, `Delete` or `Recycle`",
    ),
    (
        "PodFailurePolicyOnExitCodesRequirement",
        "operator",
        "`In` or `NotIn`",
    ),
    (
        "PodFailurePolicyRule",
        "action",
        "`FailJob`, `FailIndex`, `Ignore` or `Count`",
    ),
    (
        "PodSecurityContext",
        "fsGroupChangePolicy",
        "`Always` or `OnRootMismatch`",
    ),
    (
        "PodSecurityContext",
        "seLinuxChangePolicy",
        "`Recursive` or `MountOption`",
    ),
    ("PodSpec", "preemptionPolicy", "`Never` or `PreemptLowerPriority`"),
    (
        "StatefulSetPersistentVolumeClaimRetentionPolicy",
        "whenDeleted",
        "`Retain` or `Delete`",
    ),
    (
        "StatefulSetPersistentVolumeClaimRetentionPolicy",
        "whenScaled",
        "`Retain` or `Delete`",
    ),
    (
        "StatefulSetSpec",
        "podManagementPolicy",
        "`OrderedReady` or `Parallel`",
    ),
    (
        "StatefulSetUpdateStrategy",
        "type",
        "`RollingUpdate` or `OnDelete`",
    ),
    (
        "Toleration",
        "effect",
        "`NoSchedule`, `PreferNoSchedule` or `NoExecute`",
    ),
    ("Toleration", "operator", "`Equal`, `Exists`, `Lt` or `Gt`"),
    (
        "TopologySpreadConstraint",
        "nodeAffinityPolicy",
        "`Honor` or `Ignore`",
    ),
    (
        "TopologySpreadConstraint",
        "nodeTaintsPolicy",
        "`Honor` or `Ignore`",
    ),
    (
        "TopologySpreadConstraint",
        "whenUnsatisfiable",
        "`DoNotSchedule` or `ScheduleAnyway`",
    ),
    ("ContainerResizePolicy", "resourceName", "`cpu` or `memory`"),
    (
        "ContainerResizePolicy",
        "restartPolicy",
        "`NotRequired` or `RestartContainer`",
    ),
];

/// Type and field of numbers that are not negative.
const COUNTS: [(&str, &str); 15] = [
    ("CronJobSpec", "failedJobsHistoryLimit"),
    ("CronJobSpec", "startingDeadlineSeconds"),
    ("CronJobSpec", "successfulJobsHistoryLimit"),
    ("DaemonSetSpec", "minReadySeconds"),
    ("DaemonSetSpec", "revisionHistoryLimit"),
    ("DeploymentSpec", "minReadySeconds"),
    ("DeploymentSpec", "progressDeadlineSeconds"),
    ("DeploymentSpec", "revisionHistoryLimit"),
    ("JobSpec", "backoffLimitPerIndex"),
    ("JobSpec", "maxFailedIndexes"),
    ("JobSpec", "ttlSecondsAfterFinished"),
    ("ReplicaSetSpec", "minReadySeconds"),
    ("ReplicationControllerSpec", "minReadySeconds"),
    ("StatefulSetSpec", "minReadySeconds"),
    ("StatefulSetSpec", "revisionHistoryLimit"),
];

/// Reports a value of the field `field` of the type `type_name` that the API does not take.
pub(super) fn check(type_name: &str, field: &str, node: &Node<'_>) {
    let words = WORDS
        .iter()
        .find(|(of, name, _)| *of == type_name && *name == field);
    // An empty one counts as one that is not there, as in Go.
    let text = node.as_text().filter(|text| !text.is_empty());
    if let (Some((_, _, expected)), Some(text)) = (words, text)
        && !expected.split('`').skip(1).step_by(2).any(|word| word == text)
    {
        node.reject(text, expected);
    }
    if COUNTS.contains(&(type_name, field)) {
        let _: Option<u32> = node.as_number("a whole number from 0 on");
    }
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    #[test]
    fn every_one_of_them_is_a_field_of_the_api() {
        let fields = WORDS.iter().map(|(of, name, _)| (*of, *name)).chain(COUNTS);
        for (of, name) in fields {
            let found = table::fields(of).iter().find(|field| field.name == name);
            let found = found.unwrap_or_else(|| panic!("{of}.{name}"));
            assert!(
                !matches!(found.status, table::FieldStatus::Honoured("")),
                "{of}.{name}"
            );
        }
    }
}
