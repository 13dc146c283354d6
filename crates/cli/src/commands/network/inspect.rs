//! `isopod network inspect`.

use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_spec::NetworkName;
use serde_json::Value;

use super::{name, shown};
use crate::as_docker::{self, Layout, document};
use crate::failure::Failure;
use crate::output::{self, Report};

/// Show networks and the pods that are in them, as JSON
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct NetworkInspect {
    /// The networks
    #[arg(required = true, value_name = "NAME", value_parser = name)]
    names: Vec<NetworkName>,
    /// Print each by a Go template; `json` is the default
    #[arg(short, long, value_name = "FORMAT", value_parser = document)]
    format: Option<Layout>,
    /// No effect: all is printed
    #[arg(short, long)]
    verbose: bool,
}

/// All that is known of one, with docker's fields.
///
/// # Errors
/// A [`Report`] where there is none.
pub(crate) fn document_of(text: &str, settings: &Settings) -> Result<Value, Report> {
    let name = name(text).map_err(Report::text)?;
    let shown = shown(&[name], settings)?.pop();
    let shown = shown.ok_or_else(|| {
        Report::text(format!("there is no network `{text}`"))
            .hint(Some("`isopod network ls` lists them".into()))
    })?;
    Ok(shown.document())
}

impl NetworkInspect {
    /// Prints them.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let networks = shown(&self.names, settings)?;
        let documents: Vec<Value> = networks.iter().map(super::Shown::document).collect();
        output::data(&as_docker::inspection(&documents, self.format.as_ref())?);
        Ok(ExitCode::SUCCESS)
    }
}
