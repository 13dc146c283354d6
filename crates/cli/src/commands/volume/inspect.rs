//! `isopod volume inspect`.

use std::process::ExitCode;

use isopod_runtime::Settings;

use super::named::{Shown, names, no_such_volume, shown};
use crate::args::{Layout, document};
use crate::failure::Failure;
use crate::output::{self};

/// Show named volumes and the pods that have them, as JSON
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct VolumeInspect {
    /// The named volumes
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Print each by a Go template over docker's fields, or `json` for those
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
        output::data(&shown(
            &self.names,
            self.format.as_ref().unwrap_or(&Layout::Json),
            Shown::Document,
            settings,
        )?);
        Ok(ExitCode::SUCCESS)
    }
}
