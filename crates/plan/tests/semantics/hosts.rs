//! What follows from what the host has: transports, networks, ports.

use std::path::Path;

use isopod_plan::facts::{Facts, HostUser, Namespaces, SourceKind, VirtiofsdFlavour};
use isopod_plan::plan;
use isopod_spec::flags::Published;
use isopod_spec::{ImagePort, Network, PodSpec, ShareTransport, UserNetwork, UserRouter};

use super::{refused, unit};
use crate::fixture::{self, app, facts, host, mount, pod, read_only, volume_name};

#[test]
fn transports_are_chosen_by_what_the_host_has() {
    let mut pod = pod();
    pod.volumes = vec![host("data", "/srv")];
    pod.apps[0].mounts = vec![mount("data", "/d")];
    let kind =
        |pod: &PodSpec, facts: &Facts| plan(pod, facts).map(|p| p.sharing.unwrap().transport.fs_type());
    let mut known = facts(&pod, &[]);
    assert_eq!(kind(&pod, &known), Ok("virtiofs"));
    let reported = |facts: &Facts| plan(&pod, facts).unwrap().notices.concat();
    assert!(!reported(&known).contains("9p"));
    known.host.virtiofsd = None;
    assert_eq!(kind(&pod, &known), Ok("9p"));
    assert!(
        reported(&known)
            .contains("shared over 9p, which is slower and cannot do all that virtiofs can: no virtiofsd")
    );
    known.host.guest.modules.retain(|m| m == "virtiofs");
    assert!(refused(&pod, &known).contains("has no 9p (Debian's cloud kernels leave it out)"));
    pod.vm.transport = ShareTransport::Virtiofs;
    assert!(refused(&pod, &known).contains("no virtiofsd was found"));
    known.host.user = HostUser::Ordinary { uid: 1000 };
    assert!(refused(&pod, &known).contains("no virtiofsd that works without root was found"));
}

#[test]
fn without_a_namespace_every_volume_is_its_own_device() {
    let mut pod = pod();
    pod.volumes = vec![host("data", "/srv,x"), host(&"n".repeat(40), "/other")];
    pod.apps[0].mounts = vec![read_only("data", "/d"), mount(&"n".repeat(40), "/n")];
    let mut known = facts(&pod, &[]);
    known.host.namespaces = Namespaces::Unavailable("none".into());
    let made = plan(&pod, &known).unwrap();
    let argv: Vec<String> = made
        .qemu
        .share_args()
        .into_iter()
        .map(|a| a.into_string().unwrap())
        .collect();
    assert_eq!(
        argv[1],
        "local,id=share0,security_model=passthrough,multidevs=remap,readonly=on,path=/srv,,x"
    );
    assert!(
        argv.iter()
            .any(|a| a.len() < 80 && a.contains("mount_tag=nnnnnnnnnnnnnnnnnnnnnn-")),
        "{argv:?}"
    );
    assert!(unit(&made, "mnt-data.mount").contains("What=data\nWhere=/mnt/data\nType=9p\n"));
    known.sources.get_mut(&volume_name("data")).unwrap().kind = SourceKind::File;
    assert!(refused(&pod, &known).contains("a file as source needs a mount namespace"));
}

#[test]
fn virtiofsds_of_both_kinds_get_what_they_understand() {
    let mut pod = pod();
    pod.volumes = vec![host("data", "/srv")];
    pod.apps[0].mounts = vec![mount("data", "/d")];
    let argv = |facts: &Facts| -> Vec<String> {
        let command = plan(&pod, facts).unwrap().virtiofsd.unwrap();
        command
            .argv(Path::new("/p,q/share"))
            .into_iter()
            .map(|a| a.into_string().unwrap())
            .collect()
    };
    let mut known = facts(&pod, &[]);
    assert!(argv(&known).contains(&"--shared-dir=/p,q/share".to_owned()));
    known.host.virtiofsd.as_mut().unwrap().flavour = VirtiofsdFlavour::C;
    assert_eq!(
        argv(&known)[3],
        "sandbox=chroot,cache=auto,xattr,source=/p\\,q/share"
    );
}

