//! The guest's kernel: its command line, with a reason for each parameter.

use isopod_spec::Architecture;

use crate::vm::board;
use crate::vm::qemu::Accelerator;

/// The kernel's command line: when, what, why. Milliseconds are of 2,950 from start to end, under emulation.
const PARAMETERS: [(When, &str, &str); 16] = [
    (
        When::Always,
        "quiet",
        "each line costs milliseconds at the emulated serial port",
    ),
    (
        When::Always,
        "panic=-1",
        "a panic reboots at once, and -no-reboot ends QEMU",
    ),
    (When::Always, "cryptomgr.notests", "250 ms of self-tests"),
    (
        When::Always,
        "initcall_blacklist=ftrace_check_for_weak_functions,trace_eval_init",
        "a sixth of the instructions of a start: 45,000 look-ups of symbols that only lists of the function tracer need, and \
         the names of constants in the formats of trace events; a kernel without these functions passes over them",
    ),
    (
        When::Always,
        "lsm=landlock,yama",
        "no profile of another security module is ever loaded in the guest, and each is asked at every open file",
    ),
    (When::Always, "random.trust_cpu=on", "no wait for entropy"),
    (
        When::Always,
        "rcupdate.rcu_expedited=1",
        "mounts and cgroups wait for a grace period each, which takes ticks of the clock in an idle VM otherwise",
    ),
    (
        When::Amd64,
        "8250.nr_uarts=1",
        "no probing for serial ports that are not there",
    ),
    (
        When::Always,
        "systemd.unified_cgroup_hierarchy=1",
        "cgroup v2, whatever the distribution's default",
    ),
    (
        When::Amd64,
        "no_timer_check",
        "the check fails on a busy host, and the clock is QEMU's",
    ),
    (
        When::Always,
        "TERM=dumb",
        "systemd waits twice 330 ms for the serial port's terminal to tell its size otherwise, from version 257 on",
    ),
    (
        When::Emulated,
        "mitigations=off",
        "against a processor that guesses; an emulated one does not, and what the host's does with QEMU's code is not the \
         guest's to prevent",
    ),
    (
        When::Emulated,
        "initcall_blacklist=tracer_init_tracefs,crypto_kdf108_init,agp_amd64_mod_init,snapshot_device_init",
        "60 ms: the files of 1,600 trace events, a self-test that `cryptomgr.notests` leaves in, bridges of graphics cards and the \
         device that saves a suspended host",
    ),
    (
        When::Amd64Emulated,
        "clearcpuid=rep_good",
        "pages are cleared and copied in loops of 64 bytes, not by string instructions, which are emulated word by word; a kernel \
         before 5.19 does not know the name and passes over it",
    ),
    (
        When::Amd64OneCpu,
        "noreplace-smp",
        "150 ms of patching lock prefixes, which one CPU does not need",
    ),
    (
        When::Amd64OneEmulatedCpu,
        "nolapic_timer",
        "110 ms of calibration; the HPET drives the clock then",
    ),
];

/// The VMs that a kernel parameter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Always,
    Emulated,
    Amd64,
    Amd64Emulated,
    Amd64OneCpu,
    Amd64OneEmulatedCpu,
}

/// The kernel's command line on that VM. What the kernel and systemd say goes to the console's log.
#[must_use]
pub fn parameters(architecture: Architecture, cpus: u32, accel: Accelerator) -> String {
    let is_amd64 = architecture == Architecture::Amd64;
    let is_emulated = matches!(accel, Accelerator::Tcg { .. });
    let applies = |when: When| match when {
        When::Always => true,
        When::Emulated => is_emulated,
        When::Amd64 => is_amd64,
        When::Amd64Emulated => is_amd64 && is_emulated,
        When::Amd64OneCpu => is_amd64 && cpus == 1,
        When::Amd64OneEmulatedCpu => is_amd64 && is_emulated && cpus == 1,
    };
    let mut words = vec![format!("console={}", board::console(architecture))];
    let parameters = PARAMETERS.iter().filter(|(when, ..)| applies(*when));
    words.extend(parameters.map(|(_, parameter, _)| (*parameter).to_owned()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_one_architecture_knows_is_not_said_to_another() {
        let emulated = Accelerator::Tcg { tb_size_mib: 64 };
        let words = |architecture, cpus, accel| parameters(architecture, cpus, accel);
        let amd64 = words(Architecture::Amd64, 1, emulated);
        let arm64 = words(Architecture::Arm64, 1, emulated);
        for word in [
            "8250.nr_uarts=1",
            "no_timer_check",
            "clearcpuid=rep_good",
            "noreplace-smp",
            "nolapic_timer",
        ] {
            assert!(amd64.contains(word) && !arm64.contains(word), "{word}");
        }
        assert!(amd64.starts_with("console=ttyS0 quiet ") && arm64.starts_with("console=ttyAMA0 quiet "));
        assert!(arm64.contains("TERM=dumb mitigations=off"), "{arm64}");
        let kvm = words(Architecture::Amd64, 2, Accelerator::Kvm);
        for word in [
            "mitigations",
            "tracefs",
            "clearcpuid",
            "noreplace-smp",
            "nolapic_timer",
        ] {
            assert!(!kvm.contains(word), "{word}");
        }
    }
}
