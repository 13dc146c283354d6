//! Writes a plan as a pod's directory: in `preparing`, then one rename makes it a pod that can be started.
//!
//! [`isopod_plan::layout`] draws the directory, [`crate::pods`] says where it is when.

use std::borrow::Cow;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use isopod_plan::facts::{HostUser, Owner};
use isopod_plan::vm::confinement::{self, Confinement, QemuUser};
use isopod_plan::vm::file_server::Ownership;
use isopod_plan::vm::network::{PasstUser, PodNetwork};
use isopod_plan::vm::qemu::{Accelerator, Access, Device, Mapping, VmOrigin};
use isopod_plan::vm::template::{self, TemplatePlan};
use isopod_plan::vm::user_maps::UserMaps;
use isopod_plan::{AppPlan, PodPlan, RootPlan, Writes, layout};
use isopod_spec::{Accel, GuestKernel, PodName, PodSpec, StartMode, Vm, Volume, VolumeKind};
use isopod_vm::launcher::root::{Proc, Root};
use isopod_vm::launcher::{Capabilities, Launcher};

use crate::clock::now_ms;
use crate::gather::Gathered;
use crate::gather::sources::MissingSource;
use crate::joining::NetworksRecord;
use crate::json_file::{self, Durability};
use crate::pods::files::{
    AppRecord, Asked, Keep, NetnsRecord, OpenedRecord, PodRecord, RootRecord, Stdin, TemplateRecord, VERSION,
};
use crate::pods::os_text::OsText;
use crate::pods::volumes::{MountRecord, OwnerRecord, ShareRecord, SourceRecord, VolumeRecord, VolumeType};
use crate::pods::{Claim, NameError, Pods, PodsError, failed};
use crate::{arrival_files, disk, named_volume, private, writable};

/// How a pod is to live.
#[derive(Clone, Debug)]
pub struct PrepareOptions {
    /// Its UUID, where it was chosen before ([`crate::pods::new_uuid`]).
    pub uuid: Option<String>,
    pub name: Option<PodName>,
    /// What becomes of its directory when it has ended.
    pub keep: Keep,
    /// What its app reads in the background.
    pub stdin: Stdin,
    /// How long its guest may take to come up.
    pub boot_timeout: Duration,
    /// How long the guest may be silent before it is killed; `None`: for ever.
    pub silent_kill: Option<Duration>,
}

/// Why a pod could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// Its directory could not be written.
    #[error("cannot prepare the pod")]
    Write(#[from] PodsError),
    /// A volume's source that is missing could not be made.
    #[error("cannot make `{}`, the source of a volume", path.display())]
    Source { path: PathBuf, source: std::io::Error },
    /// A named volume could not be filled.
    #[error("cannot fill a named volume")]
    Fill(#[from] named_volume::FillError),
    /// It could not have its name.
    #[error("cannot prepare the pod")]
    Name(#[source] NameError),
}

impl PrepareError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Write(error) => error.hint(),
            Self::Name(error) => error.hint(),
            Self::Source { .. } | Self::Fill(_) => None,
        }
    }
}

/// Writes `plan`, which `spec` became, as a pod that can be started; its lock is held by the claim.
///
/// # Errors
/// [`PrepareError`]; nothing is left behind then.
pub fn prepare(
    pods: &Pods,
    spec: &PodSpec,
    plan: &PodPlan,
    gathered: &Gathered,
    options: &PrepareOptions,
) -> Result<Claim, PrepareError> {
    for uuid in pods.sweep() {
        tracing::info!("removed what was left of pod `{uuid}`");
    }
    let rootfs = |app: &AppPlan| Some(&*plan.images.get(app.root.image()?)?.rootfs);
    named_volume::fill(
        spec,
        &gathered.facts,
        plan.apps.iter().map(|app| (app, rootfs(app))),
    )?;
    let plan = &*with_made_sources(plan, &gathered.missing)?;
    let mut claim = match &options.uuid {
        Some(uuid) => pods.create_as(uuid.clone())?,
        None => pods.create()?,
    };
    let written = write(pods, &claim, plan, gathered, options)
        .and_then(|()| keep_asked(claim.path(), spec, options))
        .and_then(|()| Ok(claim.publish()?));
    match written {
        Ok(()) => Ok(claim),
        Err(error) => {
            let _ = claim.remove();
            Err(error)
        }
    }
}

