//! netavark(1), podman's: it makes a pod's interfaces to networks with names, the host's interfaces to those, the rules of the host's
//! firewall, and has aardvark-dns answer for names. What it is to do stands in JSON, as podman has it.

use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use isopod_spec::{JoinedNetwork, PortForward};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::command::command;
use crate::launcher::sys;

/// Where the programs are that it starts: iptables, nft.
const SEARCH_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// The same for an ordinary user, without systemd-run: it would have aardvark-dns started by that user's service manager, which need not
/// be there.
const ROOTLESS_SEARCH_PATH: &str = "/usr/sbin:/sbin";

/// What it is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Make the pod's interfaces.
    Setup,
    /// Take away what that made.
    Teardown,
}

/// Why it did not.
#[derive(Debug, thiserror::Error)]
pub enum NetavarkError {
    /// It could not be run.
    #[error("cannot run `{}`", program.display())]
    Run {
        program: PathBuf,
        source: std::io::Error,
    },
    #[error("`netavark {verb}` failed: {words}")]
    Failed {
        /// What it was to do.
        verb: &'static str,
        words: String,
    },
}

/// The program, and where it keeps what it knows.
#[derive(Clone, Debug)]
pub struct Netavark<'a> {
    /// netavark(1).
    pub program: &'a Path,
    /// aardvark-dns, where a network has names.
    pub aardvark: Option<&'a Path>,
    /// The directory of its files.
    pub config: &'a Path,
    /// Whether it is an ordinary user's, root in a namespace of the user.
    pub rootless: bool,
}

impl Netavark<'_> {
    /// Lets it do that to the network namespace at `netns`.
    ///
    /// # Errors
    /// [`NetavarkError`].
    pub fn run(&self, verb: Verb, netns: &Path, input: &Value) -> Result<(), NetavarkError> {
        let failed = |source| NetavarkError::Run {
            program: self.program.to_owned(),
            source,
        };
        let word = match verb {
            Verb::Setup => "setup",
            Verb::Teardown => "teardown",
        };
        // Files and no pipes: aardvark-dns stays, and may keep them open.
        let mut stdin = tempfile().map_err(failed)?;
        stdin.write_all(input.to_string().as_bytes()).map_err(failed)?;
        stdin.rewind().map_err(failed)?;
        let mut output = tempfile().map_err(failed)?;
        let errors = output.try_clone().map_err(failed)?;
        let stdout = output.try_clone().map_err(failed)?;
        // Nor anything else that whoever started this process left open: a lock would be held for as long as there are pods.
        sys::close_on_exec(3..=u32::MAX).map_err(failed)?;
        let mut process = command(self.program);
        process.arg("--config").arg(self.config);
        process.args(["--rootless", if self.rootless { "true" } else { "false" }]);
        process.env(
            "PATH",
            if self.rootless {
                ROOTLESS_SEARCH_PATH
            } else {
                SEARCH_PATH
            },
        );
        // Where the one of iptables is that has locks: /run is root's.
        process.env("XTABLES_LOCKFILE", self.config.join("xtables.lock"));
        if let Some(aardvark) = self.aardvark {
            process.arg("--aardvark-binary").arg(aardvark);
        }
        let status = process
            .arg(word)
            .arg(netns)
            .stdin(stdin)
            .stdout(Stdio::from(stdout))
            .stderr(errors)
            .current_dir("/")
            .status()
            .map_err(failed)?;
        if status.success() {
            return Ok(());
        }
        let mut words = Vec::new();
        output.rewind().map_err(failed)?;
        output.take(MAX_WORDS).read_to_end(&mut words).map_err(failed)?;
        Err(NetavarkError::Failed {
            verb: word,
            words: explained(&String::from_utf8_lossy(&words)),
        })
    }
}

/// As much as is read of what it says, in bytes.
const MAX_WORDS: u64 = 64 << 10;

fn tempfile() -> std::io::Result<std::fs::File> {
    let name = c"isopod-netavark";
    let file = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?;
    Ok(file.into())
}

