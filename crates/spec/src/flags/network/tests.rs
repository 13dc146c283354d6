use super::*;

#[test]
fn networks_have_a_kind_and_options() {
    let read = |text: &str| match read_network(OsStr::new(text)) {
        Ok(Network::User { options, .. }) => options.to_string(),
        other => format!("{other:?}"),
    };
    for text in ["user", "user,by=passt", "user,by=qemu,host-loopback=yes"] {
        assert_eq!(read(text), text);
    }
    assert_eq!(read("bridge"), "user");
    assert_eq!(read("user,host-loopback=no"), "user");
    assert_eq!(read("none"), "Ok(None)");
    let of = |path: &str| Ok(Network::Namespace { path: path.into() });
    assert_eq!(read_network("ns:/run/netns/a".as_ref()), of("/run/netns/a"));
    assert_eq!(read_netns("/proc/7/ns/net".as_ref()), of("/proc/7/ns/net"));
    assert!(read_netns("a".as_ref()).is_err() && read_network("ns:".as_ref()).is_err());
    for text in [
        "",
        "none,by=qemu",
        "user,",
        "user,by=slirp",
        "user,host-loopback",
        "host",
        "container:a",
        "front,",
        "front,ip",
        "front,ip=a",
        "front,mac=01:00:00:00:00:00",
        "front,alias=a b",
        "front,driver-opt=a",
        "ip=10.90.0.7,name=front",
        "a/b",
    ] {
        assert!(read(text).contains("InvalidFlag"), "{text}: {}", read(text));
    }
}

#[test]
fn networks_have_names_and_what_the_pod_has_there() {
    let read = |text: &str| match read_network(OsStr::new(text)) {
        Ok(Network::Named { joins, .. }) => joins.into_iter().next().unwrap(),
        other => panic!("{text}: {other:?}"),
    };
    let front = NetworkJoin::new(NetworkName::new("front").unwrap());
    assert_eq!(read("front"), front);
    assert_eq!(read("name=front"), front);
    let all = NetworkJoin {
        ipv4: Some("10.90.0.7".parse().unwrap()),
        ipv6: Some("fd00::7".parse().unwrap()),
        mac: Some("02:00:00:00:00:01".parse().unwrap()),
        aliases: vec!["db".into(), "db_1.local".into()],
        ..front
    };
    let options = "ip=10.90.0.7,ip6=fd00::7,mac=02:00:00:00:00:01,alias=db,alias=db_1.local";
    assert_eq!(read(&format!("front,{options}")), all);
    assert_eq!(all.to_string(), format!("front,{options}"));
    assert_eq!(read(&format!("front:{options}")), all);
    assert_eq!(read(&format!("name=front,{options}")), all);
}

#[test]
fn ports_are_named_as_rkt_wrote_them() {
    let read = |text: &str| match read_published(OsStr::new(text)) {
        Ok(Published::Named(port)) => port.to_string(),
        other => format!("{other:?}"),
    };
    for text in ["http:8080", "http:127.0.0.1:8080", "80-tcp:1", "a:[::1]:80"] {
        assert_eq!(read(text), text);
    }
    for text in [
        "http",
        "http:",
        "http:0",
        "http:80-81",
        "http:localhost:80",
        "http:8080:80",
    ] {
        assert!(read(text).contains("InvalidFlag"), "{text}: {}", read(text));
    }
    let forwards = read_published(OsStr::new("8080:80")).unwrap();
    assert_eq!(
        forwards,
        Published::Forwards(read_publish(OsStr::new("8080:80")).unwrap())
    );
}

fn shown_forwards(text: &str) -> Vec<String> {
    let forwards = read_publish(OsStr::new(text)).unwrap_or_else(|error| panic!("{text}: {:?}", error));
    forwards.iter().map(ToString::to_string).collect()
}

#[test]
fn forwards_as_docker_writes_them() {
    for (text, expected) in [
        ("8080:80", vec!["8080:80/tcp"]),
        ("8080:80/tcp", vec!["8080:80/tcp"]),
        ("1:65535/udp", vec!["1:65535/udp"]),
        ("127.0.0.1:8080:80", vec!["127.0.0.1:8080:80/tcp"]),
        ("0.0.0.0:53:53/udp", vec!["0.0.0.0:53:53/udp"]),
        ("[::1]:8080:80", vec!["[::1]:8080:80/tcp"]),
        (
            "8000-8002:80-82",
            vec!["8000:80/tcp", "8001:81/tcp", "8002:82/tcp"],
        ),
        ("9-9:7", vec!["9:7/tcp"]),
        ("80", vec!["80/tcp"]),
        (":80/udp", vec!["80/udp"]),
        ("80-81", vec!["80/tcp", "81/tcp"]),
        ("127.0.0.1::80", vec!["127.0.0.1::80/tcp"]),
        ("[::1]::80", vec!["[::1]::80/tcp"]),
    ] {
        assert_eq!(shown_forwards(text), expected, "{text}");
    }
}

