//! Networks with names: which subnets and addresses are chosen, for any that are taken.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use crate::fixture;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use isopod_plan::facts::{Facts, HostUser, NamedNetworks, NetworkPrograms, TakenNetwork};
use isopod_plan::networks::address::{AddressFault, choose};
use isopod_plan::networks::{CreateFault, NetworkRequest, Surroundings, create};
use isopod_plan::plan;
use isopod_plan::vm::network::named::plugged::Plug;
use isopod_spec::flags::{read_network, read_publish};
use isopod_spec::{NamedNetwork, Network, NetworkName, PodSpec, Subnet};
use proptest::prelude::*;

fn request(name: &str) -> NetworkRequest {
    NetworkRequest {
        name: NetworkName::new(name).unwrap(),
        subnets: Vec::new(),
        gateways: Vec::new(),
        ipv6: false,
        internal: false,
        dns: true,
        isolated: true,
        mtu: None,
        labels: BTreeMap::new(),
    }
}

fn with(subnets: &[&str]) -> NetworkRequest {
    NetworkRequest {
        subnets: subnets.iter().map(|text| text.parse().unwrap()).collect(),
        ..request("new")
    }
}

fn there(others: Vec<NamedNetwork>) -> Surroundings {
    Surroundings {
        others,
        id: "0".repeat(64),
        ..Surroundings::default()
    }
}

fn subnets(network: &NamedNetwork) -> Vec<String> {
    let subnets = network.subnets.iter();
    subnets
        .map(|subnet| format!("{} {}", subnet.subnet, subnet.gateway))
        .collect()
}

#[test]
fn a_network_takes_what_is_free() {
    let first = create(&request("first"), &there(Vec::new())).unwrap();
    assert_eq!(subnets(&first), ["10.90.0.0/24 10.90.0.1"]);
    assert_eq!((first.mtu(), first.ipv6_enabled), (1500, false));
    let both = NetworkRequest {
        ipv6: true,
        mtu: Some(9000),
        ..request("both")
    };
    let mut around = there(vec![first.clone()]);
    around.routes = vec![
        "10.90.1.128/25".parse().unwrap(),
        "fd49:534f:5045::/64".parse().unwrap(),
    ];
    around.interfaces = BTreeSet::from(["isopod-br1".to_owned()]);
    let both = create(&both, &around).unwrap();
    let expected = [
        "10.90.2.0/24 10.90.2.1",
        "fd49:534f:5045:1::/64 fd49:534f:5045:1::1",
    ];
    assert_eq!(subnets(&both), expected);
    assert_eq!(
        (&*first.network_interface, &*both.network_interface),
        ("isopod-br0", "isopod-br2")
    );
    assert_eq!((both.mtu(), both.ipv6_enabled), (9000, true));
    // What is named is had as it is named.
    let named = NetworkRequest {
        gateways: vec!["fd00:5::ff".parse().unwrap(), "192.168.7.254".parse().unwrap()],
        ..with(&["fd00:5::/64", "192.168.7.0/24"])
    };
    let named = create(&named, &there(vec![first])).unwrap();
    assert_eq!(
        subnets(&named),
        ["192.168.7.0/24 192.168.7.254", "fd00:5::/64 fd00:5::ff"]
    );
    let six = create(&with(&["fd00:5::/64"]), &there(Vec::new())).unwrap();
    assert_eq!(subnets(&six), ["fd00:5::/64 fd00:5::1"]);
}

#[test]
fn a_network_that_cannot_be() {
    let first = create(&request("first"), &there(Vec::new())).unwrap();
    let mut around = there(vec![first]);
    around.routes = vec!["192.168.1.0/24".parse().unwrap()];
    let of = |request: &NetworkRequest| create(request, &around).unwrap_err().to_string();
    for (subnets, expected) in [
        (
            &["10.90.0.128/25"][..],
            "overlaps 10.90.0.0/24 of network `first`",
        ),
        (&["10.0.0.0/8"], "overlaps 10.90.0.0/24 of network `first`"),
        (
            &["192.168.0.0/16"],
            "overlaps 192.168.1.0/24, to which the host has a route",
        ),
        (
            &["10.91.0.7/24"],
            "`10.91.0.7/24` is an address in subnet 10.91.0.0/24",
        ),
        (&["10.91.0.0/31"], "no room for a pod"),
        (&["fd00::/127"], "no room for a pod"),
        (&["10.91.0.0/24", "10.92.0.0/24"], "are both IPv4"),
        (&["127.0.0.0/8"], "not a range of host addresses"),
        (&["0.0.0.0/0"], "not a range of host addresses"),
        (&["224.0.0.0/8"], "not a range of host addresses"),
        (&["fe80::/64"], "not a range of host addresses"),
    ] {
        let error = of(&with(subnets));
        assert!(error.contains(expected), "{subnets:?}: {error}");
    }
    assert_eq!(create(&request("first"), &around), Err(CreateFault::Exists));
    for gateway in ["10.91.1.1", "10.91.0.0", "10.91.0.255", "fd00::1"] {
        let request = NetworkRequest {
            gateways: vec![gateway.parse().unwrap()],
            ..with(&["10.91.0.0/24"])
        };
        assert!(of(&request).contains("gateway"), "{gateway}");
    }
    let mtu = NetworkRequest {
        mtu: Some(1279),
        ..request("new")
    };
    assert!(of(&mtu).contains("MTU"));
}

