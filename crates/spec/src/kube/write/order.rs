//! Which apps are init containers and sidecars, and whether the order that a Pod gives them is the one asked for.

use crate::gaps::Gaps;
use crate::{App, AppRole, Dependency, DependencyCondition, PodSpec};

/// The apps by their lists.
pub(super) struct AppsByList<'a> {
    /// Sidecars, and those that others wait for to succeed.
    pub(super) init: Vec<&'a App>,
    /// The others.
    pub(super) main: Vec<&'a App>,
}

impl<'a> AppsByList<'a> {
    /// Sorts the apps of `pod`.
    pub(super) fn of(pod: &'a PodSpec, gaps: &Gaps) -> Self {
        let is_waited_for = |app: &App| {
            let all = pod.apps.iter().flat_map(|other| &other.depends_on);
            all.into_iter()
                .any(|other| other.app == app.name && other.condition == DependencyCondition::Succeeded)
        };
        let is_init = |app: &&App| app.role == AppRole::Sidecar || is_waited_for(app);
        let (mut init, main): (Vec<&App>, Vec<&App>) = pod.apps.iter().partition(is_init);
        // Each behind those that it waits for; of others the order of declaration stays.
        init.sort_by_cached_key(|app| all_before(pod, app).len());
        let mut gates: Vec<Dependency> = Vec::new();
        for app in &init {
            compare(pod, app, &gates, gaps);
            gates.push(gate(app));
        }
        main.iter().for_each(|app| compare(pod, app, &gates, gaps));
        Self { init, main }
    }
}

/// How far an init container must have come before what follows it.
fn gate(app: &App) -> Dependency {
    Dependency {
        app: app.name.clone(),
        condition: super::super::pod::gate_condition(app.role, app.probes.startup.is_some()),
    }
}

/// All that comes before `app`, by whatever way.
fn all_before<'a>(pod: &'a PodSpec, app: &'a App) -> Vec<&'a Dependency> {
    let mut found: Vec<&Dependency> = Vec::new();
    let mut next: Vec<&App> = vec![app];
    while let Some(app) = next.pop() {
        for dependency in &app.depends_on {
            if !found.contains(&dependency) {
                found.push(dependency);
                next.extend(pod.apps.iter().find(|other| other.name == dependency.app));
            }
        }
    }
    // Of two conditions the weaker one says nothing: what has succeeded or is healthy has started.
    let all = found.clone();
    let stronger = |weak: &Dependency| {
        all.iter()
            .any(|other| other.app == weak.app && other.condition != DependencyCondition::Started)
    };
    found.retain(|one| one.condition != DependencyCondition::Started || !stronger(one));
    found
}

/// Reports what differs between what an app waits for and what a Pod lets it wait for.
fn compare(pod: &PodSpec, app: &App, gates: &[Dependency], gaps: &Gaps) {
    let before = all_before(pod, app);
    for wanted in before.iter().filter(|wanted| !gates.contains(wanted)) {
        let state = match wanted.condition {
            DependencyCondition::Started => "has started",
            DependencyCondition::Succeeded => "has succeeded",
            DependencyCondition::Healthy => "is healthy",
        };
        gaps.add(
            format!("app `{}`: waiting until app `{}` {state}", app.name, wanted.app),
            "containers start all at once, after the init containers, which start one after the other",
        );
    }
    for other in gates
        .iter()
        .filter(|gate| before.iter().all(|one| one.app != gate.app))
    {
        gaps.add(
            format!(
                "app `{}`: starting without waiting for app `{}`",
                app.name, other.app
            ),
            "whatever one container waits for, all that follow wait for",
        );
    }
}
