//! What a container finds: addresses, commands, volumes, its root, devices.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use isopod_tests::Scenarios;

use super::Pod;

pub(crate) fn run(pod: &Pod<'_>, scenarios: &mut Scenarios) {
    let Pod {
        volume,
        sandbox,
        main,
        ..
    } = pod;
    scenarios.run(
        "a sandbox has an address of each kind, and the guest has it",
        || {
            let network = sandbox.status().message(1).message(5);
            let four = network.text(1);
            let six = network.messages(2).first().map(|more| more.text(1)).unwrap();
            let addresses = main.sh("ip addr show eth0");
            assert!(
                addresses.contains(&format!("inet {four}/24")),
                "{four}: {addresses}"
            );
            assert!(
                addresses.contains(&format!("inet6 {six}/64")),
                "{six}: {addresses}"
            );
            assert!(main.sh("ip route").contains("default via 10.88.9.1"));
        },
    );
    scenarios.run(
        "a command has the container's world, and its own exit status",
        || {
            let done = main
                .try_exec(&["sh", "-c", "echo out; echo err >&2; exit 7"], 60)
                .unwrap();
            assert_eq!(done, (7, "out\n".to_owned(), "err\n".to_owned()));
            assert_eq!(main.sh("pwd"), "/tmp\n");
            assert_eq!(main.sh("echo $NAME; echo $HOME; hostname"), "a b=c\n/root\npod\n");
            assert!(main.sh("ps").lines().nth(1).unwrap().contains("sleep 100000"));
        },
    );
    scenarios.run("a command that is not there is refused at once", || {
        let begun = Instant::now();
        let refused = main.try_exec(&["no-such-program"], 60).unwrap_err();
        assert!(
            refused.text.contains("executable file not found in $PATH"),
            "{refused:?}"
        );
        assert!(begun.elapsed() < Duration::from_secs(20));
    });
    scenarios.run("a command that leaves a process behind has ended", || {
        assert_eq!(main.sh("(sleep 1000 &) ; echo done"), "done\n");
    });
    scenarios.run("a command that takes too long is ended", || {
        let refused = main.try_exec(&["sleep", "2345"], 2).unwrap_err();
        assert!(refused.text.contains("timeout"), "{refused:?}");
        assert!(!main.sh("ps").contains("sleep 2345"));
    });
    scenarios.run("volumes: directories and files, writable and not", || {
        assert_eq!(
            main.sh("cat /volume/file /etc/one-file"),
            "from the host\nfrom the host\n"
        );
        assert!(
            main.sh("echo x > /volume/new; chown 12:34 /volume/new")
                .is_empty()
        );
        let made = fs::metadata(volume.join("new")).unwrap();
        assert_eq!((made.uid(), made.gid()), (12, 34));
        for target in ["/locked/x", "/etc/one-file"] {
            assert!(
                main.sh(&format!("echo x > {target}"))
                    .contains("Read-only file system")
            );
        }
        // Mounted below a read-only mount, and as it is on the host.
        assert_eq!(
            main.sh("echo below > /locked/below/x; cat /locked/below/x"),
            "below\n"
        );
        assert_eq!(fs::read_to_string(volume.join("below/x")).unwrap(), "below\n");
        fs::write(volume.join("file"), "changed\n").unwrap();
        // As long as a directory's entries may be cached in the guest.
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(main.sh("cat /volume/file"), "changed\n");
    });
    scenarios.run("the root is the container's own and can be written to", || {
        assert_eq!(main.sh("echo x > /made; cat /made; stat -c %a /tmp"), "x\n1777\n");
    });
    scenarios.run("devices and kernel file systems are a container's", || {
        let devices = main.sh("ls /dev");
        let devices: BTreeSet<&str> = devices.split_whitespace().collect();
        for device in [
            "null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "mqueue", "fd",
        ] {
            assert!(devices.contains(device), "{device}: {devices:?}");
        }
        assert!(
            !devices.contains("vda") && !devices.contains("mem"),
            "{devices:?}"
        );
        assert!(
            main.sh("echo 1 > /proc/sysrq-trigger")
                .contains("Read-only file system")
        );
        assert!(main.sh("mount -t tmpfs none /srv").contains("denied"), "a mount");
        assert_eq!(main.sh("cat /proc/sys/net/core/somaxconn"), "333\n");
        assert_eq!(
            main.sh("grep CapEff /proc/1/status"),
            "CapEff:\t00000000a80425fb\n"
        );
    });
}
