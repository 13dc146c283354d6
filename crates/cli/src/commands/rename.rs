//! `isopod rename`.

use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_spec::PodName;

use crate::failure::Failure;
use crate::pods::{find, pods};

/// Give a pod another name, also while it runs
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Rename {
    /// The pod
    #[arg(value_name = "POD")]
    pod: String,
    /// Its new name
    #[arg(value_name = "NAME", value_parser = pod_name)]
    name: PodName,
}

impl Rename {
    /// Renames it.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let pods = pods(settings)?;
        pods.rename(&find(&pods, &self.pod)?.uuid, &self.name)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn pod_name(text: &str) -> Result<PodName, String> {
    PodName::new(text).map_err(|error| error.reason.to_owned())
}
