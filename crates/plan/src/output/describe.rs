//! A plan's document, from the planner's types.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::Path;

use isopod_contract::network::{GuestAddress, GuestInterface, GuestRoute, Mac};
use isopod_spec::{
    EmptyVolume, FailurePolicy, HostLoopback, Medium, Readiness, RestartPolicy, RootfsAccess, VolumeKind,
};

use crate::apps::{AppPlan, RootPlan, Writes, lifecycle, limits};
use crate::facts::SourceKind;
use crate::guest::entry::{Entry, EntryKind};
use crate::guest::tree::GuestTree;
use crate::guest::units::MountUnit;
use crate::layout;
use crate::output::document::{
    App, AppMount, CheckDocument, DOCUMENT_VERSION, Document, EarlyMount, GuestFile, Hypervisor, Interface,
    JoinedNetwork, Mount, MountOrigin, Network, Port, ProcessDocument, ReadOnly, RootDirectory, Start,
    TextOrHex, Volume, VolumeMedium, VolumeType,
};
use crate::pod_plan::PodPlan;
use crate::quoted;
use crate::systemd::unit_name;
use crate::vm::hardware::PCI_DEVICES;
use crate::vm::network::{PodNetwork, Router};
use crate::vm::sharing::SharedVolume;
use crate::volumes::{AskedBy, VolumeMount};

pub(crate) fn texts(texts: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Vec<TextOrHex> {
    texts.into_iter().map(TextOrHex::new).collect()
}

impl From<&PodPlan> for Document {
    fn from(plan: &PodPlan) -> Self {
        let (qemu, shared) = (plan.started_qemu(), shared(plan));
        let argv = std::iter::once(qemu.program.clone().into_os_string()).chain(qemu.argv());
        Document {
            version: DOCUMENT_VERSION,
            profile: "default".into(),
            hostname: Some(plan.hostname.clone()),
            network: Some(network_of(plan.network.as_ref())),
            apps: plan.apps.iter().map(|app| app_of(app, plan, &shared)).collect(),
            volumes: plan
                .volumes
                .iter()
                .map(|volume| volume_of(volume, plan, &shared))
                .collect(),
            writable_bytes: plan.writable_bytes,
            early_mounts: plan.early_mounts.iter().map(early_mount_of).collect(),
            mounts: plan.mounts.iter().map(mount_of).collect(),
            hypervisor: Hypervisor {
                kind: "qemu".into(),
                share_args: texts(qemu.share_args()),
                argv: texts(argv),
                devices_used: plan.qemu.devices.iter().filter(|d| d.is_pci()).count(),
                devices_available: PCI_DEVICES,
                memory_mib: qemu.memory_mib,
                cpus: qemu.smp,
                start: Some(Start {
                    kind: plan.start.kind.name().into(),
                    reason: plan.start.reason.clone(),
                    template: plan.start.template.as_ref().map(|template| template.key.clone()),
                }),
            },
            virtiofsd: plan.virtiofsd.as_ref().map(|command| {
                let program = command.daemon.program.clone().into_os_string();
                texts(std::iter::once(program).chain(command.argv(Path::new(layout::HOST_SHARE_DIR))))
            }),
            passt: plan.network.as_ref().and_then(|network| {
                let passt = network.passt()?;
                let program = passt.program.clone().into_os_string();
                Some(texts(std::iter::once(program).chain(passt.argv(&network.ports))))
            }),
            guest_files: files_of(&plan.guest),
            stops_on_app_failure: plan.on_failure == FailurePolicy::Stop,
            limits: limits::slice_settings(plan.limits)
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
            notices: plan.notices.iter().chain(&plan.hints).cloned().collect(),
        }
    }
}

fn network_of(network: Option<&PodNetwork>) -> Network {
    let Some(network) = network else {
        return Network::None;
    };
    let port = |port: &isopod_spec::PortForward| Port {
        host_ip: port.address().to_string(),
        host_port: port.host_port,
        pod_port: port.pod_port,
        protocol: port.protocol.to_string(),
    };
    let interfaces = network.guest.interfaces.iter().map(interface_of).collect();
    let nameservers = network.nameservers.iter().map(ToString::to_string).collect();
    let (router, host_loopback) = match &network.router {
        Router::Qemu => ("qemu", HostLoopback::Open),
        Router::Passt(passt) => ("passt", passt.host_loopback),
        Router::Namespace(path) => {
            return Network::Namespace {
                path: path.display().to_string(),
                interfaces,
                nameservers,
            };
        }
        Router::Networks(joined) => {
            return Network::Networks {
                networks: joined.iter().map(joined_of).collect(),
                interfaces,
                nameservers,
                ports: network.ports.iter().map(port).collect(),
            };
        }
    };
    Network::User {
        router: router.into(),
        host_loopback: host_loopback == HostLoopback::Open,
        interfaces,
        nameservers,
        ports: network.ports.iter().map(port).collect(),
    }
}

fn joined_of(joined: &isopod_spec::JoinedNetwork) -> JoinedNetwork {
    JoinedNetwork {
        name: joined.network.name.to_string(),
        host_interface: joined.network.network_interface.clone(),
        internal: joined.network.internal,
        names: joined.names.clone(),
    }
}

fn interface_of(interface: &GuestInterface) -> Interface {
    let with_prefix = |address: &GuestAddress| format!("{}/{}", address.address, address.prefix_len);
    let route = |route: &GuestRoute| match route.gateway {
        Some(gateway) => format!("{} via {gateway}", with_prefix(&route.destination)),
        None => with_prefix(&route.destination),
    };
    let mac = |mac: Mac| mac.map(|byte| format!("{byte:02x}")).join(":");
    Interface {
        name: interface.name.clone(),
        mac: interface.mac.map(mac),
        mtu: interface.mtu,
        addresses: interface.addresses.iter().map(with_prefix).collect(),
        routes: interface.routes.iter().map(route).collect(),
    }
}

fn root_directory(app: &AppPlan) -> Option<RootDirectory> {
    let RootPlan::Directory { source, .. } = &app.root else {
        return None;
    };
    Some(RootDirectory {
        source: TextOrHex::new(source),
        written: app.writes == Writes::Through,
    })
}

/// The host volumes that are shared, by name.
type Shared<'a> = HashMap<&'a str, &'a SharedVolume>;

fn shared(plan: &PodPlan) -> Shared<'_> {
    let volumes = plan.sharing.iter().flat_map(|sharing| &sharing.volumes);
    volumes.map(|volume| (volume.name.as_str(), volume)).collect()
}

