//! Who a container's processes are and what they may do.

use isopod_tests::Scenarios;
use isopod_tests::cri::ContainerConfig;
use isopod_tests::cri::wire::Message;

use super::{Pod, number};

pub(crate) fn run(pod: &Pod<'_>, scenarios: &mut Scenarios) {
    let Pod { sandbox, .. } = pod;
    scenarios.run("a user other than root, with its groups", || {
        let config = ContainerConfig::sh("id -u; id -g; id -G; grep CapEff /proc/self/status; touch /x")
            .security(|security| {
                let security = security.message(5, number(1234)).message(12, number(5678));
                security.number(8, 5).number(8, 7)
            });
        let (status, _, text) = sandbox.run("user", config);
        assert_eq!(status, 1);
        assert!(
            text.starts_with("1234\n5678\n5678 5 7\nCapEff:\t0000000000000000\n"),
            "{text}"
        );
        assert!(text.contains("Permission denied"), "{text}");
    });
    scenarios.run(
        "capabilities, no new privileges, a filter of system calls",
        || {
            let config = ContainerConfig::sh(
                "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; \
                              ip link add dummy1 type dummy && echo made; unshare -U true",
            )
            .security(|security| {
                let capabilities = Message::new().text(1, "NET_ADMIN").text(2, "CHOWN");
                // The runtime's own filter.
                security
                    .message(1, capabilities)
                    .number(11, 1)
                    .message(15, Message::new().number(1, 0))
            });
            let (status, _, text) = sandbox.run("secured", config);
            assert_eq!(status, 1);
            assert!(
                // The module comes with the container that may have it loaded.
                text.starts_with("CapEff:\t00000000a80435fa\nNoNewPrivs:\t1\nSeccomp:\t2\nmade\n"),
                "{text}"
            );
            assert!(text.contains("Operation not permitted"), "{text}");
        },
    );
    scenarios.run("a root that cannot be written to", || {
        let config = ContainerConfig::sh("touch /x; touch /dev/shm/x && echo shared")
            .security(|security| security.number(7, 1));
        let (status, _, text) = sandbox.run("locked", config);
        assert_eq!(status, 0);
        assert!(
            text.contains("Read-only file system") && text.contains("shared"),
            "{text}"
        );
    });
    scenarios.run("what is to be hidden or locked is", || {
        let config = ContainerConfig::sh(
            "wc -c < /etc/group; ls -A /srv; echo x > /tmp/x; echo 1 > /proc/sys/net/ipv4/ip_forward",
        );
        let (_, _, text) = sandbox.run(
            "hides",
            config.security(|security| {
                let security = security
                    .text(13, "/etc/group")
                    .text(13, "/srv")
                    .text(13, "/no/such");
                security.text(14, "/tmp")
            }),
        );
        assert!(text.starts_with("0\n") && !text.contains("www"), "{text}");
        for locked in [
            "/tmp/x: Read-only file system",
            "ip_forward: Read-only file system",
        ] {
            assert!(text.contains(locked), "{text}");
        }
    });
}
