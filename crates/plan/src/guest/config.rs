//! What comes to the VM, as a file for the agent: made while it is written, app by app, since it names every mount.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use isopod_contract::config::{
    ARRIVAL_VERSION, Arrival, BIND, EarlyMount, FreshRoot, GuestApp, GuestDevice, GuestMount, Identity,
    MountAhead,
};
use isopod_spec::{AppName, Device, Readiness, VolumeName};
use serde::{Serialize, Serializer};

use crate::apps::AppPlan;
use crate::apps::health::POST_STOP_MS;
use crate::apps::last_words;
use crate::guest::entry::WriteText;
use crate::guest::units::{MountUnit, Mounts, Selected, Sys, World};
use crate::layout;
use crate::systemd::unit_name;
use crate::vm::disks::{self, DISK_TYPE};
use crate::vm::network;
use crate::vm::sharing::{Sharing, Transport};

/// An arrival as it is written: the mounts of its apps are added one app at a time.
pub(crate) struct ArrivalText {
    /// All but what names every mount.
    pub arrival: Arrival,
    /// The mounts of the guest.
    all: Arc<Mounts>,
    /// Those of the apps' volumes, by app.
    pub mounts: Vec<Selected>,
    /// The file system type of the shares.
    share_type: Option<&'static str>,
    /// The volumes that they carry.
    shared: HashSet<VolumeName>,
}

impl ArrivalText {
    /// Of a pod whose host volumes come so.
    pub(crate) fn new(
        arrival: Arrival,
        apps: &[AppPlan],
        mounts: &Arc<Mounts>,
        sharing: Option<&Sharing>,
    ) -> Self {
        let volumes = sharing.iter().flat_map(|sharing| &sharing.volumes);
        let share_type = sharing.map(|sharing| sharing.transport.fs_type());
        let shared = volumes.map(|volume| volume.name.clone()).collect();
        Self::of_share(arrival, apps, mounts, share_type, shared)
    }

    /// Of apps whose volumes `shared` are on shares of that file system type.
    pub(crate) fn of_share(
        arrival: Arrival,
        apps: &[AppPlan],
        mounts: &Arc<Mounts>,
        share_type: Option<&'static str>,
        shared: HashSet<VolumeName>,
    ) -> Self {
        let mut by_service = mounts.by_service();
        let of_app = |app: &AppPlan| by_service.remove(app.unit.as_str()).unwrap_or_default();
        let numbers: Vec<Vec<usize>> = apps.iter().map(of_app).collect();
        Self {
            arrival,
            all: Arc::clone(mounts),
            mounts: numbers
                .into_iter()
                .map(|numbers| Selected::new(mounts, numbers))
                .collect(),
            share_type,
            shared,
        }
    }

    /// An app with all of its mounts.
    fn app(&self, app: &GuestApp, of_app: &Selected) -> GuestApp {
        let mut app = app.clone();
        let mount = |mount| guest_mount(mount, self.share_type, &self.shared);
        app.mounts.extend(of_app.iter().map(mount));
        app
    }
}

impl WriteText for ArrivalText {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        out.write_all(b"\n")
    }
}

impl Serialize for ArrivalText {
    /// As [`Arrival`] is, with one app's mounts in memory at a time.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Arrival {
            version,
            identity,
            unit,
            modules,
            early_mounts,
            mounts_ahead: _,
            shares,
            disks,
            apps: _,
        } = &self.arrival;
        Whole {
            version: *version,
            identity: identity.as_ref(),
            unit,
            modules,
            early_mounts,
            mounts_ahead: Ahead {
                mounts: &self.all,
                early: early_mounts,
            },
            shares,
            disks,
            apps: Apps(self),
        }
        .serialize(serializer)
    }
}

/// The fields of [`Arrival`], in its order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Whole<'a> {
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<&'a Identity>,
    unit: &'a str,
    modules: &'a [String],
    early_mounts: &'a [EarlyMount],
    mounts_ahead: Ahead<'a>,
    shares: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    disks: &'a [String],
    apps: Apps<'a>,
}

/// The mounts for the agent to make ahead of systemd, in the units' order, parents first.
struct Ahead<'a> {
    mounts: &'a Mounts,
    /// What is there before them; it may have the share.
    early: &'a [EarlyMount],
}

