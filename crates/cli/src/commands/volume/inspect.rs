//! `isopod volume inspect`.

use std::process::ExitCode;

use isopod_runtime::Settings;

use super::named::{documents, names, no_such_volume};
use crate::as_docker::{self, Layout, document};
use crate::failure::Failure;
use crate::output::{self};

/// Show named volumes and the pods that use them, as JSON
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct VolumeInspect {
    /// The named volumes
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Print each by a Go template; `json` is the default
    #[arg(short, long, value_name = "FORMAT", value_parser = document)]
    format: Option<Layout>,
}

impl VolumeInspect {
    /// Prints them.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let known = names(settings)?;
        if let Some(missing) = self.names.iter().find(|name| !known.contains(name)) {
            return Err(no_such_volume(missing).into());
        }
        let documents = documents(&self.names, settings)?;
        output::data(&as_docker::inspection(&documents, self.format.as_ref())?);
        Ok(ExitCode::SUCCESS)
    }
}
