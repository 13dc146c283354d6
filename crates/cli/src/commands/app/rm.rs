//! `isopod app rm`.

use std::process::ExitCode;
use std::time::Duration;

use isopod_runtime::Settings;
use isopod_runtime::control::Request;
use isopod_spec::AppName;

use super::{failed, live, stop};
use crate::failure::Failure;
use crate::output;
use crate::pods::{app_number, ask, pods};

/// Remove an app that was added to the pod and has ended, with all that came with it
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct AppRm {
    /// Kill it where it runs
    #[arg(short, long)]
    force: bool,
    /// The pod
    #[arg(value_name = "POD")]
    pod: String,
    /// The app
    #[arg(value_name = "APP")]
    app: AppName,
}

impl AppRm {
    /// Removes the app, and prints its name.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let all = pods(settings)?;
        let pod = live(&all, &self.pod)?;
        let app = app_number(&pod, &self.app)?;
        if self.force {
            stop::end(&all, &pod, &self.app, Some(Duration::ZERO))?;
        }
        let asked = ask(&pod, &Request::RemoveApp { app });
        asked.map_err(|error| {
            let report = failed("remove", &self.app, &pod, &error);
            match self.force || !error.to_string().contains("not ended") {
                true => report,
                false => report.hint(Some(format!(
                    "stop it: `isopod app stop {} {}`, or remove it with `-f`",
                    pod.label(),
                    self.app
                ))),
            }
        })?;
        output::data(&format!("{}\n", self.app));
        Ok(ExitCode::SUCCESS)
    }
}