impl Serialize for Ahead<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let share = self
            .early
            .iter()
            .any(|early| early.mount_point == layout::SHARE_DIR);
        let there = |mount: &MountUnit| share && *mount.place == *Path::new(layout::SHARE_DIR);
        let whole = self.mounts.iter().filter(|mount| !mount.late && !there(mount));
        serializer.collect_seq(whole.map(|mount| MountAhead {
            source: text(&mount.what),
            mount_point: text(&mount.place),
            fs_type: mount.fs_type.to_owned(),
            options: mount.option_text(),
        }))
    }
}

struct Apps<'a>(&'a ArrivalText);

impl Serialize for Apps<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let coming = self.0;
        let apps = coming.arrival.apps.iter().zip(&coming.mounts);
        serializer.collect_seq(apps.map(|(app, of_app)| coming.app(app, of_app)))
    }
}

/// Which arrival it is.
#[derive(Default)]
pub(crate) struct Placed<'a> {
    pub number: u32,
    /// The apps that came before.
    pub before: &'a [AppName],
    /// Whether its apps wait for the host's word.
    pub waits: bool,
}

/// What comes, but for what names every mount, which [`ArrivalText`] adds when it is written.
pub(crate) fn arrival(
    identity: Option<Identity>,
    apps: &[AppPlan],
    early_mounts: &[EarlyMount],
    mounts: &Mounts,
    sharing: Option<&Sharing>,
    placed: &Placed<'_>,
) -> Arrival {
    let mut modules = vec![disks::MODULE.to_owned()];
    match sharing.map(|sharing| &sharing.transport) {
        Some(Transport::Virtiofs(_)) => modules.push("virtiofs".into()),
        Some(Transport::NineP) => modules.extend(["9pnet_virtio".into(), "9p".into()]),
        None => {}
    }
    let disks = own_disks(early_mounts, mounts);
    if !disks.is_empty() {
        modules.push(DISK_TYPE.into());
    }
    let has_network = identity
        .as_ref()
        .is_some_and(|identity| identity.network.is_some());
    modules.extend(has_network.then(|| network::MODULE.to_owned()));
    let devices = apps.iter().flat_map(|app| &app.process.devices);
    modules.extend(devices.map(|device| device.module().to_owned()));
    let fs_type = sharing.map(|sharing| sharing.transport.fs_type());
    let is_share = |m: &&MountUnit| Some(m.fs_type) == fs_type;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let own_names = apps.iter().map(|app| &app.name);
    let names: Vec<&AppName> = placed.before.iter().chain(own_names).collect();
    let app = |app: &AppPlan| {
        let own = layout::app_dir(&app.name);
        GuestApp {
            name: app.name.to_string(),
            unit: app.unit.clone(),
            stdin: app.stdin.then(|| text(&own.join("stdin"))),
            stdout: text(&own.join("stdout")),
            stderr: text(&own.join("stderr")),
            terminal: app.process.tty.then(|| text(&own.join("terminal"))),
            launch: text(&layout::app_launch(&app.name)),
            mounts: early_mounts
                .iter()
                .filter(|m| Path::new(&m.mount_point) == layout::app_root(&app.name))
                .map(guest_root)
                .collect(),
            restart: app.lifecycle.guest_restart(),
            fresh_root: app.has_fresh_roots().then(|| FreshRoot {
                mount_point: text(&layout::app_root(&app.name)),
                seed: text(&app.seed()),
                upper: text(&app.upper()),
                work: text(&app.work()),
            }),
            waits: placed.waits,
            depends_on: app.lifecycle.guest_dependencies(&names),
            notify: (app.lifecycle.readiness == Readiness::Notify)
                .then(|| text(&layout::app_notify_socket(&app.name))),
            last_words: last_words::own(&app.lifecycle.last_words, &app.mounts)
                .then(|| text(&last_words::file(&app.name, &app.lifecycle.last_words))),
            dev: text(&layout::app_dev(&app.name)),
            own_shm: app
                .mounts
                .iter()
                .any(|mount| &*mount.place == Path::new("/dev/shm")),
            devices: app.process.devices.iter().map(guest_device).collect(),
            privileged: app.process.privileged,
            sys: (World::of(app).sys == Sys::Own).then(|| text(&layout::app_sys(&app.name))),
            oom_score_adj: app.process.limits.resources.oom_score_adj,
            probes: app.lifecycle.health.guest_probes(),
            post_start: app.lifecycle.health.guest_post_start(),
            pre_stop: app.lifecycle.health.guest_pre_stop(),
            pre_start: app.process.pre_start.is_some(),
            post_stop_ms: app.process.post_stop.is_some().then_some(POST_STOP_MS),
        }
    };
    Arrival {
        version: ARRIVAL_VERSION,
        identity,
        unit: layout::arrival_unit(placed.number),
        modules,
        early_mounts: early_mounts.to_vec(),
        mounts_ahead: Vec::new(),
        shares: mounts.iter().filter(is_share).map(|m| text(&m.place)).collect(),
        disks,
        apps: apps.iter().map(app).collect(),
    }
}

