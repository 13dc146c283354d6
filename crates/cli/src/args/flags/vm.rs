//! Flags of a pod's VM.

use isopod_spec::flags;
use isopod_spec::{Accel, KernelChoice, ShareTransport, StartMode};

use super::{Flag, keep};
use crate::args::ArgFault;

pub(super) const FLAGS: &[Flag] = &[
    Flag::pod(
        "vm-memory",
        "SIZE",
        "The VM's memory, such as 2g [default: 2g; if every app has a limit, their sum and 128m]",
        |pod, text| keep(&mut pod.flags.vm.memory_mib, flags::read_memory_mib(text)),
    ),
    Flag::pod(
        "vm-cpus",
        "N",
        "The VM's virtual CPUs [default: 1, or the sum of the apps' limits]",
        |pod, text| keep(&mut pod.flags.vm.cpus, flags::read_cpus(text)),
    ),
    Flag::pod(
        "accel",
        "ACCEL",
        "KVM or emulation [default: auto]",
        |pod, text| {
            pod.flags.vm.accel = match text.to_str() {
                Some("kvm") => Accel::Kvm,
                Some("tcg") => Accel::Tcg,
                _ => Accel::Auto,
            };
            Ok(())
        },
    )
    .one_of(&["auto", "kvm", "tcg"]),
    Flag::pod(
        "kernel",
        "FILE|VERSION",
        "The guest's kernel: one of the host's kernels by its version (`uname -r`), or a file (with a slash) \
         [default: the one that the host runs, or the newest with its modules]",
        |pod, text| {
            pod.flags.vm.kernel.kernel = Some(KernelChoice::read(text).ok_or(ArgFault::Refused {
                flag: "--kernel".into(),
                hint: "name a version, such as `6.1.0-57-amd64`, or a file, such as `./vmlinuz`",
            })?);
            Ok(())
        },
    ),
    Flag::pod(
        "modules",
        "DIR",
        "The directory with the modules of the guest's kernel [default: /lib/modules/VERSION]",
        |pod, text| {
            pod.flags.vm.kernel.modules = Some(text.into());
            Ok(())
        },
    ),
    Flag::pod(
        "guest-root",
        "DIR",
        "The directory with the distribution that the guest is made of: kernel, modules, systemd, libraries; its architecture is the \
         VM's [default: the host's own, or for another platform one of ISOPOD_GUEST_ROOT]",
        |pod, text| {
            pod.flags.vm.kernel.root = Some(text.into());
            Ok(())
        },
    ),
    Flag::pod(
        "transport",
        "TRANSPORT",
        "How host volumes are shared [default: auto]",
        |pod, text| {
            pod.flags.vm.transport = match text.to_str() {
                Some("virtiofs") => ShareTransport::Virtiofs,
                Some("9p") => ShareTransport::NineP,
                _ => ShareTransport::Auto,
            };
            Ok(())
        },
    )
    .one_of(&["auto", "virtiofs", "9p"]),
    Flag::pod(
        "start",
        "MODE",
        "Restore the VM from a template (warm), boot it (cold), or restore it where there is a template (auto); see `isopod \
         template` [default: auto]",
        |pod, text| {
            pod.flags.vm.start = text.to_str().and_then(StartMode::read).unwrap_or_default();
            Ok(())
        },
    )
    .one_of(&["auto", "warm", "cold"]),
    Flag::pod(
        "boot-timeout",
        "SECONDS",
        "How long the guest may take to boot [default: 120]",
        |pod, text| {
            keep(
                &mut pod.boot_timeout,
                flags::read_seconds("--boot-timeout", 1, text),
            )
        },
    ),
    Flag::pod(
        "on-silent",
        "POLICY",
        "What to do when the guest does not answer: report it, or kill[:SECONDS]: kill the pod after that time (10 or more, 60 \
         by default) [default: report]",
        |pod, text| {
            pod.silent_kill = flags::read_on_silent(text)?;
            Ok(())
        },
    ),
];
