//! Networks with names: pods that reach each other by them, what a hostile guest does not reach, and what is left when supervisors are
//! killed. One network namespace stands for the host and another for the world outside; nothing of this host's own network is touched.

use isopod_tests::host::{Host, SERVER, ask, asking};
use isopod_tests::{Bench, Scenarios, faults};
use rustix::process::Signal;

/// The template for a pod's addresses.
const ADDRESSES: &str = "{{range $name, $in := .NetworkSettings.Networks}}{{$name}} {{$in.IPAddress}} {{$in.GlobalIPv6Address}} {{$in.MacAddress}}\n{{end}}";

/// Words of the shell by which a guest takes for its neighbours what is its own loopback interface.
const SPOOFED: &str = "for to in all eth0; do echo 1 > /proc/sys/net/ipv4/conf/$to/route_localnet; done; ip address del 127.0.0.1/8 dev lo; ";

#[test]
fn pods_reach_each_other_by_name_and_nothing_else() {
    let Some(host) = Host::new("named") else {
        return;
    };
    let bench = Bench::new();
    let busybox = bench.busybox();
    for network in [
        &["create", "--ipv6", "--mtu", "1400", "front"][..],
        &["create", "--internal", "--subnet", "10.91.0.0/24", "back"],
        &["create", "alone"],
    ] {
        let _ = bench.isopod_command([&["network"], network].concat()).expect(0);
    }
    assert_eq!(host.left(), "", "a network is nothing before its first pod");
    host.serve_all();

    // Two apps: one name each, and the pod's own, and those that are asked for.
    let flags = [
        "-d",
        "--name",
        "one",
        "--network",
        "front,alias=db",
        "--network",
        "back",
        "-p",
        "8080:80",
        "-p",
        "[2001:db8::1]:8081:80",
    ];
    let one = bench
        .pod()
        .flags(flags)
        .app(&busybox)
        .with(["--app-name", "web"])
        .sh(SERVER);
    let one = one.app(&busybox).with(["--app-name", "side"]).sh("sleep 1000");
    let _ = one.start().wait().expect(0);
    let mut scenarios = Scenarios::default();
    scenarios.run("its addresses and ports are shown", || {
        let reported = bench
            .isopod_command(["inspect", "--format", ADDRESSES, "one"])
            .expect(0);
        assert_eq!(
            reported.text(),
            "back 10.91.0.2  02:49:0a:5b:00:02\nfront 10.90.0.2 fd49:534f:5045::2 02:49:0a:5a:00:02\n\n"
        );
        let reported = bench.isopod_command(["port", "one"]).expect(0);
        assert_eq!(
            reported.text(),
            "80/tcp -> 0.0.0.0:8080\n80/tcp -> [2001:db8::1]:8081\n"
        );
    });
    scenarios.run("the host and others reach it by its addresses and ports", || {
        // From the host, by its loopback interface, and from outside.
        faults::eventually("it serves", || ask("10.90.0.2:80").ends_with("one says hi\n"));
        for address in [
            "[fd49:534f:5045::2]:80",
            "10.91.0.2:80",
            "127.0.0.1:8080",
            "192.0.2.1:8080",
        ] {
            let answer = ask(address);
            assert!(answer.ends_with("one says hi\n"), "{address}: {answer}");
        }
        for address in ["192.0.2.1:8080", "[2001:db8::1]:8081"] {
            let answer = host.ask_from(&host.outside, address);
            assert!(answer.ends_with("one says hi\n"), "{address}: {answer}");
        }
    });
    scenarios.run("a pod of the same network reaches it by all names", || {
    // A pod in the same network: all names, both kinds of addresses, the world, and what is published.
    let asked = asking(&[
        "one",
        "web",
        "side",
        "db",
        "ONE",
        "10.91.0.2",
        "[fd49:534f:5045::2]",
        "192.0.2.2",
        "10.90.0.1:8080",
        "nobody",
    ]);
    let script = format!(
        "{asked} cat /sys/class/net/eth0/mtu /etc/resolv.conf; ip -o -4 address show | grep -o 'eth.*inet [0-9./]*' | tr -s ' '; nslookup one | grep -c '^Address.*fd49'; \
         ping -6 -c 1 -W 5 fd49:534f:5045::1 | grep -c '1 packets received'; ip route | head -n 1"
    );
    let flags = ["--network", "front", "--network", "back", "--rm"];
    let out = bench
        .pod()
        .flags(flags)
        .app(&busybox)
        .sh(&script)
        .start()
        .wait()
        .expect(0);
    let said = out.text();
    for words in [
        "one: one says hi\n",
        "web: one says hi\n",
        "side: one says hi\n",
        "db: one says hi\n",
        "ONE: one says hi\n",
        "10.91.0.2: one says hi\n",
        "[fd49:534f:5045::2]: one says hi\n",
        "192.0.2.2: the world outside\n",
        "10.90.0.1:8080: one says hi\n",
        "nobody: no\n",
        "1400\nnameserver 10.90.0.1\nnameserver fd49:534f:5045::1\n",
        "eth0 inet 10.90.0.3/24\n",
        "eth1 inet 10.91.0.3/24\n1\n1\ndefault via 10.90.0.1 dev eth0",
    ] {
        assert!(said.contains(words), "no {words:?}: {said}\n{}", out.stderr);
    }
    });
    scenarios.run("a compose project joins what its file calls external", || {
        let compose = format!(
            "name: project
services:
  shop:
    image: {busybox}
    command: [sh, -c, \"wget -qO- http://one/hi; sleep 1000\"]
    networks: {{front: {{aliases: [till], ipv4_address: 10.90.0.77, ipv6_address: \"fd49:534f:5045::77\"}}}}
    stop_grace_period: 1s
networks: {{front: {{external: true}}}}
"
        );
        let dir = bench.source("project", &[("compose.yaml", &compose)]);
        let file = dir.join("compose.yaml").display().to_string();
        let isopod = |words: &[&str]| bench.isopod_command([&["compose", "-f", &file], words].concat());
        let _ = isopod(&["up", "-d"]).expect(0);
        faults::eventually("it reaches another pod", || {
            isopod(&["logs", "shop"]).text() == "one says hi\n"
        });
        for name in ["shop", "till"] {
            let words = ["exec", "--app", "side", "one", "nslookup", name];
            // Its status is that of the IPv6 question.
            let found = bench.isopod_command(words);
            for address in ["10.90.0.77", "fd49:534f:5045::77"] {
                assert!(found.text().contains(address), "{name}: {found:?}");
            }
        }
        let own = isopod(&["exec", "-T", "shop", "ip", "-6", "address"]).expect(0);
        assert!(own.text().contains("fd49:534f:5045::77/64"), "{}", own.text());
        let _ = isopod(&["down"]).expect(0);
    });
    scenarios.run("a hostile guest of an internal network reaches nothing else", || {
    // A hostile guest in an internal network: its router is all that it reaches of the host, and its neighbours all of the rest.
    let script = format!(
        "ip route; ip route add default via 10.91.0.1; {SPOOFED} ip route add 127.0.0.1/32 via 10.91.0.1 dev eth0 src 10.91.0.77; {} ip -o link show eth0 | grep -o 'ether [0-9a-f:]*'",
        asking(&[
            "one",
            "10.91.0.2",
            "10.91.0.1:7000",
            "192.0.2.1:7000",
            "10.90.0.1:7000",
            "10.90.0.2",
            "192.0.2.2",
            "127.0.0.1:7001"
        ])
    );
    let flags = [
        "--rm",
        "--network",
        "back",
        "--ip",
        "10.91.0.77",
        "--mac-address",
        "02:00:00:00:00:77",
    ];
    let hostile = bench.pod().flags(flags).app(&busybox).with(["--privileged"]);
    let out = hostile.sh(&script).start().wait().expect(0);
    assert_eq!(
        out.text(),
        "10.91.0.0/24 dev eth0 scope link \none: one says hi\n10.91.0.2: one says hi\n10.91.0.1:7000: the host\n\
         192.0.2.1:7000: no\n10.90.0.1:7000: no\n10.90.0.2: no\n192.0.2.2: no\n127.0.0.1:7001: no\nether 02:00:00:00:00:77\n",
        "{}",
        out.stderr
    );
    });
    scenarios.run("a hostile guest of another network reaches nothing of this one", || {
    // One in a network that leads out reaches no other network, and not the host's loopback interface: netavark lets a bridge lead there.
    let script = format!(
        "{SPOOFED} ip route add 127.0.0.1/32 via 10.90.1.1 dev eth0 src 10.90.1.2; ip route get 127.0.0.1 | head -n 1; {}",
        asking(&[
            "one",
            "10.90.0.2",
            "10.91.0.2",
            "192.0.2.2",
            "192.0.2.1:7000",
            "127.0.0.1:7001"
        ])
    );
    let hostile = bench.pod().flags(["--rm", "--network", "alone"]).app(&busybox);
    let out = hostile
        .with(["--privileged"])
        .sh(&script)
        .start()
        .wait()
        .expect(0);
    assert_eq!(
        out.text(),
        "127.0.0.1 via 10.90.1.1 dev eth0  src 10.90.1.2 \none: no\n10.90.0.2: no\n10.91.0.2: no\n192.0.2.2: the world outside\n\
         192.0.2.1:7000: the host\n127.0.0.1:7001: no\n",
        "{}",
        out.stderr
    );
    });
    scenarios.run("what cannot be is refused before a VM begins", || {
    // What cannot be had is reported before a VM begins.
    let refused = |flags: &[&str], words: &str| {
        let pod = bench.pod().flags(flags.iter().copied()).app(&busybox).sh("true");
        pod.start().wait().assert_refused(125, words);
    };
    refused(
        &["--network", "front,ip=10.90.0.2"],
        "error: cannot join network `front`: address 10.90.0.2 belongs to another pod\nhint: leave the address out, or name another",
    );
    refused(
        &["--network", "frond"],
        "error: cannot join network `frond`: there is no network of that name\nhint: there are `alone`, `back`, `front`",
    );
    refused(
        &["--network", "alone", "-p", "8080:80"],
        "error: cannot publish port `8080:80/tcp`: another process uses it\n\
         hint: name another port of the host, or see who has it: `ss -ltnp 'sport = :8080'`",
    );
    refused(
        &["--network", "back", "-p", "8082:80"],
        "error: cannot publish port `8082:80/tcp`: the pod's networks are internal, and nothing leads into them\n\
         hint: leave it out, or join a network that is not",
    );
    let create = |words: &[&str], expected: &str| {
        bench
            .isopod_command([&["network", "create"], words].concat())
            .assert_refused(125, expected);
    };
    create(
        &["--subnet", "10.91.0.128/25", "new"],
        "error: cannot create network `new`\n  caused by: subnet 10.91.0.128/25 overlaps 10.91.0.0/24 of network `back`\n\
         hint: name another, or leave `--subnet` out: one that is free is chosen",
    );
    create(
        &["--subnet", "192.0.2.0/28", "new"],
        "error: cannot create network `new`\n  caused by: subnet 192.0.2.0/28 overlaps 192.0.2.0/24, to which the \
         host has a route\n\
         hint: name another, or leave `--subnet` out: one that is free is chosen",
    );
    bench.isopod_command(["network", "rm", "front"]).assert_refused(
        125,
        "error: network `front` is used by one\nhint: remove those pods first",
    );
    });
    scenarios.run("a stopped pod keeps nothing but its addresses", || {
        // Stopped, it leaves nothing but its claim to its addresses, which it has again.
        let _ = bench.isopod_command(["stop", "one"]).expect(0);
        faults::eventually("the name server ends", || host.left().is_empty());
        let _ = bench.isopod_command(["start", "one"]).expect(0);
        faults::eventually("it serves again", || {
            ask("192.0.2.1:8080").ends_with("one says hi\n")
        });
        let reported = bench.isopod_command(["status", "one"]).expect(0);
        let networks = "network front: 10.90.0.2, fd49:534f:5045::2\nnetwork back: 10.91.0.2\n";
        assert!(reported.text().contains(networks), "{}", reported.text());
    });
    scenarios.run("what a killed supervisor leaves is removed", || {
        // Its supervisor is killed: `gc` removes what that leaves, but for nothing.
        let reported = bench
            .isopod_command(["inspect", "--format", "{{.State.Pid}}", "one"])
            .expect(0);
        let supervisor = reported.text().trim().parse().unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(supervisor).unwrap(), Signal::KILL)
            .unwrap();
        let is_server = |(_, words): &(i32, String)| words.contains("aardvark");
        faults::eventually("its processes end", || bench.processes().iter().all(is_server));
        assert!(host.left().contains("10.90.0.2:80"), "{}", host.left());
        let _ = bench.isopod_command(["gc", "--grace", "0s"]).expect(0);
        faults::eventually("the name server ends", || host.left().is_empty());
        assert_eq!(host.left(), "");
        let removed = bench.isopod_command(["network", "prune"]).expect(0);
        assert_eq!(removed.text(), "alone\nback\nfront\n");
    });
    drop(scenarios);
    bench.assert_nothing_left();
}
