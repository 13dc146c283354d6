//! `isopod app start`.

use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::control::Request;
use isopod_spec::AppName;

use super::{failed, live};
use crate::failure::Failure;
use crate::output;
use crate::pods::{app_number, ask, pods};

/// Start an app that was added with `--no-start`
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct AppStart {
    /// The pod
    #[arg(value_name = "POD")]
    pod: String,
    /// The app
    #[arg(value_name = "APP")]
    app: AppName,
}

impl AppStart {
    /// Starts the app, and prints its name.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let pod = live(&pods(settings)?, &self.pod)?;
        let app = app_number(&pod, &self.app)?;
        ask(&pod, &Request::StartApp { app }).map_err(|error| failed("start", &self.app, &pod, &error))?;
        output::data(&format!("{}\n", self.app));
        Ok(ExitCode::SUCCESS)
    }
}
