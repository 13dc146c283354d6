//! `isopod rm`.

use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::pods::FindError;

use crate::ending::remove;
use crate::failure::Failure;
use crate::output;
use crate::pods::{each, pods};

/// Remove pods with their logs and volumes on disk
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Rm {
    /// The pods
    #[arg(required = true, value_name = "POD")]
    pods: Vec<String>,
    /// Also remove pods that run: they are killed; pods that are not there are no error
    #[arg(short, long)]
    force: bool,
    /// No effect: a pod's own volumes are always removed with it; named ones are kept
    #[arg(short, long)]
    volumes: bool,
}

impl Rm {
    /// Removes each, and prints the name by which it was asked for. One that is not there is no error where it was to go whatever it does.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let pods = pods(settings)?;
        let (gone, there): (Vec<_>, Vec<_>) = self.pods.iter().cloned().partition(|query| {
            let found = pods.find(query);
            self.force && matches!(found, Err(FindError::None(_)))
        });
        for query in gone {
            output::note(&FindError::None(query).to_string());
        }
        each(&there, settings, |all, pod| remove(all, pod, self.force))
    }
}
