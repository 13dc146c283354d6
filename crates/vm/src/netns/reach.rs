//! How far packets go between a guest and the interface that its tap is joined to, as filters of tc-u32(8).
//!
//! A packet that no filter sends on ends in the namespace, whose kernel forwards nothing and where nobody listens. The guest has no
//! say in it: the filters are on its tap, outside of the VM.

use ipnet::IpNet;

/// How far packets go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// As far as the interface leads.
    Everything,
    /// The same, but to no loopback interface: netavark lets a bridge lead there, for published ports. Of kinds of packets only those
    /// that can be looked into: ARP, IPv4 and IPv6.
    AllButLoopback,
    /// To and from these subnets alone, and neighbours' groups.
    Within(Vec<IpNet>),
}

/// What happens to packets of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    /// As tc-filters(8) call it.
    protocol: &'static str,
    /// What all must match, in the words of tc-u32(8).
    matches: Vec<String>,
    goes: Goes,
}

/// Where packets of a kind go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goes {
    /// To the other interface.
    On,
    /// To the namespace's kernel, where most end.
    Here,
    /// To both.
    Both,
}

impl Filter {
    /// Its words after the preference, for packets that go on to the interface `to`.
    pub(super) fn words(&self, to: &str) -> Vec<String> {
        let mut words: Vec<String> = ["protocol", self.protocol, "u32"].map(String::from).into();
        for matching in &self.matches {
            words.push("match".to_owned());
            words.extend(matching.split(' ').map(str::to_owned));
        }
        let end: &[&str] = match self.goes {
            Goes::On => &["action", "mirred", "egress", "redirect", "dev", to],
            Goes::Here => &["flowid", ":1"],
            Goes::Both => &["action", "mirred", "egress", "mirror", "dev", to, "pass"],
        };
        words.extend(end.iter().map(|word| (*word).to_owned()));
        words
    }
}

fn filter(protocol: &'static str, matches: impl IntoIterator<Item = String>, goes: Goes) -> Filter {
    Filter {
        protocol,
        matches: matches.into_iter().collect(),
        goes,
    }
}

fn every(protocol: &'static str) -> Filter {
    filter(protocol, ["u8 0 0".to_owned()], Goes::On)
}

/// With the address `net` at that place, `src` or `dst`.
fn with(place: &str, net: &str, goes: Goes) -> Filter {
    let (protocol, selector) = match net.contains(':') {
        true => ("ipv6", "ip6"),
        false => ("ip", "ip"),
    };
    filter(protocol, [format!("{selector} {place} {net}")], goes)
}

/// The host's own, which no packet of a network has.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];

/// Neighbours' groups and addresses (RFC 4291), and who has no address yet.
const NEIGHBOURS_TO: [&str; 4] = ["224.0.0.0/4", "255.255.255.255/32", "fe80::/10", "ff00::/8"];
const NEIGHBOURS_FROM: [&str; 2] = ["fe80::/10", "::/128"];

impl Reach {
    /// Packets of the guest, the first that matches decides.
    pub(super) fn of_the_guest(&self) -> Vec<Filter> {
        match self {
            Self::Everything => vec![every("all")],
            Self::AllButLoopback => {
                let mut filters: Vec<Filter> = LOOPBACK
                    .iter()
                    .flat_map(|net| [with("dst", net, Goes::Here), with("src", net, Goes::Here)])
                    .collect();
                filters.extend(["arp", "ip", "ipv6"].map(every));
                filters
            }
            Self::Within(subnets) => within("dst", subnets, &NEIGHBOURS_TO),
        }
    }

    /// Packets of the interface's.
    pub(super) fn for_the_guest(&self) -> Vec<Filter> {
        match self {
            Self::Everything | Self::AllButLoopback => vec![every("all")],
            Self::Within(subnets) => within("src", subnets, &NEIGHBOURS_FROM),
        }
    }
}

