//! Gathers the facts about a pod: the only reading of the world before planning.
//!
//! 1. every image is brought into the store, or found there
//! 2. every host volume's source is looked at
//! 3. the host: guest image, KVM, virtiofsd, namespaces, each only where the pod needs it
//! 4. whatever the planner will look at inside images and sources is looked at by the planner's own code, and recorded

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use isopod_guest::{FindOptions, GuestImage, Sources};
use isopod_image::erofs::Reader;
use isopod_image::{Held, Image, Store};
use isopod_plan::facts::{
    AppFacts, Facts, GuestFacts, HostFacts, HostUser, ImageFacts, Kvm, Namespaces, OwnUsers, SourceFacts,
    SourceKind, VolumeImageFacts,
};
use isopod_plan::path::{self, Lookup, Tree};
use isopod_plan::profile::Profile;
use isopod_plan::vm::confinement::{self, Isolation};
use isopod_plan::vm::file_server::Owner;
use isopod_plan::vm::hardware::SharedVolume;
use isopod_plan::volumes::Source;
use isopod_spec::appc::Part;
use isopod_spec::seccomp::{InvalidProfile, SeccompProfile, read_profile};
use isopod_spec::words::shown;
use isopod_spec::{
    Accel, App, AppName, ImageReference, ImageSource, Network, PodSpec, PullPolicy, RunConfig, Seccomp,
    ShareTransport, VolumeKind, VolumeName,
};
use isopod_vm::kvm;
use isopod_vm::launch;
use isopod_vm::stage::root::Root;
use isopod_vm::stage::{Capabilities, Stage};
use isopod_vm::virtiofsd;
use rustix::thread::CapabilitySet;

use crate::Settings;
use crate::record::{HostRoot, ImageRoot, Recorder};
use crate::resolver;
use crate::sources::{self, FoundSource, MissingSource};

/// Where programs for root are, which an ordinary user's search path leaves out.
const SYSTEM_PROGRAMS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// As much as is read of an image's `/etc/passwd` and `/etc/group`, and of the host's resolver configuration.
const MAX_DATABASE_BYTES: u64 = 1 << 20;

/// What stands against running a pod, all of it.
#[derive(Debug, thiserror::Error)]
#[error("cannot gather what the pod needs")]
pub struct GatherError {
    /// Every fault found, at least one.
    pub faults: Vec<GatherFault>,
}

