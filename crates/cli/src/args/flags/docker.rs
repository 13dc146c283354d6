//! Flags of `docker run` that ask for what every pod has, and those that cannot be had, each with what to do instead.

use super::{Flag, Read, Value};

const fn refused(long: &'static str, hint: &'static str) -> Flag {
    Flag::new(long, Value::Text("VALUE"), hint, Read::Refused(hint))
}

const fn refused_switch(long: &'static str, hint: &'static str) -> Flag {
    Flag::new(long, Value::Switch, hint, Read::Refused(hint))
}

const IO: &str =
    "the disks of a pod are files of the host: limit the pod as a whole, with systemd-run(1) on the host";
const WINDOWS: &str = "it is for Windows only: leave it out";
const OTHER_POD: &str =
    "an app shares what it has with the apps of its own pod: put both into one, with `---` between them";
const OWN_KERNEL: &str = "a pod has a kernel of its own, and nothing of the host to share: leave it out";
const ADDRESS: &str =
    "the guest makes link-local addresses itself: leave it out, and name others with `--ip` and `--ip6`";

pub(super) const REFUSED: &[Flag] = &[
    refused("blkio-weight", IO),
    refused("blkio-weight-device", IO),
    refused("device-read-bps", IO),
    refused("device-read-iops", IO),
    refused("device-write-bps", IO),
    refused("device-write-iops", IO),
    refused(
        "cgroup-parent",
        "run the pod within that cgroup: `systemd-run --slice=SLICE isopod run ...`",
    ),
    refused("cpu-count", WINDOWS),
    refused("cpu-percent", WINDOWS),
    refused("io-maxbandwidth", WINDOWS),
    refused("io-maxiops", WINDOWS),
    refused("isolation", WINDOWS),
    refused(
        "cpu-rt-period",
        "the guest's kernel has no groups with real-time shares: leave it out",
    ),
    refused(
        "cpu-rt-runtime",
        "the guest's kernel has no groups with real-time shares: leave it out",
    ),
    refused(
        "cpuset-cpus",
        "give the VM so many CPUs (`--vm-cpus N`), and run the command with taskset(1)",
    ),
    refused("cpuset-mems", "run the command with numactl(8): its VM follows"),
    refused(
        "device-cgroup-rule",
        "name the device (`--device`), or give the app all of the guest's devices (`--privileged`)",
    ),
    refused(
        "domainname",
        "the kernel's NIS domain: set it with `--sysctl kernel.domainname=NAME`",
    ),
    refused(
        "gpus",
        "no GPU is passed through to the VM: run what needs one outside of a pod",
    ),
    refused("link-local-ip", ADDRESS),
    refused("link", OTHER_POD),
    refused("uts", OWN_KERNEL),
    refused("memory-swappiness", "the guest has no swap space: leave it out"),
    refused_switch(
        "oom-kill-disable",
        "say how readily the kernel kills it: `--oom-score-adj -1000` is never",
    ),
    refused("runtime", "a pod's VM is what runs it: leave it out"),
    refused_switch(
        "use-api-socket",
        "there is no docker daemon whose socket could be passed on: leave it out",
    ),
];
