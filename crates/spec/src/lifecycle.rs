//! How a pod and its apps live: restarts, readiness, order, and what one app's failure means.

use serde::{Deserialize, Serialize};

use crate::AppName;

/// What happens when an app has ended (docker's and podman's `--restart`, Kubernetes' `restartPolicy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Nothing: its end is an end.
    #[default]
    No,
    /// It is restarted after a failure: an exit status other than 0, a signal.
    OnFailure {
        /// How often at most; `None`: without limit.
        max_retries: Option<u32>,
    },
    /// It is restarted, however it ended.
    Always,
}

/// What an app that is restarted finds of what it wrote to its root filesystem. Its volumes stay in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootOnRestart {
    /// All of it (docker, podman).
    #[default]
    Kept,
    /// Nothing: the root is as its image has it (Kubernetes, where a restart is a new container).
    Fresh,
}

/// What the pod does when an app has failed for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailurePolicy {
    /// The other apps run on.
    #[default]
    Continue,
    /// The other apps are stopped.
    Stop,
}

/// When an app that runs is ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Readiness {
    /// As soon as its program executes.
    #[default]
    Started,
    /// When it says `READY=1` (sd_notify(3)).
    Notify,
}

/// An app that must have come so far before this one starts (compose's `depends_on`). They stop in the reverse order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// The app that comes first.
    pub app: AppName,
    /// How far it must have come.
    pub condition: DependencyCondition,
}

/// How far an app must have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DependencyCondition {
    /// It has started; one of [`Readiness::Notify`] has said that it is ready.
    #[default]
    Started,
    /// It has ended with exit status 0 (Kubernetes' init containers).
    Succeeded,
    /// Its probes or its health check have found it healthy (compose's `service_healthy`).
    Healthy,
}
