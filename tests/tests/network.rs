//! A pod's network: what of it the host reaches, what it reaches of the host, and what apps reach of each other.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use isopod_tests::Bench;

/// Answers every datagram; Debian's perl, from the host's own `/usr`, for busybox has no server for UDP.
const UDP_SERVER: &str = r#"exec /host/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 --library-path /host/lib/x86_64-linux-gnu \
    /host/bin/perl -I /host/lib/x86_64-linux-gnu/perl-base -MIO::Socket::INET -e '
        $s = IO::Socket::INET->new(Proto => "udp", LocalPort => 53) or die; $| = 1; print "udp is up\n";
        while (defined $s->recv($b, 1500)) { $s->send("pod says $b") }'"#;

/// A port of the host that nobody has at the moment.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// What a server at that port of the host's loopback interface answers.
fn ask(port: u16, question: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(question.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn ask_udp(port: u16, question: &str) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    socket.send_to(question.as_bytes(), ("127.0.0.1", port)).unwrap();
    let mut answer = [0; 64];
    let length = socket.recv(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

/// A connection to a pod that has sent nothing yet is as good as any other.
#[test]
fn the_first_connection_reaches_a_pod_that_has_said_nothing() {
    let bench = Bench::new();
    let port = free_port();
    let pod = bench.pod().flags(["-d", "--name", "p"]);
    let pod = pod.flags(["-p".to_owned(), format!("127.0.0.1:{port}:80")]);
    let pod = pod.app(&bench.busybox());
    let _ = pod
        .sh("echo hi > /hi; exec httpd -f -h /")
        .start()
        .wait()
        .expect(0);
    let listens = [
        "exec",
        "p",
        "sh",
        "-c",
        "until grep -q :0050 /proc/net/tcp /proc/net/tcp6; do sleep 0.1; done",
    ];
    let _ = bench.isopod_command(listens).expect(0);
    let begun = std::time::Instant::now();
    let answer = ask(port, "GET /hi HTTP/1.0\r\n\r\n");
    assert!(answer.ends_with("hi\n"), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let _ = bench.isopod_command(["rm", "-f", "p"]).expect(0);
    bench.assert_nothing_left();
}

#[test]
fn host_and_apps_reach_each_other() {
    let bench = Bench::new();
    let busybox = bench.busybox();
    let (tcp, udp) = (free_port(), free_port());
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let of_host = server.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut stream = server.accept().unwrap().0;
        stream
            .write_all(b"HTTP/1.0 200 OK\r\n\r\nthe host says so\n")
            .unwrap();
    });
    let client = format!(
        "until wget -q -O - http://localhost/hi 2>/dev/null; do sleep 0.2; done; wget -q -O - http://dns/hi; wget -q -O - http://10.0.2.2:{of_host}/; \
         ip -4 -o address show dev eth0 | grep -o 'inet [0-9./]*'; ip route | head -n 1; \
         cat /etc/hosts /etc/hostname; head -n 1 /etc/resolv.conf; echo ready; sleep 1000"
    );
    let pod = bench.pod().flags([
        "--network".to_owned(),
        "user,by=passt,host-loopback=yes".to_owned(),
        "--publish".to_owned(),
        format!("127.0.0.1:{tcp}:80"),
        "-p".to_owned(),
        format!("127.0.0.1:{udp}:53/udp"),
    ]);
    // An ordinary user listens below 1024, as in a container of docker.
    let server = "mkdir /tmp/www; echo the pod says hi > /tmp/www/hi; exec httpd -f -p 80 -h /tmp/www";
    let pod = pod
        .app(&busybox)
        .with(["--app-name", "web", "--user", "www"])
        .sh(server);
    let pod = pod
        .app(&busybox)
        .with(["--app-name", "dns", "-v", "/usr:/host:ro"])
        .sh(UDP_SERVER);
    let mut running = pod
        .app(&busybox)
        .with(["--app-name", "client"])
        .sh(&client)
        .start();
    running.wait_for("udp is up\n");
    running.wait_for("ready\n");

    let answer = ask(tcp, "GET /hi HTTP/1.0\r\n\r\n");
    assert!(answer.ends_with("\r\n\r\nthe pod says hi\n"), "{answer:?}");
    assert_eq!(ask_udp(udp, "hello"), "pod says hello");

    // While it runs, its port is nobody else's, and that is reported before a VM begins.
    let second = bench.pod().flags(["-p".to_owned(), format!("{tcp}:8080")]);
    let refused = second.app(&busybox).sh("true").start().wait();
    refused.assert_refused(
        125,
        &format!(
            "error: cannot publish port `{tcp}:8080/tcp`: another process uses it\n\
             hint: name another port of the host, or see who has it: `ss -ltnp 'sport = :{tcp}'`"
        ),
    );

    running.signal(rustix::process::Signal::TERM);
    let out = running.wait();
    let said = out.text();
    for words in [
        "the pod says hi\n",
        "the host says so\n",
        "inet 10.0.2.15/24\n",
        "default via 10.0.2.2 dev eth0 \n",
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.2.15\tweb\n",
        "127.0.0.1\tdns\n127.0.0.1\tclient\nweb\nnameserver 10.0.2.3\n",
    ] {
        assert!(said.contains(words), "no {words:?}: {said}\n{}", out.stderr);
    }
    bench.assert_nothing_left();
}

/// A guest as root, whose kernel sends to 127.0.0.1 over the wire, reaches nothing there, nor by the router's address. What listens on
/// another address of the host's it reaches, as any host of the network does.
#[test]
fn a_guest_does_not_reach_the_hosts_loopback() {
    let bench = Bench::new();
    let local = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = local.local_addr().unwrap().port();
    let outside = UdpSocket::bind("0.0.0.0:0").unwrap();
    outside.connect("198.51.100.1:9").unwrap();
    let address = outside.local_addr().unwrap().ip();
    let open = TcpListener::bind((address, 0)).unwrap();
    let open_port = open.local_addr().unwrap().port();
    std::thread::spawn(move || {
        open.accept()
            .unwrap()
            .0
            .write_all(b"the host's other address\n")
            .unwrap()
    });
    let script = format!(
        "for to in all eth0; do echo 1 > /proc/sys/net/ipv4/conf/$to/route_localnet; done; \
         ip address del 127.0.0.1/8 dev lo; ip route add 127.0.0.1/32 via 10.0.2.2 dev eth0 src 10.0.2.15; ip route get 127.0.0.1; \
         for to in 127.0.0.1 10.0.2.2; do echo hello | nc -w 3 $to {port}; done; \
         sleep 3 | nc -w 5 {address} {open_port}; echo done"
    );
    let out = bench
        .pod()
        .flags(["--network", "user,by=passt"])
        .app(&bench.busybox())
        .with(["--privileged"])
        .sh(&script)
        .run()
        .expect(0);
    let said = out.text();
    assert!(said.contains("127.0.0.1 via 10.0.2.2 dev eth0"), "{said}");
    assert!(said.ends_with("the host's other address\ndone\n"), "{said}");
    local.set_nonblocking(true).unwrap();
    let error = local.accept().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    bench.assert_nothing_left();
}

#[test]
fn without_a_network_there_is_the_loopback_interface() {
    // A template has the drivers of all.
    let bench = Bench::new().own_templates();
    let script = "ls /sys/class/net; echo hi | nc -l -p 80 & \
        until nc 127.0.0.1 80; do sleep 0.1; done; ip route; grep -c virtio_net /proc/modules; hostname; \
        tail -n 1 /etc/hosts; echo more >> /etc/hosts";
    let pod = bench
        .pod()
        .flags(["--network", "none", "--hostname", "alone.example"]);
    let out = pod
        .app(&bench.busybox())
        .with(["--app-name", "app"])
        .sh(script)
        .run()
        .expect(0);
    assert_eq!(out.text(), "lo\nhi\n0\nalone.example\n127.0.0.1\tapp\n");
}
