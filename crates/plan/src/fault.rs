//! What is wrong with a pod: every fault that planning finds, all at once.

use std::fmt;
use std::path::PathBuf;

use isopod_contract::MAX_APPS;
use isopod_spec::check::PodFault;
use isopod_spec::located::Part;
use isopod_spec::words::shown;
use isopod_spec::{AppName, VolumeName};

use crate::path::ResolveError;
use crate::systemd::unit::Unwritable;

/// A pod that cannot be run as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError {
    /// Every fault found, at least one.
    pub faults: Vec<Fault>,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults.iter().enumerate() {
            let gap = if i == 0 { "" } else { "\n" };
            write!(f, "{gap}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for PlanError {}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A pod without apps.
    #[error("the pod has no app")]
    NoApps,
    /// More apps than the agent's protocol carries.
    #[error("the pod has {0} apps, and at most {MAX_APPS} fit")]
    TooManyApps(usize),
    /// A rule between the parts of the pod that is broken: two apps or two volumes of one name.
    #[error(transparent)]
    Pod(PodFault),
    /// A mount of a volume that the pod does not have.
    #[error(
        "app `{app}` mounts volume `{volume}` at `{}`, and the pod has no such volume",
        shown(target)
    )]
    MissingVolume {
        app: AppName,
        /// The volume that is missing.
        volume: VolumeName,
        /// Where it should be mounted.
        target: PathBuf,
    },
    /// An image's mount point for which there is no volume, where that is refused.
    #[error(
        "no volume for mount point `{mount_point}` (`{}`) of app `{app}`",
        shown(target)
    )]
    UnboundMountPoint {
        app: AppName,
        /// The mount point's name, which is the name of the volume it wants.
        mount_point: VolumeName,
        target: PathBuf,
    },
    /// Two mounts at one place.
    #[error(
        "app `{app}` mounts both volume `{first}` and volume `{second}` at `{}`",
        shown(target)
    )]
    DoubledTarget {
        app: AppName,
        /// The volume of the mount declared first.
        first: VolumeName,
        /// The volume of the other.
        second: VolumeName,
        /// The place, links followed.
        target: PathBuf,
    },
    /// A target that cannot be mounted at.
    #[error(
        "app `{app}`, volume `{volume}`: cannot mount at `{}`: {reason}",
        shown(target)
    )]
    Target {
        app: AppName,
        volume: VolumeName,
        /// The target as it was asked for.
        target: PathBuf,
        reason: TargetFault,
    },
    /// A path within a volume that cannot be mounted.
    #[error(
        "app `{app}`, volume `{volume}`: cannot mount its path `{}`: {reason}",
        shown(sub_path)
    )]
    SubPath {
        app: AppName,
        volume: VolumeName,
        /// The path as it was asked for.
        sub_path: PathBuf,
        reason: TargetFault,
    },
    /// A source that cannot be shared.
    #[error("volume `{volume}`: cannot share `{}`: {reason}", shown(path))]
    Source {
        volume: VolumeName,
        path: PathBuf,
        reason: String,
    },
    /// Something about a volume that cannot be done.
    #[error("volume `{volume}`: {reason}")]
    Volume {
        volume: VolumeName,
        /// What, and why not.
        reason: String,
    },
    /// Something about an app that cannot be done.
    #[error("app `{app}`: {reason}")]
    App {
        app: AppName,
        /// What, and why not.
        reason: String,
    },
    /// The program is not there: exit status 127.
    #[error("app `{app}`: {reason}")]
    CommandNotFound {
        app: AppName,
        /// The program, as it was given.
        program: String,
        /// Where it was looked for.
        reason: String,
    },
    /// The program is there and cannot be executed: exit status 126.
    #[error("app `{app}`: `{}` in its image is {what}", shown(path))]
    CommandNotExecutable {
        app: AppName,
        path: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
    /// Something that this host cannot do.
    #[error("{what}: {reason}")]
    Host {
        /// What was asked for.
        what: String,
        /// Why it cannot be had.
        reason: String,
        /// What to do about it.
        hint: String,
    },
}

