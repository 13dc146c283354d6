//! `isopod network`: networks with names, by which pods reach each other.

pub(crate) mod connect;
pub(crate) mod create;
pub(crate) mod disconnect;
pub(crate) mod inspect;
pub(crate) mod ls;
pub(crate) mod prune;
pub(crate) mod rm;

use std::process::ExitCode;

use clap::Subcommand;
use isopod_runtime::Settings;
use isopod_runtime::networks::change::ChangeError;
use isopod_runtime::networks::{NetworkError, Networks};
use isopod_runtime::pods::{PodEntry, Pods};
use isopod_spec::{NamedNetwork, NetworkName};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::Report;
use crate::show::JSON_VERSION;

/// Create, remove and list networks by which pods reach each other
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(crate) enum NetworkCommand {
    Create(create::NetworkCreate),
    Connect(connect::NetworkConnect),
    Disconnect(disconnect::NetworkDisconnect),
    Ls(ls::NetworkLs),
    Inspect(inspect::NetworkInspect),
    Rm(rm::NetworkRm),
    Prune(prune::NetworkPrune),
}

impl NetworkCommand {
    /// Executes the command.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        match self {
            Self::Create(command) => command.execute(settings),
            Self::Connect(command) => command.execute(settings),
            Self::Disconnect(command) => command.execute(settings),
            Self::Ls(command) => command.execute(settings),
            Self::Inspect(command) => command.execute(settings),
            Self::Rm(command) => command.execute(settings),
            Self::Prune(command) => command.execute(settings),
        }
    }
}

/// Reports why a pod has not joined a network, or not left it.
fn unchanged(pod: &PodEntry, error: ChangeError) -> Failure {
    match error {
        ChangeError::Plan(error) => Failure::of(&error.faults),
        ChangeError::Networks(error) => Report::from(error).into(),
        ChangeError::Claim(error) => Report::from(error).into(),
        ChangeError::Control(error) => {
            let what = format!("cannot change the networks of pod `{}`", pod.label());
            Report::text(what)
                .because(error.to_string())
                .hint(error.hint())
                .into()
        }
        error @ (ChangeError::NoRecord | ChangeError::Write { .. }) => Report::new(&error).into(),
    }
}

fn name(text: &str) -> Result<NetworkName, String> {
    NetworkName::new(text).map_err(|invalid| invalid.reason.to_owned())
}

/// A network, with the pods that are in it.
struct Shown {
    network: NamedNetwork,
    pods: Vec<(String, Value)>,
}

impl Shown {
    fn of(name: &NetworkName, networks: &Networks, pods: &Pods) -> Result<Self, NetworkError> {
        let network = networks.read(name)?;
        let users = networks.users(name, pods)?;
        let users = users.iter().map(|pod| {
            let mut joined = pod.joined().iter();
            let joined = joined.find(|joined| joined.network.name == *name);
            let value = json!({
                "pod": pod.uuid,
                "name": pod.record.as_ref().and_then(|record| record.name.as_ref()),
                "state": pod.state.as_str(),
                "interface": joined.map(|joined| &joined.interface),
                "mac": joined.map(|joined| joined.mac),
                "addresses": joined.map(|joined| &joined.addresses),
                "names": joined.map(|joined| &joined.names),
            });
            (pod.label(), value)
        });
        Ok(Self {
            network,
            pods: users.collect(),
        })
    }

    fn subnets(&self) -> String {
        let subnets = self.network.subnets.iter();
        let subnets: Vec<String> = subnets.map(|subnet| subnet.subnet.to_string()).collect();
        subnets.join(", ")
    }

    fn value(&self) -> Value {
        let mut value = json!(self.network);
        let pods: Vec<&Value> = self.pods.iter().map(|(_, value)| value).collect();
        value["pods"] = json!(pods);
        value
    }

    /// All that is known of it, with docker's fields.
    fn document(&self) -> Value {
        let mut document = self.row();
        document["Isopod"] = self.value();
        document["Isopod"]["version"] = JSON_VERSION.into();
        document
    }

    /// docker's fields.
    fn row(&self) -> Value {
        let network = &self.network;
        let config = network
            .subnets
            .iter()
            .map(|subnet| json!({ "Subnet": subnet.subnet, "Gateway": subnet.gateway }));
        json!({
            "ID": network.id.get(..12).unwrap_or_default(),
            "Id": network.id,
            "Name": network.name,
            "Driver": network.driver,
            "Scope": "local",
            "IPv6": network.ipv6_enabled.to_string(),
            "EnableIPv6": network.ipv6_enabled,
            "Internal": network.internal,
            "Labels": network.labels,
            "Options": network.options,
            "IPAM": { "Driver": "default", "Config": config.collect::<Vec<_>>() },
            "Containers": self.pods.iter().map(|(_, value)| (value["pod"].as_str().unwrap_or_default().to_owned(), value.clone())).collect::<serde_json::Map<String, Value>>(),
        })
    }
}

/// Those of these names.
fn shown(names: &[NetworkName], settings: &Settings) -> Result<Vec<Shown>, Report> {
    let networks = Networks::of(&settings.state_dir);
    let pods = crate::pods::pods(settings)?;
    let shown = names.iter().map(|name| Shown::of(name, &networks, &pods));
    Ok(shown.collect::<Result<_, _>>()?)
}
