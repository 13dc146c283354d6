//! Networks with names of an ordinary user: the same as root's, in a namespace of the user, of which nothing stays.

use isopod_tests::host::{Host, SERVER, ask, asking};
use isopod_tests::{Bench, Scenarios, faults};
use rustix::process::{Pid, Signal};

#[test]
fn an_ordinary_users_pods_reach_each_other_by_name() {
    let Some(host) = Host::new("rootless") else {
        return;
    };
    let bench = Bench::of_ordinary_user();
    let busybox = bench.busybox();
    let isopod = |words: &[&str]| {
        let out = bench.isopod_command(words.iter().copied()).expect(0);
        out.text().to_owned()
    };
    for network in [
        &["create", "--ipv6", "front"][..],
        &["create", "--internal", "back"],
    ] {
        let _ = isopod(&[&["network"], network].concat());
    }
    host.serve_all();
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
        "127.0.0.1:8081:81/udp",
    ];
    let one = bench.pod().flags(flags).app(&busybox).with(["--app-name", "web"]);
    let _ = one.sh(SERVER).start().wait().expect(0);
    let mut scenarios = Scenarios::default();
    scenarios.run("the host's network has nothing of it but the ports", || {
        assert_eq!(host.left(), "");
        for address in ["127.0.0.1:8080", "[::1]:8080", "192.0.2.1:8080"] {
            faults::eventually("it serves", || ask(address).ends_with("one says hi\n"));
        }
        assert!(
            host.ask_from(&host.outside, "192.0.2.1:8080")
                .ends_with("one says hi\n")
        );
    });
    scenarios.run("a port is published once", || {
        let taken = bench
            .pod()
            .flags(["-p", "8080:80", "--network", "front"])
            .app(&busybox)
            .sh("true");
        taken.start().wait().assert_refused(
            125,
            "error: cannot publish port `8080:80/tcp`: another process uses it\n\
         hint: name another port of the host, or see who has it: `ss -ltnp 'sport = :8080'`",
        );
    });
    scenarios.run("one that sends any packets reaches the world and its neighbours, and not the host's loopback interface", || {
    let asked = [
        "one",
        "web",
        "db",
        "10.90.0.2",
        "[fd49:534f:5045::2]",
        "10.90.1.2",
        "192.0.2.2",
        "192.0.2.1:7000",
        "127.0.0.1:7001",
        "10.0.2.2:7001",
    ];
    let script = format!(
        "for to in all eth0; do echo 1 > /proc/sys/net/ipv4/conf/$to/route_localnet; done; ip address del 127.0.0.1/8 dev lo; \
         ip route add 127.0.0.1/32 via 10.90.0.1 dev eth0; \
         {}",
        asking(&asked)
    );
    let two = bench
        .pod()
        .flags(["--rm", "--network", "front"])
        .app(&busybox)
        .with(["--privileged"]);
    let out = two.sh(&script).start().wait().expect(0);
    assert_eq!(
        out.text(),
        "one: one says hi\nweb: one says hi\ndb: one says hi\n10.90.0.2: one says hi\n[fd49:534f:5045::2]: one says hi\n10.90.1.2: no\n\
         192.0.2.2: the world outside\n192.0.2.1:7000: the host\n127.0.0.1:7001: no\n10.0.2.2:7001: no\n",
        "{}",
        out.stderr
    );
    });
    scenarios.run(
        "networks come and go for those that are left, and the name server stays",
        || {
            assert_eq!(isopod(&["network", "create", "late"]), "late\n");
            assert_eq!(isopod(&["network", "connect", "late", "one"]), "10.90.2.2\n");
            let look_up = || isopod(&["exec", "one", "sh", "-c", "nslookup one 10.90.2.1 | tail -n +3"]);
            assert!(look_up().contains("10.90.2.2"), "{}", look_up());
            assert_eq!(isopod(&["network", "disconnect", "late", "one"]), "late\n");
        },
    );
    scenarios.run(
        "all that was in the namespace goes with the last supervisor, and comes with the next",
        || {
            let supervisor = isopod(&["inspect", "--format", "{{.State.Pid}}", "one"]);
            let supervisor = Pid::from_raw(supervisor.trim().parse().unwrap()).unwrap();
            rustix::process::kill_process(supervisor, Signal::KILL).unwrap();
            faults::eventually("all processes end", || bench.processes().is_empty());
            let _ = isopod(&["start", "one"]);
            faults::eventually("it serves again", || {
                ask("127.0.0.1:8080").ends_with("one says hi\n")
            });
        },
    );
    let _ = isopod(&["rm", "-f", "one"]);
    faults::eventually("all processes end", || bench.processes().is_empty());
    assert_eq!(isopod(&["network", "prune"]), "back\nfront\nlate\n");
    bench.assert_nothing_left();
}
