//! Pods that join networks while they run, and leave them: devices that come and go, names, what is left. One network namespace stands
//! for the host; nothing of this host's own network is touched.

use isopod_tests::host::Host;
use isopod_tests::{Bench, Scenarios, faults};
use rustix::process::Signal;

/// The guest's interfaces, and where its default routes lead.
const SHOW: &str =
    "ip -o -4 address show | grep -o 'eth.*inet [0-9./]*' | tr -s ' '; ip route | grep ^default";

#[test]
fn pods_join_networks_while_they_run_and_leave_them() {
    let Some(host) = Host::new("joins") else {
        return;
    };
    let bench = Bench::new();
    let busybox = bench.busybox();
    for network in [
        &["create", "front"][..],
        &["create", "--internal", "back"],
        &["create", "--ipv6", "--mtu", "1400", "late"],
    ] {
        let _ = bench.isopod_command([&["network"], network].concat()).expect(0);
    }
    let isopod = |words: &[&str]| {
        bench
            .isopod_command(words.iter().copied())
            .expect(0)
            .text()
            .to_owned()
    };
    let refused = |words: &[&str], expected: &str| {
        bench
            .isopod_command(words.iter().copied())
            .assert_refused(125, expected);
    };
    let server = "mkdir /tmp/www; hostname > /tmp/www/hi; exec httpd -f -p [::]:80 -h /tmp/www";
    for (name, network, start) in [("one", "back", "warm"), ("two", "late", "cold")] {
        let flags = ["-d", "--name", name, "--network", network, "--start", start];
        let pod = bench.pod().flags(flags).app(&busybox).sh(server);
        let _ = pod.start().wait().expect(0);
    }
    let show = |pod: &str| isopod(&["exec", pod, "sh", "-c", SHOW]);
    let ask = |pod: &str, whom: &str| {
        let script = format!("timeout 5 wget -q -O - http://{whom}/hi || echo no");
        isopod(&["exec", pod, "sh", "-c", &script])
    };
    let servers = |pod: &str| isopod(&["exec", pod, "grep", "nameserver", "/etc/resolv.conf"]);
    let mut scenarios = Scenarios::default();
    scenarios.run("they join networks, whether restored or booted", || {
    // A VM that was restored, and one that booted.
    assert_eq!(ask("one", "two"), "no\n");
    assert_eq!(
        isopod(&["network", "connect", "--alias", "db", "late", "one"]),
        "10.90.2.3\nfd49:534f:5045::3\n"
    );
    assert_eq!(
        show("one"),
        "eth0 inet 10.90.1.2/24\neth1 inet 10.90.2.3/24\ndefault via 10.90.2.1 dev eth1 \n"
    );
    assert_eq!(
        isopod(&["exec", "one", "cat", "/sys/class/net/eth1/mtu"]),
        "1400\n"
    );
    faults::eventually("they serve", || ask("one", "10.90.2.2") == "two\n");
    for whom in ["one", "db", "10.90.2.3", "[fd49:534f:5045::3]"] {
        assert_eq!(ask("two", whom), "one\n", "{whom}");
    }
    let status = isopod(&["status", "one"]);
    assert!(
        status.contains("network late: 10.90.2.3, fd49:534f:5045::3\n"),
        "{status}"
    );
    assert_eq!(
        isopod(&["network", "connect", "--ip", "10.90.1.77", "back", "two"]),
        "10.90.1.77\n"
    );
    assert_eq!(ask("two", "10.90.1.2"), "one\n");
    assert_eq!(isopod(&["network", "connect", "front", "two"]), "10.90.0.2\n");
    assert_eq!(
        show("two"),
        "eth0 inet 10.90.2.2/24\neth1 inet 10.90.1.77/24\neth2 inet 10.90.0.2/24\ndefault via 10.90.2.1 dev eth0 \n\
         default via 10.90.0.1 dev eth2  metric 2001 \n"
    );
    });
    scenarios.run("what cannot be is refused, and changes nothing", || {
        // What cannot be done is reported, and changes nothing.
        refused(
            &["network", "connect", "late", "one"],
            "error: cannot join network `late`: the pod is already in it\n\
         hint: `isopod network disconnect` first, for another address",
        );
        refused(
            &["network", "connect", "--ip", "10.90.2.3", "front", "one"],
            "error: cannot join network `front`: address 10.90.2.3 is not in its subnet 10.90.0.0/24\n\
         hint: leave the address out, or name another",
        );
        refused(
            &["network", "connect", "--ip", "10.90.0.2", "front", "one"],
            "error: cannot join network `front`: address 10.90.0.2 belongs to another pod\n\
         hint: leave the address out, or name another",
        );
        refused(
            &["network", "connect", "none-such", "one"],
            "error: cannot join network `none-such`: there is no network of that name\n\
         hint: there are `back`, `front`, `late`",
        );
        refused(
            &["network", "disconnect", "front", "one"],
            "error: cannot leave network `front`: the pod is not in it\n\
         hint: it is in `back`, `late`",
        );
        refused(
            &["network", "rm", "late"],
            "error: network `late` is used by one, two\nhint: remove those pods first",
        );
    });
    scenarios.run("they leave networks, and names go with them", || {
        // One that it began with goes, and one that came; names go with them.
        assert_eq!(isopod(&["network", "disconnect", "back", "one"]), "back\n");
        assert_eq!(isopod(&["network", "disconnect", "back", "two"]), "back\n");
        assert_eq!(
            show("one"),
            "eth1 inet 10.90.2.3/24\ndefault via 10.90.2.1 dev eth1 \n"
        );
        // Its name server was that of `back`, and is that of `late`.
        assert_eq!(
            servers("one"),
            "nameserver 10.90.2.1\nnameserver fd49:534f:5045::1\n"
        );
        assert_eq!(ask("one", "two"), "two\n");
        // Its place is free again.
        assert_eq!(isopod(&["network", "connect", "back", "one"]), "10.90.1.2\n");
        assert_eq!(
            show("one"),
            "eth1 inet 10.90.2.3/24\neth0 inet 10.90.1.2/24\ndefault via 10.90.2.1 dev eth1 \n"
        );
    });
    scenarios.run("the next life is as the last one ended", || {
        // In the next life it is as it was in the last one, and as it was changed between the two.
        let _ = isopod(&["stop", "one", "two"]);
        faults::eventually("the name server ends", || host.left().is_empty());
        assert_eq!(
            isopod(&["network", "connect", "--alias", "web", "back", "two"]),
            "10.90.1.3\n"
        );
        assert_eq!(isopod(&["network", "disconnect", "front", "two"]), "front\n");
        let _ = isopod(&["start", "one", "two"]);
        faults::eventually("they have their interfaces", || {
            show("one").contains("eth0 inet 10.90.1.2/24") && show("two").contains("eth1 inet 10.90.1.3/24")
        });
        faults::eventually("they serve", || ask("one", "web") == "two\n");
        assert_eq!(ask("two", "db"), "one\n");
        assert_eq!(
            servers("one"),
            "nameserver 10.90.2.1\nnameserver fd49:534f:5045::1\n"
        );
        assert!(!show("two").contains("eth2"), "{}", show("two"));
    });
    scenarios.run("a pod without a network joins none", || {
    // A pod of another network cannot.
    let _ = bench
        .pod()
        .flags(["-d", "--name", "alone", "--network", "none"])
        .app(&busybox)
        .sh("sleep 1000")
        .start()
        .wait()
        .expect(0);
    refused(
        &["network", "connect", "front", "alone"],
        "error: cannot join network `front`: the pod has no network, to which no network with a name is added\n\
         hint: recreate the pod in a network: `isopod run --replace --network NAME`",
    );
    });
    scenarios.run("what a killed supervisor leaves is removed", || {
        // A supervisor that is killed leaves what `rm` takes away, of networks that came later too.
        let supervisor = isopod(&["inspect", "--format", "{{.State.Pid}}", "one"]);
        let supervisor = rustix::process::Pid::from_raw(supervisor.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(supervisor, Signal::KILL).unwrap();
        let _ = isopod(&["stop", "two", "alone"]);
        let _ = isopod(&["rm", "one", "two", "alone"]);
        faults::eventually("nothing is left", || host.left().is_empty());
        assert_eq!(isopod(&["network", "prune"]), "back\nfront\nlate\n");
    });
    drop(scenarios);
    bench.assert_nothing_left();
}
