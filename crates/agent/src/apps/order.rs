//! The order of apps: whether one may start yet, and in which order they are asked to stop. Pure functions of what the
//! planner wrote (`dependsOn`) and of how far each app is.

use isopod_contract::config::{DependencyCondition, GuestDependency};

/// How far an app is, as far as it matters for those that wait for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Whether it ever started.
    pub(crate) started: bool,
    /// Whether it was ever found healthy.
    pub(crate) healthy: bool,
    /// Whether it has ended for good, and well.
    pub(crate) ended: Option<Success>,
}

/// Whether an app ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Success {
    Yes,
    No,
}

/// Whether an app may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Now.
    Open,
    /// Not yet.
    Closed,
    /// Never, because of this app.
    Shut(usize),
}

/// Whether an app with these dependencies may start.
pub(crate) fn gate(dependencies: &[GuestDependency], standings: &[Standing]) -> Gate {
    let mut gate = Gate::Open;
    for dependency in dependencies {
        let index = usize::from(dependency.app);
        let Some(standing) = standings.get(index) else {
            return Gate::Shut(index);
        };
        let reached = match dependency.condition {
            DependencyCondition::Started => standing.started,
            DependencyCondition::Succeeded => standing.ended == Some(Success::Yes),
            DependencyCondition::Healthy => standing.healthy,
        };
        match (reached, standing.ended) {
            (true, _) => {}
            (false, Some(_)) => return Gate::Shut(index),
            (false, None) => gate = Gate::Closed,
        }
    }
    gate
}

/// All apps, each before those that it depends on: the order in which they are asked to stop. systemd holds a unit's
/// stop back until that of every unit behind it is done, but only of those whose stop it knows already.
pub(crate) fn dependents_first<'a>(apps: impl Iterator<Item = &'a [GuestDependency]>) -> Vec<usize> {
    let apps: Vec<&[GuestDependency]> = apps.collect();
    let mut order = Vec::with_capacity(apps.len());
    let mut placed = vec![false; apps.len()];
    while order.len() < apps.len() {
        let is_free = |app: usize| {
            let depends = |other: &[GuestDependency]| other.iter().any(|d| usize::from(d.app) == app);
            !apps
                .iter()
                .zip(&placed)
                .any(|(other, placed)| !placed && depends(other))
        };
        let free: Vec<usize> = (0..apps.len())
            .filter(|&app| !placed[app] && is_free(app))
            .collect();
        if free.is_empty() {
            // A cycle, which the planner refuses.
            order.extend((0..apps.len()).filter(|&app| !placed[app]));
            break;
        }
        free.iter().for_each(|&app| placed[app] = true);
        order.extend(free);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn on(app: u16, condition: DependencyCondition) -> GuestDependency {
        GuestDependency { app, condition }
    }

    const STARTED: DependencyCondition = DependencyCondition::Started;
    const SUCCEEDED: DependencyCondition = DependencyCondition::Succeeded;

    #[test]
    fn a_gate_opens_when_all_have_come_so_far() {
        let before = Standing::default();
        let runs = Standing {
            started: true,
            ..Standing::default()
        };
        let ended = |success| Standing {
            started: true,
            healthy: false,
            ended: Some(success),
        };
        let never_ran = Standing {
            ended: Some(Success::No),
            ..before
        };
        let both = [on(0, STARTED), on(1, SUCCEEDED)];
        for (standings, expected) in [
            ([before, before], Gate::Closed),
            ([runs, runs], Gate::Closed),
            ([runs, ended(Success::Yes)], Gate::Open),
            ([ended(Success::No), ended(Success::Yes)], Gate::Open),
            ([runs, ended(Success::No)], Gate::Shut(1)),
            ([never_ran, before], Gate::Shut(0)),
            ([before, never_ran], Gate::Shut(1)),
        ] {
            assert_eq!(gate(&both, &standings), expected, "{standings:?}");
        }
        assert_eq!(gate(&[], &[]), Gate::Open);
        let healthy = [on(0, DependencyCondition::Healthy)];
        assert_eq!(gate(&healthy, &[runs]), Gate::Closed);
        assert_eq!(
            gate(
                &healthy,
                &[Standing {
                    healthy: true,
                    ..runs
                }]
            ),
            Gate::Open
        );
        assert_eq!(gate(&healthy, &[ended(Success::Yes)]), Gate::Shut(0));
    }

    proptest! {
        #[test]
        fn every_app_stops_once_and_before_those_it_needs(
            edges in proptest::collection::vec((0..8usize, 0..8usize), 0..20),
        ) {
            let mut apps = vec![Vec::new(); 8];
            for (a, b) in edges {
                // Edges lead to lower numbers only, so that there is no cycle.
                if a > b {
                    apps[a].push(on(u16::try_from(b).unwrap_or(0), STARTED));
                }
            }
            let order = dependents_first(apps.iter().map(|app| &**app));
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..8).collect::<Vec<_>>());
            let place = |app| order.iter().position(|&other| other == app);
            for (app, config) in apps.iter().enumerate() {
                for dependency in config {
                    prop_assert!(place(app) < place(usize::from(dependency.app)));
                }
            }
        }
    }

    #[test]
    fn a_cycle_is_no_endless_loop() {
        let apps = [[on(1, STARTED)], [on(0, STARTED)]];
        assert_eq!(dependents_first(apps.iter().map(|app| &app[..])).len(), 2);
    }
}
