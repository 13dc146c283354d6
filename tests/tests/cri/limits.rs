//! What containers may use, and what they have used.

use isopod_tests::Scenarios;
use isopod_tests::cri::ContainerConfig;
use isopod_tests::cri::wire::Message;

use super::Pod;

pub(crate) fn run(pod: &Pod<'_>, scenarios: &mut Scenarios) {
    let Pod { sandbox, main, .. } = pod;
    scenarios.run(
        "a container that needs more memory than it may have is killed for it",
        || {
            let limits = Message::new().number(4, 30 << 20).number(5, 500);
            let config = ContainerConfig::new(&["dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1"])
                .limits(limits);
            let (status, reason, _) = sandbox.run("hungry", config);
            assert_eq!((status, &*reason), (137, "OOMKilled"));
        },
    );
    scenarios.run(
        "a process of a container's that is killed for want of memory is reported",
        || {
            let limits = Message::new().number(4, 30 << 20).number(5, 500);
            let config =
                ContainerConfig::sh("dd if=/dev/zero of=/dev/null bs=100M count=1; exit 3").limits(limits);
            let (status, reason, _) = sandbox.run("survives", config);
            assert_eq!((status, &*reason), (3, "OOMKilled"));
        },
    );
    scenarios.run("limits hold, and can be changed", || {
        let limits = Message::new()
            .number(1, 100_000)
            .number(2, 50_000)
            .number(4, 100 << 20);
        let _ = main.call("UpdateContainerResources", |of| of.message(2, limits));
        assert_eq!(
            main.sh("cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max"),
            "104857600\n50000 100000\n"
        );
    });
    scenarios.run("what it uses is counted", || {
        let stats = main.call("ContainerStats", |of| of).message(1);
        assert!(stats.message(2).message(2).number(1) > 0, "no processor time");
        let memory = stats.message(3);
        let (working, used) = (memory.message(2).number(1), memory.message(4).number(1));
        assert!(
            0 < working && working <= used && used < 100 << 20,
            "{working} of {used}"
        );
    });
}