/// One thing that stands against running a pod.
#[derive(Debug, thiserror::Error)]
pub enum GatherFault {
    /// The store cannot be opened.
    #[error("cannot open the image store")]
    Store(#[source] isopod_image::StoreError),
    /// An image cannot be had.
    #[error("{}: cannot get its image `{reference}`", shown_part(part))]
    Import {
        /// The app or volume.
        part: Part,
        /// The image.
        reference: String,
        /// Why.
        source: Box<isopod_image::ImportError>,
    },
    /// An image of the lock cannot be had.
    #[error(
        "{}: cannot get its image `{reference}`, which the lock names",
        shown_part(part)
    )]
    Locked {
        /// The app or volume.
        part: Part,
        /// The image.
        reference: String,
        /// Why.
        source: Box<isopod_image::ImportError>,
    },
    /// An image is another one than the lock says.
    #[error(
        "{}: image `{reference}` is `{found}`, and the lock says `{locked}`",
        shown_part(part)
    )]
    Unlocked {
        /// The app or volume.
        part: Part,
        /// The image.
        reference: String,
        /// The ID in the lock.
        locked: String,
        /// The ID that it has.
        found: String,
    },
    /// An image is not in the store.
    #[error("{}: cannot find its image in the store", shown_part(part))]
    Find {
        /// The app or volume.
        part: Part,
        /// Why.
        source: Box<isopod_image::FindError>,
    },
    /// An image in the store cannot be read.
    #[error("{}: cannot read its image's root filesystem `{}`", shown_part(part), path.display())]
    Rootfs {
        /// The app or volume.
        part: Part,
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<isopod_image::erofs::ReadError>,
    },
    /// A volume's source cannot be shared.
    #[error("volume `{volume}`: cannot share `{}`: {reason}", shown(path))]
    Source {
        /// The volume.
        volume: VolumeName,
        /// Its source.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A profile of system calls cannot be used.
    #[error("app `{app}`: cannot use the seccomp profile `{}`", shown(path))]
    Profile {
        /// The app.
        app: AppName,
        /// The file.
        path: PathBuf,
        /// Why.
        source: ProfileError,
    },
    /// QEMU is missing.
    #[error("QEMU (`qemu-system-x86_64`) was not found in the search path")]
    NoQemu,
    /// The parts of the guest image are missing.
    #[error("cannot find what the guest image is made of")]
    GuestSources(#[source] isopod_guest::FindError),
    /// The guest image cannot be built.
    #[error("cannot build the guest image")]
    Guest(#[source] isopod_guest::BuildError),
}

/// What an image is for, as messages begin.
fn shown_part(part: &Part) -> String {
    match part {
        Part::App(app) | Part::Target(app, _) => format!("app `{app}`"),
        Part::Volume(volume) => format!("volume `{volume}`"),
    }
}

/// Why a profile of system calls cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// It says nothing that can be kept.
    #[error(transparent)]
    Invalid(#[from] InvalidProfile),
}

impl GatherFault {
    /// The part of the pod that it is about, where there is one: a manifest can say where that stands.
    #[must_use]
    pub fn part(&self) -> Option<Part> {
        match self {
            Self::Import { part, .. }
            | Self::Locked { part, .. }
            | Self::Unlocked { part, .. }
            | Self::Find { part, .. }
            | Self::Rootfs { part, .. } => Some(part.clone()),
            Self::Profile { app, .. } => Some(Part::App(app.clone())),
            Self::Source { volume, .. } => Some(Part::Volume(volume.clone())),
            Self::Store(_) | Self::NoQemu | Self::GuestSources(_) | Self::Guest(_) => None,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Import { source, .. } => source.hint(),
            Self::Find { source, .. } => source.hint(),
            Self::Source { hint, .. } => hint.clone(),
            Self::Profile {
                source: ProfileError::Invalid(invalid),
                ..
            } => Some(invalid.hint().to_owned()),
            Self::Profile { .. } => Some(
                "`seccomp=builtin`, in a pod file `type: RuntimeDefault`, is docker's own profile".to_owned(),
            ),
            Self::Locked { source, .. } => source.hint().or_else(lock_anew),
            Self::Unlocked { .. } => lock_anew(),
            Self::NoQemu => Some("install Debian's `qemu-system-x86`".into()),
            Self::GuestSources(source) => source.hint(),
            Self::Guest(source) => source.hint(),
            Self::Store(_) | Self::Rootfs { .. } => None,
        }
    }
}

/// What to do where a lock's image is gone.
fn lock_anew() -> Option<String> {
    Some("`isopod pod lock FILE` locks the image that is there now".into())
}

/// Facts, and what they were gathered from.
pub struct Gathered {
    /// What planning needs.
    pub facts: Facts,
    /// The guest image.
    pub guest: GuestImage,
    /// QEMU.
    pub qemu: PathBuf,
    /// The sources of volumes that are to be made.
    pub missing: Vec<MissingSource>,
    /// Keeps the images in the store until the pod has links to them.
    pub held: Vec<Held>,
}

/// Gathers the facts about `spec`.
///
/// # Errors
/// [`GatherError`] with everything that stands against it.
pub fn gather(spec: &PodSpec, settings: &Settings) -> Result<Gathered, GatherError> {
    let mut faults = Vec::new();
    let images = images(spec, settings, &mut faults);
    let sources = sources::find(spec, settings, &mut faults);
    let mut profiles = profiles(spec, settings, &mut faults);
    let qemu = find_program(&settings.search_path, "qemu-system-x86_64");
    if qemu.is_none() {
        faults.push(GatherFault::NoQemu);
    }
    let guest = guest_image(settings).map_err(|fault| faults.push(fault)).ok();
    let (Some(qemu), Some(guest), true) = (qemu, guest, faults.is_empty()) else {
        return Err(GatherError { faults });
    };
    let host = host(spec, settings, &qemu, &guest);
    let apps = spec.apps.iter().map(|app| AppFacts {
        image: None,
        caller_env: caller_env(app, settings),
        seccomp_profile: profiles.remove(&app.name),
    });
    let mut facts = Facts {
        apps: apps.collect(),
        sources: BTreeMap::new(),
        volume_images: BTreeMap::new(),
        host,
    };
    let missing = sources
        .iter()
        .filter_map(|source| source.missing.clone())
        .collect();
    let held = survey(spec, &mut facts, images, sources);
    Ok(Gathered {
        facts,
        guest,
        qemu,
        missing,
        held,
    })
}

/// How the images of `spec` want to be run, where no manifest says it in their place.
///
/// # Errors
/// [`GatherError`] with every image that cannot be had.
pub fn run_configs(spec: &PodSpec, settings: &Settings) -> Result<Vec<RunConfig>, GatherError> {
    let mut faults = Vec::new();
    let images = images(spec, settings, &mut faults);
    if !faults.is_empty() {
        return Err(GatherError { faults });
    }
    let own = |(app, image): (&App, Option<Opened>)| {
        app.run_config
            .clone()
            .or(image.map(|(image, ..)| image.config))
            .unwrap_or_default()
    };
    Ok(spec.apps.iter().zip(images.apps).map(own).collect())
}

/// The images of `spec`, its apps' in order and then its volumes', brought into the store.
///
/// # Errors
/// [`GatherError`] with every image that cannot be had.
pub fn all_images(spec: &PodSpec, settings: &Settings) -> Result<Vec<Image>, GatherError> {
    let mut faults = Vec::new();
    let images = images(spec, settings, &mut faults);
    if !faults.is_empty() {
        return Err(GatherError { faults });
    }
    let volumes = images.volumes.into_iter().map(|(_, opened)| opened);
    let apps = images.apps.into_iter().flatten();
    Ok(apps.chain(volumes).map(|(image, ..)| image).collect())
}

/// The first executable of that name in `search`.
fn find_program(search: &[PathBuf], name: &str) -> Option<PathBuf> {
    let executable = |path: &PathBuf| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    search
        .iter()
        .map(|dir| dir.join(name))
        .find(|path| path.is_file() && executable(path))
}

/// An image, its root filesystem to look into, and what keeps it in the store.
type Opened = (Image, Reader, Held);

/// The images of the apps, in their order, and those that volumes are.
#[derive(Default)]
struct Images {
    apps: Vec<Option<Opened>>,
    volumes: Vec<(VolumeName, Opened)>,
}

fn images(spec: &PodSpec, settings: &Settings, faults: &mut Vec<GatherFault>) -> Images {
    let store = match Store::open(&settings.state_dir) {
        Ok(store) => store,
        Err(error) => {
            faults.push(GatherFault::Store(error));
            return Images::default();
        }
    };
    let mut open = |part, source, pull| {
        let opened = open_image(&store, settings, part, (source, pull));
        opened.map_err(|fault| faults.push(fault)).ok()
    };
    let apps = spec.apps.iter();
    let apps = apps.map(|app| open(Part::App(app.name.clone()), &app.image, app.pull));
    let apps = apps.collect();
    let volumes = spec.volumes.iter().filter_map(|volume| match &volume.kind {
        VolumeKind::Image(image) => {
            let opened = open(Part::Volume(volume.name.clone()), &image.image, image.pull)?;
            Some((volume.name.clone(), opened))
        }
        _ => None,
    });
    Images {
        apps,
        volumes: volumes.collect(),
    }
}

/// The image of that ID: from the store, or else from where `reference` says.
fn locked(
    store: &Store,
    settings: &Settings,
    part: &Part,
    (reference, id, pull): (&ImageReference, &str, PullPolicy),
) -> Result<(Image, Held), GatherFault> {
    let failed = |source| GatherFault::Locked {
        part: part.clone(),
        reference: reference.to_string(),
        source: Box::new(source),
    };
    if let Ok(image) = store.find(Some(&id.replace(':', "-")), None)
        && let Some(held) = store.hold_image(&image).map_err(failed)?
    {
        return Ok((image, held));
    }
    let (image, held) = store
        .obtain(reference, pull, &settings.registries)
        .map_err(failed)?;
    match image.id.to_string() == id {
        true => Ok((image, held)),
        false => Err(GatherFault::Unlocked {
            part: part.clone(),
            reference: reference.to_string(),
            locked: id.to_owned(),
            found: image.id.to_string(),
        }),
    }
}

fn open_image(
    store: &Store,
    settings: &Settings,
    part: Part,
    (source, pull): (&ImageSource, PullPolicy),
) -> Result<Opened, GatherFault> {
    let (image, held) = obtain(store, settings, &part, (source, pull))?;
    match Reader::open(&image.rootfs) {
        Ok(reader) => Ok((image, reader, held)),
        Err(source) => Err(GatherFault::Rootfs {
            part,
            path: image.rootfs.clone(),
            source: Box::new(source),
        }),
    }
}

/// The image of a part, which is kept in the store as long as the second value lives.
fn obtain(
    store: &Store,
    settings: &Settings,
    part: &Part,
    (source, pull): (&ImageSource, PullPolicy),
) -> Result<(Image, Held), GatherFault> {
    let failed = |reference: String, source| GatherFault::Import {
        part: part.clone(),
        reference,
        source: Box::new(source),
    };
    match source {
        ImageSource::Reference(reference) => store
            .obtain(reference, pull, &settings.registries)
            .map_err(|source| failed(reference.to_string(), source)),
        ImageSource::Locked { reference, id } => locked(store, settings, part, (reference, id, pull)),
        ImageSource::Stored { id, name } => loop {
            let found = store.find(id.as_deref(), name.as_deref());
            let image = found.map_err(|source| GatherFault::Find {
                part: part.clone(),
                source: Box::new(source),
            })?;
            let held = store.hold_image(&image);
            // Between the two it may have been removed, and is not found again then.
            if let Some(held) = held.map_err(|source| failed(image.id.to_string(), source))? {
                return Ok((image, held));
            }
        },
    }
}

fn caller_env(app: &App, settings: &Settings) -> BTreeMap<String, String> {
    let asked = app.overrides.env.iter().filter(|var| var.value.is_none());
    asked
        .filter_map(|var| Some((var.name.clone(), settings.env.get(&var.name)?.clone())))
        .collect()
}

/// What the profiles of system calls say that apps name.
fn profiles(
    spec: &PodSpec,
    settings: &Settings,
    faults: &mut Vec<GatherFault>,
) -> BTreeMap<AppName, SeccompProfile> {
    let mut profiles = BTreeMap::new();
    for app in &spec.apps {
        let Some(Seccomp::Profile(path)) = &app.overrides.seccomp else {
            continue;
        };
        match profile(&settings.working_dir.join(path)) {
            Ok(profile) => drop(profiles.insert(app.name.clone(), profile)),
            Err(source) => faults.push(GatherFault::Profile {
                app: app.name.clone(),
                path: path.clone(),
                source,
            }),
        }
    }
    profiles
}

fn profile(path: &Path) -> Result<SeccompProfile, ProfileError> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_DATABASE_BYTES).read_to_string(&mut text)?;
    Ok(read_profile(&text)?)
}

