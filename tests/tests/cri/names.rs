//! Names that a server in the container's network namespace resolves, on its loopback interface, as docker's does for networks with
//! names: it listens on 127.0.0.11, on ports to which rules of the namespace lead, and asks others from there.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::time::Duration;

use isopod_tests::Bench;
use isopod_tests::cri::{Containerd, IMAGE};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The address of a server that knows what docker's does not.
const OTHER: &str = "192.0.2.1";

/// A container's namespace, and one for the rest of the world.
struct Namespaces {
    own: String,
    world: String,
}

impl Namespaces {
    fn new() -> Self {
        let [own, world] = ["own", "world"].map(|name| format!("isopod-names-{name}-{}", std::process::id()));
        let namespaces = Self { own, world };
        let Self { own, world } = &namespaces;
        ip(&format!("netns add {own}"));
        ip(&format!("netns add {world}"));
        ip(&format!(
            "-n {own} link add eth0 type veth peer name eth0 netns {world}"
        ));
        for (name, address) in [(own, "192.0.2.2"), (world, OTHER)] {
            ip(&format!("-n {name} address add {address}/24 dev eth0"));
            ip(&format!("-n {name} link set lo up"));
            ip(&format!("-n {name} link set eth0 up"));
        }
        ip(&format!("-n {own} route add default via {OTHER}"));
        namespaces
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in [&self.own, &self.world] {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn ip(words: &str) {
    succeed(Command::new("ip").args(words.split(' ')));
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Does it in a thread of its own in a namespace; its sockets stay there.
fn within<T: Send + 'static>(namespace: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let path = format!("/run/netns/{namespace}");
    let thread = std::thread::spawn(move || {
        let namespace = fs::File::open(path).unwrap();
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        work()
    });
    thread.join().unwrap()
}

/// The first label of the name that is asked for (RFC 1035, 4.1.2).
fn name(question: &[u8]) -> String {
    let length = question.get(12).copied().unwrap_or_default().into();
    String::from_utf8_lossy(
        question
            .get(13..)
            .and_then(|name| name.get(..length))
            .unwrap_or_default(),
    )
    .into_owned()
}

/// An answer with an address, where one is asked for (`A`); none of another kind.
fn with_address(question: &[u8], address: [u8; 4]) -> Vec<u8> {
    let end = question[12..].iter().position(|byte| *byte == 0).unwrap() + 12 + 5;
    let is_address = question[end - 3] == 1;
    let mut answer = question[..end].to_vec();
    answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, is_address.into(), 0, 0, 0, 0]);
    if is_address {
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend_from_slice(&address);
    }
    answer
}

/// A server in this thread's namespace that answers `answer`, until the test ends.
fn serve(address: SocketAddr, answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind(address).unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut question = [0; 2000];
        while let Ok((length, asker)) = socket.recv_from(&mut question) {
            let _ = socket.send_to(&answer(&question[..length]), asker);
        }
    });
    address
}

/// The engine's server: it knows `web`, and asks the other for `inet`. Over TCP its answers are 60,000 bytes long.
fn engines() -> [u16; 2] {
    let datagrams = serve("127.0.0.11:0".parse().unwrap(), |question| {
        match &*name(question) {
            "web" => with_address(question, [10, 77, 0, 9]),
            _ => {
                let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
                socket.connect((OTHER, 53)).unwrap();
                socket.send(question).unwrap();
                let mut answer = vec![0; 2000];
                let length = socket.recv(&mut answer).unwrap_or_default();
                answer[..length].to_vec()
            }
        }
    });
    let connections = TcpListener::bind("127.0.0.11:0").unwrap();
    let port = connections.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((mut connection, _)) = connections.accept() {
            let mut length = [0; 2];
            // One that asks nothing only looks whether there is a server.
            if connection.read_exact(&mut length).is_ok() {
                let mut question = vec![0; u16::from_be_bytes(length).into()];
                connection.read_exact(&mut question).unwrap();
                connection.write_all(&60_000u16.to_be_bytes()).unwrap();
                connection
                    .write_all(&question.repeat(60_000 / question.len()))
                    .unwrap();
            }
        }
    });
    [datagrams.port(), port]
}

/// docker's rules for its server.
fn lead(namespace: &str, [udp, tcp]: [u16; 2]) {
    for (transport, port) in [("udp", udp), ("tcp", tcp)] {
        for rule in [
            format!(
                "OUTPUT -d 127.0.0.11/32 -p {transport} --dport 53 -j DNAT --to-destination 127.0.0.11:{port}"
            ),
            format!("POSTROUTING -s 127.0.0.11/32 -p {transport} --sport {port} -j SNAT --to-source :53"),
        ] {
            let net = format!("--net=/run/netns/{namespace}");
            let words = ["iptables", "-t", "nat", "-A"].into_iter().chain(rule.split(' '));
            succeed(Command::new("nsenter").arg(net).args(words));
        }
    }
}

const SCRIPT: &str = r"
nslookup web; nslookup inet
for i in 1 2 3 4 5 6 7 8 9 10; do nslookup web > /tmp/$i & done; wait
echo $(cat /tmp/* | grep -c 10.77.0.9) at once
question='\0\030\01\02\01\0\0\01\0\0\0\0\0\0\03big\0\0\020\0\01xxx'
{ printf $question; sleep 2; } | nc 127.0.0.11 53 | wc -c
nc -w 5 127.0.0.11 99 < /dev/null; echo $? for another port
httpd -p 127.0.0.1:53 -h /etc; wget -qO- http://127.0.0.1:53/resolv.conf
";

/// The namespace's own server is reached at its address, over UDP and TCP, and nothing else of the namespace. It reaches others. An address
/// at which the namespace has none is the container's.
#[test]
fn a_server_on_the_namespaces_loopback_resolves_names() {
    let Some(bench) = Bench::of_root() else { return };
    let namespaces = Namespaces::new();
    within(&namespaces.world, || {
        serve(
            (OTHER.parse::<std::net::IpAddr>().unwrap(), 53).into(),
            |question| with_address(question, [198, 51, 100, 7]),
        )
    });
    let (ports, _secret) = within(&namespaces.own, || {
        (engines(), TcpListener::bind("127.0.0.11:99").unwrap())
    });
    lead(&namespaces.own, ports);
    let servers = "nameserver 127.0.0.11\nnameserver 127.0.0.1\n";
    let files = bench.source("files", &[("resolv.conf", servers)]);
    let containerd = Containerd::start(&bench);
    let mut run = containerd.ctr("default");
    run.args(["run", "--rm", "--runtime", "io.containerd.isopod.v2", "--with-ns"]);
    run.arg(format!("network:/run/netns/{}", namespaces.own));
    let file = files.join("resolv.conf");
    run.arg("--mount").arg(format!(
        "type=bind,src={},dst=/etc/resolv.conf,options=rbind:ro",
        file.display()
    ));
    let output = run.args([IMAGE, "names", "sh", "-c", SCRIPT]).output().unwrap();
    let (out, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    for expected in [
        "Address: 10.77.0.9\n",
        "Address: 198.51.100.7\n",
        "\n10 at once\n60002\n1 for another port\n",
        servers,
    ] {
        assert!(
            out.contains(expected),
            "{expected}: {out}{error}\n{}",
            containerd.log()
        );
    }
    drop(containerd);
    bench.assert_nothing_left();
}
