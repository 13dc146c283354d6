//! `isopod network rm`.

use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::networks::{NetworkError, Networks};
use isopod_spec::NetworkName;

use super::name;
use crate::failure::Failure;
use crate::output;
use crate::pods::pods;

/// Remove networks; one that a pod is in is kept
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(visible_alias = "remove")]
pub(crate) struct NetworkRm {
    /// The networks
    #[arg(required = true, value_name = "NAME", value_parser = name)]
    names: Vec<NetworkName>,
    /// A network that does not exist is not an error
    #[arg(short, long)]
    force: bool,
}

impl NetworkRm {
    /// Removes each, and prints its name.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let pods = pods(settings)?;
        let networks = Networks::of(&settings.state_dir);
        let mut reports = Vec::new();
        for name in &self.names {
            match networks.remove(name, &pods) {
                Ok(()) => output::data(&format!("{name}\n")),
                Err(NetworkError::None(_)) if self.force => {}
                Err(error) => reports.push(error.into()),
            }
        }
        Failure::unless_empty(reports)?;
        Ok(ExitCode::SUCCESS)
    }
}
