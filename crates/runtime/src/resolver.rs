//! The host's search domains, which a pod's names are completed with too (resolv.conf(5)), and its name servers: the pod's router
//! asks them, and of which kind they are decides where the pod asks.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use isopod_spec::network::check_hostname;

/// The host's resolver configuration.
pub(crate) const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The resolver configuration for the network namespace at `path`: its own, where it has a name and one of these (ip-netns(8)).
pub(crate) fn of_namespace(path: &Path) -> PathBuf {
    let named = ["/run/netns", "/var/run/netns"].map(Path::new);
    let own = path
        .file_name()
        .filter(|_| named.contains(&path.parent().unwrap_or(Path::new(""))))
        .map(|name| Path::new("/etc/netns").join(name).join("resolv.conf"));
    own.filter(|path| path.exists())
        .unwrap_or_else(|| RESOLV_CONF.into())
}

/// The most domains that are taken over: as many as musl and older glibc know.
const MAX_DOMAINS: usize = 6;

/// The search domains of `text`: those of the last line that has some. What is no domain is left out.
pub(crate) fn search_domains(text: &str) -> Vec<String> {
    let of_line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let domains: Vec<String> = match words.next()? {
            "search" => words.map(str::to_owned).collect(),
            "domain" => words.take(1).map(str::to_owned).collect(),
            _ => return None,
        };
        Some(domains)
    };
    let mut domains = text.lines().filter_map(of_line).next_back().unwrap_or_default();
    domains.retain(|domain| check_hostname(domain.trim_end_matches('.')).is_ok());
    domains.truncate(MAX_DOMAINS);
    domains
}

/// The host's name servers; none where they cannot be read.
pub(crate) fn of_host() -> Vec<IpAddr> {
    nameservers(&fs::read_to_string(RESOLV_CONF).unwrap_or_default())
}

/// The name servers of `text`.
#[must_use]
pub fn nameservers(text: &str) -> Vec<IpAddr> {
    let of_line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let address = words
            .next()
            .filter(|word| *word == "nameserver")
            .and(words.next())?;
        // That of a link stands with the link's name.
        address.split('%').next()?.parse().ok()
    };
    text.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_addresses() {
        let text = "nameserver 192.0.2.1\n#nameserver 192.0.2.2\nnameserver fe80::1%eth0\nnameserver x\nnameserver\n";
        let found: Vec<String> = nameservers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.1", "fe80::1"]);
    }

    #[test]
    fn the_last_line_counts() {
        for (text, expected) in [
            ("", &[][..]),
            ("nameserver 1.2.3.4\n", &[]),
            ("search a.example b.example.\n", &["a.example", "b.example."]),
            ("search a\ndomain b\n", &["b"]),
            ("domain a\nsearch b c # d\n", &["b", "c", "d"]),
            ("#search a\n; search b\n", &[]),
            ("search .\n", &[]),
            ("search a\0b ok $(x)\n", &["ok"]),
            ("search 1 2 3 4 5 6 7 8", &["1", "2", "3", "4", "5", "6"]),
        ] {
            assert_eq!(search_domains(text), expected, "{text:?}");
        }
    }
}