fn guest_image(settings: &Settings) -> Result<GuestImage, GatherFault> {
    let options = FindOptions {
        agent: settings.agent.clone(),
        ..FindOptions::default()
    };
    let sources = Sources::find(&options).map_err(GatherFault::GuestSources)?;
    isopod_guest::ensure(&sources, &settings.state_dir).map_err(GatherFault::Guest)
}

fn host(spec: &PodSpec, settings: &Settings, qemu: &Path, guest: &GuestImage) -> HostFacts {
    let uid = rustix::process::geteuid();
    let user = if uid.is_root() {
        HostUser::Root
    } else {
        HostUser::Ordinary { uid: uid.as_raw() }
    };
    let shares = spec.machine.transport == ShareTransport::Virtiofs
        || spec
            .volumes
            .iter()
            .any(|volume| matches!(volume.kind, VolumeKind::Host(_)));
    let kvm = match spec.machine.accel {
        Accel::Tcg => Kvm::NotAsked,
        Accel::Auto | Accel::Kvm => {
            let probe = kvm::Guest {
                kernel: &guest.kernel,
                initrd: &guest.initrd,
                digest: &guest.digest,
            };
            kvm::works(&settings.isopod, qemu, &probe, &settings.state_dir.join("kvm"))
        }
    };
    HostFacts {
        user,
        own_users: own_users(),
        kvm,
        namespaces: namespaces(settings),
        mkfs: find_program(
            &[
                settings.search_path.clone(),
                SYSTEM_PROGRAMS.map(PathBuf::from).to_vec(),
            ]
            .concat(),
            "mkfs.ext4",
        ),
        virtiofsd: (shares && spec.machine.transport != ShareTransport::NineP)
            .then(|| virtiofsd::find(&settings.search_path, user))
            .flatten(),
        open_files: rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum,
        search_domains: match &spec.network {
            Network::User { .. } => search_domains(),
            Network::None => Vec::new(),
        },
        guest: GuestFacts {
            kernel: guest.kernel.clone(),
            initrd: guest.initrd.clone(),
            more_modules: guest.more_modules.clone(),
            release: guest.release.clone(),
            modules: guest.modules.clone(),
            systemd_version: guest.systemd_version,
        },
    }
}