#[test]
fn an_address_is_the_one_that_was_asked_for() {
    let subnet = subnet("10.90.0.0/29", "10.90.0.1");
    let taken = BTreeSet::from(["10.90.0.2".parse().unwrap()]);
    let asked = |text: &str| choose(&subnet, &taken, Some(text.parse().unwrap()));
    assert_eq!(asked("10.90.0.6"), Ok("10.90.0.6".parse().unwrap()));
    assert!(matches!(asked("10.90.0.2"), Err(AddressFault::Taken(_))));
    for reserved in ["10.90.0.0", "10.90.0.1", "10.90.0.7"] {
        assert!(
            matches!(asked(reserved), Err(AddressFault::Reserved(_))),
            "{reserved}"
        );
    }
    for outside in ["10.90.0.8", "fd00::2"] {
        assert!(
            matches!(asked(outside), Err(AddressFault::Outside { .. })),
            "{outside}"
        );
    }
}

fn subnet(net: &str, gateway: &str) -> Subnet {
    Subnet {
        subnet: net.parse().unwrap(),
        gateway: gateway.parse().unwrap(),
    }
}

/// A subnet of at most 256 addresses, with any of its addresses as its router's.
fn any_subnet() -> impl Strategy<Value = Subnet> {
    let four = (any::<u32>(), 24u8..=30).prop_map(|(bits, prefix)| (IpAddr::V4(bits.into()), prefix));
    let six = (any::<u128>(), 120u8..=126).prop_map(|(bits, prefix)| (IpAddr::V6(bits.into()), prefix));
    (prop_oneof![four, six], any::<prop::sample::Index>()).prop_map(|((address, prefix), gateway)| {
        let net = IpNet::new(address, prefix).unwrap().trunc();
        let hosts: Vec<IpAddr> = net.hosts().filter(|host| *host != net.network()).collect();
        Subnet {
            subnet: net,
            gateway: *gateway.get(&hosts),
        }
    })
}

proptest! {
    /// Pods come until there is no address left: all are different, in the subnet, nobody else's, and as many as there can be.
    #[test]
    fn every_pod_has_an_address_of_its_own(subnet in any_subnet()) {
        let mut taken = BTreeSet::new();
        let end = loop {
            match choose(&subnet, &taken, None) {
                Ok(address) => {
                    prop_assert!(subnet.subnet.contains(&address) && address != subnet.gateway);
                    prop_assert!(address != subnet.subnet.network());
                    prop_assert!(address.is_ipv6() || address != subnet.subnet.broadcast());
                    prop_assert!(taken.insert(address));
                }
                Err(end) => break end,
            }
        };
        prop_assert_eq!(end, AddressFault::Exhausted(subnet.subnet));
        let all = 1usize << (subnet.subnet.max_prefix_len() - subnet.subnet.prefix_len());
        let reserved = if subnet.gateway.is_ipv4() { 3 } else { 2 };
        prop_assert_eq!(taken.len(), all - reserved);
        // One that goes makes room for one.
        let gone = *taken.iter().next_back().unwrap();
        taken.remove(&gone);
        prop_assert_eq!(choose(&subnet, &taken, None), Ok(gone));
    }

    /// Whatever is there, no two networks have an address in common, nor one with a route of the host.
    #[test]
    fn no_two_networks_overlap(
        wished in prop::collection::vec((any::<u16>(), 8u8..=30, any::<bool>(), any::<bool>()), 1..12),
        routes in prop::collection::vec((any::<u16>(), 8u8..=32), 0..4),
    ) {
        let net = |bits: u16, prefix| IpNet::new(IpAddr::V4((0x0a5a_0000 | u32::from(bits)).into()), prefix).unwrap();
        let mut around = there(Vec::new());
        around.routes = routes.iter().map(|(bits, prefix)| net(*bits, *prefix).trunc()).collect();
        for (i, (bits, prefix, chosen, ipv6)) in wished.into_iter().enumerate() {
            let request = NetworkRequest {
                subnets: if chosen { Vec::new() } else { vec![net(bits, prefix)] },
                ipv6,
                ..request(&format!("n{i}"))
            };
            match create(&request, &around) {
                Ok(network) => around.others.push(network),
                Err(CreateFault::Exhausted) => {}
                Err(fault) => prop_assert!(!chosen, "{fault}"),
            }
        }
        let nets = |network: &NamedNetwork| network.subnets.iter().map(|subnet| subnet.subnet).collect::<Vec<_>>();
        let all: Vec<IpNet> = around.others.iter().flat_map(nets).chain(around.routes.iter().copied()).collect();
        let ours = all.len() - around.routes.len();
        for (i, one) in all[..ours].iter().enumerate() {
            for two in &all[i + 1..] {
                prop_assert!(!one.contains(two) && !two.contains(one), "{one} {two}");
            }
        }
        let bridges: BTreeSet<_> = around.others.iter().map(|network| &network.network_interface).collect();
        prop_assert_eq!(bridges.len(), around.others.len());
    }
}

