//! How an app lives, decided: what the agent in the guest receives about restarts. The agent counts and waits, and decides
//! nothing: every number is from here.

use isopod_contract::config::{self, GuestDependency, GuestRestart, RestartAfter};
use isopod_spec::{
    App, AppName, AppRole, Dependency, DependencyCondition, LastWords, Readiness, RestartPolicy,
    RootOnRestart,
};

use crate::apps::health::AppHealth;

/// The first delay before a restart, in milliseconds (docker's).
const FIRST_DELAY_MS: u64 = 100;

/// The longest delay before a restart, in milliseconds (Kubernetes').
const MAX_DELAY_MS: u64 = 5 * 60 * 1000;

/// An app that ran this long gets the first delay again, in milliseconds (docker's).
const RESET_AFTER_MS: u64 = 10 * 1000;

/// How an app lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppLifecycle {
    /// What happens when it has ended.
    pub restart: RestartPolicy,
    /// What is left then of what it wrote.
    pub root_on_restart: RootOnRestart,
    /// When it counts as ready.
    pub readiness: Readiness,
    /// What must come before it.
    pub depends_on: Vec<Dependency>,
    /// How its health is looked after.
    pub health: AppHealth,
    /// Whether the pod lives as long as it does.
    pub role: AppRole,
    /// Where it may say why it ended.
    pub last_words: LastWords,
}

impl AppLifecycle {
    /// How `app` lives.
    #[must_use]
    pub(crate) fn of(app: &App, health: AppHealth) -> Self {
        Self {
            restart: app.restart,
            root_on_restart: app.root_on_restart,
            readiness: app.readiness,
            depends_on: app.depends_on.clone(),
            health,
            role: app.role,
            last_words: app.last_words.clone(),
        }
    }

    /// Whether the app reports when it is ready, which otherwise it is as soon as it has started.
    #[must_use]
    pub fn reports_readiness(&self) -> bool {
        self.readiness == Readiness::Notify || self.health.reports_readiness()
    }

    /// Whether anything ever finds the app healthy.
    #[must_use]
    pub fn is_probed(&self) -> bool {
        self.health.has_probes()
    }

    /// What the agent receives about the apps that come before this one, of a pod of these `apps`.
    pub(crate) fn guest_dependencies(&self, apps: &[&AppName]) -> Vec<GuestDependency> {
        let guests = |dependency: &Dependency| {
            let app = apps.iter().position(|app| **app == dependency.app)?;
            let condition = match dependency.condition {
                DependencyCondition::Started => config::DependencyCondition::Started,
                DependencyCondition::Succeeded => config::DependencyCondition::Succeeded,
                DependencyCondition::Healthy => config::DependencyCondition::Healthy,
            };
            let app = u16::try_from(app).ok()?;
            Some(GuestDependency { app, condition })
        };
        self.depends_on.iter().filter_map(guests).collect()
    }

    /// What the agent receives about restarts; `None`: there are none.
    #[must_use]
    pub fn guest_restart(&self) -> Option<GuestRestart> {
        guest_restart(self.restart)
    }
}

/// A restart policy as the agent receives it; `None`: there are no restarts.
pub(crate) fn guest_restart(policy: RestartPolicy) -> Option<GuestRestart> {
    let (after, max_restarts) = match policy {
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

/// A dependency as `--depends-on` takes it.
pub(crate) fn dependency_words(dependency: &Dependency) -> String {
    let condition = match dependency.condition {
        DependencyCondition::Started => "started",
        DependencyCondition::Succeeded => "succeeded",
        DependencyCondition::Healthy => "healthy",
    };
    format!("{}={condition}", dependency.app)
}
