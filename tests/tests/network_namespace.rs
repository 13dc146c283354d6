//! Pods with what is in a network namespace (`--netns`), which CNI's plugins have put there. The namespace that stands for the host has
//! a bridge, the others are the pods'; nothing of this host's own network is touched.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use std::io::Write as _;
use std::process::{Command, Stdio};

use isopod_tests::{Bench, Scenarios};

const PLUGINS: &str = "/usr/lib/cni";

/// Network namespaces of a test's own, which go with it.
struct Namespaces {
    mark: String,
    made: Vec<String>,
    dir: tempfile::TempDir,
}

impl Namespaces {
    /// `None` where there can be none: not root.
    fn new(test: &str) -> Option<Self> {
        rustix::process::geteuid().is_root().then(|| Self {
            mark: format!("isopod-{test}-{}", std::process::id()),
            made: Vec::new(),
            dir: tempfile::tempdir().unwrap(),
        })
    }

    fn add(&mut self, name: &str) -> String {
        let name = format!("{}-{name}", self.mark);
        run(&["ip", "netns", "add", &name], "");
        self.made.push(name.clone());
        run(&["ip", "-n", &name, "link", "set", "lo", "up"], "");
        name
    }

    /// Has a plugin do `what` for the interface of the namespace `pod`, in the one that stands for the host.
    fn plugin(&self, what: &str, host: &str, (pod, interface): (&str, &str), config: &str) -> String {
        let kind: serde_json::Value = serde_json::from_str(config).unwrap();
        let program = format!("{PLUGINS}/{}", kind["type"].as_str().unwrap());
        let netns = format!("CNI_NETNS=/run/netns/{pod}");
        let [command, id] = [format!("CNI_COMMAND={what}"), format!("CNI_CONTAINERID={pod}")];
        let (interface, path) = (format!("CNI_IFNAME={interface}"), format!("CNI_PATH={PLUGINS}"));
        let env = ["env", &command, &id, &netns, &interface, &path, &program];
        run(&[&["ip", "netns", "exec", host][..], &env].concat(), config)
    }

