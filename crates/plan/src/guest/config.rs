//! The agent's configuration as a file: made while it is written, app by app, since it names every mount.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use isopod_contract::config::{
    CONFIG_VERSION, EarlyMount, FreshRoot, GuestApp, GuestConfig, GuestDevice, GuestMemory, GuestMount,
    GuestNetwork, MountAhead, Sysctl,
};
use isopod_contract::launch::PidNamespace;
use isopod_spec::{AppName, Device, Readiness, VolumeName};
use serde::{Serialize, Serializer};

use crate::app_plan::AppPlan;
use crate::apps::health::POST_STOP_MS;
use crate::apps::last_words;
use crate::guest::entry::WriteText;
use crate::guest::unit_name;
use crate::guest::units::{MountUnit, Mounts, Selected, Sys, World};
use crate::layout;
use crate::vm::disks::DISK_TYPE;
use crate::vm::network::{self, UserNetwork};
use crate::vm::sharing::{Sharing, Transport};

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
        let mount = |mount| guest_mount(mount, self.share_type, &self.shared);
        app.mounts.extend(of_app.iter().map(mount));
        app
    }
}

impl WriteText for PodConfig {
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
            shared_processes,
            disks,
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
            shared_processes: *shared_processes,
            disks,
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
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    shared_processes: bool,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    disks: &'a [String],
    apps: Apps<'a>,
}

/// The mounts for the agent to make before systemd begins, in the units' order, parents first.
struct Ahead<'a>(&'a Mounts);

impl Serialize for Ahead<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let whole = self.0.iter().filter(|mount| !mount.late);
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

/// The agent's configuration, but for what names every mount, which [`PodConfig`] adds when it is written.
#[expect(
    clippy::too_many_arguments,
    reason = "each is a part of the configuration, and nothing else has them together"
)]
pub(crate) fn guest_config(
    hostname: &str,
    network: Option<&UserNetwork>,
    apps: &[AppPlan],
    early_mounts: &[EarlyMount],
    mounts: &Mounts,
    sharing: Option<&Sharing>,
    sysctls: &[Sysctl],
    memory: GuestMemory,
) -> GuestConfig {
    let mut modules: Vec<String> = ["virtio_console", "erofs", "overlay"].map(str::to_owned).to_vec();
    match sharing.map(|sharing| &sharing.transport) {
        Some(Transport::Virtiofs(_)) => modules.push("virtiofs".into()),
        Some(Transport::NineP) => modules.extend(["9pnet_virtio".into(), "9p".into()]),
        None => {}
    }
    let disks = disks(early_mounts, mounts);
    if !disks.is_empty() {
        modules.push(DISK_TYPE.into());
    }
    modules.extend(network.map(|_| network::MODULE.to_owned()));
    let devices = apps.iter().flat_map(|app| &app.process.devices);
    modules.extend(devices.map(|device| device.module().to_owned()));
    let fs_type = sharing.map(|sharing| sharing.transport.fs_type());
    let is_share = |m: &&MountUnit| Some(m.fs_type) == fs_type;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let names: Vec<&AppName> = apps.iter().map(|app| &app.name).collect();
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
            restart: app.life.guest_restart(),
            fresh_root: app.has_fresh_roots().then(|| FreshRoot {
                mount_point: text(&layout::app_root(&app.name)),
                seed: text(&app.seed()),
                upper: text(&app.upper()),
                work: text(&app.work()),
            }),
            depends_on: app.life.guest_dependencies(&names),
            notify: (app.life.readiness == Readiness::Notify)
                .then(|| text(&layout::app_notify_socket(&app.name))),
            last_words: text(&last_words::file(&app.name, &app.life.last_words)),
            dev: text(&layout::app_dev(&app.name)),
            own_shm: app
                .mounts
                .iter()
                .any(|mount| &*mount.place == Path::new("/dev/shm")),
            devices: app.process.devices.iter().map(guest_device).collect(),
            privileged: app.process.privileged,
            sys: (World::of(app).sys == Sys::Own).then(|| text(&layout::app_sys(&app.name))),
            oom_score_adj: app.process.limits.resources.oom_score_adj,
            probes: app.life.care.guest_probes(),
            post_start: app.life.care.guest_post_start(),
            pre_stop: app.life.care.guest_pre_stop(),
            pre_start: app.process.pre_start.is_some(),
            post_stop_ms: app.process.post_stop.is_some().then_some(POST_STOP_MS),
        }
    };
    GuestConfig {
        version: CONFIG_VERSION,
        hostname: hostname.to_owned(),
        modules,
        memory,
        early_mounts: early_mounts.to_vec(),
        mounts_ahead: Vec::new(),
        sysctls: sysctls.to_vec(),
        network: network.map(UserNetwork::guest),
        shares: mounts.iter().filter(is_share).map(|m| text(&m.place)).collect(),
        shared_processes: apps.iter().any(|app| app.process.processes == PidNamespace::Pod),
        disks,
        apps: apps.iter().map(app).collect(),
    }
}

/// Where the pod's own disks are mounted.
fn disks(early_mounts: &[EarlyMount], mounts: &Mounts) -> Vec<String> {
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
        fs_type: Some(mount.fs_type.clone()),
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
            shared_processes: false,
            disks: vec!["/isopod/writable".into()],
            apps: vec![app("a"), app("b")],
        };
        let mount = |place| MountUnit::new(Path::new("x"), Path::new(place), "ext4");
        let mounts = Arc::new(Mounts::new(vec![mount("/1"), mount("/2")]));
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
