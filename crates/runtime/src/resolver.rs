//! The host's search domains, which a pod's names are completed with too (resolv.conf(5)). Its name servers are no concern
//! of the pod: QEMU asks them.

use isopod_spec::network::check_hostname;

/// The host's resolver configuration.
pub(crate) const RESOLV_CONF: &str = "/etc/resolv.conf";

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

#[cfg(test)]
mod tests {
    use super::*;

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