/// Makes the sources that are missing, and lets the plan say which files they are.
fn with_made_sources<'a>(
    plan: &'a PodPlan,
    missing: &[MissingSource],
) -> Result<Cow<'a, PodPlan>, PrepareError> {
    let mut plan = Cow::Borrowed(plan);
    for missing in missing {
        let made = missing.make().map_err(|source| PrepareError::Source {
            path: missing.path().to_owned(),
            source,
        })?;
        let volumes = plan
            .to_mut()
            .sharing
            .iter_mut()
            .flat_map(|sharing| &mut sharing.volumes);
        for volume in volumes.filter(|volume| volume.source == missing.path()) {
            volume.id = Some(made);
        }
    }
    Ok(plan)
}

fn write(
    pods: &Pods,
    claim: &Claim,
    plan: &PodPlan,
    gathered: &Gathered,
    options: &PrepareOptions,
) -> Result<(), PrepareError> {
    let dir = claim.path();
    for name in [layout::HOST_SHARE_DIR, layout::IMAGE_LINKS, layout::DISKS] {
        let path = dir.join(name);
        private::dir(&path).map_err(failed("create", &path))?;
    }
    for (i, image) in plan.images.iter().enumerate() {
        let path = dir.join(layout::host_image(i));
        // A second name keeps the file even if the image is removed from the store meanwhile.
        let linked = fs::hard_link(&image.rootfs, &path).or_else(|_| symlink(&image.rootfs, &path));
        linked.map_err(failed("link the image to", &path))?;
    }
    let mkfs = gathered.facts.host.mkfs.as_deref();
    for disk in &plan.disk_volumes {
        let path = dir.join(layout::host_disk(&disk.name));
        disk::make(&path, disk, mkfs).map_err(failed("make the file system of", &path))?;
    }
    if let Some(bytes) = plan.writable_bytes {
        let path = dir.join(layout::WRITABLE_FILE);
        writable::make(&path, bytes, &pods.formatted_dir(), mkfs)
            .map_err(failed("make the file system of", &path))?;
    }
    let path = dir.join(layout::POD_FILES);
    let more = plan.more_modules.as_deref();
    arrival_files::write(&path, &plan.guest, more).map_err(failed("write", &path))?;
    if let Some(user) = user(plan, claim.uuid()) {
        give_files(dir, plan, user)?;
    }
    let record = record(
        claim.uuid(),
        &pods.started_path(claim.uuid()),
        plan,
        gathered,
        options,
    );
    let path = dir.join(layout::RECORD);
    json_file::write(dir, layout::RECORD, &record, Durability::from(options.keep))
        .map_err(failed("write", &path))?;
    if let Some(name) = &options.name {
        pods.name(claim.uuid(), name).map_err(PrepareError::Name)?;
    }
    Ok(())
}

/// Keeps what was asked for, for people to read.
pub(crate) fn keep_asked(dir: &Path, spec: &PodSpec, options: &PrepareOptions) -> Result<(), PrepareError> {
    let asked = Asked {
        version: VERSION,
        spec: spec.clone(),
    };
    let path = dir.join(layout::SPEC);
    let written = json_file::write(dir, layout::SPEC, &asked, Durability::from(options.keep));
    Ok(written.map_err(failed("write", &path))?)
}

