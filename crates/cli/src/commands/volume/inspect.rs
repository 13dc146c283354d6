//! `isopod volume inspect`.

use std::process::ExitCode;

use isopod_runtime::Settings;
use serde_json::Value;

use super::named::{documents, names, no_such_volume};
use crate::as_docker::{self, Layout, document};
use crate::failure::Failure;
use crate::output::{self, Report};

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

/// All that is known of one, with docker's fields.
///
/// # Errors
/// A [`Report`] where there is none.
pub(crate) fn document_of(name: &str, settings: &Settings) -> Result<Value, Report> {
    if !names(settings)?.iter().any(|known| known == name) {
        return Err(no_such_volume(name));
    }
    let document = documents(&[name.to_owned()], settings)?.pop();
    document.ok_or_else(|| no_such_volume(name))
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
