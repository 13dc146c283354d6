//! `isopod network ls`.

use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::networks::Networks;
use serde_json::{Value, json};

use super::shown;
use crate::as_docker::{self, Layout, layout};
use crate::failure::Failure;
use crate::output;
use crate::show::{JSON_VERSION, pretty};
use crate::table::table;

/// List the networks
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(visible_alias = "list")]
pub(crate) struct NetworkLs {
    /// Print names only
    #[arg(short, long, conflicts_with = "format")]
    quiet: bool,
    /// How to print them: text, json, or a Go template over docker's fields, with `table` before it under their names
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = layout)]
    format: Layout,
}

impl NetworkLs {
    /// Prints them.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let names = Networks::of(&settings.state_dir).names()?;
        if self.quiet {
            output::data(&names.iter().map(|name| format!("{name}\n")).collect::<String>());
            return Ok(ExitCode::SUCCESS);
        }
        let networks = shown(&names, settings)?;
        output::data(&match &self.format {
            Layout::Text => {
                let rows: Vec<[String; 5]> = networks
                    .iter()
                    .map(|shown| {
                        let network = &shown.network;
                        let pods: Vec<&str> = shown.pods.iter().map(|(label, _)| &**label).collect();
                        let kind = if network.internal { "internal" } else { "" };
                        [
                            network.name.to_string(),
                            shown.subnets(),
                            kind.to_owned(),
                            network.network_interface.clone(),
                            pods.join(", "),
                        ]
                    })
                    .collect();
                table(["NETWORK", "SUBNETS", "KIND", "INTERFACE", "PODS"], &rows)
            }
            Layout::Json => {
                let networks: Vec<Value> = networks.iter().map(super::Shown::value).collect();
                pretty(&json!({ "version": JSON_VERSION, "networks": networks }))
            }
            layout => as_docker::rows(
                layout,
                &networks.iter().map(super::Shown::row).collect::<Vec<_>>(),
            )?,
        });
        Ok(ExitCode::SUCCESS)
    }
}
