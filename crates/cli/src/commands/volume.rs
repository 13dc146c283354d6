//! `isopod volume`. Some of its commands are about named volumes, which outlive pods, others about the volumes of one pod.

pub(crate) mod attach;
pub(crate) mod create;
pub(crate) mod detach;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod named;
pub(crate) mod prune;
pub(crate) mod rm;

use std::process::ExitCode;

use clap::Subcommand;
use isopod_runtime::Settings;
use isopod_runtime::control::ControlError;
use isopod_runtime::pods::{PodEntry, Pods};
use isopod_spec::VolumeName;

use crate::failure::Failure;
use crate::output::Report;
use crate::pods::{check_live, find};

/// Attach volumes to a running pod, detach them, and list them
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(crate) enum VolumeCommand {
    Create(create::VolumeCreate),
    Inspect(inspect::VolumeInspect),
    Rm(rm::VolumeRm),
    Prune(prune::VolumePrune),
    Attach(attach::VolumeAttach),
    Detach(detach::VolumeDetach),
    List(list::VolumeList),
}

impl VolumeCommand {
    /// Executes the command.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        match self {
            Self::Create(command) => command.execute(settings),
            Self::Inspect(command) => command.execute(settings),
            Self::Rm(command) => command.execute(settings),
            Self::Prune(command) => command.execute(settings),
            Self::Attach(command) => command.execute(settings),
            Self::Detach(command) => command.execute(settings),
            Self::List(command) => command.execute(settings),
        }
    }
}

fn live(pods: &Pods, query: &str) -> Result<PodEntry, Report> {
    let pod = find(pods, query)?;
    check_live(&pod)?;
    Ok(pod)
}

fn failed(verb: &str, way: &str, name: &VolumeName, pod: &PodEntry, error: &ControlError) -> Report {
    let what = format!("cannot {verb} volume `{name}` {way} pod `{}`", pod.label());
    let hint = match error {
        ControlError::Busy(_) => {
            Some("end what uses it, or detach it with `--force`: what is open then stays open".to_owned())
        }
        error => error.hint(),
    };
    match error {
        ControlError::Refused { reason, .. } => Report::text(what).because(reason.clone()),
        other => Report::text(what).because(Report::new(other).line()),
    }
    .hint(hint)
}
