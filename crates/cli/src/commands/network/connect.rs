//! `isopod network connect`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::networks::change;
use isopod_spec::flags::read_network_alias;
use isopod_spec::{MacAddress, NetworkJoin, NetworkName};

use super::{name, unchanged};
use crate::args::invalid_flag;
use crate::failure::Failure;
use crate::output;
use crate::pods::{ask, find, pods};

const NOTES: &str = "\
The pod stays in the network, also when it is started again: its apps have one more interface, and other pods find it by \
its names. It must already be in a network with a name. Published ports still go through the network that they went \
through before.
";

/// Connect a pod to one more network, also while it runs, and print its addresses there
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct NetworkConnect {
    /// The network
    #[arg(value_name = "NETWORK", value_parser = name)]
    network: NetworkName,
    /// The pod
    #[arg(value_name = "POD")]
    pod: String,
    /// Its IPv4 address there [default: the lowest that is free]
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<Ipv4Addr>,
    /// Its IPv6 address there [default: the lowest that is free]
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<Ipv6Addr>,
    /// Its Ethernet address there [default: made from its IP address]
    #[arg(long, value_name = "MAC")]
    mac_address: Option<MacAddress>,
    /// Another name of the pod there, besides its own and its apps' names; may be repeated
    #[arg(long, value_name = "NAME", value_parser = alias)]
    alias: Vec<String>,
}

fn alias(text: &str) -> Result<String, String> {
    read_network_alias(text.as_ref()).map_err(invalid_flag)
}

impl NetworkConnect {
    /// Has it join, and prints its addresses, a line each.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let pods = pods(settings)?;
        let pod = find(&pods, &self.pod)?;
        let join = NetworkJoin {
            ipv4: self.ip,
            ipv6: self.ip6,
            mac: self.mac_address,
            aliases: self.alias.clone(),
            ..NetworkJoin::new(self.network.clone())
        };
        let joined = change::connect(&pod.uuid, &join, &pods, settings, &ask);
        let joined = joined.map_err(|error| unchanged(&pod, error))?;
        for address in joined.addresses {
            output::data(&format!("{address}\n"));
        }
        Ok(ExitCode::SUCCESS)
    }
}