/// Why nothing can be mounted at a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetFault {
    /// It leads nowhere.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// systemd cannot express it.
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
    /// The app's root, or a directory that the guest itself mounts.
    #[error("it is {0}")]
    Reserved(&'static str),
    /// A directory onto a file or the other way round.
    #[error("it is a {there}, and a {mounted} cannot be mounted there")]
    KindDiffers {
        there: &'static str,
        /// What should be mounted.
        mounted: &'static str,
    },
    /// It does not exist, and nothing may create it.
    #[error("it does not exist, and the app may not write to volume `{0}`, in which it would be")]
    MissingInReadOnly(VolumeName),
    /// It does not exist, and the app's root is read-only: only before the app ran it could have been made.
    #[error("it does not exist, and the app's root filesystem is read-only")]
    MissingInReadOnlyRoot,
    /// Something is mounted below it, and would be seen no more.
    #[error("it would hide volume `{volume}` at `{}`", shown(place))]
    Hides {
        /// What is mounted below.
        volume: VolumeName,
        place: PathBuf,
    },
    /// Neither a directory nor a regular file.
    #[error("it is neither a directory nor a regular file")]
    NotShareable,
    /// A path within a volume climbs out of it.
    #[error("it must stay within the volume, so it must be relative and without `..`")]
    Climbs,
    /// A path within a volume whose root is a file.
    #[error("the volume is a file, there is nothing below it")]
    BelowFile,
    /// Mounts whose places depend on each other in a circle.
    #[error("symbolic links in volumes make it depend on itself")]
    Unstable,
    /// An old systemd and a long path.
    #[error("systemd {0} in the guest has no unit name for so long a path; 247 and later have")]
    NameNotHashed(u32),
}

impl Fault {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Fault::TooManyApps(_) => Some("split the pod".into()),
            Fault::NoApps => Some("name an image, or let the pod wait for apps: `--hold`".into()),
            Fault::Pod(fault) => fault.hint(),
            Fault::MissingVolume { volume, .. }
            | Fault::UnboundMountPoint {
                mount_point: volume, ..
            } => Some(format!(
                "add `--volume {volume},kind=host,source=/some/path` or `--volume {volume},kind=empty`"
            )),
            Fault::DoubledTarget { .. } => Some("give one of them another target".into()),
            Fault::Target {
                reason: TargetFault::MissingInReadOnly(volume),
                target,
                ..
            } => Some(format!(
                "create `{}` in volume `{volume}`'s source, or let the app write to that volume",
                shown(target)
            )),
            Fault::SubPath {
                reason: TargetFault::MissingInReadOnly(volume),
                sub_path,
                ..
            } => Some(format!(
                "create `{}` in volume `{volume}`'s source, or let the app write to that volume",
                shown(sub_path)
            )),
            Fault::Target {
                reason: TargetFault::MissingInReadOnlyRoot,
                ..
            } => Some("mount it at a directory or file that the image has, or start the pod with it".into()),
            Fault::Target {
                reason: TargetFault::Hides { .. },
                ..
            } => Some("mount it elsewhere, or start the pod with both".into()),
            Fault::CommandNotFound { program, .. } if program.starts_with('-') => {
                Some("what follows an image is its command: write flags before the image".into())
            }
            Fault::CommandNotFound { .. } => {
                Some("name the program with `--entrypoint`, or correct the image".into())
            }
            Fault::Host { hint, .. } => Some(hint.clone()),
            _ => None,
        }
    }

    /// The part of the pod that it is about, where there is one: a manifest can say where that stands.
    #[must_use]
    pub fn part(&self) -> Option<Part> {
        match self {
            Fault::MissingVolume { app, target, .. }
            | Fault::UnboundMountPoint { app, target, .. }
            | Fault::DoubledTarget { app, target, .. }
            | Fault::Target { app, target, .. } => Some(Part::Target(app.clone(), target.clone())),
            Fault::SubPath { app, .. }
            | Fault::App { app, .. }
            | Fault::CommandNotFound { app, .. }
            | Fault::CommandNotExecutable { app, .. } => Some(Part::App(app.clone())),
            Fault::Source { volume, .. } | Fault::Volume { volume, .. } => Some(Part::Volume(volume.clone())),
            Fault::NoApps | Fault::TooManyApps(_) | Fault::Pod(_) | Fault::Host { .. } => None,
        }
    }

    /// The exit status that docker and podman end with on such a fault: 127 and 126 for a program that is not there
    /// or cannot be executed, 125 for everything else.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Fault::CommandNotFound { .. } => 127,
            Fault::CommandNotExecutable { .. } => 126,
            _ => 125,
        }
    }
}
