//! How containers end.

use std::time::{Duration, Instant};

use isopod_tests::Scenarios;
use isopod_tests::cri::{ContainerConfig, EXITED};

use super::Pod;

pub(crate) fn run(pod: &Pod<'_>, scenarios: &mut Scenarios) {
    let Pod {
        sandbox,
        main,
        volume,
        ..
    } = pod;
    scenarios.run("exit statuses, output, and a program that is not there", || {
        let (status, reason, text) = sandbox.run(
            "fails",
            ContainerConfig::sh("echo err >&2; printf unfinished; exit 42"),
        );
        assert_eq!((status, &*reason), (42, "Error"));
        assert!(text.contains("!err\n") && text.contains("unfinished"), "{text}");
        let (status, reason, text) = sandbox.run("succeeds", ContainerConfig::new(&["echo", "all", "well"]));
        assert_eq!((status, &*reason, &*text), (0, "Completed", "all well\n"));
        // The kubelet reads this file of the host's when it has heard of the end.
        let words = volume.join("why");
        std::fs::write(&words, "").unwrap();
        let says = "echo because > /dev/termination-log; exit 3";
        let config = ContainerConfig::sh(says).mount(&words, "/dev/termination-log", false);
        assert_eq!(sandbox.run("says", config).0, 3);
        assert_eq!(std::fs::read_to_string(&words).unwrap(), "because\n");
        let refused = sandbox
            .try_start("absent", ContainerConfig::new(&["/no/such"]))
            .err()
            .unwrap();
        assert!(refused.text.contains("/no/such"), "{refused:?}");
    });
    scenarios.run("a container stops in its own way, or is killed", || {
        let config =
            ContainerConfig::sh("trap 'echo bye; exit 5' TERM; echo ready; while true; do sleep 0.1; done");
        let container = sandbox.start("polite", config);
        let begun = Instant::now();
        while container.output() != "ready\n" {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is not ready");
            std::thread::sleep(Duration::from_millis(50));
        }
        container.stop(30);
        assert_eq!(
            (container.status().number(7), &*container.output()),
            (5, "ready\nbye\n")
        );
        container.remove();
        main.stop(1);
        assert_eq!((main.status().number(3), main.status().number(7)), (EXITED, 137));
        assert!(main.try_exec(&["true"], 10).is_err());
    });
}
