//! What `ip -json` says (ip(8)), as the guest's network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use isopod_contract::network::{GuestAddress, GuestInterface, GuestNeighbour, GuestNetwork, GuestRoute, Mac};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// An interface, as `ip address` prints it.
#[derive(Debug, Deserialize)]
pub(super) struct Link {
    pub(super) ifname: String,
    #[serde(default)]
    flags: Vec<String>,
    mtu: u32,
    #[serde(default)]
    link_type: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    addr_info: Vec<Address>,
}

#[derive(Debug, Deserialize)]
struct Address {
    local: Option<IpAddr>,
    prefixlen: u8,
    #[serde(default)]
    scope: String,
}

#[derive(Debug, Deserialize)]
struct Route {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    dst: String,
    gateway: Option<IpAddr>,
    dev: Option<String>,
    prefsrc: Option<IpAddr>,
    metric: Option<u32>,
    #[serde(default)]
    flags: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Neighbour {
    dst: IpAddr,
    dev: String,
    lladdr: Option<String>,
}

/// Reads a list; iproute2 says nothing for an empty one.
fn list<T: DeserializeOwned>(text: &[u8]) -> Result<Vec<T>, serde_json::Error> {
    match text.trim_ascii() {
        b"" => Ok(Vec::new()),
        text => serde_json::from_slice(text),
    }
}

pub(super) fn links(text: &[u8]) -> Result<Vec<Link>, serde_json::Error> {
    list(text)
}

/// The MTU of the one interface that `ip link show dev` prints.
pub(super) fn mtu(text: &[u8]) -> Result<u32, serde_json::Error> {
    let links: Vec<Link> = list(text)?;
    let none = || serde::de::Error::custom("no interface");
    links.first().map(|link| link.mtu).ok_or_else(none)
}

/// The interfaces whose received packets are filtered, as `tc qdisc show` prints them.
pub(super) fn with_ingress(text: &[u8]) -> Result<Vec<String>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Discipline {
        kind: String,
        dev: String,
    }
    let disciplines: Vec<Discipline> = list(text)?;
    let ingress = disciplines
        .into_iter()
        .filter(|discipline| discipline.kind == "ingress");
    Ok(ingress.map(|discipline| discipline.dev).collect())
}

/// The interface to which a filter that `tc filter show` prints sends packets; `None`: there is none.
pub(super) fn redirected_to(text: &[u8]) -> Result<Option<String>, serde_json::Error> {
    #[derive(Deserialize)]
    struct ListedFilter {
        #[serde(default)]
        options: Options,
    }
    #[derive(Default, Deserialize)]
    struct Options {
        #[serde(default)]
        actions: Vec<ListedAction>,
    }
    #[derive(Deserialize)]
    struct ListedAction {
        to_dev: Option<String>,
    }
    let filters: Vec<ListedFilter> = list(text)?;
    let mut actions = filters.into_iter().flat_map(|filter| filter.options.actions);
    Ok(actions.find_map(|action| action.to_dev))
}

