//! `isopod network ls`.

use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::networks::Networks;
use serde_json::{Value, json};

use super::{Shown, shown};
use crate::as_docker::{self, Layout, layout};
use crate::failure::Failure;
use crate::label_filter::LabelFilter;
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
    /// Only these: name=TEXT, id=ID, driver=bridge, label=NAME[=VALUE] or dangling=true|false; with one key given twice either
    /// matches, with two keys both must
    #[arg(short = 'f', long = "filter", value_name = "KEY=VALUE", value_parser = network_filter)]
    filters: Vec<NetworkFilter>,
    /// No effect: names are always whole
    #[arg(long)]
    no_trunc: bool,
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
        let mut networks = match self.quiet && self.filters.is_empty() {
            true => Vec::new(),
            false => shown(&names, settings)?,
        };
        networks.retain(|shown| passes(shown, &self.filters));
        if self.quiet {
            let names = match self.filters.is_empty() {
                true => names,
                false => networks.into_iter().map(|shown| shown.network.name).collect(),
            };
            output::data(&names.iter().map(|name| format!("{name}\n")).collect::<String>());
            return Ok(ExitCode::SUCCESS);
        }
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

/// Which networks are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NetworkFilter {
    /// Those whose names have this text in them.
    Name(String),
    /// Those whose IDs begin so.
    Id(String),
    /// Those of this driver: all are bridges.
    Driver(String),
    Label(LabelFilter),
    /// Those that no pod is in, or that one is in.
    Dangling(bool),
    /// All: docker's keys for what every network is here.
    Any,
}

fn network_filter(text: &str) -> Result<NetworkFilter, String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| "it is not KEY=VALUE".to_owned())?;
    match (key, value) {
        ("name", _) => Ok(NetworkFilter::Name(value.to_owned())),
        ("id", _) => Ok(NetworkFilter::Id(value.to_owned())),
        ("driver", _) => Ok(NetworkFilter::Driver(value.to_owned())),
        ("label", _) => Ok(NetworkFilter::Label(LabelFilter::read(value))),
        ("dangling", "true" | "1") => Ok(NetworkFilter::Dangling(true)),
        ("dangling", "false" | "0") => Ok(NetworkFilter::Dangling(false)),
        ("dangling", _) => Err("it must be `true` or `false`".to_owned()),
        // docker's: those that it has from the start, of which there are none here.
        ("type", "custom") | ("scope", "local") => Ok(NetworkFilter::Any),
        _ => {
            Err("the keys are name, id, driver, label, dangling, type (custom) and scope (local)".to_owned())
        }
    }
}

fn passes(shown: &Shown, filters: &[NetworkFilter]) -> bool {
    let network = &shown.network;
    let is = |filter: &NetworkFilter| match filter {
        NetworkFilter::Name(text) => network.name.as_str().contains(text),
        NetworkFilter::Id(begin) => network.id.starts_with(begin),
        NetworkFilter::Driver(driver) => network.driver == *driver,
        NetworkFilter::Label(label) => label.passes(&network.labels),
        NetworkFilter::Dangling(dangling) => shown.pods.is_empty() == *dangling,
        NetworkFilter::Any => true,
    };
    filters.iter().all(|filter| {
        let alike = |other: &&NetworkFilter| match filter {
            // Each label is a key of its own, as with docker.
            NetworkFilter::Label(_) => *other == filter,
            _ => std::mem::discriminant(*other) == std::mem::discriminant(filter),
        };
        filters.iter().filter(alike).any(is)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beside a name it must not let every name pass.
    #[test]
    fn what_all_networks_are_is_a_key_of_its_own() {
        for word in ["type=custom", "scope=local"] {
            assert_eq!(network_filter(word), Ok(NetworkFilter::Any), "{word}");
        }
        assert!(network_filter("type=builtin").unwrap_err().contains("custom"));
    }
}
