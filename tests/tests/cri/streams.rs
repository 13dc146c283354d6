//! Terminals, inputs, outputs and logs.

use std::fs;
use std::time::{Duration, Instant};

use isopod_tests::Scenarios;
use isopod_tests::cri::ContainerConfig;

use super::Pod;

pub(crate) fn run(pod: &Pod<'_>, scenarios: &mut Scenarios) {
    let Pod {
        bench, sandbox, main, ..
    } = pod;
    scenarios.run("a terminal, attached to, with its size and keys", || {
        let config = ContainerConfig::new(&["sh"]).config(|config| config.number(12, 1).number(14, 1));
        let container = sandbox.start("terminal", config);
        let mut streams = container.attach(true);
        streams.resize(100, 33);
        streams.write("stty size; tty; echo $((6*7))\n");
        let text = streams.until("42\r\n");
        assert!(text.contains("33 100") && text.contains("/dev/pts/"), "{text}");
        streams.write("exit 9\n");
        container.ended();
        assert_eq!(container.status().number(7), 9);
        container.remove();
    });
    scenarios.run("a command's streams, with and without a terminal", || {
        let mut streams = main.exec(&["sh"], true);
        streams.resize(90, 30);
        streams.write("stty size; exit 4\n");
        let text = streams.until("\"ExitCode\"");
        assert!(
            text.contains("30 90") && text.contains("\"message\":\"4\""),
            "{text}"
        );
        let mut streams = main.exec(&["cat"], false);
        streams.write("through\n");
        assert!(streams.until("through\n").contains("through\n"));
        streams.close();
    });
    scenarios.run("input that is given once ends with whoever gives it", || {
        let config = ContainerConfig::new(&["wc", "-c"]).config(|config| config.number(12, 1).number(13, 1));
        let container = sandbox.start("once", config);
        let mut streams = container.attach(false);
        streams.write("12345");
        std::thread::sleep(Duration::from_millis(300));
        streams.close();
        container.ended();
        assert_eq!(container.output(), "5\n");
        container.remove();
    });
    scenarios.run("a log that is rotated goes on in a new file", || {
        let talker = sandbox.start(
            "talker",
            ContainerConfig::sh("while true; do echo word; sleep 0.1; done"),
        );
        let log = bench.dir().join("containerd/logs/pod/talker.log");
        fs::rename(&log, log.with_extension("old")).unwrap();
        let _ = talker.call("ReopenContainerLog", |of| of);
        let begun = Instant::now();
        while talker.output().is_empty() {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "nothing in the new file"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        talker.stop(0);
        assert_eq!(talker.status().number(7), 137);
        talker.remove();
    });
}
