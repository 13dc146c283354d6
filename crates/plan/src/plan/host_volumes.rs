//! The host volumes of a pod: which are shared and how, for whom, and what the user should know of them.

use std::collections::{BTreeMap, BTreeSet};

use isopod_spec::{AppName, HostVolume, PodSpec, Propagation, Submounts, Volume, VolumeKind, VolumeName};

use crate::decide::Decided;
use crate::facts::{AppFacts, Facts, MountNames, Owner, RootOrigin, Sizes, SourceKind};
use crate::fault::Fault;
use crate::notices;
use crate::vm::file_server::Ownership;
use crate::vm::giving::{self, Asked, Given};
use crate::vm::sharing::{SharedVolume, Sharing};
use crate::volumes::{VolumeMount, VolumeTable};

/// What is known of the host volumes of a pod.
#[derive(Clone, Copy)]
pub(super) struct HostVolumes<'a> {
    pub(super) spec: &'a PodSpec,
    pub(super) facts: &'a Facts,
    pub(super) decided: &'a [Decided],
    pub(super) table: &'a VolumeTable,
}

fn user(decided: &Decided) -> Owner {
    Owner {
        uid: decided.process.identity.uid,
        gid: decided.process.identity.gid,
    }
}

impl HostVolumes<'_> {
    /// The host volumes that some app mounts. One that nobody writes to is read-only on the host already.
    pub(super) fn shared(&self, notices: &mut Vec<String>) -> Vec<SharedVolume> {
        let mut users: BTreeMap<&VolumeName, (bool, BTreeSet<&AppName>, Submounts)> = BTreeMap::new();
        for (app, decided) in self.spec.apps.iter().zip(self.decided) {
            for mount in decided.mounts.iter() {
                let (written, read_only_apps, submounts) = users.entry(&mount.volume).or_default();
                if mount.keeps_submounts() {
                    *submounts = Submounts::AsOnHost;
                }
                if mount.read_only {
                    read_only_apps.insert(&app.name);
                } else {
                    *written = true;
                }
            }
        }
        let mut shared = Vec::new();
        for volume in self.table.iter() {
            let Some((written, read_only_apps, submounts)) = users.get(&volume.name) else {
                notices.push(format!("volume `{}` is mounted by no app", volume.name));
                continue;
            };
            let VolumeKind::Host(host) = &volume.kind else {
                continue;
            };
            // The guest does not keep such a mount read-only, so the host has to.
            let read_only = !written || *submounts == Submounts::AsOnHost;
            for app in read_only_apps.iter().filter(|_| !read_only) {
                notices.push(notices::weak_read_only(&volume.name, app));
            }
            shared.push(SharedVolume {
                submounts: *submounts,
                ..self.shared_volume(volume, host, read_only)
            });
        }
        shared
    }

    fn shared_volume(&self, volume: &Volume, host: &HostVolume, read_only: bool) -> SharedVolume {
        let facts = self.facts.sources.get(&volume.name);
        let source = facts.map_or_else(|| host.source.clone(), |facts| facts.path.clone());
        let kind = facts.map_or(SourceKind::Directory, |facts| facts.kind);
        SharedVolume {
            id: facts.and_then(|facts| facts.id),
            ..SharedVolume::new(&volume.name, host, source, kind, read_only)
        }
    }

    /// Says of each of `shared` to whom it is given, where mounts ask for that.
    pub(super) fn give(
        &self,
        ownership: Ownership,
        is_bound: bool,
        shared: &mut [SharedVolume],
    ) -> Vec<Fault> {
        let asked = self.spec.apps.iter().zip(self.decided);
        let asked = asked.flat_map(|(app, decided)| Asked::of(app, user(decided)));
        let given = Given {
            table: self.table,
            is_bound,
            ownership,
            host: &self.facts.host,
        };
        giving::give(asked, &given, shared)
    }

    /// The users of the apps that mount host volumes; where none does, those of all.
    pub(super) fn users(&self, sharing: &Sharing) -> Vec<Owner> {
        let shared = |m: &VolumeMount| sharing.volumes.iter().any(|v| v.name == m.volume);
        let mounting = |decided: &&Decided| sharing.volumes.is_empty() || decided.mounts.iter().any(shared);
        self.decided.iter().filter(mounting).map(user).collect()
    }

    /// An ordinary user is one user to the host: what that means for the apps that are other users in the guest.
    pub(super) fn note_foreign_users(
        &self,
        sharing: &Sharing,
        ownership: Ownership,
        notices: &mut Vec<String>,
    ) {
        for (app, decided) in self.spec.apps.iter().zip(self.decided) {
            let uid = decided.process.identity.uid;
            let shared = |m: &&VolumeMount| sharing.volumes.iter().any(|v| v.name == m.volume);
            let written = decided
                .mounts
                .iter()
                .filter(shared)
                .find(|mount| !mount.read_only);
            notices.extend(
                written.and_then(|mount| notices::foreign_user(&mount.volume, &app.name, uid, ownership)),
            );
        }
    }

    /// Whether virtiofsd can read the paths of all that is, or may later be, mounted at and below its volumes.
    pub(super) fn mount_names(&self, sharing: &Sharing) -> MountNames {
        let plain = |volume: &SharedVolume| {
            let facts = self.facts.sources.get(&volume.name);
            let found = facts.map_or(MountNames::Any, |facts| facts.mounts);
            // mountinfo has the path of what is bound, too, and the program reads it as a text.
            volume.source.to_str().is_some()
                && volume.propagation == Propagation::Private
                && (!volume.recursive || found == MountNames::Plain)
        };
        let of_root = |facts: &AppFacts| match facts.root.as_ref().map(|root| &root.origin) {
            Some(RootOrigin::Directory { mounts, .. }) => *mounts == MountNames::Plain,
            Some(RootOrigin::Image { .. }) | None => true,
        };
        match sharing.volumes.iter().all(plain) && self.facts.apps.iter().all(of_root) {
            true => MountNames::Plain,
            false => MountNames::Any,
        }
    }

    /// The volumes whose files virtiofs shows as empty.
    pub(super) fn unknown_sizes(&self, sharing: Option<&Sharing>) -> Vec<String> {
        let shared = sharing.iter().flat_map(|sharing| &sharing.volumes);
        let unknown = shared.filter(|volume| {
            let facts = self.facts.sources.get(&volume.name);
            facts.is_some_and(|facts| facts.sizes == Sizes::Untold)
        });
        unknown
            .map(|volume| notices::unknown_sizes(&volume.name))
            .collect()
    }
}
