//! How a pod and its apps live: restarts, readiness, probes, handlers, order, and what one app's failure means.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::AppName;

/// What happens when an app has ended (docker's and podman's `--restart`, Kubernetes' `restartPolicy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Nothing: its end is an end.
    #[default]
    No,
    /// It is started anew after a failure: an exit status other than 0, a signal, a failed liveness probe.
    OnFailure {
        /// How often at most; `None`: without limit.
        max_retries: Option<u32>,
    },
    /// It is started anew, however it ended.
    Always,
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

/// When an app that runs is ready, apart from its probes.
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
}

/// Commands that run beside an app, in its root and as its user, each with its arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handlers {
    /// Before it starts; the app does not when one fails (appc's event handler `pre-start`).
    pub pre_start: Vec<Vec<String>>,
    /// After it has started, beside it (Kubernetes' `postStart`).
    pub post_start: Vec<Vec<String>>,
    /// When it is asked to stop, before its stop signal (Kubernetes' `preStop`).
    pub pre_stop: Vec<Vec<String>>,
    /// After it has ended, however it did (appc's event handler `post-stop`).
    pub post_stop: Vec<Vec<String>>,
}

/// How an app's health is found out (Kubernetes' probes; docker's health check is a [`Probes::readiness`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probes {
    /// Until it succeeds the others wait; when it fails the app is killed.
    pub startup: Option<Probe>,
    /// Whether the app is ready.
    pub readiness: Option<Probe>,
    /// When it fails the app is killed, and its restart policy has the word.
    pub liveness: Option<Probe>,
}

/// A question that is asked of an app again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What is done.
    pub action: ProbeAction,
    /// How long after the app's start the first is asked.
    pub initial_delay: Duration,
    /// How long after a question the next is asked; at least a second.
    pub period: Duration,
    /// How long an answer may take; at least a second.
    pub timeout: Duration,
    /// How many successes in a row make a failed probe succeed; at least 1.
    pub success_threshold: u32,
    /// How many failures in a row make it fail; at least 1.
    pub failure_threshold: u32,
}

/// What a probe does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeAction {
    /// Executes a command in the app's root, as the app's user; status 0 is a success.
    Exec(Vec<String>),
    /// Connects to a port of the pod.
    TcpSocket {
        /// The host; `None`: the pod itself.
        host: Option<String>,
        /// The port.
        port: u16,
    },
    /// Asks by HTTP; a status from 200 to 399 is a success.
    HttpGet {
        /// The host; `None`: the pod itself.
        host: Option<String>,
        /// The port.
        port: u16,
        /// The path, with its query.
        path: String,
        /// More header fields.
        headers: Vec<(String, String)>,
    },
}

impl Probe {
    /// A probe with Kubernetes' defaults: every 10 s, 1 s for an answer, 1 success, 3 failures.
    #[must_use]
    pub fn new(action: ProbeAction) -> Self {
        Self {
            action,
            initial_delay: Duration::ZERO,
            period: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            success_threshold: 1,
            failure_threshold: 3,
        }
    }
}