/// Where the pod's own disks are mounted.
fn own_disks(early_mounts: &[EarlyMount], mounts: &Mounts) -> Vec<String> {
    let early = early_mounts.iter().filter(|mount| mount.fs_type == DISK_TYPE);
    let of_volumes = mounts.iter().filter(|mount| mount.fs_type == DISK_TYPE);
    let of_volumes = of_volumes.map(|mount| mount.place.to_string_lossy().into_owned());
    let early = early.map(|mount| mount.mount_point.clone());
    early.chain(of_volumes).collect()
}

fn guest_device(device: &Device) -> GuestDevice {
    let (major, minor) = device.number();
    GuestDevice {
        path: device.path().trim_start_matches("/dev/").to_owned(),
        major,
        minor,
    }
}

fn guest_root(mount: &EarlyMount) -> GuestMount {
    GuestMount {
        unit: unit_name::for_path(Path::new(&mount.mount_point), ".mount"),
        mount_point: mount.mount_point.clone(),
        volume: None,
        fs_type: (mount.fs_type != BIND).then(|| mount.fs_type.clone()),
        read_only: mount.read_only,
    }
}

pub(crate) fn guest_mount(
    mount: &MountUnit,
    share_type: Option<&str>,
    shared: &HashSet<VolumeName>,
) -> GuestMount {
    let bind = mount.options.first().is_some_and(|o| o == "bind");
    let on_host = mount
        .volume
        .as_ref()
        .is_some_and(|volume| shared.contains(volume));
    let fs_type = match (bind, on_host) {
        (false, _) => Some(mount.fs_type.to_owned()),
        (true, true) => share_type.map(str::to_owned),
        (true, false) => None,
    };
    GuestMount {
        unit: mount.name(),
        mount_point: mount.place.to_string_lossy().into_owned(),
        volume: mount.volume.as_ref().map(ToString::to_string),
        fs_type,
        read_only: mount.read_only,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::units::MountUnit;

    /// The agent reads what is written, and in it every app's mounts behind its root.
    #[test]
    fn the_agent_reads_it() {
        let app = |name: &str| GuestApp {
            name: name.into(),
            unit: format!("{name}.service"),
            ..GuestApp::default()
        };
        let arrival = Arrival {
            version: 1,
            identity: Some(Identity {
                hostname: "h".into(),
                sysctls: crate::vm::network::sysctls(),
                ..Identity::default()
            }),
            unit: layout::arrival_unit(0),
            modules: vec!["m".into()],
            early_mounts: Vec::new(),
            mounts_ahead: Vec::new(),
            shares: vec!["/mnt".into()],
            disks: vec!["/isopod/writable".into()],
            apps: vec![app("a"), app("b")],
        };
        let mount = |place| MountUnit::new(Path::new("x"), Path::new(place), "ext4");
        let mounts = Arc::new(Mounts::new(vec![mount("/1"), mount("/2")]));
        let coming = ArrivalText {
            arrival: arrival.clone(),
            all: Arc::clone(&mounts),
            mounts: vec![
                Selected::new(&mounts, vec![0, 1]),
                Selected::new(&mounts, vec![1]),
            ],
            share_type: None,
            shared: HashSet::new(),
        };
        let mut text = Vec::new();
        coming.write(&mut text).unwrap();
        let read: Arrival = serde_json::from_slice(&text).unwrap();
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
            Arrival {
                apps,
                mounts_ahead,
                ..read
            },
            arrival
        );
    }
}
