//! The guest's kernel: its command line, with a reason for each parameter.

use crate::vm::qemu::Accelerator;

/// The kernel's command line: when, what, why. Milliseconds are of 2,950 from start to end, under emulation.
const PARAMETERS: [(When, &str, &str); 14] = [
    (
        When::Always,
        "console=ttyS0",
        "what the kernel and systemd say goes to the console's log",
    ),
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
        "8250.nr_uarts=1",
        "no probing for serial ports that are not there",
    ),
    (
        When::Always,
        "systemd.unified_cgroup_hierarchy=1",
        "cgroup v2, whatever the distribution's default",
    ),
    (
        When::Always,
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
        When::OneCpu,
        "noreplace-smp",
        "150 ms of patching lock prefixes, which one CPU does not need",
    ),
    (
        When::OneEmulatedCpu,
        "nolapic_timer",
        "110 ms of calibration; the HPET drives the clock then",
    ),
];

/// The VMs that a kernel parameter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Always,
    Emulated,
    OneCpu,
    OneEmulatedCpu,
}

/// The kernel's command line on that VM.
#[must_use]
pub fn parameters(cpus: u32, accel: Accelerator) -> String {
    let applies = |when: When| match when {
        When::Always => true,
        When::Emulated => matches!(accel, Accelerator::Tcg { .. }),
        When::OneCpu => cpus == 1,
        When::OneEmulatedCpu => cpus == 1 && matches!(accel, Accelerator::Tcg { .. }),
    };
    let parameters = PARAMETERS.iter().filter(|(when, ..)| applies(*when));
    parameters
        .map(|(_, parameter, _)| *parameter)
        .collect::<Vec<_>>()
        .join(" ")
}
