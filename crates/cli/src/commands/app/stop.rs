//! `isopod app stop`.

use std::process::ExitCode;
use std::time::Duration;

use isopod_runtime::Settings;
use isopod_runtime::control::Request;
use isopod_runtime::pods::files::AppState;
use isopod_runtime::pods::{PodEntry, Pods};
use isopod_spec::AppName;

use super::{failed, live};
use crate::args::seconds;
use crate::failure::Failure;
use crate::output::{self, Report};
use crate::pods::{app_number, ask, pods};

/// How often an app is looked at that is to end.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Stop one app, without a restart: send it its stop signal, then kill what is left
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct AppStop {
    /// How long it has to stop [default: what the pod was started with]
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS", value_parser = seconds)]
    time: Option<Duration>,
    /// The pod
    #[arg(value_name = "POD")]
    pod: String,
    /// The app
    #[arg(value_name = "APP")]
    app: AppName,
}

impl AppStop {
    /// Stops the app, waits for its end, and prints its name.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let all = pods(settings)?;
        let pod = live(&all, &self.pod)?;
        end(&all, &pod, &self.app, self.time)?;
        output::data(&format!("{}\n", self.app));
        Ok(ExitCode::SUCCESS)
    }
}

/// Stops an app and waits until it has ended, or the pod has.
///
/// # Errors
/// A [`Report`] with the reason.
pub(super) fn end(all: &Pods, pod: &PodEntry, app: &AppName, time: Option<Duration>) -> Result<(), Report> {
    let number = app_number(pod, app)?;
    let grace_ms = time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let request = Request::StopApp {
        app: number,
        grace_ms,
    };
    ask(pod, &request).map_err(|error| failed("stop", app, pod, &error))?;
    while let Some(seen) = all.entry(&pod.uuid).filter(|seen| seen.state.is_live()) {
        let apps = seen.status.iter().flat_map(|status| &status.apps);
        let state = apps.clone().nth(number.into()).map(|app| app.state);
        if matches!(state, None | Some(AppState::Exited | AppState::Failed)) {
            break;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}