/// The host's search domains; none where they cannot be read.
fn search_domains() -> Vec<String> {
    let mut text = Vec::new();
    let read = std::fs::File::open(resolver::RESOLV_CONF)
        .and_then(|file| file.take(MAX_DATABASE_BYTES).read_to_end(&mut text));
    if let Err(error) = read {
        tracing::debug!("cannot read `{}`: {error}", resolver::RESOLV_CONF);
    }
    resolver::search_domains(&String::from_utf8_lossy(&text))
}

/// Tries to enter a mount namespace and to mount in it, as the stage of a pod's process will.
fn namespaces(settings: &Settings) -> Namespaces {
    let root = || {
        Some(Root {
            dir: "/proc".into(),
            files: Vec::new(),
        })
    };
    let Err(network) = try_stage(settings, root(), Isolation::Network) else {
        return Namespaces::Available;
    };
    let Err(reason) = try_stage(settings, root(), Isolation::Processes) else {
        return Namespaces::WithoutNetwork(network);
    };
    match try_stage(settings, None, Isolation::Mounts) {
        Ok(()) => Namespaces::WithoutRoot(reason),
        Err(reason) => Namespaces::Unavailable(reason),
    }
}

/// What it takes to run a process as another user and to end it, and to give it its files.
const FOR_OWN_USERS: [(CapabilitySet, &str); 6] = [
    (CapabilitySet::CHOWN, "CAP_CHOWN"),
    (CapabilitySet::FOWNER, "CAP_FOWNER"),
    (CapabilitySet::KILL, "CAP_KILL"),
    (CapabilitySet::SETGID, "CAP_SETGID"),
    (CapabilitySet::SETPCAP, "CAP_SETPCAP"),
    (CapabilitySet::SETUID, "CAP_SETUID"),
];

