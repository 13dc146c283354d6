//! `isopod inspect`.

use std::process::ExitCode;

use isopod_runtime::Settings;
use serde_json::json;

use crate::failure::Failure;
use crate::output::{self};
use crate::pods::{find, pods};
use crate::show::{JSON_VERSION, exit_reason, pretty};

/// Print all that is known of a pod, as JSON
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Inspect {
    /// The pod
    #[arg(value_name = "POD")]
    pod: String,
}

impl Inspect {
    /// Prints it.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let pod = find(&pods(settings)?, &self.pod)?;
        let value = json!({
            "version": JSON_VERSION,
            "uuid": pod.uuid,
            "state": pod.state.as_str(),
            "directory": pod.path.display().to_string(),
            "record": pod.record,
            "status": pod.status,
            "exitReason": exit_reason(&pod),
        });
        output::data(&pretty(&value));
        Ok(ExitCode::SUCCESS)
    }
}