/// The network of these interfaces, routes of both kinds and neighbours.
pub(super) fn network(
    links: Vec<Link>,
    routes: [&[u8]; 2],
    neighbours: &[u8],
) -> Result<GuestNetwork, serde_json::Error> {
    let [routes4, routes6] = routes;
    let of_kind = |text, any: IpAddr| -> Result<Vec<(IpAddr, Route)>, serde_json::Error> {
        Ok(list::<Route>(text)?
            .into_iter()
            .map(|route| (any, route))
            .collect())
    };
    let routes = [
        of_kind(routes4, Ipv4Addr::UNSPECIFIED.into())?,
        of_kind(routes6, Ipv6Addr::UNSPECIFIED.into())?,
    ]
    .concat_routes();
    let neighbours: Vec<Neighbour> = list(neighbours)?;
    let interfaces = links.into_iter().filter_map(|link| {
        let usable = link.link_type == "ether" && link.flags.iter().any(|flag| flag == "UP");
        // The guest makes link-local ones for itself.
        let addresses = link.addr_info.iter().filter(|address| address.scope != "link");
        let addresses: Vec<GuestAddress> = addresses
            .filter_map(|address| {
                Some(GuestAddress {
                    address: address.local?,
                    prefix_len: address.prefixlen,
                })
            })
            .collect();
        if !usable || addresses.is_empty() {
            return None;
        }
        let is_its = |dev: Option<&str>| dev == Some(&link.ifname);
        let routes = routes.iter().filter(|(_, route)| is_its(route.dev.as_deref()));
        let neighbours = neighbours.iter().filter(|neighbour| is_its(Some(&neighbour.dev)));
        Some(GuestInterface {
            mac: mac(&link.address),
            mtu: Some(link.mtu),
            addresses,
            routes: routes
                .filter_map(|(any, route)| guest_route(*any, route))
                .collect(),
            neighbours: neighbours
                .filter_map(|neighbour| {
                    Some(GuestNeighbour {
                        address: neighbour.dst,
                        mac: mac(neighbour.lladdr.as_deref()?)?,
                    })
                })
                .collect(),
            announced: false,
            name: link.ifname.clone(),
        })
    });
    Ok(GuestNetwork {
        interfaces: interfaces.collect(),
    })
}

trait Concat {
    fn concat_routes(self) -> Vec<(IpAddr, Route)>;
}

impl Concat for [Vec<(IpAddr, Route)>; 2] {
    fn concat_routes(self) -> Vec<(IpAddr, Route)> {
        self.into_iter().flatten().collect()
    }
}

/// The guest's route; none where the guest makes it for itself.
fn guest_route(any: IpAddr, route: &Route) -> Option<GuestRoute> {
    if route.kind.as_deref().is_some_and(|kind| kind != "unicast") {
        return None;
    }
    let destination = match route.dst.as_str() {
        "default" => GuestAddress {
            address: any,
            prefix_len: 0,
        },
        text => {
            let (address, prefix_len) = match text.split_once('/') {
                Some((address, prefix_len)) => (address.parse().ok()?, prefix_len.parse().ok()?),
                None => (text.parse().ok()?, if any.is_ipv4() { 32 } else { 128 }),
            };
            GuestAddress { address, prefix_len }
        }
    };
    let own = match destination.address {
        IpAddr::V6(address) => address.is_unicast_link_local() || address.is_multicast(),
        IpAddr::V4(_) => false,
    };
    (!own).then(|| GuestRoute {
        destination,
        gateway: route.gateway,
        on_link: route.flags.iter().any(|flag| flag == "onlink"),
        source: route.prefsrc,
        metric: route.metric,
    })
}