/// What starting the pod will need; `dir` is where it will be then.
pub(crate) fn record(
    uuid: &str,
    dir: &Path,
    plan: &PodPlan,
    gathered: &Gathered,
    options: &PrepareOptions,
) -> PodRecord {
    let Launchers {
        virtiofsd,
        passt,
        qemu,
    } = launchers(uuid, dir, plan, gathered);
    let template = plan.start.template.as_ref().map(|template| {
        let launcher = restored_launcher(&qemu, template, gathered);
        let kernel = gathered.kernel.clone();
        template_record(template, plan.start.mode, kernel, &launcher)
    });
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    PodRecord {
        version: VERSION,
        uuid: uuid.to_owned(),
        name: options.name.clone(),
        created_ms: now_ms(),
        keep: options.keep,
        stdin: options.stdin,
        guest: gathered.guest.key.clone(),
        ports: plan.ports().to_vec(),
        on_failure: plan.on_failure,
        hostname: plan.hostname.clone(),
        network: plan
            .network
            .as_ref()
            .map(|network| (network.guest.clone(), network.nameservers.clone())),
        held: plan.held,
        writable: plan.writable_bytes.is_some(),
        slice: plan.guest.entries.contains_key(&layout::pod_slice()),
        share: ShareRecord::of(plan.sharing.as_ref()),
        owner: OwnerRecord::of(plan.ownership),
        volumes: volumes(plan),
        images: plan.images.iter().map(|image| image.id.clone()).collect(),
        systemd_version: gathered.facts.host.guest.systemd_version,
        apps: apps(plan),
        qemu: words(&qemu),
        template,
        virtiofsd: virtiofsd.as_ref().map(words),
        passt: passt.as_ref().map(words),
        opened: Some(opened(&qemu, plan, gathered)),
        netns: plan.network.as_ref().and_then(|network| {
            Some(NetnsRecord {
                path: network.namespace()?.to_owned(),
                network: network.guest.clone(),
            })
        }),
        networks: networks(plan, gathered),
        vhost_net: plan.network.as_ref().is_some_and(|network| network.vhost_net),
        stop_timeout_ms: millis(plan.stop_timeout),
        deadline_ms: plan.deadline.map(millis),
        boot_timeout_ms: millis(options.boot_timeout),
        silent_kill_ms: options.silent_kill.map(millis),
    }
}

fn networks(plan: &PodPlan, gathered: &Gathered) -> Option<NetworksRecord> {
    let joined = plan.network.as_ref()?.networks();
    let programs = &gathered.facts.host.network.named.programs;
    Some(NetworksRecord {
        netavark: programs.netavark.clone().filter(|_| !joined.is_empty())?,
        aardvark: programs.aardvark.clone(),
        joined: joined.to_vec(),
        pluggable: plan.qemu.has_monitor(),
        pasta: programs
            .pasta
            .clone()
            .filter(|_| gathered.facts.host.user != HostUser::Root),
    })
}

/// The user that QEMU is, where it is one of its own.
fn user(plan: &PodPlan, uuid: &str) -> Option<u32> {
    (plan.qemu_user == QemuUser::Own).then(|| confinement::own_user(uuid))
}

/// Lets QEMU, as that user, read and write what it is to: the pod's own files become its, and the images and the guest, which all
/// pods have and are no secret, can be read by all.
fn give_files(dir: &Path, plan: &PodPlan, user: u32) -> Result<(), PrepareError> {
    let disks = plan.disk_volumes.iter();
    let own = disks
        .map(|disk| layout::host_disk(&disk.name))
        .chain(plan.writable_bytes.map(|_| layout::WRITABLE_FILE.into()));
    for path in own.map(|file: PathBuf| dir.join(file)) {
        chown(&path, Some(user), Some(user)).map_err(failed("give QEMU", &path))?;
    }
    let images = (0..plan.images.len()).map(|i| dir.join(layout::host_image(i)));
    let guest = std::iter::once(plan.qemu.kernel.clone()).chain(plan.qemu.initrd.clone());
    for path in images.chain(guest) {
        let mode = fs::metadata(&path).map_err(failed("look at", &path))?.mode();
        if mode & 0o444 != 0o444 {
            let mode = Permissions::from_mode(mode & 0o7777 | 0o444);
            fs::set_permissions(&path, mode).map_err(failed("let QEMU read", &path))?;
        }
    }
    Ok(())
}

/// What becomes the processes of the VM.
struct Launchers {
    virtiofsd: Option<Launcher>,
    passt: Option<Launcher>,
    qemu: Launcher,
}

