//! `isopod volume attach`.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use isopod_runtime::control::{ControlError, Request};
use isopod_runtime::{Settings, hotplug};
use isopod_spec::flags::{InvalidFlag, read_app_mount, read_volume};
use isopod_spec::{AppName, Mount, Volume};

use super::{failed, live};
use crate::failure::Failure;
use crate::output::{self};
use crate::pods::{ask, pods};

/// How often an attachment is planned again, since volumes came or went at the same time.
const ATTEMPTS: usize = 16;

const ATTACH_EXAMPLES: &str = "\
Examples:
  A directory for every app of a pod:
    isopod volume attach web --volume data,kind=host,source=/srv/data \\
      --mount volume=data,target=/data

  For one app, read-only, and at another path for another:
    isopod volume attach web --volume data,kind=host,source=/srv/data \\
      --mount app=reader,volume=data,target=/in,readOnly --mount app=writer,volume=data,target=/out
";

/// Mount a host directory or file in a running pod, until the pod stops or the volume is detached
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(after_help = ATTACH_EXAMPLES)]
pub(crate) struct VolumeAttach {
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
}

impl VolumeAttach {
    /// Attaches the volume, and prints its name.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let (volume, mounts) = read(&self.volume, &self.mounts)?;
        let pods = pods(settings)?;
        let mut pod = live(&pods, &self.pod)?;
        for attempt in 1.. {
            let planned = hotplug::plan(&pod, &volume, &mounts, settings)?;
            match ask(&pod, &Request::Attach(Box::new(planned.attach))) {
                Ok(()) => {
                    planned.notices.iter().for_each(|notice| output::note(notice));
                    output::data(&format!("{}\n", volume.name));
                    return Ok(ExitCode::SUCCESS);
                }
                // Another came or went at the same time: planned again, on what is now.
                Err(ControlError::Outdated) if attempt < ATTEMPTS => pod = live(&pods, &self.pod)?,
                Err(error) => return Err(failed("attach", "to", &volume.name, &pod, &error).into()),
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A mount, in one app or in all.
type MountIn = (Option<AppName>, Mount);

fn read(volume: &OsStr, mounts: &[OsString]) -> Result<(Volume, Vec<MountIn>), Failure> {
    let mut reports = Vec::new();
    let mut fault = |error: InvalidFlag| reports.push(error.into());
    let volume = read_volume(volume).map_err(&mut fault).ok();
    let mounts: Vec<_> = mounts
        .iter()
        .filter_map(|mount| read_app_mount(mount).map_err(&mut fault).ok())
        .collect();
    match volume {
        Some(volume) if reports.is_empty() => Ok((volume, mounts)),
        _ => Err(reports.into()),
    }
}