fn app_of(app: &AppPlan, plan: &PodPlan, shared: &Shared<'_>) -> App {
    let process = &app.process;
    let mount = |mount: &VolumeMount| {
        let on_host = shared
            .get(mount.volume.as_str())
            .is_some_and(|shared| shared.read_only);
        app_mount(mount, &layout::app_place(&app.name, &mount.place), on_host)
    };
    App {
        name: app.name.to_string(),
        unit: app.unit.clone(),
        image: app
            .root
            .image()
            .and_then(|number| plan.images.get(number))
            .map(|image| image.id.clone()),
        root_directory: root_directory(app),
        process: Some(ProcessDocument {
            executable: TextOrHex::new(&process.executable),
            argv: process.shown_argv(),
            environment: process.env.keys().cloned().collect(),
            uid: process.identity.uid,
            gid: process.identity.gid,
            working_dir: TextOrHex::new(&process.working_dir),
            tty: process.tty,
            limits: process
                .limits
                .words()
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        }),
        readonly_rootfs: app.rootfs == RootfsAccess::ReadOnly,
        restart: (app.lifecycle.restart != RestartPolicy::No)
            .then(|| lifecycle::restart_words(app.lifecycle.restart)),
        notifies: app.lifecycle.readiness == Readiness::Notify,
        depends_on: app
            .lifecycle
            .depends_on
            .iter()
            .map(lifecycle::dependency_words)
            .collect(),
        health: checks(app),
        mounts: app.mounts.iter().map(mount).collect(),
    }
}

/// Probes and handlers, in the order in which they matter.
fn checks(app: &AppPlan) -> Vec<CheckDocument> {
    let program = |name: &str, argv: &Option<Vec<String>>| {
        let argv = argv.as_ref()?;
        Some((name.to_owned(), format!("runs {}", quoted::command(argv))))
    };
    let before = program("pre-start handler", &app.process.pre_start);
    let after = program("post-stop handler", &app.process.post_stop);
    let all = before
        .into_iter()
        .chain(app.lifecycle.health.words())
        .chain(after);
    all.map(|(name, does)| CheckDocument { name, does }).collect()
}

