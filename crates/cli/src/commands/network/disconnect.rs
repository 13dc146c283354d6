//! `isopod network disconnect`.

use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::networks::change;
use isopod_spec::NetworkName;

use super::{name, unchanged};
use crate::failure::Failure;
use crate::output;
use crate::pods::{ask, find, pods};

/// Disconnect a pod from a network, also while it runs
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct NetworkDisconnect {
    /// The network
    #[arg(value_name = "NETWORK", value_parser = name)]
    network: NetworkName,
    /// The pod
    #[arg(value_name = "POD")]
    pod: String,
    /// No effect: a pod that does not run is disconnected as one that does
    #[arg(short, long)]
    force: bool,
}

impl NetworkDisconnect {
    /// Has it leave, and prints the network's name.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let pods = pods(settings)?;
        let pod = find(&pods, &self.pod)?;
        let left = change::disconnect(&pod.uuid, &self.network, &pods, settings, &ask);
        left.map_err(|error| unchanged(&pod, error))?;
        output::data(&format!("{}\n", self.network));
        Ok(ExitCode::SUCCESS)
    }
}