/// Whether this process can make another user of a process, which root in a container may not.
fn own_users() -> OwnUsers {
    let held = rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    if let Some((_, name)) = FOR_OWN_USERS.iter().find(|(needed, _)| !held.contains(*needed)) {
        return OwnUsers::Unavailable(format!("{name} is missing"));
    }
    for map in ["/proc/self/uid_map", "/proc/self/gid_map"] {
        let text = std::fs::read_to_string(map).unwrap_or_default();
        if !maps(&text, &confinement::OWN_USERS) {
            return OwnUsers::Unavailable(format!("`{map}` leaves it out"));
        }
    }
    OwnUsers::Available
}

/// Whether a map of user_namespaces(7) has all of these.
fn maps(map: &str, wanted: &std::ops::Range<u32>) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        match (numbers.next(), numbers.nth(1)) {
            (Some(Ok(first)), Some(Ok(count))) => {
                first <= wanted.start.into() && u64::from(wanted.end) <= first.saturating_add(count)
            }
            _ => false,
        }
    })
}

/// Tries a stage that mounts, with a root of its own if `root` is one; gives its words when it fails.
fn try_stage(settings: &Settings, root: Option<Root>, isolation: Isolation) -> Result<(), String> {
    let share = match &root {
        Some(_) => None,
        None => Some((PathBuf::from("/proc"), Vec::<SharedVolume>::new())),
    };
    let stage = Stage {
        parent: std::process::id(),
        share,
        root,
        owner: Owner { uid: 0, gid: 0 },
        isolation,
        user: None,
        capabilities: Capabilities::Kept,
        command: vec!["/bin/true".into()],
    };
    let output = launch::command(&settings.isopod).args(stage.argv()).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stderr);
            Err(words.trim().lines().collect::<Vec<_>>().join("; "))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Lets the planner look into images and sources, and puts what it saw into the facts. Gives what holds the images.
