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
    matches: [String; 3],
    /// Whether it continues.
    goes_on: bool,
}

impl Filter {
    /// Its words after the preference, for packets that go on to the interface `to`.
    pub(super) fn words(&self, to: &str) -> Vec<String> {
        let mut words: Vec<String> = ["protocol", self.protocol, "u32", "match"]
            .map(String::from)
            .into();
        words.extend(self.matches.iter().cloned());
        let end: &[&str] = match self.goes_on {
            true => &["action", "mirred", "egress", "redirect", "dev", to],
            false => &["flowid", ":1"],
        };
        words.extend(end.iter().map(|word| (*word).to_owned()));
        words
    }
}

fn every(protocol: &'static str) -> Filter {
    Filter {
        protocol,
        matches: ["u8", "0", "0"].map(String::from),
        goes_on: true,
    }
}

/// With the address `net` at that place, `src` or `dst`.
fn with(place: &str, net: &str) -> Filter {
    let (protocol, selector) = match net.contains(':') {
        true => ("ipv6", "ip6"),
        false => ("ip", "ip"),
    };
    Filter {
        protocol,
        matches: [selector, place, net].map(String::from),
        goes_on: true,
    }
}

fn ending(place: &str, net: &str) -> Filter {
    Filter {
        goes_on: false,
        ..with(place, net)
    }
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
                    .flat_map(|net| [ending("dst", net), ending("src", net)])
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
    let nets = subnets.chain(neighbours).map(|net| with(place, &net));
    std::iter::once(every("arp")).chain(nets).collect()
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
}