/// What is known of a host with these networks, which other pods have addresses of.
fn with_networks(spec: &PodSpec, networks: &[NamedNetwork], taken: &[&str]) -> Facts {
    let taken: BTreeSet<IpAddr> = taken.iter().map(|text| text.parse().unwrap()).collect();
    let of = |network: &NamedNetwork| TakenNetwork {
        network: network.clone(),
        addresses: taken.clone(),
        macs: ["02:00:00:00:00:01".parse().unwrap()].into(),
    };
    let networks = networks
        .iter()
        .map(|network| (network.name.clone(), Ok(of(network))));
    let mut facts = fixture::facts(spec, &[]);
    facts.host.network.named = NamedNetworks {
        programs: NetworkPrograms {
            netavark: Some("/usr/lib/podman/netavark".into()),
            aardvark: Some("/usr/lib/podman/aardvark-dns".into()),
            pasta: None,
        },
        obstacle: None,
        networks: networks.collect(),
    };
    facts
}

fn networks() -> Vec<NamedNetwork> {
    let mut around = there(Vec::new());
    for request in [
        NetworkRequest {
            ipv6: true,
            ..request("front")
        },
        NetworkRequest {
            internal: true,
            ..request("back")
        },
        NetworkRequest {
            dns: false,
            ..request("quiet")
        },
    ] {
        let network = create(&request, &around).unwrap();
        around.others.push(network);
    }
    around.others
}

/// A pod in these networks, as `--network` has them.
fn joining(flags: &[&str]) -> PodSpec {
    let joins = flags.iter().flat_map(|flag| {
        let network = read_network(flag.as_ref()).unwrap();
        network.joins().to_vec()
    });
    PodSpec {
        network: Network::Named {
            joins: joins.collect(),
            ports: Vec::new(),
        },
        ..fixture::pod()
    }
}

