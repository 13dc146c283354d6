//! Gathers the facts about a pod: the only reading of the world before planning.
//!
//! 1. every image is brought into the store, or found there
//! 2. every host volume's source is looked at
//! 3. the host: guest image, KVM, virtiofsd, namespaces, each only where the pod needs it
//! 4. whatever the planner will look at inside images and sources is looked at by the planner's own code, and recorded

pub(crate) mod fault;
pub(crate) mod guest;
pub(crate) mod host;
mod images;
mod roots;
pub mod sources;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use isopod_guest::GuestImage;
use isopod_image::{Held, Image};
use isopod_plan::distribution::{Distribution, Need};
use isopod_plan::facts::{AppFacts, Facts, RootFacts, RootOrigin, SourceFacts, SourceKind, VolumeImageFacts};
use isopod_plan::path::{self, Lookup, Tree};
use isopod_plan::vm::board;
use isopod_plan::volumes::Source;
use isopod_spec::seccomp::{SeccompProfile, read_profile};
use isopod_spec::{App, AppName, GuestKernel, PodSpec, RunConfig, Seccomp, VolumeName};

pub use fault::{GatherError, GatherFault, ProfileError};
pub(crate) use host::find_system_program;
use host::{MAX_DATABASE_BYTES, host};
use images::{Images, Opened, images};
pub(crate) use roots::RootDir;

use crate::Settings;
use crate::programs::find_qemu;
use crate::record::{HostRoot, ImageRoot, Recorder};
use sources::{FoundSource, MissingSource};

/// Facts, and what they were gathered from.
pub struct Gathered {
    /// What planning needs.
    pub facts: Facts,
    pub guest: GuestImage,
    /// The kernel that was asked for, by absolute paths.
    pub kernel: GuestKernel,
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
    let choice = guest::wanted(&spec.vm, settings).map_err(GatherError::one)?;
    let architecture = choice.architecture;
    let images = images(spec, architecture, settings, &mut faults);
    let sources = sources::find(spec, settings, &mut faults);
    let directories = roots::find(spec, settings, &mut faults);
    let mut profiles = profiles(spec, settings, &mut faults);
    let distribution = distribution();
    let qemu = find_qemu(&settings.search_path, architecture);
    if qemu.is_none() {
        faults.push(GatherFault::NoQemu {
            program: board::program(architecture),
            hint: distribution.install(Need::Qemu(architecture)),
        });
    }
    let guest = guest::image(&choice, settings, &distribution);
    let guest = guest.map_err(|fault| faults.push(fault)).ok();
    let (Some(qemu), Some(guest), true) = (qemu, guest, faults.is_empty()) else {
        return Err(GatherError { faults });
    };
    let host = host(spec, settings, &qemu, (architecture, &guest), distribution);
    let apps = spec.apps.iter().map(|app| AppFacts {
        root: None,
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
    let held = survey(spec, &mut facts, images, directories, sources);
    Ok(Gathered {
        facts,
        guest: guest.image,
        kernel: choice.kernel,
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
    let images = images_alone(spec, settings)?;
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
    let images = images_alone(spec, settings)?;
    let volumes = images.volumes.into_iter().map(|(_, opened)| opened);
    let apps = images.apps.into_iter().flatten();
    Ok(apps.chain(volumes).map(|(image, ..)| image).collect())
}

/// The images of `spec`, where nothing else of it matters.
fn images_alone(spec: &PodSpec, settings: &Settings) -> Result<Images, GatherError> {
    let mut faults = Vec::new();
    let choice = guest::wanted(&spec.vm, settings).map_err(GatherError::one)?;
    let images = images(spec, choice.architecture, settings, &mut faults);
    match faults.is_empty() {
        true => Ok(images),
        false => Err(GatherError { faults }),
    }
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

/// What the caller's environment has of the variables that an app wants from it.
fn caller_env(app: &App, settings: &Settings) -> BTreeMap<String, String> {
    let asked = app.overrides.env.iter().filter(|var| var.value.is_none());
    asked
        .filter_map(|var| Some((var.name.clone(), settings.env.get(&var.name)?.clone())))
        .collect()
}

/// The host's distribution (os-release(5)).
pub(crate) fn distribution() -> Distribution {
    let mut texts = ["/etc/os-release", "/usr/lib/os-release"]
        .iter()
        .map(std::fs::read_to_string);
    Distribution::read(&texts.find_map(Result::ok).unwrap_or_default())
}

/// Lets the planner look into images and sources, and puts what it saw into the facts. Gives what holds the images.
fn survey(
    spec: &PodSpec,
    facts: &mut Facts,
    images: Images,
    directories: Vec<Option<RootDir>>,
    sources: Vec<FoundSource>,
) -> Vec<Held> {
    let (mut recorded, mut all_held) = (Vec::new(), Vec::new());
    let roots = images.apps.into_iter().zip(directories);
    for ((image, directory), facts) in roots.zip(&mut facts.apps) {
        let recorder = match (image, directory) {
            (Some((image, reader, held)), _) => {
                let recorder = Recorder::new(ImageRoot(reader));
                facts.root = Some(image_facts(&image, &recorder));
                all_held.push(held);
                RecordedRoot::Image(recorder)
            }
            (None, Some(directory)) => {
                facts.root = Some(directory.facts());
                RecordedRoot::Directory(Recorder::new(directory))
            }
            // A fault that is reported already.
            (None, None) => continue,
        };
        recorded.push(recorder);
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
    let lookups: Vec<Option<&dyn Lookup>> = recorded.iter().map(|recorder| Some(recorder.lookup())).collect();
    let of_hosts = hosts.iter().map(|(found, recorder)| {
        let (kind, tree) = (found.kind, recorder as &dyn Lookup);
        (found.volume.clone(), Source { kind, tree })
    });
    let of_images = given.iter().map(|(name, _, recorder)| {
        let (kind, tree) = (SourceKind::Directory, recorder as &dyn Lookup);
        (name.clone(), Source { kind, tree })
    });
    let trees: BTreeMap<VolumeName, Source<'_>> = of_hosts.chain(of_images).collect();
    isopod_plan::survey(spec, facts, &lookups, &trees);
    for (recorder, facts) in recorded.into_iter().zip(&mut facts.apps) {
        if let Some(root) = &mut facts.root {
            root.tree = recorder.into_tree();
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

/// An app's root that is looked into.
enum RecordedRoot {
    Image(Recorder<ImageRoot>),
    Directory(Recorder<RootDir>),
}

impl RecordedRoot {
    fn lookup(&self) -> &dyn Lookup {
        match self {
            Self::Image(recorder) => recorder,
            Self::Directory(recorder) => recorder,
        }
    }

    fn into_tree(self) -> Tree {
        match self {
            Self::Image(recorder) => recorder.into_tree(),
            Self::Directory(recorder) => recorder.into_tree(),
        }
    }
}

fn image_facts(image: &Image, root: &Recorder<ImageRoot>) -> RootFacts {
    RootFacts {
        origin: RootOrigin::Image {
            id: image.id.to_string(),
            rootfs: image.rootfs.clone(),
        },
        config: image.config.clone(),
        tree: Tree::default(),
        passwd: root.text("/etc/passwd"),
        group: root.text("/etc/group"),
    }
}

impl Recorder<ImageRoot> {
    /// The text of a file of the image, links followed; empty where there is none.
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
