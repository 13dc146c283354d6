//! Whether the host has a route that leads out: passt needs one (proc_pid_net(5)).

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
        assert!(leads_out4(&[head, link, default].concat()));
        assert!(!leads_out4(&[head, link].concat()) && !leads_out4(head) && !leads_out4(""));

        let zero = "00000000000000000000000000000000";
        let default = format!(
            "{zero} 00 {zero} 00 fd000000000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n"
        );
        let none = format!("{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n");
        assert!(leads_out6(&[&*none, &default].concat()));
        assert!(!leads_out6(&none) && !leads_out6(""));
    }
}
