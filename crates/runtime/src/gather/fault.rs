//! What stands against running a pod before it is planned.

use std::io;
use std::path::PathBuf;

use isopod_spec::AppName;
use isopod_spec::Architecture;
use isopod_spec::VolumeName;
use isopod_spec::located::Part;
use isopod_spec::seccomp::InvalidProfile;
use isopod_spec::words::shown;

/// What stands against running a pod, all of it.
#[derive(Debug, thiserror::Error)]
#[error("cannot gather what the pod needs")]
pub struct GatherError {
    /// Every fault found, at least one.
    pub faults: Vec<GatherFault>,
}

impl GatherError {
    /// The one thing without which nothing else is looked at.
    pub(crate) fn one(fault: GatherFault) -> Self {
        Self { faults: vec![fault] }
    }
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
        reference: String,
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
        reference: String,
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
        source: Box<isopod_image::FindError>,
    },
    /// An image in the store cannot be read.
    #[error("{}: cannot read its image's root filesystem `{}`", shown_part(part), path.display())]
    Rootfs {
        /// The app or volume.
        part: Part,
        path: PathBuf,
        source: Box<isopod_image::erofs::ReadError>,
    },
    /// A volume's source cannot be shared.
    #[error("volume `{volume}`: cannot share `{}`: {reason}", shown(path))]
    Source {
        volume: VolumeName,
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A directory cannot be an app's root.
    #[error("app `{app}`: its root cannot be `{}`: {reason}", shown(path))]
    Root {
        app: AppName,
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A profile of system calls cannot be used.
    #[error("app `{app}`: cannot use the seccomp profile `{}`", shown(path))]
    Profile {
        app: AppName,
        path: PathBuf,
        source: ProfileError,
    },
    #[error("QEMU (`{program}`) was not found in the search path")]
    NoQemu {
        program: &'static str,
        /// How it is installed here.
        hint: String,
    },
    /// An image is for another processor than the VM's.
    #[error(
        "{}: image `{image}` is for {found}, and the VM is {wanted}",
        shown_part(part)
    )]
    Processor {
        /// What it is for.
        part: Part,
        /// Its ID.
        image: String,
        /// Its processor.
        found: Architecture,
        /// The VM's.
        wanted: Architecture,
    },
    /// There is nothing that a guest of that architecture can be made of.
    #[error("a guest for {0} is made from a distribution for {0}, and no directory with one is given")]
    NoGuestRoot(Architecture),
    /// What is in the directory that the guest is to be made of is not what it is made of.
    #[error("cannot build a guest for {wanted} from what is in `{}`: {}", root.display(), in_root(*found))]
    GuestRoot {
        root: PathBuf,
        /// The architecture that it has systemd of.
        found: Option<Architecture>,
        /// The architecture of the VM.
        wanted: Architecture,
    },
    /// The parts of the guest image are missing.
    #[error("cannot find what the guest image is made of")]
    GuestSources {
        source: isopod_guest::FindError,
        /// What to do about it here.
        hint: Option<String>,
    },
    /// The guest image cannot be built.
    #[error("cannot build the guest image")]
    Guest {
        source: isopod_guest::BuildError,
        /// What to do about it here.
        hint: Option<String>,
    },
}

/// What an image is for, as messages begin.
fn shown_part(part: &Part) -> String {
    match part {
        Part::App(app) | Part::Target(app, _) => format!("app `{app}`"),
        Part::Volume(volume) => format!("volume `{volume}`"),
    }
}

/// What a directory has, for its message.
fn in_root(found: Option<Architecture>) -> String {
    match found {
        Some(found) => format!("it has systemd of {found}"),
        None => "it has no systemd of an architecture that is known here".into(),
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
            | Self::Processor { part, .. }
            | Self::Rootfs { part, .. } => Some(part.clone()),
            Self::Root { app, .. } | Self::Profile { app, .. } => Some(Part::App(app.clone())),
            Self::Source { volume, .. } => Some(Part::Volume(volume.clone())),
            Self::Store(_)
            | Self::NoQemu { .. }
            | Self::NoGuestRoot(_)
            | Self::GuestRoot { .. }
            | Self::GuestSources { .. }
            | Self::Guest { .. } => None,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Import { source, .. } => source.hint(),
            Self::Find { source, .. } => source.hint(),
            Self::Source { hint, .. } | Self::Root { hint, .. } => hint.clone(),
            Self::Profile {
                source: ProfileError::Invalid(invalid),
                ..
            } => Some(invalid.hint().to_owned()),
            Self::Profile { .. } => Some(
                "`seccomp=builtin`, in a pod file `type: RuntimeDefault`, is docker's own profile".to_owned(),
            ),
            Self::Locked { source, .. } => source.hint().or_else(lock_anew),
            Self::Unlocked { .. } => lock_anew(),
            Self::NoQemu { hint, .. } => Some(hint.clone()),
            Self::GuestSources { hint, .. } | Self::Guest { hint, .. } => hint.clone(),
            Self::Processor { found, .. } => Some(format!(
                "`--platform linux/{found}` runs it, in an emulated VM where that is not the host's processor"
            )),
            Self::NoGuestRoot(architecture) => Some(format!(
                "`sudo mmdebstrap --variant=extract --architectures={architecture} --include=linux-image-{architecture},systemd bookworm \
                 DIR` makes one and `sudo depmod -b DIR VERSION` its list of modules; name it by `--guest-root DIR` or in \
                 ISOPOD_GUEST_ROOT"
            )),
            Self::GuestRoot { found, .. } => Some(match found {
                Some(found) => format!("for images for {found} write `--platform linux/{found}`"),
                None => {
                    "it needs a distribution's systemd, with its libraries, and a kernel with its modules"
                        .into()
                }
            }),
            Self::Store(source) => source.hint(),
            Self::Rootfs { .. } => None,
        }
    }
}

/// What to do where a lock's image is gone.
fn lock_anew() -> Option<String> {
    Some("`isopod pod lock FILE` locks the image that is there now".into())
}