pub(crate) fn app_mount(mount: &VolumeMount, at: &Path, read_only_on_host: bool) -> AppMount {
    AppMount {
        volume: mount.volume.to_string(),
        target: TextOrHex::new(&*mount.target),
        place: TextOrHex::new(&*mount.place),
        unit: unit_name::for_path(at, ".mount"),
        sub_path: (!mount.sub_path.as_os_str().is_empty()).then(|| TextOrHex::new(&mount.sub_path)),
        read_only: match (mount.read_only, read_only_on_host) {
            (false, _) => ReadOnly::No,
            (true, true) => ReadOnly::Host,
            (true, false) => ReadOnly::Guest,
        },
        origin: match mount.asked_by {
            AskedBy::User => MountOrigin::Mount,
            AskedBy::MountPoint => MountOrigin::MountPoint,
            AskedBy::Implicit => MountOrigin::Implicit,
        },
    }
}

fn volume_of(volume: &isopod_spec::Volume, plan: &PodPlan, shared: &Shared<'_>) -> Volume {
    let name = volume.name.to_string();
    let shared = shared.get(name.as_str());
    let mut document = match &volume.kind {
        VolumeKind::Host(host) => {
            let file = shared.is_some_and(|shared| shared.kind == SourceKind::File);
            let kind = if file {
                VolumeType::HostFile
            } else {
                VolumeType::HostDirectory
            };
            host_volume(
                name.clone(),
                kind,
                shared.map_or(&host.source, |shared| &shared.source),
            )
        }
        VolumeKind::Empty(empty) => empty_volume(name.clone(), empty),
        VolumeKind::Files(_) => given_volume(name.clone(), VolumeType::Files),
        VolumeKind::Image(_) => Volume {
            image: plan
                .volume_images
                .get(&volume.name)
                .map(|&image| plan.images[image].id.clone()),
            ..given_volume(name.clone(), VolumeType::Image)
        },
    };
    let transport = plan.sharing.as_ref().map(|sharing| sharing.transport.fs_type());
    document.transport = shared.and(transport).map(str::to_owned);
    let taker = shared.and_then(|shared| shared.given_to);
    document.given_to = taker.map(|taker| [taker.uid, taker.gid]);
    document
}

pub(crate) fn host_volume(name: String, kind: VolumeType, source: &Path) -> Volume {
    Volume {
        name,
        kind,
        source: Some(TextOrHex::new(source)),
        medium: None,
        size_bytes: None,
        image: None,
        transport: None,
        given_to: None,
    }
}

/// A volume whose content came with the pod.
pub(crate) fn given_volume(name: String, kind: VolumeType) -> Volume {
    Volume {
        name,
        kind,
        source: None,
        medium: None,
        size_bytes: None,
        image: None,
        transport: None,
        given_to: None,
    }
}

pub(crate) fn empty_volume(name: String, empty: &EmptyVolume) -> Volume {
    let medium = match empty.medium {
        Medium::Memory => VolumeMedium::Memory,
        Medium::Disk => VolumeMedium::Disk,
    };
    let size_bytes = empty.size_bytes;
    Volume {
        name,
        kind: VolumeType::Empty,
        source: None,
        medium: Some(medium),
        size_bytes,
        image: None,
        transport: None,
        given_to: None,
    }
}

fn early_mount_of(mount: &isopod_contract::config::EarlyMount) -> EarlyMount {
    EarlyMount {
        what: TextOrHex::new(&mount.source),
        place: TextOrHex::new(&mount.mount_point),
        fs_type: mount.fs_type.clone(),
        read_only: mount.read_only,
    }
}

pub(crate) fn mount_of(mount: &MountUnit) -> Mount {
    Mount {
        unit: mount.name(),
        what: TextOrHex::new(&*mount.source()),
        place: TextOrHex::new(&*mount.place),
        fs_type: mount.fs_type.to_owned(),
        options: mount.options.to_vec(),
        after: mount.after.iter().map(ToString::to_string).collect(),
        required_by: mount.required_by.iter().map(ToString::to_string).collect(),
        volume: mount.volume.as_ref().map(ToString::to_string),
        read_only: mount.read_only,
    }
}

pub(crate) fn files_of(tree: &GuestTree) -> Vec<GuestFile> {
    let kind = |kind: &EntryKind| match kind {
        EntryKind::Directory => "directory",
        EntryKind::File(_) => "file",
        EntryKind::Symlink(_) => "symlink",
        EntryKind::Fifo => "fifo",
    };
    let file = |(path, entry): (Cow<'_, Path>, Cow<'_, Entry>)| GuestFile {
        path: TextOrHex::new(&*path),
        kind: kind(&entry.kind).into(),
        mode: format!("{:04o}", entry.mode),
    };
    tree.iter().map(file).collect()
}
