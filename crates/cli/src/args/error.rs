//! What can be wrong with a command line.

use clap::builder::StyledStr;
use isopod_spec::check::PodFault;
use isopod_spec::flags::InvalidFlag;
use isopod_spec::{InvalidReference, VolumeName};

use crate::detach_keys::KeyError;

/// Why a command line gives no command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArgsError {
    /// Help or the version was asked for: this text belongs on standard output, and nothing failed.
    #[error("{}", .0)]
    Asked(StyledStr),
    /// A form that clap refuses; the text explains itself, hints included.
    #[error("{}", .0)]
    Usage(StyledStr),
    /// All that is wrong with the pod that was described.
    #[error("the command line has {} faults", .0.len())]
    Faults(Vec<ArgFault>),
}

impl From<ArgFault> for ArgsError {
    fn from(fault: ArgFault) -> Self {
        Self::Faults(vec![fault])
    }
}

/// A fault of the pod that a command line describes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ArgFault {
    /// Keys to detach with that are none.
    #[error(transparent)]
    DetachKeys(KeyError),
    /// There is no image where one must be.
    #[error("there is no image {place}")]
    NoImage {
        /// Where it must be.
        place: &'static str,
    },
    /// Something stands beside a file that describes the whole pod.
    #[error("`{what}` cannot be used with `{file}`, which describes the whole pod")]
    BesideFile {
        /// What stands there.
        what: String,
        /// The flag that names the file.
        file: &'static str,
    },
    /// A flag of the whole pod behind the first app.
    #[error("`{flag}` belongs to the whole pod, but stands after `---`")]
    PodFlagOfLaterApp { flag: String },
    /// A volume of the whole pod behind the first app.
    #[error("volume `{volume}` belongs to the whole pod, but is declared after `---`")]
    VolumeOfLaterApp { volume: VolumeName },
    /// A flag that does not exist.
    #[error("unknown flag `{flag}`")]
    UnknownFlag {
        flag: String,
        /// The one that was perhaps meant.
        nearest: Option<String>,
    },
    /// A flag of docker's or podman's that cannot be had.
    #[error("`{flag}` is not supported")]
    Refused {
        flag: String,
        /// What to do instead.
        hint: &'static str,
    },
    /// The value of a switch is not true or false.
    #[error("`{value}` is not a valid value of `{flag}`: it must be `true` or `false`")]
    NotSwitched { flag: String, value: String },
    /// Another fault of the flags of an app behind `---`, as clap puts it.
    #[error("flags after `---`: {message}")]
    AppUsage { message: String },
    /// A flag that is for pod files stands without one.
    #[error("`{flag}` is for pod files, and there is no `--file`")]
    WithoutFile { flag: &'static str },
    /// The group is given twice.
    #[error("image `{image}` has a group both in `--user` and in `--group`")]
    DoubledGroup { image: String },
    /// The same limit twice, in two forms.
    #[error("`--cpu-quota` cannot be used with `--cpus`")]
    CpusAndQuota,
    /// A health check is described and left out.
    #[error("`--no-healthcheck` cannot be used with another flag of the health check")]
    HealthCheckAndNone,
    /// The image is not a reference.
    #[error(transparent)]
    Reference(InvalidReference),
    /// The image's name makes no app name.
    #[error("no app name can be made from image `{image}`")]
    NoDefaultName { image: String },
    /// A flag's value.
    #[error(transparent)]
    Flag(#[from] InvalidFlag),
    /// Ports are published of a pod that has no network.
    #[error("`--publish` needs a network, and `--network none` leaves the pod without")]
    PublishWithoutNetwork,
    /// Ports are published of a pod in a network namespace.
    #[error(
        "`--publish` cannot be used with a network namespace: whoever made the namespace publishes its ports"
    )]
    PublishIntoNamespace,
    /// What a pod has in a network with a name, and no such network.
    #[error("`{flag}` needs a network with a name")]
    WithoutNamedNetwork { flag: &'static str },
    /// Which of several networks is meant.
    #[error("`{flag}` does not say which of the pod's networks it is for")]
    InWhichNetwork { flag: &'static str },
    /// Networks with names beside another kind.
    #[error("a pod in networks with names cannot have another network")]
    NetworksBeside,
    /// Another rule between the parts of the pod.
    #[error(transparent)]
    Pod(PodFault),
}

impl ArgFault {
    /// What would be right.
    pub(crate) fn hint(&self) -> Option<String> {
        let text = match self {
            Self::DetachKeys(_) => {
                "write `ctrl-p,ctrl-q`, with commas between the keys, or nothing to have no such keys"
            }
            Self::NoImage { .. } => {
                "write `isopod run IMAGE`, such as `isopod run oci:DIR`; `isopod run --help` shows more"
            }
            Self::BesideFile { .. } => "leave it out, or describe the pod with flags only",
            Self::PodFlagOfLaterApp { flag } if flag == "--name" => {
                "name the pod before the first image; an app's name is `--app-name`"
            }
            Self::PodFlagOfLaterApp { .. } | Self::VolumeOfLaterApp { .. } => {
                "write it before the first image"
            }
            Self::UnknownFlag { flag, .. } if flag == "--image" => {
                "an image is a positional argument: write it without a flag"
            }
            Self::UnknownFlag { flag, .. } if ["--args", "--cmd", "--command"].contains(&flag.as_str()) => {
                "an app's command follows its image"
            }
            Self::UnknownFlag { nearest, .. } => {
                return nearest.as_ref().map(|flag| format!("did you mean `{flag}`?"));
            }
            Self::Refused { hint, .. } => *hint,
            Self::NoDefaultName { .. } => "name the app with `--app-name NAME`",
            Self::WithoutFile { .. } => "name the file: `-f FILE`",
            Self::DoubledGroup { .. } => "give it once",
            Self::HealthCheckAndNone | Self::CpusAndQuota | Self::PublishWithoutNetwork => {
                "leave one of them out"
            }
            Self::WithoutNamedNetwork { .. } => {
                "name it: `--network NAME`, after `isopod network create NAME`"
            }
            Self::InWhichNetwork { .. } => {
                "write it after the network's name: `--network NAME,ip=ADDRESS,ip6=ADDRESS,mac=ADDRESS`"
            }
            Self::NetworksBeside => "leave one of them out",
            Self::PublishIntoNamespace => "leave it out; of CNI's plugins `portmap` does it",
            Self::Reference(fault) => return fault.hint(),
            Self::Flag(fault) => return fault.hint(),
            Self::Pod(PodFault::UnknownVolume {
                volume,
                nearest: None,
                ..
            }) => {
                return Some(format!(
                    "declare it before the first image: `--volume {volume},kind=...`"
                ));
            }
            Self::Pod(fault) => return fault.hint(),
            Self::NotSwitched { .. } | Self::AppUsage { .. } => return None,
        };
        Some(text.to_owned())
    }
}
