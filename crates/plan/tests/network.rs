//! Which network a pod has, by which router, and what that leaves open (docs/network.md).

use crate::fixture::{self, app};
use isopod_plan::facts::{Facts, OwnUsers};
use isopod_plan::plan;
use isopod_spec::{HostAlias, Network, PodSpec};

/// The router of the host user's network: passt where it can be had, whose way to the host's loopback interface is closed unless
/// somebody asks for it.
#[test]
fn passt_is_the_router_where_it_can_be_had() {
    let mut spec = PodSpec::new(vec![app("web")]);
    let mut facts = fixture::facts(&spec, &[]);
    let options = |text: &str| isopod_spec::flags::read_network(text.as_ref()).unwrap();
    let argv = |spec: &PodSpec, facts: &Facts| {
        let network = plan(spec, facts).unwrap().network.unwrap();
        let argv = network.passt().map(|passt| passt.argv(&network.ports));
        argv.map(|argv| argv.join(" ".as_ref()).into_string().unwrap())
    };
    let closed = argv(&spec, &facts).unwrap();
    assert!(closed.ends_with(" --ipv4-only --no-map-gw"), "{closed}");
    let planned = plan(&spec, &facts).unwrap();
    assert!(planned.notices.is_empty(), "{:?}", planned.notices);
    let netdev = "stream,id=net0,server=off,addr.type=unix,addr.path=network.sock";
    assert!(planned.qemu.argv().iter().any(|arg| arg == netdev));

    spec.network = options("user,host-loopback=yes");
    assert!(!argv(&spec, &facts).unwrap().contains("--no-map-gw"));
    spec.network = Network::default();
    let (name, address) = ("host".into(), isopod_plan::vm::network::GATEWAY.into());
    spec.host_aliases = vec![HostAlias {
        address,
        names: vec![name],
    }];
    assert!(!argv(&spec, &facts).unwrap().contains("--no-map-gw"));
    spec.host_aliases.clear();

    // IPv6 where the host has it, and its name server where the host's is one.
    facts.host.network.ipv6_route = true;
    facts
        .host
        .network
        .nameservers
        .push("2001:db8::53".parse().unwrap());
    let network = plan(&spec, &facts).unwrap().network.unwrap();
    let addresses: Vec<String> = network.guest.addresses().map(|ip| ip.to_string()).collect();
    assert_eq!(addresses, ["10.0.2.15", "fd49:534f:504f:44::15"]);
    let nameservers: Vec<String> = network.nameservers.iter().map(ToString::to_string).collect();
    assert_eq!(nameservers, ["10.0.2.3", "fd49:534f:504f:44::3"]);
    let publish = |port: &str| isopod_spec::flags::read_publish(port.as_ref()).unwrap();
    spec.network = Network::user([publish("[::1]:80:8080"), publish("53:53/udp")].concat());
    let both = argv(&spec, &facts).unwrap();
    assert!(
        both.contains(" --tcp-ports ::1/80:8080 --udp-ports 53:53 ") && !both.contains("--ipv4-only"),
        "{both}"
    );

    let faults = |spec: &PodSpec, facts: &Facts| {
        let faults = plan(spec, facts).unwrap_err().faults;
        faults.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    spec.network = Network::user([publish("127.0.0.1:80:1"), publish("127.0.0.2:80:2")].concat());
    assert_eq!(
        faults(&spec, &facts),
        [
            "cannot publish port `127.0.0.2:80:2/tcp`: with passt, all addresses of a port lead to one port of the pod, and \
          `127.0.0.1:80:1/tcp` leads to another"
        ]
    );
    facts.host.network.ipv6_route = false;
    spec.network = Network::user(publish("[::1]:80:80"));
    assert_eq!(
        faults(&spec, &facts),
        [
            "cannot publish port `[::1]:80:80/tcp`: passt needs a default route over IPv4 and over IPv6 for it, and the host has not both"
        ]
    );

    // A host without a route has passt as well, and no IPv6.
    (facts.host.network.ipv4_route, facts.host.network.ipv6_route) = (false, true);
    spec.network = Network::default();
    let alone = argv(&spec, &facts).unwrap();
    assert!(
        alone.ends_with(" --ipv4-only --interface lo --no-map-gw"),
        "{alone}"
    );
    facts.host.own_users = OwnUsers::Unavailable("x".into());
    assert!(argv(&spec, &facts).unwrap().contains(" --runas 0:0 "));
    facts.host.own_users = OwnUsers::Available;

    // Without it QEMU, and what that leaves open is noted.
    facts.host.network.passt = None;
    spec.network = Network::default();
    let planned = plan(&spec, &facts).unwrap();
    assert!(planned.network.unwrap().is_qemus());
    assert_eq!(
        planned.notices,
        [
            "the pod reaches what listens on the host's own loopback interface, at 10.0.2.2: `passt` is not installed; with passt it \
          is closed"
        ]
    );
    spec.network = options("user,by=passt");
    assert_eq!(
        faults(&spec, &facts),
        ["cannot give the pod a network by passt: `passt` is not installed"]
    );
}
