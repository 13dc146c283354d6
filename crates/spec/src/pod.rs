//! A pod as the user asked for it: the types that every reader produces and the planner takes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lifecycle::{Dependency, FailurePolicy, Readiness, RestartPolicy, RootOnRestart};
use crate::network::{HostAlias, NamedPort, Network, Resolver};
use crate::probe::{Lifecycle, OnUnhealthy, Probes};
use crate::resources::{PodLimits, Sysctl};
use crate::run_config::{Overrides, RunConfig};
use crate::seccomp::Seccomp;
use crate::vm::{KernelChoice, Vm};
use crate::volume::{Mount, SourceRule, Volume, VolumeKind};
use crate::{AppName, ImageReference, PodName};

/// How long a pod's apps have to stop where nothing else is said, as with docker.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A pod: its apps, the volumes they share and the VM that they run in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodSpec {
    /// The pod's name; `None`: it is called by its UUID alone.
    pub name: Option<PodName>,
    /// The guest's host name; `None`: after the pod's name.
    pub hostname: Option<String>,
    /// The apps, in the order of declaration. Names are unique.
    pub apps: Vec<App>,
    /// The volumes, in the order of declaration. Names are unique.
    pub volumes: Vec<Volume>,
    pub vm: Vm,
    /// What its apps may take of that together.
    #[serde(default)]
    pub limits: PodLimits,
    /// How it is reached, and what it reaches.
    pub network: Network,
    /// Ports of the host that lead to ports of its apps by their names, beside those of the network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub named_ports: Vec<NamedPort>,
    /// What one app's failure means for the others.
    pub on_failure: FailurePolicy,
    /// The parameters of the guest's kernel that differ from its own, in the order of declaration; a later one of a name
    /// wins.
    pub sysctls: Vec<Sysctl>,
    /// How long its apps have to stop before they are killed.
    pub stop_timeout: Duration,
    /// How long it may run before it is stopped (Kubernetes' `activeDeadlineSeconds`); `None`: as long as it likes.
    pub deadline: Option<Duration>,
    /// Further names of addresses, for every app's `/etc/hosts`.
    pub host_aliases: Vec<HostAlias>,
    /// How its apps find names; `None`: as the host does.
    pub resolver: Option<Resolver>,
    /// The most that its apps may keep in `/dev/shm`, which they share, in bytes (`--shm-size`); `None`: 64 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shm_bytes: Option<u64>,
    /// Which processes its apps see (`--pid`, Kubernetes' `shareProcessNamespace`).
    #[serde(default, skip_serializing_if = "PidMode::is_default")]
    pub pid_mode: PidMode,
    /// Who the caller's users are in the guest's host volumes (`--userns`).
    #[serde(default, skip_serializing_if = "UserMapping::is_default")]
    pub user_mapping: UserMapping,
    /// The size of the disk that takes what its apps write to their roots and to volumes of their own, in bytes (docker's
    /// `--storage-opt size=`); `None`: as the planner finds it; 0: there is none, and what they write is in the VM's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_bytes: Option<u64>,
    /// Whether it comes up to become another pod, which is not known yet: what is its network's is not set up in the guest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spare: bool,
    /// Whether it continues when its last app has ended, for those that come later (`--hold`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// What the user notes about it, to find it by (`--label`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What the user notes about it besides (`--annotation`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Whether an image's mount point that no volume and no mount covers gets an empty volume of its own.
    pub implicit_volumes: ImplicitVolumes,
}

/// Which of the host's users those of the guest are in host volumes, where an ordinary user runs the pod (podman's `--userns`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserMapping {
    /// All of them are he.
    #[default]
    Unspecified,
    /// He is the guest's root, and his subordinate users (subuid(5)) are the others.
    Host,
    /// He is that user and group, his own numbers where they are not said, and his subordinate users are the others.
    KeepId { uid: Option<u32>, gid: Option<u32> },
}

