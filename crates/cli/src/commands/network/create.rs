//! `isopod network create`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::ExitCode;

use ipnet::IpNet;
use isopod_plan::networks::NetworkRequest;
use isopod_runtime::Settings;
use isopod_runtime::networks::Networks;
use isopod_spec::NetworkName;

use super::name;
use crate::failure::Failure;
use crate::output;

/// Make a network by which pods reach each other, and print its name
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct NetworkCreate {
    /// Its name
    #[arg(value_name = "NAME", value_parser = name)]
    name: NetworkName,
    /// Its addresses, such as 10.91.0.0/24; one subnet of IPv4, one of IPv6 [default: a free one of IPv4]
    #[arg(long, value_name = "SUBNET")]
    subnet: Vec<IpNet>,
    /// The host's address in a subnet [default: its first]
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<IpAddr>,
    /// Have IPv6 too: a free subnet, where none is given
    #[arg(long)]
    ipv6: bool,
    /// Connect its pods with each other alone, not with the host or the internet
    #[arg(long)]
    internal: bool,
    /// The largest packet, in bytes [default: 1500]
    #[arg(long, value_name = "BYTES")]
    mtu: Option<u32>,
    /// Do not resolve the names of its pods
    #[arg(long)]
    disable_dns: bool,
    /// The kind of network; there is only bridge
    #[arg(short, long, value_name = "DRIVER", default_value = "bridge", value_parser = ["bridge"])]
    driver: String,
    /// mtu=BYTES, or isolate=false: let it reach other networks that are not isolated
    #[arg(short, long, value_name = "OPTION=VALUE", value_parser = option)]
    opt: Vec<NetworkOption>,
    /// Give it a label
    #[arg(long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,
    /// No effect: every pod of the host may join it
    #[arg(long)]
    attachable: bool,
    /// No effect: every network has IPv4
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = ["true"])]
    ipv4: Option<String>,
    /// Where it is; there is only local
    #[arg(long, value_name = "SCOPE", value_parser = ["local"])]
    scope: Option<String>,
    /// Who chooses addresses; there is only default
    #[arg(long, value_name = "DRIVER", value_parser = ["default", "host-local"])]
    ipam_driver: Option<String>,
}

/// An option of podman's networks, by docker's name too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NetworkOption {
    Mtu(u32),
    Isolate(bool),
}

fn option(text: &str) -> Result<NetworkOption, String> {
    match text.split_once('=') {
        Some(("mtu" | "com.docker.network.driver.mtu", bytes)) => {
            let bytes = bytes
                .parse()
                .map_err(|_| "the MTU is a number of bytes".to_owned());
            bytes.map(NetworkOption::Mtu)
        }
        Some(("isolate", "true")) => Ok(NetworkOption::Isolate(true)),
        Some(("isolate", "false")) => Ok(NetworkOption::Isolate(false)),
        _ => Err("there are `mtu=BYTES`, `isolate=true` and `isolate=false`".to_owned()),
    }
}

impl NetworkCreate {
    /// Makes it, and prints its name.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let label = |text: &String| match text.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => (text.clone(), String::new()),
        };
        let mut request = NetworkRequest {
            name: self.name.clone(),
            subnets: self.subnet.clone(),
            gateways: self.gateway.clone(),
            ipv6: self.ipv6,
            internal: self.internal,
            dns: !self.disable_dns,
            isolated: true,
            mtu: self.mtu,
            labels: self.label.iter().map(label).collect::<BTreeMap<_, _>>(),
        };
        for option in &self.opt {
            match option {
                NetworkOption::Mtu(bytes) => request.mtu = Some(*bytes),
                NetworkOption::Isolate(isolated) => request.isolated = *isolated,
            }
        }
        let network = Networks::of(&settings.state_dir).create(&request)?;
        output::data(&format!("{}\n", network.name));
        Ok(ExitCode::SUCCESS)
    }
}
