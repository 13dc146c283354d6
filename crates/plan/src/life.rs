//! How an app lives, decided: what the agent in the guest is told of restarts. The agent counts and waits, and decides
//! nothing: every number is from here.

use isopod_protocol::config::{GuestRestart, RestartAfter};
use isopod_spec::{App, RestartPolicy};

/// The first delay before a restart, in milliseconds (docker's).
const FIRST_DELAY_MS: u64 = 100;

/// The longest delay before a restart, in milliseconds (Kubernetes').
const MAX_DELAY_MS: u64 = 5 * 60 * 1000;

/// An app that ran this long gets the first delay again, in milliseconds (docker's).
const RESET_AFTER_MS: u64 = 10 * 1000;

/// How an app lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// What happens when it has ended.
    pub restart: RestartPolicy,
}

impl Life {
    /// How `app` lives.
    #[must_use]
    pub fn of(app: &App) -> Self {
        Self { restart: app.restart }
    }

    /// What the agent is told of restarts; `None`: there are none.
    #[must_use]
    pub fn guest_restart(&self) -> Option<GuestRestart> {
        let (after, max_restarts) = match self.restart {
            RestartPolicy::No => return None,
            RestartPolicy::OnFailure { max_retries } => (RestartAfter::Failure, max_retries),
            RestartPolicy::Always => (RestartAfter::AnyEnd, None),
        };
        Some(GuestRestart {
            after,
            max_restarts,
            first_delay_ms: FIRST_DELAY_MS,
            max_delay_ms: MAX_DELAY_MS,
            reset_after_ms: RESET_AFTER_MS,
        })
    }
}

/// A restart policy as `--restart` takes it.
pub(crate) fn restart_words(policy: RestartPolicy) -> String {
    match policy {
        RestartPolicy::No => "no".to_owned(),
        RestartPolicy::OnFailure { max_retries: None } => "on-failure".to_owned(),
        RestartPolicy::OnFailure {
            max_retries: Some(count),
        } => format!("on-failure:{count}"),
        RestartPolicy::Always => "always".to_owned(),
    }
}