impl UserMapping {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Which processes an app sees (pid_namespaces(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PidMode {
    /// Its own.
    #[default]
    Private,
    /// Those of all apps of the pod.
    Pod,
    /// Those of the VM: systemd's, the agent's and the kernel's, too.
    Vm,
}

impl PidMode {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl PodSpec {
    /// A pod of these apps and nothing else, with the defaults of everything else.
    #[must_use]
    pub fn new(apps: Vec<App>) -> Self {
        Self {
            name: None,
            hostname: None,
            apps,
            volumes: Vec::new(),
            vm: Vm::default(),
            limits: PodLimits::default(),
            network: Network::default(),
            named_ports: Vec::new(),
            on_failure: FailurePolicy::default(),
            sysctls: Vec::new(),
            stop_timeout: STOP_TIMEOUT,
            deadline: None,
            host_aliases: Vec::new(),
            resolver: None,
            shm_bytes: None,
            pid_mode: PidMode::default(),
            user_mapping: UserMapping::default(),
            storage_bytes: None,
            spare: false,
            held: false,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            implicit_volumes: ImplicitVolumes::default(),
        }
    }
}

impl PodSpec {
    /// Asks for every image by `pull`: of apps and of volumes.
    pub fn set_pull(&mut self, pull: PullPolicy) {
        self.apps.iter_mut().for_each(|app| app.pull = pull);
        for volume in &mut self.volumes {
            if let VolumeKind::Image(image) = &mut volume.kind {
                image.pull = pull;
            }
        }
    }

    /// Replaces every path of the host: sources of volumes, images in directories
    /// and files, profiles of system calls.
    pub fn map_host_paths(&mut self, mut map: impl FnMut(&Path) -> PathBuf) {
        let kernel = &mut self.vm.kernel;
        if let Some(KernelChoice::File(file)) = &mut kernel.kernel {
            *file = map(file);
        }
        if let Some(modules) = &mut kernel.modules {
            *modules = map(modules);
        }
        let mut of_image = |image: &mut ImageSource| {
            if let ImageSource::Reference(ImageReference::Local(local))
            | ImageSource::Locked {
                reference: ImageReference::Local(local),
                ..
            } = image
            {
                local.path = map(&local.path);
            }
        };
        for app in &mut self.apps {
            if let AppRoot::Image(image) = &mut app.root {
                of_image(image);
            }
        }
        for volume in &mut self.volumes {
            if let VolumeKind::Image(image) = &mut volume.kind {
                of_image(&mut image.image);
            }
        }
        for volume in &mut self.volumes {
            if let VolumeKind::Host(host) = &mut volume.kind
                && !matches!(host.must_be, SourceRule::Named { .. })
            {
                host.source = map(&host.source);
            }
        }
        for app in &mut self.apps {
            if let Some(Seccomp::Profile(path)) = &mut app.overrides.seccomp {
                *path = map(path);
            }
            if let AppRoot::Directory(directory) = &mut app.root {
                directory.path = map(&directory.path);
            }
        }
    }
}

/// What to do with an image's mount point that nothing covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImplicitVolumes {
    /// Give it an empty volume, with a notice (docker and rkt do).
    #[default]
    Create,
    /// Refuse the pod (`--no-implicit-volumes`).
    Refuse,
}

/// One app: a root filesystem and how to run what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Its name: the unit's, and in every message.
    pub name: AppName,
    /// Where its root filesystem comes from.
    pub root: AppRoot,
    /// When a registry is asked for its image.
    pub pull: PullPolicy,
    /// Replaces what the image says about running it, whole (an appc manifest's `app` section). `None`: the image's own.
    pub run_config: Option<RunConfig>,
    /// What the user changed of it on top.
    pub overrides: Overrides,
    /// Explicit mounts, in the order of declaration.
    pub mounts: Vec<Mount>,
    /// Where it has a volume of its own that begins as the image has the directory, and ends with the pod
    /// (`-v TARGET`, docker's anonymous volume).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub anonymous: Vec<PathBuf>,
    /// Whether the app may write to its root filesystem.
    pub rootfs: RootfsAccess,
    /// What happens when it has ended.
    pub restart: RestartPolicy,
    /// What is left of what it wrote when it is restarted.
    #[serde(default)]
    pub root_on_restart: RootOnRestart,
    /// When it counts as ready.
    pub readiness: Readiness,
    /// What must come before it.
    pub depends_on: Vec<Dependency>,
    /// Whether the pod lives as long as it does.
    pub role: AppRole,
    /// What is asked of it while it runs.
    pub probes: Probes,
    /// What happens when its health check finds it unhealthy.
    pub on_unhealthy: OnUnhealthy,
    /// What is run around its life.
    pub lifecycle: Lifecycle,
    /// Where it may say why it ended.
    #[serde(default)]
    pub last_words: LastWords,
}

/// Where an app may say why it ended, for whoever asks for the pod's status (Kubernetes' `terminationMessagePath`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastWords {
    /// The file, which is there when the app starts, and which anybody may write to; `None`: [`LastWords::PATH`].
    pub path: Option<PathBuf>,
    /// Whether the end of its log is taken where it failed and said nothing (`FallbackToLogsOnError`).
    pub from_log: bool,
}

impl LastWords {
    /// The file where none is named: Kubernetes'.
    pub const PATH: &str = "/dev/termination-log";
}

/// Where an app's root filesystem comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AppRoot {
    /// An image, which is never written to.
    Image(ImageSource),
    /// A directory of the host (`--rootfs`).
    Directory(RootDirectory),
}

