//! `isopod network prune`.

use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::networks::{NetworkError, Networks};

use crate::failure::Failure;
use crate::output;
use crate::pods::pods;
use crate::prune_filter::{PruneFilter, goes, prune_filter};

/// Remove the networks that no pod is in, whether it runs or not
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct NetworkPrune {
    /// Only these: label=NAME[=VALUE] or label!=NAME[=VALUE]; all must match. A network has no time of its creation
    #[arg(long = "filter", value_name = "KEY=VALUE", value_parser = by_label)]
    filters: Vec<PruneFilter>,
    /// No effect: isopod never asks
    #[arg(short, long)]
    force: bool,
}

fn by_label(text: &str) -> Result<PruneFilter, String> {
    match prune_filter(text)? {
        PruneFilter::Until(_) => Err("the time when a network was created is not recorded".to_owned()),
        filter => Ok(filter),
    }
}

impl NetworkPrune {
    /// Removes each, and prints its name.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let pods = pods(settings)?;
        let networks = Networks::of(&settings.state_dir);
        let mut reports = Vec::new();
        for name in networks.names()? {
            let labels = networks.read(&name).map(|network| network.labels);
            if !goes(&self.filters, None, &labels.unwrap_or_default())? {
                continue;
            }
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