fn mac(text: &str) -> Option<Mac> {
    let bytes: Vec<u8> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect::<Option<_>>()?;
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As iproute2 6.1 says it of a namespace with a veth pair, one end of which has addresses.
    #[test]
    fn what_ip_says_is_the_guests_network() {
        let of_links = br#"[{"ifindex":1,"ifname":"lo","flags":["LOOPBACK","UP"],"mtu":65536,"link_type":"loopback",
            "address":"00:00:00:00:00:00","addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8,"scope":"host"}]},
            {"ifname":"p0","flags":["UP"],"mtu":1500,"link_type":"ether","address":"72:4f:48:f0:f4:46",
            "addr_info":[{"family":"inet6","local":"fe80::1","prefixlen":64,"scope":"link"}]},
            {"ifname":"eth0","flags":["BROADCAST","UP"],"mtu":1400,"link_type":"ether","address":"ae:b6:74:36:3c:fe",
            "addr_info":[{"family":"inet","local":"10.1.2.3","prefixlen":24,"scope":"global"},
            {"family":"inet6","local":"fd00:1::3","prefixlen":64,"scope":"global","nodad":true},
            {"family":"inet6","local":"fe80::2","prefixlen":64,"scope":"link"}]}]"#;
        let routes4 = br#"[{"dst":"default","gateway":"10.1.2.1","dev":"eth0","flags":[]},
            {"dst":"10.1.2.0/24","dev":"eth0","protocol":"kernel","scope":"link","prefsrc":"10.1.2.3","flags":[]},
            {"dst":"10.9.0.1","gateway":"10.77.0.1","dev":"eth0","metric":7,"flags":["onlink"]},
            {"type":"blackhole","dst":"10.8.0.0/16","flags":[]},{"dst":"10.7.0.0/16","dev":"p0","flags":[]}]"#;
        let routes6 = br#"[{"dst":"fe80::/64","dev":"eth0","protocol":"kernel","metric":256,"flags":[],"pref":"medium"},
            {"dst":"default","gateway":"fd00:1::1","dev":"eth0","metric":1024,"flags":[],"pref":"medium"}]"#;
        let of_neighbours =
            br#"[{"dst":"10.1.2.1","dev":"eth0","lladdr":"02:00:00:00:00:09","state":["PERMANENT"]}]"#;
        let links = links(of_links).unwrap();
        let network = network(links, [routes4, routes6], of_neighbours).unwrap();
        let [eth0] = &network.interfaces[..] else {
            panic!("{network:?}")
        };
        assert_eq!(
            (&*eth0.name, eth0.mac, eth0.mtu),
            ("eth0", Some([0xae, 0xb6, 0x74, 0x36, 0x3c, 0xfe]), Some(1400))
        );
        let addresses: Vec<String> = network.addresses().map(|address| address.to_string()).collect();
        assert_eq!(addresses, ["10.1.2.3", "fd00:1::3"]);
        let said = |route: &GuestRoute| {
            let GuestAddress { address, prefix_len } = route.destination;
            format!(
                "{address}/{prefix_len} {:?} {} {:?}",
                route.gateway, route.on_link, route.metric
            )
        };
        assert_eq!(
            eth0.routes.iter().map(said).collect::<Vec<_>>(),
            [
                "0.0.0.0/0 Some(10.1.2.1) false None",
                "10.1.2.0/24 None false None",
                "10.9.0.1/32 Some(10.77.0.1) true Some(7)",
                "::/0 Some(fd00:1::1) false Some(1024)",
            ]
        );
        assert_eq!(eth0.neighbours.len(), 1);
        assert!(super::links(b"").unwrap().is_empty() && super::links(b"[").is_err());
    }
    /// As iproute2 6.1 says it.
    #[test]
    fn what_tc_says_is_where_packets_go() {
        let qdiscs = br#"[{"kind":"noqueue","handle":"0:","dev":"lo","root":true,"refcnt":2,"options":{}},
            {"kind":"ingress","handle":"ffff:","dev":"eth0","parent":"ffff:fff1","options":{}}]"#;
        assert_eq!(with_ingress(qdiscs).unwrap(), ["eth0"]);
        let filters = br#"[{"protocol":"all","pref":1,"kind":"u32","chain":0},
            {"protocol":"all","pref":1,"kind":"u32","chain":0,"options":{"fh":"800:","ht_divisor":1}},
            {"protocol":"all","pref":1,"kind":"u32","chain":0,"options":{"fh":"800::800","order":2048,"key_ht":"800","bkt":"0",
            "match":{"value":"0","mask":"0","offmask":"","off":0},"actions":[{"order":1,"kind":"mirred",
            "mirred_action":"redirect","direction":"egress","to_dev":"isopod0","control_action":{"type":"stolen"}}]}}]"#;
        assert_eq!(redirected_to(filters).unwrap().as_deref(), Some("isopod0"));
        assert_eq!(redirected_to(b"[]").unwrap(), None);
        assert_eq!(redirected_to(b"").unwrap(), None);
    }
}
