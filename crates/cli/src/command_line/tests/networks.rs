//! Networks of pods.

use super::*;

#[test]
fn a_network_and_its_ports() {
    let network = |line: &str| pod(line).network;
    assert_eq!(network("run oci:a"), Network::default());
    assert_eq!(network("run --network none oci:a"), Network::None);
    let Network::User { ports, .. } =
        network("run --net user -p 8080:80 --publish 127.0.0.1:53:53/udp -p 1-2:3-4 oci:a")
    else {
        panic!("no network")
    };
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    assert_eq!(
        ports,
        ["8080:80/tcp", "127.0.0.1:53:53/udp", "1:3/tcp", "2:4/tcp"]
    );
    let named = pod("plan --hostname web.example oci:a");
    assert_eq!(named.hostname.as_deref(), Some("web.example"));
    let cli = parse_line("run --pod-manifest pod.json --network none --hostname h").unwrap();
    let Command::Run(RunArgs {
        source: PodSource::Manifest { flags, .. },
        ..
    }) = cli.command
    else {
        panic!("{cli:?}")
    };
    assert_eq!((flags.net, flags.hostname.as_deref()), (Network::None, Some("h")));
}

#[test]
fn networks_with_names() {
    let network = |line: &str| match pod(line).network {
        Network::Named { joins, ports } => (joins, ports.len()),
        other => panic!("{line}: {other:?}"),
    };
    let one = "run --network a --ip 10.90.0.7 --ip6 fd00::7 --mac-address 02:00:00:00:00:07 --network-alias x -p 80:80 oci:a";
    let (joins, ports) = network(one);
    assert_eq!(ports, 1);
    assert_eq!(
        joins,
        network("run --network a,ip=10.90.0.7,ip6=fd00::7,mac=02:00:00:00:00:07,alias=x oci:a").0
    );
    let (joins, _) = network("run --network a,alias=y --net b --network-alias x oci:a");
    let aliases: Vec<&[String]> = joins.iter().map(|join| &join.aliases[..]).collect();
    assert_eq!(
        aliases,
        [&["y".to_owned(), "x".to_owned()][..], &["x".to_owned()]]
    );
}

#[test]
fn a_network_that_cannot_be() {
    for (line, expected) in [
        (
            "run --network none -p 80:80 oci:a",
            "`--publish` needs a network, and `--network none` leaves the pod without (leave one of them out)",
        ),
        (
            "run -p 80:80 -p 127.0.0.1:80:81 oci:a",
            "ports `80:80/tcp` and `127.0.0.1:80:81/tcp` are the same host port \
             (give one of them another port of the host)",
        ),
        (
            "run --hostname a_b oci:a",
            "invalid value `a_b` of `--hostname`: \
             it may have letters, digits, dashes and dots only (RFC 1123)",
        ),
    ] {
        assert_eq!(faults(line), [expected], "{line}");
    }
}
