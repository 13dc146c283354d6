//! What can be wrong with a command line.

use clap::builder::StyledStr;
use clap::error::ErrorKind;
use isopod_spec::check::PodFault;
use isopod_spec::flags::InvalidFlag;
use isopod_spec::{AppName, InvalidReference};

use super::{commands, group, unknown};

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

impl ArgsError {
    /// What clap says about `argv`. For `run` and `plan`, help shows the apps' flags too.
    pub(super) fn from_clap(error: clap::Error, argv: &[std::ffi::OsString]) -> Self {
        match (error.kind(), group::pod_command(argv)) {
            (ErrorKind::DisplayHelp, Some(command)) => Self::Asked(commands::pod_help(command)),
            (ErrorKind::DisplayHelp | ErrorKind::DisplayVersion, _) => Self::Asked(error.render()),
            (ErrorKind::UnknownArgument, _) => Self::Usage(unknown::explain(error, argv).render()),
            _ => Self::Usage(error.render()),
        }
    }
}

/// A fault of the pod that a command line describes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ArgFault {
    /// There is no image where one must be.
    #[error("there is no image {place}")]
    NoImage {
        /// Where it must be.
        place: &'static str,
    },
    /// An image stands beside a manifest, which has its own.
    #[error("`{word}` stands beside `--pod-manifest`, which describes the whole pod")]
    BesideManifest {
        /// What stands there.
        word: String,
    },
    /// An app's flag before the image.
    #[error("`{flag}` belongs to an app and stands before its image")]
    AppFlagFirst {
        /// The flag.
        flag: String,
    },
    /// A flag of the whole pod after an image.
    #[error("`{flag}` belongs to the whole pod and stands after an image")]
    PodFlagAfterImage {
        /// The flag.
        flag: String,
    },
    /// A flag that does not exist.
    #[error("unknown flag `{flag}`")]
    UnknownFlag {
        /// The flag.
        flag: String,
        /// The one that was perhaps meant.
        nearest: Option<String>,
    },
    /// A word after an image that is no flag.
    #[error("unexpected argument `{word}` after image `{image}`")]
    StrayWord {
        /// The word.
        word: String,
        /// The image.
        image: String,
    },
    /// Another fault of an app's flags, as clap puts it.
    #[error("app flags of image `{image}`: {message}")]
    AppUsage {
        /// The image.
        image: String,
        /// What is wrong.
        message: String,
    },
    /// A flag that is for pod files stands without one.
    #[error("`{flag}` is for pod files, and there is no `--file`")]
    WithoutFile {
        /// The flag.
        flag: &'static str,
    },
    /// The group is given twice.
    #[error("image `{image}` has a group both in `--user` and in `--group`")]
    DoubledGroup {
        /// The image.
        image: String,
    },
    /// The image is no reference.
    #[error(transparent)]
    Reference(InvalidReference),
    /// No name can be made of the image's.
    #[error("no app name can be made of image `{image}`")]
    NoDefaultName {
        /// The image.
        image: String,
    },
    /// A flag's value.
    #[error(transparent)]
    Flag(InvalidFlag),
    /// Ports are published of a pod that has no network.
    #[error("`--publish` needs a network, and `--net none` leaves the pod without")]
    PublishWithoutNetwork,
    /// Two apps have one name.
    #[error("two apps are named `{name}`")]
    DoubledApp {
        /// The name.
        name: AppName,
    },
    /// Another rule between the parts of the pod.
    #[error(transparent)]
    Pod(PodFault),
}

impl ArgFault {
    /// What would be right.
    pub(crate) fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NoImage { .. } => {
                "write `isopod run IMAGE`, such as `isopod run oci:DIR`; `isopod run --help` shows more"
            }
            Self::BesideManifest { .. } => "leave it out, or describe the pod with flags alone",
            Self::AppFlagFirst { flag } if flag == "-v" => {
                "write `-v` after the image; for every app, write `--volume` and `--mount` before the first image"
            }
            Self::AppFlagFirst { .. } => "write it after the image that it is for",
            Self::PodFlagAfterImage { .. } => "write it before the first image",
            Self::UnknownFlag { flag, .. } if flag == "--image" => {
                "an image is a positional argument: write it without a flag"
            }
            Self::UnknownFlag { flag, .. } if ["--args", "--cmd", "--command"].contains(&flag.as_str()) => {
                "an app's arguments follow `--`"
            }
            Self::UnknownFlag { nearest, .. } => {
                return nearest.as_ref().map(|flag| format!("did you mean `{flag}`?"));
            }
            Self::StrayWord { .. } => "an app's arguments follow `--`, the next image follows `---`",
            Self::NoDefaultName { .. } => "name the app with `--name NAME`",
            Self::DoubledApp { .. } => "name one of them differently with `--name NAME`",
            Self::WithoutFile { .. } => "name the file: `-f FILE`",
            Self::DoubledGroup { .. } => "give it once",
            Self::PublishWithoutNetwork => "leave one of them out",
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
            Self::AppUsage { .. } => return None,
        };
        Some(text.to_owned())
    }
}
