//! What was changed of a pod's apps while it ran: `updates.json`, written by the supervisor at each change, and applied again
//! when the pod is started again. What the other files say is what was there before.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use isopod_plan::apps::update::Update;
use isopod_plan::layout;
use isopod_spec::{AppName, PodSpec};
use serde::{Deserialize, Serialize};

use super::files::{PodRecord, VERSION};
use crate::json_file::{self, Durability};

/// The changes of the apps of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Updates {
    /// The version of all files of a pod.
    pub version: u32,
    /// All that was changed of each, the last change of a kind.
    pub apps: BTreeMap<AppName, Update>,
}

impl Default for Updates {
    fn default() -> Self {
        Self {
            version: VERSION,
            apps: BTreeMap::new(),
        }
    }
}

impl Updates {
    /// Those of the pod at `dir`; none where there are none, or where they cannot be read.
    pub(crate) fn read(dir: &Path) -> Self {
        let read = json_file::read::<Self>(dir, layout::UPDATES).ok().flatten();
        read.filter(|updates| updates.version == VERSION)
            .unwrap_or_default()
    }

    /// Adds one, and writes all.
    pub(crate) fn add(
        &mut self,
        app: AppName,
        update: Update,
        dir: &Path,
        durability: Durability,
    ) -> io::Result<()> {
        let before = self.apps.get(&app).copied().unwrap_or_default();
        self.apps.insert(app, update.or(before));
        json_file::write(dir, layout::UPDATES, self, durability)
    }

    /// Has a record say it.
    pub(crate) fn apply_to_record(&self, record: &mut PodRecord) {
        for app in &mut record.apps {
            let update = self.apps.get(&app.name);
            app.restart = update.and_then(|update| update.restart).unwrap_or(app.restart);
        }
    }

    /// Has what was asked for say it.
    pub(crate) fn apply_to_spec(&self, spec: &mut PodSpec) {
        for app in &mut spec.apps {
            if let Some(update) = self.apps.get(&app.name) {
                let resources = &mut app.overrides.resources;
                *resources = update.resources.or(*resources);
                app.restart = update.restart.unwrap_or(app.restart);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use isopod_spec::{Resources, RestartPolicy};

    use super::*;

    #[test]
    fn the_last_change_of_a_kind_stays() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Updates::read(dir.path()), Updates::default());
        let name = || AppName::new("a").unwrap();
        let pids = |limit| Update {
            resources: Resources {
                pids_limit: Some(limit),
                ..Resources::default()
            },
            restart: None,
        };
        let restart = Update {
            restart: Some(RestartPolicy::Always),
            ..Update::default()
        };
        let mut updates = Updates::default();
        for update in [pids(7), restart, pids(8)] {
            updates
                .add(name(), update, dir.path(), Durability::Fleeting)
                .unwrap();
        }
        let read = Updates::read(dir.path());
        assert_eq!(read, updates);
        assert_eq!(read.apps[&name()], pids(8).or(restart));
    }
}
