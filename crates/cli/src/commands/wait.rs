//! `isopod wait`.

use std::process::ExitCode;

use isopod_runtime::Settings;

use crate::failure::Failure;
use crate::output::{self};
use crate::pods::{Until, check_started, find, pods, wait};
use crate::show::exit_status;

/// Wait until pods have exited, and print their exit statuses
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Wait {
    /// The pods
    #[arg(required = true, value_name = "POD")]
    pods: Vec<String>,
}

impl Wait {
    /// Waits until each pod has exited, and prints the exit status of each.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let pods = pods(settings)?;
        for query in &self.pods {
            let pod = find(&pods, query)?;
            check_started(&pod)?;
            let pod = wait(&pods, pod, Until::Exited)?;
            let status = exit_status(&pod);
            output::data(&format!("{}\n", status.unwrap_or(crate::FAILURE)));
        }
        Ok(ExitCode::SUCCESS)
    }
}
