//! `isopod network prune`.

use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::networks::{NetworkError, Networks};

use crate::failure::Failure;
use crate::output;
use crate::pods::pods;

/// Remove the networks that no pod is in, whether it runs or not
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct NetworkPrune {}

impl NetworkPrune {
    /// Removes each, and prints its name.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    #[expect(clippy::unused_self, reason = "as the other commands")]
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let pods = pods(settings)?;
        let networks = Networks::of(&settings.state_dir);
        let mut reports = Vec::new();
        for name in networks.names()? {
            match networks.remove(&name, &pods) {
                Ok(()) => output::data(&format!("{name}\n")),
                Err(NetworkError::Used { .. } | NetworkError::None(_)) => {}
                Err(error) => reports.push(error.into()),
            }
        }
        Failure::unless_empty(reports)?;
        Ok(ExitCode::SUCCESS)
    }
}
