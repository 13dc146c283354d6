//! `isopod volume`: its commands, for reading and for help.

use std::ffi::OsString;

use clap::Subcommand;
use isopod_spec::VolumeName;

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

/// A command on the volumes of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum VolumeCommand {
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
    /// Show the volumes of a pod
    #[command(visible_alias = "ls")]
    List {
        /// The pod
        #[arg(value_name = "POD")]
        pod: String,
        /// How to print them
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: Format,
    },
}

fn volume_name(text: &str) -> Result<VolumeName, String> {
    VolumeName::new(text).map_err(|error| error.reason.to_owned())
}
