//! `isopod logout`.

use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_spec::reference::DOCKER_HUB;

use crate::failure::Failure;
use crate::output::{self, Report};

/// Forget the credentials for a registry
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Logout {
    /// The registry, HOST[:PORT] [default: docker.io]
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
}

impl Logout {
    /// Logs out, and prints the files that had credentials.
    ///
    /// # Errors
    /// A [`Failure`] where there are none.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let registry = self.registry.as_deref().unwrap_or(DOCKER_HUB);
        let files = settings.registries.log_out(registry)?;
        if files.is_empty() {
            let what = format!("there are no credentials for `{registry}`");
            return Err(Report::text(what)
                .hint(Some(
                    "a credential helper keeps its own, and removes them itself".into(),
                ))
                .into());
        }
        for file in files {
            output::data(&format!("{}\n", file.display()));
        }
        Ok(ExitCode::SUCCESS)
    }
}
