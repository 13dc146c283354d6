//! What is recorded of an app that came while its pod runs ([`Status`](super::files::Status)): it lasts until the pod stops.

use isopod_contract::arrival::Departure;
use serde::{Deserialize, Serialize};

use super::files::{AppRecord, PodRecord, Status};
use super::volumes::VolumeRecord;

/// An app that came while the pod runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ArrivedRecord {
    /// The app. Whether it has gone again, it says itself.
    pub app: AppRecord,
    /// The volumes that came with it.
    pub volumes: Vec<VolumeRecord>,
    /// Under which numbers of changes what came with it is bound below the share.
    pub serials: Vec<u32>,
    /// What goes with it.
    pub departure: Departure,
    /// Whether the pod's apps are in a slice of their own since.
    pub slice: bool,
}

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
