//! `isopod wait`.

use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::pods::PodEntry;

use super::selection::{Missing, Selection};
use crate::failure::Failure;
use crate::output::{self};
use crate::pods::{Until, check_started, find, pods, wait};
use crate::show::exit_status;

/// Wait until pods have exited, and print their exit statuses
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Wait {
    #[command(flatten)]
    selection: Selection,
    /// What to wait for; exited and stopped are the same
    #[arg(long, value_name = "CONDITION", value_parser = ["exited", "stopped"])]
    condition: Option<String>,
}

impl Wait {
    /// Waits until each pod has exited, and prints the exit status of each.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let pods = pods(settings)?;
        let live = |pod: &PodEntry| pod.state.is_live();
        let meant = self.selection.queries(&pods, Missing::Fails, live, settings)?;
        for query in &meant {
            let pod = find(&pods, query)?;
            check_started(&pod)?;
            let pod = wait(&pods, pod, Until::Exited)?;
            let status = exit_status(&pod);
            output::data(&format!("{}\n", status.unwrap_or(crate::FAILURE)));
        }
        Ok(ExitCode::SUCCESS)
    }
}
