//! The agent's configuration as a file: made while it is written, app by app, since it names every mount.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use isopod_protocol::config::{
    EarlyMount, GuestApp, GuestConfig, GuestMemory, GuestNetwork, MountAhead, Sysctl,
};
use isopod_spec::VolumeName;
use serde::{Serialize, Serializer};

use crate::guest::files;
use crate::guest::tree::Text;
use crate::guest::units::{Mounts, Selected};
use crate::plan::AppPlan;
use crate::vm::hardware::Sharing;

/// The agent's configuration.
pub(crate) struct PodConfig {
    /// All but what names every mount.
    pub pod: GuestConfig,
    /// The mounts of the guest.
    all: Arc<Mounts>,
    /// Those of the apps' volumes, by app.
    pub mounts: Vec<Selected>,
    /// The file system type of the shares.
    share_type: Option<&'static str>,
    /// The volumes that they carry.
    shared: HashSet<VolumeName>,
}

impl PodConfig {
    pub(crate) fn new(
        pod: GuestConfig,
        apps: &[AppPlan],
        mounts: &Arc<Mounts>,
        sharing: Option<&Sharing>,
    ) -> Self {
        let mut by_service = mounts.by_service();
        let of_app = |app: &AppPlan| by_service.remove(app.unit.as_str()).unwrap_or_default();
        let numbers: Vec<Vec<usize>> = apps.iter().map(of_app).collect();
        let volumes = sharing.iter().flat_map(|sharing| &sharing.volumes);
        Self {
            pod,
            all: Arc::clone(mounts),
            mounts: numbers
                .into_iter()
                .map(|numbers| Selected::new(mounts, numbers))
                .collect(),
            share_type: sharing.map(|sharing| sharing.transport.fs_type()),
            shared: volumes.map(|volume| volume.name.clone()).collect(),
        }
    }

    /// An app with all of its mounts.
    fn app(&self, app: &GuestApp, of_app: &Selected) -> GuestApp {
        let mut app = app.clone();
        let mount = |mount| files::guest_mount(mount, self.share_type, &self.shared);
        app.mounts.extend(of_app.iter().map(mount));
        app
    }
}

impl Text for PodConfig {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        out.write_all(b"\n")
    }
}

impl Serialize for PodConfig {
    /// As [`GuestConfig`] is, with one app's mounts in memory at a time.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let GuestConfig {
            version,
            hostname,
            modules,
            memory,
            early_mounts,
            mounts_ahead: _,
            sysctls,
            network,
            shares,
            apps: _,
        } = &self.pod;
        Whole {
            version: *version,
            hostname,
            modules,
            memory: *memory,
            early_mounts,
            mounts_ahead: Ahead(&self.all),
            sysctls,
            network: network.as_ref(),
            shares,
            apps: Apps(self),
        }
        .serialize(serializer)
    }
}

/// The fields of [`GuestConfig`], in its order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Whole<'a> {
    version: u32,
    hostname: &'a str,
    modules: &'a [String],
    memory: GuestMemory,
    early_mounts: &'a [EarlyMount],
    mounts_ahead: Ahead<'a>,
    sysctls: &'a [Sysctl],
    network: Option<&'a GuestNetwork>,
    shares: &'a [String],
    apps: Apps<'a>,
}

/// The mounts for the agent to make before systemd begins, in the units' order, parents first. None under a profile
/// whose mounts are finished by other units.
struct Ahead<'a>(&'a Mounts);

impl Serialize for Ahead<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let whole = self.0.iter().filter(|mount| self.0.are_whole() && !mount.late);
        serializer.collect_seq(whole.map(|mount| MountAhead {
            source: text(&mount.what),
            mount_point: text(&mount.place),
            fs_type: mount.fs_type.to_owned(),
            options: mount.option_text(),
        }))
    }
}

struct Apps<'a>(&'a PodConfig);

impl Serialize for Apps<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let config = self.0;
        let apps = config.pod.apps.iter().zip(&config.mounts);
        serializer.collect_seq(apps.map(|(app, of_app)| config.app(app, of_app)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::units::MountUnit;
    use crate::profile::Profile;

    /// The agent reads what is written, and in it every app's mounts behind its root.
    #[test]
    fn the_agent_reads_it() {
        let app = |name: &str| GuestApp {
            name: name.into(),
            unit: format!("{name}.service"),
            ..GuestApp::default()
        };
        let pod = GuestConfig {
            version: 1,
            hostname: "h".into(),
            modules: vec!["m".into()],
            memory: GuestMemory::default(),
            early_mounts: Vec::new(),
            mounts_ahead: Vec::new(),
            sysctls: crate::vm::network::sysctls(),
            network: None,
            shares: vec!["/mnt".into()],
            apps: vec![app("a"), app("b")],
        };
        let mount = |place| MountUnit::new(Path::new("x"), Path::new(place), "ext4");
        let mounts = Arc::new(Mounts::new(Profile::DEFAULT, vec![mount("/1"), mount("/2")]));
        let config = PodConfig {
            pod: pod.clone(),
            all: Arc::clone(&mounts),
            mounts: vec![
                Selected::new(&mounts, vec![0, 1]),
                Selected::new(&mounts, vec![1]),
            ],
            share_type: None,
            shared: HashSet::new(),
        };
        let mut text = Vec::new();
        config.write(&mut text).unwrap();
        let read: GuestConfig = serde_json::from_slice(&text).unwrap();
        let places = |i: usize| {
            let mounts = read.apps[i].mounts.iter();
            mounts.map(|mount| mount.mount_point.clone()).collect::<Vec<_>>()
        };
        assert_eq!(
            (places(0), places(1)),
            (vec!["/1".into(), "/2".into()], vec!["/2".into()])
        );
        let without = |app: &GuestApp| GuestApp {
            mounts: Vec::new(),
            ..app.clone()
        };
        let ahead: Vec<&str> = read.mounts_ahead.iter().map(|m| m.mount_point.as_str()).collect();
        assert_eq!(ahead, ["/1", "/2"]);
        let apps = read.apps.iter().map(without).collect();
        let mounts_ahead = Vec::new();
        assert_eq!(
            GuestConfig {
                apps,
                mounts_ahead,
                ..read
            },
            pod
        );
    }
}