#[test]
fn names_of_addresses() {
    let read = |text: &str| read_add_host(OsStr::new(text));
    let ip = |name: &str, address: &str| Ok((name.to_owned(), HostAddress::Ip(address.parse().unwrap())));
    assert_eq!(read("db:192.0.2.7"), ip("db", "192.0.2.7"));
    assert_eq!(read("db=::1"), ip("db", "::1"));
    assert_eq!(read("db:::1"), ip("db", "::1"));
    assert_eq!(read("db:[::1]"), ip("db", "::1"));
    assert_eq!(
        read("me:host-gateway"),
        Ok(("me".to_owned(), HostAddress::Gateway))
    );
    for text in ["", "db", "db:", ":1.2.3.4", "db:x", "a_b:1.2.3.4"] {
        assert!(read(text).is_err(), "{text}");
    }
    assert!(read_dns(OsStr::new("9.9.9.9")).is_ok() && read_dns(OsStr::new("dns")).is_err());
}

#[test]
fn what_is_no_forward_is_refused_with_the_reason() {
    const FORM: &str = "it does not have the form `[[IP:][HOST]:]POD[/PROTOCOL]`";
    let port = |text: &str| {
        format!("`{text}` is not a valid value of `port`: it must be a whole number from 1 to 65535")
    };
    for (text, message) in [
        ("", port("")),
        (":", port("")),
        ("0:80", port("0")),
        ("80:0", port("0")),
        ("65536:80", port("65536")),
        ("+80:80", port("+80")),
        ("80:", port("")),
        ("80: 80", port(" 80")),
        ("a,b:80", port("a,b")),
        ("80:80/sctp", "unknown protocol `sctp`".to_owned()),
        ("80:80/TCP", "unknown protocol `TCP`".to_owned()),
        ("80:80/", "unknown protocol ``".to_owned()),
        ("::1:80:80", FORM.to_owned()),
        ("[::1]80:80", FORM.to_owned()),
        ("[::1]:80:80:80", FORM.to_owned()),
        ("[::1", FORM.to_owned()),
        (
            "localhost:80:80",
            "`localhost` is not a valid value of `IP`: it must be an IP address of the host".to_owned(),
        ),
        (
            "[127.0.0.1]:80:80",
            "`127.0.0.1` is not a valid value of `IP`: it must be an IPv6 address, which stands in brackets"
                .to_owned(),
        ),
        (
            "8000-8001:80-82",
            "its two ranges have different lengths".to_owned(),
        ),
        ("8001-8000:80-81", "a range ends before it begins".to_owned()),
        ("80-:80", port("")),
    ] {
        let error = read_publish(OsStr::new(text)).expect_err(text);
        assert_eq!(error.fault.to_string(), message, "{text}");
    }
    let error = read_publish(OsStr::new("::1:80:80")).unwrap_err();
    assert_eq!(error.to_string(), "invalid value `::1:80:80` of `--publish`");
    assert!(error.hint().unwrap().starts_with("write `8080:80`"));
}

#[test]
fn host_names() {
    let label = "a".repeat(63);
    for name in ["web", "WEB-1", "a.b.c", "1", &label] {
        assert_eq!(read_hostname(OsStr::new(name)).unwrap(), name);
    }
    let long = format!("{label}.b");
    for (name, message) in [
        ("", "it is empty"),
        (
            long.as_str(),
            "it is longer than 64 bytes, the most that Linux takes",
        ),
        ("a..b", "a part of it between dots is empty"),
        ("a.", "a part of it between dots is empty"),
        ("-a", "a part of it begins or ends with a dash"),
        ("a-.b", "a part of it begins or ends with a dash"),
        (
            "a_b",
            "it may have letters, digits, dashes and dots only (RFC 1123)",
        ),
        (
            "ä",
            "it may have letters, digits, dashes and dots only (RFC 1123)",
        ),
        (
            "a\nb",
            "it may have letters, digits, dashes and dots only (RFC 1123)",
        ),
    ] {
        let error = read_hostname(OsStr::new(name)).expect_err(name);
        assert_eq!(error.fault.to_string(), message, "{name:?}");
    }
}
