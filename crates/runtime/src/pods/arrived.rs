//! A pod's record together with its status: the apps that came while the pod runs, and those that have gone.

use super::files::{AppRecord, PodRecord, Status};

impl PodRecord {
    /// The apps that it has, with their numbers.
    pub fn present(&self) -> impl Iterator<Item = (usize, &AppRecord)> {
        self.apps.iter().enumerate().filter(|(_, app)| !app.gone)
    }

    /// With the apps that came while the pod runs, those that have gone again included: their numbers are used once.
    #[must_use]
    pub(super) fn with_arrived(mut self, status: Option<&Status>) -> Self {
        for arrived in status.iter().flat_map(|status| &status.arrived) {
            if !arrived.app.gone {
                self.volumes.extend(arrived.volumes.iter().cloned());
            }
            self.slice |= arrived.slice;
            self.apps.push(arrived.app.clone());
        }
        self
    }
}