/// What it complains of, beside what it notes.
fn explained(text: &str) -> String {
    #[derive(Deserialize)]
    struct Complaint {
        error: String,
    }
    let of_line = |line: &str| serde_json::from_str::<Complaint>(line).ok();
    let complaint = text.lines().find_map(of_line);
    let words = complaint.map_or_else(|| text.trim().to_owned(), |complaint| complaint.error);
    words.replace('\n', "; ")
}

/// Whom aardvark-dns asks for what it does not know itself, in a network that nothing leads out of: names lead out too. No datagram is
/// sent there without more ado (socket(7), `SO_BROADCAST`).
const NOBODY: &str = "255.255.255.255";

/// What it gets about a pod in a network, whose ports `ports` are published through it. `resolver` is who is asked for names outside, where
/// that is not the host's.
#[must_use]
pub fn input(pod: &str, joined: &JoinedNetwork, ports: &[PortForward], resolver: Option<&str>) -> Value {
    let (name, aliases) = joined.names.split_first().unzip();
    let name = name.map_or(pod, String::as_str);
    let mapping = |port: &PortForward| {
        json!({
            "container_port": port.pod_port,
            "host_ip": port.host_ip.map(|address| address.to_string()).unwrap_or_default(),
            "host_port": port.host_port,
            "protocol": port.protocol.to_string(),
            "range": 1,
        })
    };
    let network = joined.network.name.as_str();
    let mut info = json!(joined.network);
    let resolver = if joined.network.internal {
        Some(NOBODY)
    } else {
        resolver
    };
    if let Some(resolver) = resolver {
        info["network_dns_servers"] = json!([resolver]);
    }
    json!({
        "container_id": pod,
        "container_name": name,
        "port_mappings": ports.iter().map(mapping).collect::<Vec<_>>(),
        "networks": {
            network: {
                "static_ips": joined.addresses,
                "static_mac": joined.mac,
                "interface_name": joined.interface,
                "aliases": aliases.unwrap_or_default(),
            },
        },
        "network_info": { network: info },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_reported_as_podman_does() {
        let network = serde_json::from_value(json!({
            "name": "back", "id": "0", "driver": "bridge", "network_interface": "isopod-br0",
            "subnets": [{ "subnet": "10.90.0.0/24", "gateway": "10.90.0.1" }],
            "ipv6_enabled": false, "internal": true, "dns_enabled": true, "options": {}, "ipam_options": {},
        }));
        let joined = JoinedNetwork {
            network: network.unwrap(),
            interface: "eth0".into(),
            mac: "02:49:0a:5a:00:02".parse().unwrap(),
            addresses: vec!["10.90.0.2".parse().unwrap()],
            names: vec!["one".into(), "web".into()],
        };
        let port = PortForward {
            host_ip: Some("192.0.2.1".parse().unwrap()),
            host_port: 8080,
            host_last: None,
            pod_port: 80,
            protocol: isopod_spec::PortProtocol::Tcp,
        };
        let reported = input("uuid", &joined, &[port], None);
        assert_eq!(reported["container_name"], "one");
        assert_eq!(
            reported["port_mappings"],
            json!([{ "container_port": 80, "host_ip": "192.0.2.1", "host_port": 8080, "protocol": "tcp", "range": 1 }])
        );
        let own = json!({
            "static_ips": ["10.90.0.2"], "static_mac": "02:49:0a:5a:00:02", "interface_name": "eth0", "aliases": ["web"],
        });
        assert_eq!(reported["networks"], json!({ "back": own }));
        assert_eq!(
            reported["network_info"]["back"]["network_interface"],
            "isopod-br0"
        );
        // Nobody outside is asked for names.
        assert_eq!(
            reported["network_info"]["back"]["network_dns_servers"],
            json!([NOBODY])
        );
    }

    #[test]
    fn a_complaint_is_found_among_notes() {
        let said = "failed to connect to syslog\n{\"error\":\"no such\\ndevice\"}\n";
        assert_eq!(explained(said), "no such; device");
        assert_eq!(explained("no\nJSON\n"), "no; JSON");
    }
}
