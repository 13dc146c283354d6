//! `isopod app list`.

use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::pods::files::{AppRecord, AppStatus};
use isopod_spec::words::shown;

use crate::failure::Failure;
use crate::output;
use crate::pods::{find, pods};
use crate::table::table;

/// The digits of an image's ID that are shown.
const ID_DIGITS: usize = 12;

/// List the apps of a pod
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(visible_alias = "ls")]
pub(crate) struct AppList {
    /// Their names alone
    #[arg(short, long)]
    quiet: bool,
    /// The pod
    #[arg(value_name = "POD")]
    pod: String,
}

impl AppList {
    /// Prints the apps, in the order in which they came.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let pod = find(&pods(settings)?, &self.pod)?;
        let status = |number: usize| pod.status.as_ref().and_then(|status| status.apps.get(number));
        let apps = pod.record.iter().flat_map(|record| record.present());
        let apps = apps.map(|(number, app)| (app, status(number)));
        match self.quiet {
            true => output::data(&apps.map(|(app, _)| format!("{}\n", app.name)).collect::<String>()),
            false => {
                let rows: Vec<_> = apps.map(|(app, status)| row(app, status)).collect();
                output::data(&table(["APP", "IMAGE", "STATE", "COMMAND"], &rows));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn row(app: &AppRecord, status: Option<&AppStatus>) -> [String; 4] {
    let root = match app.root.directory() {
        Some(directory) => shown(directory),
        None => {
            let id = app.root.image_id().unwrap_or_default();
            let id = id.trim_start_matches("sha256:");
            id.get(..ID_DIGITS).unwrap_or(id).to_owned()
        }
    };
    let state = status.map_or("waiting", |status| status.state.as_str());
    let code = status.and_then(|status| status.exit_status);
    let state = code.map_or_else(|| state.to_owned(), |code| format!("{state} ({code})"));
    [app.name.to_string(), root, state, app.argv.join(" ")]
}
