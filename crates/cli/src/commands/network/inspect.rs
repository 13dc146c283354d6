//! `isopod network inspect`.

use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_spec::NetworkName;
use serde_json::{Value, json};

use super::{name, shown};
use crate::args::{Layout, document};
use crate::as_docker;
use crate::failure::Failure;
use crate::output;
use crate::show::{JSON_VERSION, pretty};

/// Show networks and the pods that are in them, as JSON
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct NetworkInspect {
    /// The networks
    #[arg(required = true, value_name = "NAME", value_parser = name)]
    names: Vec<NetworkName>,
    /// Print each by a Go template over docker's fields, or `json` for those
    #[arg(short, long, value_name = "FORMAT", value_parser = document)]
    format: Option<Layout>,
}

impl NetworkInspect {
    /// Prints them.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let networks = shown(&self.names, settings)?;
        output::data(&match &self.format {
            None => {
                let networks: Vec<Value> = networks.iter().map(super::Shown::value).collect();
                pretty(&json!({ "version": JSON_VERSION, "networks": networks }))
            }
            Some(layout) => as_docker::rows(
                layout,
                &networks.iter().map(super::Shown::row).collect::<Vec<_>>(),
            )?,
        });
        Ok(ExitCode::SUCCESS)
    }
}
