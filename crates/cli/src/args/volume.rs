//! `isopod volume`: its commands, for reading and for help. Some are about named volumes, which outlive pods, others about
//! the volumes of one pod.

use std::ffi::OsString;

use clap::Subcommand;
use clap::builder::{OsStringValueParser, TypedValueParser as _};
use isopod_spec::VolumeName;
use isopod_spec::flags::read_named_volume;

use super::Format;

const ATTACH_EXAMPLES: &str = "\
Examples:
  A directory comes to the only app, or to every app, of a pod:
    isopod volume attach web --volume data,kind=host,source=/srv/data \\
      --mount volume=data,target=/data

  To one app, read-only, and elsewhere to another:
    isopod volume attach web --volume data,kind=host,source=/srv/data \\
      --mount app=reader,volume=data,target=/in,readOnly --mount app=writer,volume=data,target=/out
";

/// A command on volumes.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum VolumeCommand {
    /// Make a named volume, and print its name; one that is there stays as it is
    Create {
        /// Its name [default: one that nobody has]
        #[arg(value_name = "NAME", value_parser = OsStringValueParser::new().try_map(named_volume))]
        name: Option<String>,
    },
    /// Show named volumes and the pods that have them, as JSON
    Inspect {
        /// The named volumes
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Remove named volumes with all that is in them; one that a pod has is kept
    #[command(visible_alias = "remove")]
    Rm {
        /// The named volumes
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// A volume that is not there is not an error
        #[arg(short, long)]
        force: bool,
    },
    /// Remove the named volumes that no pod has, with all that is in them
    Prune {
        /// All of them: anonymous volumes, which docker removes without this flag, are removed with their pods
        #[arg(short, long, required = true)]
        all: bool,
    },
    /// Bring a directory or file of the host to a pod that runs, until it stops or it is detached
    #[command(after_help = ATTACH_EXAMPLES)]
    Attach {
        /// The pod
        #[arg(value_name = "POD")]
        pod: String,
        /// The volume, as for `run`: NAME,kind=host,source=PATH[,readOnly=BOOL][,recursive=BOOL]
        /// [,propagation=private|rslave]
        #[arg(long, value_name = "NAME,kind=host,...", required = true)]
        volume: OsString,
        /// Where it is mounted, as for `run`, and in which app: [app=APP,]volume=NAME,target=PATH[,readOnly]
        /// [,subPath=PATH][,nosuid][,nodev][,noexec]; without `app` in every app; may be repeated
        #[arg(
            long = "mount",
            value_name = "[app=APP,]volume=NAME,target=PATH",
            required = true
        )]
        mounts: Vec<OsString>,
    },
    /// Take an attached volume away from a pod that runs
    Detach {
        /// The pod
        #[arg(value_name = "POD")]
        pod: String,
        /// The volume
        #[arg(value_name = "NAME", value_parser = volume_name)]
        name: VolumeName,
        /// Also where it is in use: what is open stays open, and nothing new can be opened
        #[arg(short, long)]
        force: bool,
    },
    /// List the named volumes, or show the volumes of a pod
    #[command(visible_alias = "ls")]
    List {
        /// The pod
        #[arg(value_name = "POD")]
        pod: Option<String>,
        /// Print names only
        #[arg(short, long, conflicts_with_all = ["format", "pod"])]
        quiet: bool,
        /// How to print them
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: Format,
    },
}

fn volume_name(text: &str) -> Result<VolumeName, String> {
    VolumeName::new(text).map_err(|error| error.reason.to_owned())
}

fn named_volume(text: OsString) -> Result<String, String> {
    read_named_volume(&text).map_err(|error| match error.hint() {
        Some(hint) => format!("{error}: {hint}"),
        None => error.to_string(),
    })
}
