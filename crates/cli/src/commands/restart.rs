//! `isopod restart`.

use std::process::ExitCode;
use std::time::Duration;

use isopod_runtime::Settings;

use crate::args::seconds;
use crate::background;
use crate::ending::stop;
use crate::failure::Failure;
use crate::pods::each;

/// Stop pods and start them again
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Restart {
    /// The pods
    #[arg(required = true, value_name = "POD")]
    pods: Vec<String>,
    /// How long the apps have to stop [default: what the pod was started with]
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS", value_parser = seconds)]
    time: Option<Duration>,
}

impl Restart {
    /// Restarts each, and prints the name by which it was asked for.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        each(&self.pods, settings, |pods, pod| {
            if pod.state.is_live() {
                stop(pods, pod.clone(), self.time)?;
            }
            background::restart(pods, &pod, settings)
        })
    }
}