    /// The configuration of a plugin with addresses of `host-local`.
    fn config(&self, kind: &str, subnets: &[&str]) -> String {
        let ranges: Vec<String> = subnets
            .iter()
            .map(|subnet| format!(r#"[{{"subnet": "{subnet}"}}]"#))
            .collect();
        let routes = r#"[{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]"#;
        format!(
            r#"{{"cniVersion": "0.4.0", "name": "{}", "ipam": {{"type": "host-local", "dataDir": "{}", "ranges": [{}], "routes": {routes}}},
                 {kind}}}"#,
            self.mark,
            self.dir.path().display(),
            ranges.join(", ")
        )
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.made {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn run(words: &[&str], input: &str) -> String {
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {said}{errors}");
    said
}

fn netns(name: &str) -> [String; 2] {
    ["--netns".to_owned(), format!("/run/netns/{name}")]
}

/// Two pods on a bridge: what `bridge`, `host-local`, `tuning` and `portmap` have put into the namespaces is the guests', over IPv4 and IPv6, and when the
/// pods have ended the namespaces are as they were. A pod whose supervisor is killed leaves what `rm` takes away.
#[test]
fn a_vm_takes_the_place_of_what_is_in_a_namespace() {
    let Some(mut spaces) = Namespaces::new("bridge") else {
        return;
    };
    let (host, one, two) = (spaces.add("host"), spaces.add("one"), spaces.add("two"));
    let config = spaces.config(
        r#""type": "bridge", "bridge": "br0", "isGateway": true, "mtu": 1400"#,
        &["10.123.0.0/24", "fd00:123::/64"],
    );
    for pod in [&one, &two] {
        let result = spaces.plugin("ADD", &host, (pod, "eth0"), &config);
        let mac = if *pod == one {
            "c2:11:22:33:44:55"
        } else {
            "c2:11:22:33:44:66"
        };
        let mut tuning: serde_json::Value = serde_json::json!({
            "cniVersion": "0.4.0", "name": spaces.mark, "type": "tuning", "mac": mac,
        });
        tuning["prevResult"] = serde_json::from_str(&result).unwrap();
        spaces.plugin("ADD", &host, (pod, "eth0"), &tuning.to_string());
        if *pod == one {
            // A port of the host, by its firewall.
            let mut portmap = serde_json::json!({
                "cniVersion": "0.4.0", "name": spaces.mark, "type": "portmap", "snat": true,
                "runtimeConfig": { "portMappings": [{ "hostPort": 8099, "containerPort": 80, "protocol": "tcp" }] },
            });
            portmap["prevResult"] = serde_json::from_str(&result).unwrap();
            spaces.plugin("ADD", &host, (pod, "eth0"), &portmap.to_string());
        }
    }
    run(
        &[
            "ip",
            "-n",
            &one,
            "neigh",
            "add",
            "10.123.0.99",
            "lladdr",
            "c2:00:00:00:00:99",
            "dev",
            "eth0",
        ],
        "",
    );
    // The kernel gives an interface without a queue the length of one, when it first has a discipline.
    let of_one = |what: &[&str]| {
        run(&[&["ip", "-n", &one][..], what].concat(), "")
            .replace(" qlen 1000", "")
            .replace(" \n", "\n")
    };
    let before = [
        of_one(&["address"]),
        of_one(&["route"]),
        run(&["tc", "-n", &one, "qdisc"], ""),
    ];

    let bench = Bench::new();
    let busybox = bench.busybox();
    let server = bench
        .pod()
        .flags(netns(&one))
        .flags(["--rm", "--name", "one"])
        .app(&busybox);
    let script = "ip address show eth0; ip route; ip -6 route; ip neigh show nud permanent; mkdir /tmp/www; echo one says hi > /tmp/www/hi; \
                  httpd -p 80 -h /tmp/www; httpd -p [::]:81 -h /tmp/www; echo ready; sleep 1000";
    let mut server = server.sh(script).start();
    server.wait_for("ready\n");
    let mut scenarios = Scenarios::default();
    scenarios.run("the host reaches it, by a published port too", || {
        for (address, port) in [
            ("10.123.0.2", "80"),
            ("fd00:123::2", "81"),
            ("10.123.0.1", "8099"),
        ] {
            let asked = [
                "ip", "netns", "exec", &host, "busybox", "nc", "-w", "10", address, port,
            ];
            let answer = run(&asked, "GET /hi HTTP/1.0\r\n\r\n");
            assert!(answer.ends_with("one says hi\n"), "{address}: {answer}");
        }
    });
    scenarios.run("a pod on the same bridge reaches it", || {
    let script = "ping -c 1 -W 5 10.123.0.1 | grep -c '1 packets received'; ping -6 -c 1 -W 5 fd00:123::1 | grep -c '1 packets received'; \
                  wget -q -O - http://10.123.0.2/hi; ip route get 192.0.2.9 | head -n 1";
    let client = bench
        .pod()
        .flags(netns(&two))
        .app(&busybox)
        .sh(script)
        .start()
        .wait()
        .expect(0);
    let said = client.text();
    assert!(
        said.starts_with("1\n1\none says hi\n192.0.2.9 via 10.123.0.1 dev eth0"),
        "{said}"
    );
    });
    scenarios.run("inspect shows its addresses", || {
    let settings =
        "{{with .NetworkSettings}}{{.IPAddress}} {{.Gateway}} {{.GlobalIPv6Address}} {{.MacAddress}}{{end}}";
    let reported = bench
        .isopod_command(["inspect", "--format", settings, "one"])
        .expect(0);
    assert_eq!(
        reported.text(),
        "10.123.0.2 10.123.0.1 fd00:123::2 c2:11:22:33:44:55\n"
    );
    });
    scenarios.run("no other pod gets the namespace", || {
    let second = bench
        .pod()
        .flags(netns(&one))
        .app(&busybox)
        .sh("true")
        .start()
        .wait();
    second.assert_refused(
        125,
        &format!(
            "error: cannot use the network namespace `/run/netns/{one}`: another pod has its network: it has the \
             interface `isopod0`\n\
             hint: only one pod can use a namespace: end that pod first"
        ),
    );
    });
    scenarios.run(
        "the guest has what was in it, which is as before when the pod has ended",
        || {
            server.signal(rustix::process::Signal::TERM);
            let out = server.wait();
            let said = out.text();
            for words in [
                "mtu 1400 ",
                "link/ether c2:11:22:33:44:55 ",
                "inet 10.123.0.2/24 ",
                "inet6 fd00:123::2/64 ",
                "default via 10.123.0.1 dev eth0",
                "10.123.0.0/24 dev eth0",
                "default via fd00:123::1 dev eth0",
                "10.123.0.99 dev eth0 lladdr c2:00:00:00:00:99",
            ] {
                assert!(said.contains(words), "no {words:?}: {said}\n{}", out.stderr);
            }
            let after = [
                of_one(&["address"]),
                of_one(&["route"]),
                run(&["tc", "-n", &one, "qdisc"], ""),
            ];
            assert_eq!(before, after);
        },
    );
    scenarios.run("`gc` removes what is left when the supervisor was killed", || {
        let pod = bench.pod().flags(netns(&one)).app(&busybox);
        let mut killed = pod.sh("echo up; exec sleep 1000").start();
        killed.wait_for("up\n");
        killed.signal(rustix::process::Signal::KILL);
        let _ = killed.wait();
        isopod_tests::faults::eventually("its processes end", || bench.processes().is_empty());
        let _ = bench.isopod_command(["gc"]).expect(0);
        let after = [
            of_one(&["address"]),
            of_one(&["route"]),
            run(&["tc", "-n", &one, "qdisc"], ""),
        ];
        assert_eq!(before, after);
    });
    bench.assert_nothing_left();
}

/// Two interfaces: one of `ptp`, whose routes are not those that its address would bring, and one of `macvlan`.
#[test]
fn a_vm_has_several_interfaces() {
    let Some(mut spaces) = Namespaces::new("several") else {
        return;
    };
    let (host, pod) = (spaces.add("host"), spaces.add("pod"));
    run(
        &[
            "ip", "-n", &host, "link", "add", "up0", "type", "veth", "peer", "name", "up1",
        ],
        "",
    );
    for link in ["up0", "up1"] {
        run(&["ip", "-n", &host, "link", "set", link, "up"], "");
    }
    run(
        &["ip", "-n", &host, "address", "add", "10.125.0.1/24", "dev", "up1"],
        "",
    );
    let config = spaces.config(r#""type": "ptp""#, &["10.124.0.0/24"]);
    spaces.plugin(
        "ADD",
        &host,
        (&pod, "eth0"),
        &config.replace(r#", {"dst": "::/0"}"#, ""),
    );
    let macvlan = r#"{"cniVersion": "0.4.0", "name": "net1", "type": "macvlan", "master": "up0", "mode": "bridge",
        "ipam": {"type": "static", "addresses": [{"address": "10.125.0.7/24"}]}}"#;
    spaces.plugin("ADD", &host, (&pod, "net1"), macvlan);

    let bench = Bench::new();
    let script = "ip -o -4 address show | grep -v ' lo ' | tr -s ' '; ip route; cat /etc/hosts; ping -c 1 -W 5 10.124.0.1 | grep -c '1 packets received'; \
                  ping -c 1 -W 5 10.125.0.1 | grep -c '1 packets received'";
    // A VM that boots, and one that is restored.
    for start in ["cold", "warm"] {
        let flags = ["--dns", "192.0.2.53", "--hostname", "two", "--start", start];
        let out = bench
            .pod()
            .flags(netns(&pod))
            .flags(flags)
            .app(&bench.busybox())
            .sh(script)
            .run()
            .expect(0);
        let said = out.text();
        for words in [
            "eth0 inet 10.124.0.2/24 ",
            "net1 inet 10.125.0.7/24 ",
            "default via 10.124.0.1 dev eth0",
            "10.124.0.0/24 via 10.124.0.1 dev eth0",
            "10.124.0.1 dev eth0 scope link",
            "10.125.0.0/24 dev net1 scope link",
            "\n10.124.0.2\ttwo\n10.125.0.7\ttwo\n",
        ] {
            assert!(said.contains(words), "no {words:?}: {said}\n{}", out.stderr);
        }
        assert!(said.ends_with("\n1\n1\n"), "{said}");
    }

    // What cannot be had is reported before anything starts.
    let refused = |path: &str| {
        bench
            .pod()
            .flags(["--netns", path])
            .app(&bench.busybox())
            .sh("true")
            .run()
    };
    let empty = spaces.add("empty");
    refused(&format!("/run/netns/{empty}")).assert_refused(
        125,
        &format!(
            "error: cannot use the network namespace `/run/netns/{empty}`: no interface in it is up and has an address\n\
             hint: its interfaces must be there before the pod starts: whoever made it adds them"
        ),
    );
    refused("/run/netns/isopod-none").assert_refused(
        125,
        "error: cannot use the network namespace `/run/netns/isopod-none`: cannot enter it: No such file or directory (os error 2)\n\
         hint: `ip netns` shows those that have names; they are in `/run/netns`",
    );
    bench.assert_nothing_left();
}