fn within(place: &str, subnets: &[IpNet], neighbours: &[&str]) -> Vec<Filter> {
    let subnets = subnets.iter().map(ToString::to_string);
    let neighbours = neighbours.iter().map(|net| (*net).to_owned());
    let nets = subnets.chain(neighbours).map(|net| with(place, &net, Goes::On));
    std::iter::once(every("arp")).chain(nets).collect()
}

/// The ports from which the namespace's own kernel asks name servers, once it is to have their answers: 512, which a mask describes.
/// A guest's kernel takes none of them by itself (ip(7), `ip_local_port_range`: 32768 to 60999).
pub(super) const OWN_PORTS: (u16, u16) = (61_440, 61_951);

/// What of the packets for the guest is for the namespace's kernel: what name servers answer to [`OWN_PORTS`], and, as for the guest,
/// where neighbours are.
pub(super) fn answers_of_name_servers() -> Vec<Filter> {
    let (first, last) = OWN_PORTS;
    let mask = !(last - first);
    let mut filters = Vec::new();
    for (protocol, selector) in [("ip", "ip"), ("ipv6", "ip6")] {
        for transport in [17, 6] {
            let matches = [
                format!("{selector} protocol {transport} 0xff"),
                format!("{selector} sport 53 0xffff"),
                format!("{selector} dport {first} {mask:#x}"),
            ];
            filters.push(filter(protocol, matches, Goes::Here));
        }
    }
    // Replies of ARP (RFC 826), neighbour advertisements (RFC 4861, 4.4).
    filters.push(filter("arp", ["u16 2 0xffff at 6".to_owned()], Goes::Both));
    let advertisement = ["ip6 protocol 58 0xff", "u8 136 0xff at 40"].map(str::to_owned);
    filters.push(filter("ipv6", advertisement, Goes::Both));
    filters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_words_of_tc() {
        let lines = |filters: Vec<Filter>| -> Vec<String> {
            let filters = filters.iter();
            filters.map(|filter| filter.words("eth0").join(" ")).collect()
        };
        let on = "action mirred egress redirect dev eth0";
        assert_eq!(
            lines(Reach::Everything.of_the_guest()),
            [format!("protocol all u32 match u8 0 0 {on}")]
        );
        let loopback = lines(Reach::AllButLoopback.of_the_guest());
        assert_eq!(loopback[0], "protocol ip u32 match ip dst 127.0.0.0/8 flowid :1");
        assert_eq!(loopback[6], format!("protocol ipv6 u32 match u8 0 0 {on}"));
        assert_eq!(loopback.len(), 7);
        let within = Reach::Within(vec![
            "10.90.0.0/24".parse().unwrap(),
            "fd00::/64".parse().unwrap(),
        ]);
        let from = lines(within.of_the_guest());
        assert_eq!(from[1], format!("protocol ip u32 match ip dst 10.90.0.0/24 {on}"));
        assert_eq!(from[2], format!("protocol ipv6 u32 match ip6 dst fd00::/64 {on}"));
        assert_eq!(from.len(), 7);
        let to = lines(within.for_the_guest());
        assert_eq!(to[1], format!("protocol ip u32 match ip src 10.90.0.0/24 {on}"));
    }
    #[test]
    fn answers_of_name_servers_are_the_namespaces() {
        let filters = answers_of_name_servers();
        let lines: Vec<String> = filters
            .iter()
            .map(|filter| filter.words("isopod0").join(" "))
            .collect();
        assert_eq!(lines.len(), 6);
        assert_eq!(
            lines[0],
            "protocol ip u32 match ip protocol 17 0xff match ip sport 53 0xffff match ip dport 61440 0xfe00 flowid :1"
        );
        assert_eq!(
            lines[4],
            "protocol arp u32 match u16 2 0xffff at 6 action mirred egress mirror dev isopod0 pass"
        );
        let (first, last) = OWN_PORTS;
        assert_eq!(
            (first & 0xfe00, last & 0xfe00),
            (first, first),
            "one mask describes them"
        );
    }
}