fn launchers(uuid: &str, dir: &Path, plan: &PodPlan, gathered: &Gathered) -> Launchers {
    let user = user(plan, uuid);
    let root = |files| match plan.confinement {
        Confinement::Host => None,
        Confinement::Own | Confinement::OwnButNetwork => Some(Root {
            proc: Proc::Itself,
            dir: dir.to_owned(),
            files,
        }),
    };
    let tree = plan.sharing.as_ref().filter(|sharing| sharing.is_bound());
    let mut tree = tree.map(|sharing| (layout::HOST_SHARE_DIR.into(), sharing.all().cloned().collect()));
    let virtiofsd = plan.virtiofsd.as_ref().map(|virtiofsd| {
        let program = virtiofsd.daemon.program.clone().into_os_string();
        let args = virtiofsd.argv(&dir.join(layout::HOST_SHARE_DIR));
        Launcher {
            parent: 0,
            share: tree.take(),
            root: root(vec![(Access::Write, layout::HOST_SHARE_DIR.into())]),
            // It translates users itself, where they are not mapped.
            owner: Owner { uid: 0, gid: 0 },
            maps: maps(plan, gathered),
            // It speaks through sockets with names only.
            isolation: plan.confinement.isolation(false),
            user: None,
            // It acts for the guest's users, and drops by itself what that does not need.
            capabilities: Capabilities::Kept,
            command: std::iter::once(program).chain(args).collect(),
        }
    });
    let program = gathered.qemu.clone().into_os_string();
    // A port below 1024 is a privileged one's to bind.
    let binds = match plan.ports().iter().all(|port| port.host_port >= 1024) {
        true => Capabilities::Dropped,
        false => Capabilities::BindsPorts,
    };
    let network = plan.network.as_ref();
    let passt = network.and_then(|network| {
        let passt = network.passt()?;
        let program = passt.program.clone().into_os_string();
        Some(Launcher {
            parent: 0,
            share: None,
            // From 2026 on it enters a user namespace of its own by a child, which it finds in /proc.
            root: root(Vec::new()).map(|root| Root {
                proc: Proc::Namespace,
                ..root
            }),
            // As root of a namespace without privileges it would take on more than it can have there.
            owner: match gathered.facts.host.user {
                HostUser::Root => Owner { uid: 0, gid: 0 },
                HostUser::Ordinary { .. } => gathered.facts.host.caller,
            },
            maps: None,
            // The host's network is what it is for.
            isolation: plan.confinement.isolation(true),
            user: (passt.user == PasstUser::Own).then(|| confinement::own_user(uuid)),
            capabilities: binds,
            command: std::iter::once(program).chain(passt.argv(plan.ports())).collect(),
        })
    });
    let qemu = Launcher {
        parent: 0,
        share: tree,
        root: root(plan.qemu.files()),
        owner: match plan.ownership {
            Ownership::AllAsCaller(owner) if !plan.qemu.fsdevs.is_empty() => owner,
            _ => Owner { uid: 0, gid: 0 },
        },
        maps: match plan.qemu.fsdevs.is_empty() {
            true => None,
            false => maps(plan, gathered),
        },
        isolation: plan
            .confinement
            .isolation(network.is_some_and(PodNetwork::is_qemus)),
        user,
        // As a 9p server it acts for the guest's users.
        capabilities: match plan.qemu.fsdevs.is_empty() {
            false => Capabilities::Kept,
            true if network.is_some_and(PodNetwork::is_qemus) => binds,
            true => Capabilities::Dropped,
        },
        command: std::iter::once(program).chain(plan.qemu.argv()).collect(),
    };
    Launchers {
        virtiofsd,
        passt,
        qemu,
    }
}

/// The maps of the namespace of whatever serves the host volumes, where it is to have more users than the caller.
fn maps(plan: &PodPlan, gathered: &Gathered) -> Option<UserMaps> {
    let host = &gathered.facts.host;
    match (plan.ownership, &host.subordinates) {
        (Ownership::Mapped(owner), Some(ids)) => Some(UserMaps::new(ids, owner, host.caller)),
        _ => None,
    }
}

/// What becomes QEMU where the VM is restored: as `booted`, but for the command line and its files.
fn restored_launcher(booted: &Launcher, template: &TemplatePlan, gathered: &Gathered) -> Launcher {
    let program = gathered.qemu.clone().into_os_string();
    Launcher {
        root: booted.root.as_ref().map(|root| Root {
            files: template.restored.files(),
            ..root.clone()
        }),
        command: std::iter::once(program).chain(template.restored.argv()).collect(),
        ..booted.clone()
    }
}