/// A directory of the host that is an app's root. It says nothing about how to run the app: program, variables and user are
/// those of the app's [`RunConfig`] and [`Overrides`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootDirectory {
    #[serde(with = "crate::raw_path")]
    pub path: PathBuf,
    /// Where what the app writes to its root is kept.
    pub writes: RootWrites,
}

/// Where what an app writes to a root that is a directory is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootWrites {
    /// In the directory (podman's `--rootfs DIR`).
    #[default]
    Through,
    /// In a layer of the pod's above it, as above an image: the directory is not changed (podman's `--rootfs DIR:O`).
    Layer,
}

impl App {
    /// An app that runs as its image says.
    #[must_use]
    pub fn new(name: AppName, image: ImageSource) -> Self {
        Self::of_root(name, AppRoot::Image(image))
    }

    /// The image that its root is, where it is one.
    #[must_use]
    pub fn image(&self) -> Option<&ImageSource> {
        match &self.root {
            AppRoot::Image(image) => Some(image),
            AppRoot::Directory(_) => None,
        }
    }

    /// The directory of the host that its root is, where it is one.
    #[must_use]
    pub fn directory(&self) -> Option<&RootDirectory> {
        match &self.root {
            AppRoot::Image(_) => None,
            AppRoot::Directory(directory) => Some(directory),
        }
    }

    /// Whether what it writes to its root changes a directory of the host.
    #[must_use]
    pub fn writes_through(&self) -> bool {
        let directory = self.directory();
        self.rootfs == RootfsAccess::Writable
            && directory.is_some_and(|directory| directory.writes == RootWrites::Through)
    }

    /// An app with that root, and nothing else said about it.
    #[must_use]
    pub fn of_root(name: AppName, root: AppRoot) -> Self {
        Self {
            name,
            root,
            pull: PullPolicy::default(),
            run_config: None,
            overrides: Overrides::default(),
            mounts: Vec::new(),
            anonymous: Vec::new(),
            rootfs: RootfsAccess::default(),
            restart: RestartPolicy::default(),
            root_on_restart: RootOnRestart::default(),
            readiness: Readiness::default(),
            depends_on: Vec::new(),
            role: AppRole::default(),
            probes: Probes::default(),
            on_unhealthy: OnUnhealthy::default(),
            lifecycle: Lifecycle::default(),
            last_words: LastWords::default(),
        }
    }
}

/// Whether an image is asked for in its registry although the store may have it (podman's `--pull`; Kubernetes'
/// `imagePullPolicy` has the first, the second and the fourth).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PullPolicy {
    /// Only when the store has none of that name.
    #[default]
    Missing,
    /// Always; what the store has already is not downloaded again.
    Always,
    /// Always, but the image in the store is good enough when the registry does not answer.
    Newer,
    /// Never: the store must have it.
    Never,
}

/// Whether a pod lives as long as an app of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AppRole {
    /// The pod ends when all of these have ended.
    #[default]
    Main,
    /// It serves the others: when those have ended it is stopped, and how it ended says nothing about the pod
    /// (Kubernetes' init containers with `restartPolicy: Always`).
    Sidecar,
}

/// How an app names its image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageSource {
    /// A place to read it from.
    Reference(ImageReference),
    /// A place to read it from, where just the image must be that was there once (`isopod pod lock`).
    Locked {
        /// The place.
        reference: ImageReference,
        /// The image's ID: the digest of its config.
        id: String,
    },
    /// An image that is already in the store.
    Stored {
        /// A digest, `sha256-HEX` or a unique prefix of it (appc `image.id`).
        id: Option<String>,
        /// A name in the store (appc `image.name`).
        name: Option<String>,
    },
}

/// Whether an app may write to its root filesystem; never to the image itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootfsAccess {
    /// Writes go to a layer of the pod, or to the directory that the root is ([`RootWrites`]).
    #[default]
    Writable,
    /// No writes (`--read-only`, appc `readOnlyRootFS`).
    ReadOnly,
}
