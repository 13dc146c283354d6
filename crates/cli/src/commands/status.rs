//! `isopod status`.

use std::process::ExitCode;

use isopod_runtime::Settings;

use crate::args::Format;
use crate::failure::Failure;
use crate::output::{self};
use crate::pods::{Until, check_started, find, pods, wait};
use crate::show::{JSON_VERSION, pod_text, pretty, summary};

/// The exit status of `status --wait-ready` for a pod that ended before it was ready.
const NEVER_READY: u8 = 1;

/// Show a pod, and each of its apps
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Status {
    /// The pod
    #[arg(value_name = "POD")]
    pod: String,
    /// Wait until it has exited
    #[arg(long)]
    wait: bool,
    /// Wait until every app has been ready; exit status 1 if the pod exits before
    #[arg(long, conflicts_with = "wait")]
    wait_ready: bool,
    /// How to print it
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

impl Status {
    /// Prints a pod and its apps, at once or when it has come so far.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let pods = pods(settings)?;
        let mut pod = find(&pods, &self.pod)?;
        let until = match (self.wait, self.wait_ready) {
            (true, _) => Some(Until::Exited),
            (_, true) => Some(Until::Ready),
            _ => None,
        };
        if let Some(until) = until {
            check_started(&pod)?;
            pod = wait(&pods, pod, until)?;
        }
        let text = match self.format {
            Format::Text => pod_text(&pod),
            Format::Json => {
                let mut value = summary(&pod);
                value["version"] = JSON_VERSION.into();
                pretty(&value)
            }
        };
        output::data(&text);
        let ready = pod
            .status
            .as_ref()
            .is_some_and(|status| status.ready_ms.is_some());
        Ok(match until == Some(Until::Ready) && !ready {
            true => ExitCode::from(NEVER_READY),
            false => ExitCode::SUCCESS,
        })
    }
}
