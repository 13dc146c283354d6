//! `isopod stop`.

use std::process::ExitCode;
use std::time::Duration;

use isopod_runtime::Settings;

use crate::args::seconds;
use crate::ending::{force_stop, stop};
use crate::failure::Failure;
use crate::pods::each;

/// Stop pods: send each app its stop signal, then kill what is left
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Stop {
    /// The pods
    #[arg(required = true, value_name = "POD")]
    pods: Vec<String>,
    /// How long the apps have to stop [default: what the pod was started with]
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS", value_parser = seconds)]
    time: Option<Duration>,
    /// Kill them at once, and the VM if its supervisor does not answer
    #[arg(short, long, conflicts_with = "time")]
    force: bool,
}

impl Stop {
    /// Stops each, and prints the name by which it was asked for.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        each(&self.pods, settings, |all, pod| match self.force {
            true => force_stop(all, pod),
            false => stop(all, pod, self.time),
        })
    }
}