#[test]
fn a_network_needs_what_the_host_has() {
    let mut spec = fixture::pod();
    let faults = |spec: &PodSpec, facts: &Facts| {
        let faults = plan(spec, facts).unwrap_err().faults;
        faults.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let mut facts = fixture::facts(&spec, &[]);
    facts.host.guest.modules.remove("virtio_net");
    assert_eq!(
        faults(&spec, &facts),
        ["cannot give the pod a network: the kernel 6.1.0 has no `virtio_net`"]
    );
    spec.network = Network::None;
    let alone = plan(&spec, &facts).unwrap();
    assert!(!alone.qemu.argv().iter().any(|arg| arg == "-netdev"));
    let user = |port: &str, options| Network::User {
        ports: isopod_spec::flags::read_publish(port.as_ref()).unwrap(),
        options,
    };
    let by = |by| UserNetwork {
        by: Some(by),
        ..UserNetwork::default()
    };
    spec.network = user("[::1]:80:80", by(UserRouter::Qemu));
    assert_eq!(
        faults(&spec, &fixture::facts(&spec, &[])),
        ["cannot publish port `[::1]:80:80/tcp`: QEMU's user network forwards IPv4 only"]
    );
    spec.network = user("127.0.0.1:8080-8081:80-81/udp", by(UserRouter::Qemu));
    let by_qemu = plan(&spec, &fixture::facts(&spec, &[])).unwrap();
    assert!(
        by_qemu.notices[0].starts_with("the pod reaches what listens on the host's own loopback interface"),
        "{:?}",
        by_qemu.notices
    );
    let argv = by_qemu.qemu.argv();
    let netdev = argv.iter().position(|arg| arg == "-netdev").unwrap() + 1;
    assert_eq!(
        argv[netdev],
        "user,id=net0,ipv6=off,net=10.0.2.0/24,host=10.0.2.2,dns=10.0.2.3,dhcpstart=10.0.2.15,\
         hostfwd=udp:127.0.0.1:8080-10.0.2.15:80,hostfwd=udp:127.0.0.1:8081-10.0.2.15:81"
    );
}

/// By the first app whose image has a port of that name.
#[test]
fn ports_are_published_by_their_names() {
    let port = |name: &str, protocol: &str, first, count| ImagePort {
        name: name.into(),
        protocol: protocol.into(),
        first,
        count,
    };
    let mut spec = PodSpec::new(vec![app("web"), app("dns")]);
    let mut facts = fixture::facts(&spec, &[]);
    for (facts, ports) in facts.apps.iter_mut().zip([
        vec![port("80-tcp", "tcp", 80, 1), port("odd", "sctp", 7, 1)],
        vec![port("dns", "udp", 53, 2), port("80-tcp", "tcp", 8000, 1)],
    ]) {
        facts.root.as_mut().unwrap().config.ports = ports;
    }
    let exposed = isopod_plan::vm::network::exposed(&spec, &facts);
    let exposed = exposed
        .iter()
        .map(|(port, protocol)| format!("{port}/{protocol}"));
    let expected = ["80/tcp", "53/udp", "54/udp", "8000/tcp"];
    assert_eq!(exposed.collect::<Vec<_>>(), expected);
    let mut planned = |flags: &[&str]| {
        spec.named_ports.clear();
        spec.network = Network::user(isopod_spec::flags::read_publish("9000:1".as_ref()).unwrap());
        for flag in flags {
            match isopod_spec::flags::read_published(flag.as_ref()).unwrap() {
                Published::Named(port) => spec.named_ports.push(port),
                Published::Forwards(_) => panic!("{flag}"),
            }
        }
        plan(&spec, &facts).map(|plan| plan.ports().iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let ports = planned(&["80-tcp:8080", "dns:127.0.0.1:5300"]).unwrap();
    let expected = [
        "9000:1/tcp",
        "8080:80/tcp",
        "127.0.0.1:5300:53/udp",
        "127.0.0.1:5301:54/udp",
    ];
    assert_eq!(ports, expected);
    for (flag, what, hint) in [
        (
            "http:80",
            "cannot publish port `http:80`: no image of the pod has a port named `http`",
            "they have `80-tcp`, `odd`, `dns`, `80-tcp`; or write its number, `HOST:POD`",
        ),
        (
            "odd:80",
            "cannot publish port `odd:80`: its protocol is `sctp`, and only `tcp` and `udp` can be published",
            "publish another port",
        ),
        (
            "80-tcp:9000",
            "cannot publish port `9000:80/tcp`: port `9000:1/tcp` uses the same host port",
            "give one of them another port of the host",
        ),
        (
            "dns:65535",
            "cannot publish port `dns:65535`: its range must end at 65535 or before, on the host as well",
            "publish another port",
        ),
    ] {
        let faults = planned(&[flag]).unwrap_err().faults;
        assert_eq!((faults.len(), faults[0].to_string()), (1, what.to_owned()));
        assert_eq!(faults[0].hint().as_deref(), Some(hint));
    }
}
