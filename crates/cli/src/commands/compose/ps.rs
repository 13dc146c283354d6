//! `isopod compose ps`.

use std::process::ExitCode;

use isopod_runtime::Settings;

use super::pod_of;
use crate::args::Format;
use crate::compose_file::{Extent, ProjectArgs};
use crate::failure::Failure;
use crate::output;
use crate::show::{JSON_VERSION, pod_text, pretty, summary};

/// Show the services of a project
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(super) struct ComposePs {
    /// Print the names of the services only
    #[arg(long, conflicts_with = "format")]
    services: bool,
    /// Print the UUID of the project's pod only
    #[arg(short, long, conflicts_with_all = ["format", "services"])]
    quiet: bool,
    /// No effect: services that do not run are always shown
    #[arg(short, long)]
    all: bool,
    /// How to print them
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

impl ComposePs {
    /// Prints them.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(super) fn execute(&self, project: &ProjectArgs, settings: &Settings) -> Result<ExitCode, Failure> {
        let project = project.read(Extent::Whole, settings)?;
        let pod = pod_of(&project, settings)?;
        let runs = |app: &isopod_spec::AppName| {
            pod.record
                .iter()
                .flat_map(|record| &record.apps)
                .any(|known| known.name == *app)
        };
        let text = match self.format {
            _ if self.quiet => format!("{}\n", pod.uuid),
            _ if self.services => {
                let names = project.services.iter().filter(|(_, app)| runs(app));
                names.map(|(name, _)| format!("{name}\n")).collect()
            }
            Format::Text => pod_text(&pod),
            Format::Json => {
                let mut value = summary(&pod);
                value["version"] = JSON_VERSION.into();
                pretty(&value)
            }
        };
        output::data(&text);
        Ok(ExitCode::SUCCESS)
    }
}