#[test]
fn a_pod_gets_what_netavark_makes() {
    let spec = joining(&["back", "front,alias=Web.Example,alias=x"]);
    let planned = plan(&spec, &with_networks(&spec, &networks(), &["10.90.0.2"])).unwrap();
    let network = planned.network.unwrap();
    let [back, front] = network.networks() else {
        panic!("{network:?}")
    };
    assert_eq!(back.addresses, ["10.90.1.2".parse::<IpAddr>().unwrap()]);
    let expected: [IpAddr; 2] = ["10.90.0.3".parse().unwrap(), "fd49:534f:5045::2".parse().unwrap()];
    assert_eq!(front.addresses, expected);
    assert_eq!((&*back.interface, &*front.interface), ("eth0", "eth1"));
    assert_eq!(front.mac.to_string(), "02:49:0a:5a:00:03");
    assert_eq!(front.names, ["web", "web.example", "x"]);
    let routes = |i: usize| {
        let routes = network.guest.interfaces[i].routes.iter();
        routes
            .map(|route| {
                let gateway = route
                    .gateway
                    .map(|gateway| format!(" {gateway}"))
                    .unwrap_or_default();
                format!(
                    "{}/{}{gateway}",
                    route.destination.address, route.destination.prefix_len
                )
            })
            .collect::<Vec<_>>()
    };
    // Out by the one that leads out, whose name server is asked too.
    assert_eq!(routes(0), ["10.90.1.0/24"]);
    let expected = [
        "10.90.0.0/24",
        "0.0.0.0/0 10.90.0.1",
        "fd49:534f:5045::/64",
        "::/0 fd49:534f:5045::1",
    ];
    assert_eq!(routes(1), expected);
    assert_eq!(
        network.nameservers,
        [front.network.subnets[0].gateway, front.network.subnets[1].gateway]
    );
    let switches = planned.qemu.argv();
    let taps: Vec<_> = switches
        .iter()
        .filter(|word| word.to_string_lossy().starts_with("tap,"))
        .collect();
    assert_eq!(taps, ["tap,id=net0,fd=903", "tap,id=net1,fd=904"]);

    // Where the host's kernel can serve taps, it does; also those that come while the pod runs.
    let mut facts = with_networks(&spec, &networks(), &[]);
    facts.host.network.vhost_net = true;
    let switches = plan(&spec, &facts).unwrap().qemu.argv();
    let served: Vec<_> = switches
        .iter()
        .filter_map(|word| word.to_str()?.split_once(",vhost=on"))
        .collect();
    assert_eq!(
        served,
        [
            ("tap,id=net0,fd=903", ",vhostfd=910"),
            ("tap,id=net1,fd=904", ",vhostfd=911"),
        ]
    );
    let plug = |vhost_net| Plug::new(front.mac, "port3", vhost_net);
    assert_eq!(plug(false).netdev.get("vhost"), None);
    assert_eq!(plug(true).netdev["vhostfd"], "vhost-port3");
    assert_eq!(plug(true).vhost_id.as_deref(), Some("vhost-port3"));

    // One default route of a kind is the one to take.
    let spec = joining(&["front", "quiet"]);
    let planned = plan(&spec, &with_networks(&spec, &networks(), &[])).unwrap();
    let interfaces = planned.network.unwrap().guest.interfaces;
    let metrics: Vec<Option<u32>> = interfaces
        .iter()
        .flat_map(|interface| &interface.routes)
        .filter(|route| route.destination.prefix_len == 0 && route.destination.address.is_ipv4())
        .map(|route| route.metric)
        .collect();
    assert!(matches!(metrics[..], [None, Some(_)]), "{metrics:?}");
    // Without a name server of its own the host's is asked.
    let spec = joining(&["quiet"]);
    let planned = plan(&spec, &with_networks(&spec, &networks(), &[])).unwrap();
    assert_eq!(
        planned.network.unwrap().nameservers,
        ["192.0.2.53".parse::<IpAddr>().unwrap()]
    );
}

#[test]
fn a_pod_that_cannot_join_is_refused_with_the_reason() {
    let refused = |flags: &[&str], change: &dyn Fn(&mut Facts, &mut PodSpec)| {
        let mut spec = joining(flags);
        let mut facts = with_networks(&spec, &networks(), &["10.90.0.2"]);
        change(&mut facts, &mut spec);
        plan(&spec, &facts).unwrap_err().to_string()
    };
    let as_it_is = |_: &mut Facts, _: &mut PodSpec| {};
    for (flags, expected) in [
        (&["none-such"][..], "there is no network of that name"),
        (&["front", "front"], "it is named twice"),
        (
            &["front,ip=10.90.0.2"],
            "address 10.90.0.2 belongs to another pod",
        ),
        (&["front,ip=10.90.1.2"], "is not in its subnet"),
        (&["back,ip6=fd00::2"], "it has no IPv6"),
        (&["front,mac=02:00:00:00:00:01"], "belongs to another pod"),
    ] {
        let error = refused(flags, &as_it_is);
        assert!(error.contains(expected), "{flags:?}: {error}");
    }
    let ordinary = refused(&["front"], &|facts, _| {
        facts.host.user = HostUser::Ordinary { uid: 1000 }
    });
    assert!(ordinary.contains("`pasta` is not installed"), "{ordinary}");
    let ordinary = refused(&["front"], &|facts, _| {
        facts.host.user = HostUser::Ordinary { uid: 1000 };
        facts.host.network.named.programs.pasta = Some("/usr/bin/pasta".into());
        facts.host.network.named.obstacle = Some("the kernel forbids it".into());
    });
    assert!(ordinary.contains("the kernel forbids it"), "{ordinary}");
    let none = refused(&["front"], &|facts, _| {
        facts.host.network.named.programs.netavark = None
    });
    assert!(none.contains("`netavark` is not installed"), "{none}");
    let none = refused(&["front"], &|facts, _| {
        facts.host.network.named.programs.aardvark = None
    });
    assert!(none.contains("`aardvark-dns` is not installed"), "{none}");
    let publish = |flags: &'static [&'static str], port: &'static str| {
        refused(flags, &move |_, spec| {
            let ports = spec.network.ports_mut().unwrap();
            *ports = read_publish(port.as_ref()).unwrap();
        })
    };
    let internal = publish(&["back"], "8080:80");
    assert!(internal.contains("nothing leads into them"), "{internal}");
    let six = publish(&["quiet"], "[::1]:8080:80");
    assert!(six.contains("network `quiet` has no IPv6"), "{six}");
}