/// What becomes QEMU where the pod is opened and not run: as `run`, but for the network.
fn opened(run: &Launcher, plan: &PodPlan, gathered: &Gathered) -> OpenedRecord {
    let qemu = plan.qemu.without_network();
    let program = gathered.qemu.clone().into_os_string();
    let launcher = Launcher {
        root: run.root.as_ref().map(|root| Root {
            files: qemu.files(),
            ..root.clone()
        }),
        isolation: plan.confinement.isolation(false),
        capabilities: match run.capabilities {
            Capabilities::BindsPorts => Capabilities::Dropped,
            kept => kept,
        },
        command: std::iter::once(program).chain(qemu.argv()).collect(),
        ..run.clone()
    };
    let template = plan.start.template.as_ref().and_then(|template| {
        let restored = TemplatePlan {
            key: template.key.clone(),
            restored: template::restored(&qemu)?,
        };
        let kernel = gathered.kernel.clone();
        let launcher = restored_launcher(&launcher, &restored, gathered);
        Some(template_record(&restored, plan.start.mode, kernel, &launcher))
    });
    OpenedRecord {
        qemu: words(&launcher),
        template,
    }
}

fn template_record(
    template: &TemplatePlan,
    mode: StartMode,
    kernel: GuestKernel,
    launcher: &Launcher,
) -> TemplateRecord {
    let qemu = &template.restored;
    let (shares_memory, added) = match &qemu.origin {
        VmOrigin::Restored { mapping, added } => (*mapping == Mapping::Shared, added.as_slice()),
        VmOrigin::Booted | VmOrigin::Template => (false, &[][..]),
    };
    TemplateRecord {
        key: template.key.clone(),
        vm: Vm {
            memory_mib: qemu.memory_mib,
            cpus: qemu.smp,
            accel: match qemu.machine.accel {
                Accelerator::Kvm => Accel::Kvm,
                Accelerator::Tcg { .. } => Accel::Tcg,
            },
            start: mode,
            kernel,
            ..Vm::default()
        },
        qemu: words(launcher),
        shares_memory,
        added: added.iter().map(Device::arguments).collect(),
    }
}

/// A launcher's arguments, without the parent that it will have.
fn words(launcher: &Launcher) -> Vec<OsText> {
    launcher
        .argv()
        .iter()
        .skip(2)
        .map(|word| word.as_os_str().into())
        .collect()
}

/// The volumes, but for host volumes that are not shared, since no app mounts them.
fn volumes(plan: &PodPlan) -> Vec<VolumeRecord> {
    let shared = plan.sharing.iter().flat_map(|sharing| &sharing.volumes);
    let hosts = shared.map(|volume| VolumeRecord {
        name: volume.name.clone(),
        kind: VolumeType::Host,
        host: Some(SourceRecord::of(volume)),
        image_number: None,
    });
    let own = |volume: &&Volume| !matches!(volume.kind, VolumeKind::Host(_));
    let others = plan.volumes.iter().filter(own).map(|volume| VolumeRecord {
        name: volume.name.clone(),
        kind: VolumeType::of(volume),
        host: None,
        image_number: plan.volume_images.get(&volume.name).copied(),
    });
    hosts.chain(others).collect()
}

fn apps(plan: &PodPlan) -> Vec<AppRecord> {
    let image = |number: usize| plan.images.get(number).map(|image| &*image.id);
    let apps = plan.apps.iter();
    apps.map(|app| app_record(app, app.root.image().and_then(image).unwrap_or_default()))
        .collect()
}

/// An app, with its image's ID where it has one.
pub(crate) fn app_record(app: &AppPlan, image: &str) -> AppRecord {
    AppRecord {
        name: app.name.clone(),
        root: match &app.root {
            RootPlan::Image(number) => RootRecord::Image {
                id: image.to_owned(),
                number: *number,
            },
            RootPlan::Directory { source, id, .. } => RootRecord::Directory {
                path: source.as_os_str().into(),
                id: (id.device, id.inode),
                written: app.writes == Writes::Through,
            },
        },
        tty: app.process.tty,
        stdin: false,
        rootfs: app.rootfs,
        uid: app.process.identity.uid,
        executable: app.process.executable.display().to_string(),
        argv: app.process.shown_argv(),
        restart: app.lifecycle.restart,
        reports_readiness: app.lifecycle.reports_readiness(),
        probed: app.lifecycle.is_probed(),
        role: app.lifecycle.role,
        words_from_log: app.lifecycle.last_words.from_log,
        log: app.log,
        mounts: app.mounts.iter().map(MountRecord::of).collect(),
        gone: false,
    }
}
