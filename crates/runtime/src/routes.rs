//! Where the host's routes lead (proc_pid_net(5)): out, which passt needs, and where no network of pods is to be.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// IPv4's routes: a head, then interface, destination and gateway in hexadecimal, flags, and more.
pub(crate) const IPV4: &str = "/proc/net/route";
/// IPv6's: destination and the length of its prefix in hexadecimal, and more; the flags before the interface, which is last.
pub(crate) const IPV6: &str = "/proc/net/ipv6_route";

/// `RTF_UP`.
const UP: u32 = 1;
/// `RTF_REJECT`.
const REJECT: u32 = 0x200;

/// Whether a default route is among those of [`IPV4`].
pub(crate) fn leads_out4(text: &str) -> bool {
    text.lines().skip(1).any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        matches!(words[..], [_, "00000000", _, flags, _, _, _, "00000000", ..] if leads(flags))
    })
}

/// Whether a default route is among those of [`IPV6`].
pub(crate) fn leads_out6(text: &str) -> bool {
    text.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [destination, "00", .., flags, interface] => {
                destination.bytes().all(|byte| byte == b'0') && interface != "lo" && leads(flags)
            }
            _ => false,
        }
    })
}

/// Where routes of the namespace that this process is in lead, but for those that lead everywhere, to neighbours and groups, and out of
/// interfaces that `is_own` names.
pub(crate) fn destinations(is_own: impl Fn(&str) -> bool) -> Vec<IpNet> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    destinations_of(&read(IPV4), &read(IPV6), is_own)
}

fn destinations_of(ipv4: &str, ipv6: &str, is_own: impl Fn(&str) -> bool) -> Vec<IpNet> {
    let hexadecimal = |word: &str| u32::from_str_radix(word, 16).ok();
    let of_ipv4 = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [interface, destination, _, flags, _, _, _, mask, ..] = words[..] else {
            return None;
        };
        // Numbers of the network's order, read in the host's.
        let destination = Ipv4Addr::from(hexadecimal(destination)?.to_ne_bytes());
        let prefix_len = u8::try_from(hexadecimal(mask)?.count_ones()).ok()?;
        let net = IpNet::new(destination.into(), prefix_len).ok()?;
        (leads(flags) && prefix_len > 0 && !is_own(interface)).then_some(net)
    };
    let of_ipv6 = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [destination, prefix_len, .., flags, interface] = words[..] else {
            return None;
        };
        let destination = Ipv6Addr::from_bits(u128::from_str_radix(destination, 16).ok()?);
        let prefix_len = u8::from_str_radix(prefix_len, 16).ok()?;
        let net = IpNet::new(destination.into(), prefix_len).ok()?;
        let of_links = destination.is_unicast_link_local() || destination.is_multicast();
        let counts = prefix_len > 0 && !of_links && interface != "lo" && !is_own(interface);
        (leads(flags) && counts).then_some(net)
    };
    let ipv4 = ipv4.lines().skip(1).filter_map(of_ipv4);
    ipv4.chain(ipv6.lines().filter_map(of_ipv6)).collect()
}

fn leads(flags: &str) -> bool {
    u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & UP != 0 && flags & REJECT == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_routes_are_found() {
        let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
        let default = "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        let link = "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let first4 = default;
        assert!(leads_out4(&[head, link, default].concat()));
        assert!(!leads_out4(&[head, link].concat()) && !leads_out4(head) && !leads_out4(""));

        let zero = "00000000000000000000000000000000";
        let default = format!(
            "{zero} 00 {zero} 00 fd000000000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n"
        );
        let none = format!("{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n");
        let link6 = "fd490000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0\n";
        let all = |own: &str| {
            let found = destinations_of(
                &[head, link, first4].concat(),
                &[link6, &default].concat(),
                |name| name == own,
            );
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(all(""), ["192.0.2.0/24", "fd49::/64"]);
        assert!(all("eth0").is_empty());
        assert!(leads_out6(&[&*none, &default].concat()));
        assert!(!leads_out6(&none) && !leads_out6(""));
    }
}