fn survey(spec: &PodSpec, facts: &mut Facts, images: Images, sources: Vec<FoundSource>) -> Vec<Held> {
    let (mut recorded, mut all_held) = (Vec::new(), Vec::new());
    for ((image, reader, held), facts) in images.apps.into_iter().flatten().zip(&mut facts.apps) {
        let recorder = Recorder::new(ImageRoot(reader));
        facts.image = Some(image_facts(&image, &recorder));
        recorded.push(recorder);
        all_held.push(held);
    }
    let hosts: Vec<(FoundSource, Recorder<HostRoot>)> = sources
        .into_iter()
        .map(|found| {
            let root = HostRoot(found.path.clone());
            (found, Recorder::new(root))
        })
        .collect();
    let given: Vec<(VolumeName, Image, Recorder<ImageRoot>)> = images
        .volumes
        .into_iter()
        .map(|(name, (image, reader, held))| {
            all_held.push(held);
            (name, image, Recorder::new(ImageRoot(reader)))
        })
        .collect();
    let lookups: Vec<Option<&dyn Lookup>> = recorded
        .iter()
        .map(|recorder| Some(recorder as &dyn Lookup))
        .collect();
    let of_hosts = hosts.iter().map(|(found, recorder)| {
        let (kind, tree) = (found.kind, recorder as &dyn Lookup);
        (found.volume.clone(), Source { kind, tree })
    });
    let of_images = given.iter().map(|(name, _, recorder)| {
        let (kind, tree) = (SourceKind::Directory, recorder as &dyn Lookup);
        (name.clone(), Source { kind, tree })
    });
    let trees: BTreeMap<VolumeName, Source<'_>> = of_hosts.chain(of_images).collect();
    isopod_plan::survey(spec, facts, &lookups, &trees, &Profile::DEFAULT);
    for (recorder, facts) in recorded.into_iter().zip(&mut facts.apps) {
        if let Some(image) = &mut facts.image {
            image.tree = recorder.into_tree();
        }
    }
    let of_image = |(name, image, recorder): (VolumeName, Image, Recorder<ImageRoot>)| {
        let facts = VolumeImageFacts {
            id: image.id.to_string(),
            rootfs: image.rootfs,
            tree: recorder.into_tree(),
        };
        (name, facts)
    };
    facts.volume_images = given.into_iter().map(of_image).collect();
    facts.sources = hosts
        .into_iter()
        .map(|(found, recorder)| {
            let facts = SourceFacts {
                path: found.path,
                kind: found.kind,
                id: found.id,
                mounts: found.mounts,
                sizes: found.sizes,
                tree: recorder.into_tree(),
            };
            (found.volume, facts)
        })
        .collect();
    all_held
}

fn image_facts(image: &Image, root: &Recorder<ImageRoot>) -> ImageFacts {
    ImageFacts {
        id: image.id.to_string(),
        rootfs: image.rootfs.clone(),
        config: image.config.clone(),
        tree: Tree::default(),
        passwd: root.text("/etc/passwd"),
        group: root.text("/etc/group"),
    }
}

impl Recorder<ImageRoot> {
    /// The text of a file of the image's, links followed; empty where there is none.
    fn text(&self, path: &str) -> String {
        let read = || {
            let found = path::resolve(self, Path::new(path)).ok()?;
            let reader = &self.root().0;
            let node = reader.lookup(&found.path).ok()??;
            reader.read(&node, MAX_DATABASE_BYTES).ok()
        };
        String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_of_its_own_must_be_mapped() {
        let wanted = confinement::OWN_USERS;
        // The host's own map, a container's of subordinate users, and unshare(1)'s of one user.
        assert!(maps("         0          0 4294967295\n", &wanted));
        assert!(!maps("0 1000 1\n1 100000 65536\n", &wanted));
        assert!(!maps("0 1000 1\n", &wanted) && !maps("", &wanted));
    }
}
