//! `isopod rm`.

use std::process::ExitCode;

use isopod_runtime::Settings;

use crate::ending::remove;
use crate::failure::Failure;
use crate::pods::each;

/// Remove pods with their logs and volumes on disk
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Rm {
    /// The pods
    #[arg(required = true, value_name = "POD")]
    pods: Vec<String>,
    /// Also remove pods that run: they are killed
    #[arg(short, long)]
    force: bool,
    /// No effect: a pod's own volumes are always removed with it; named ones are kept
    #[arg(short, long)]
    volumes: bool,
}

impl Rm {
    /// Removes each, and prints the name by which it was asked for.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        each(&self.pods, settings, |all, pod| remove(all, pod, self.force))
    }
}
