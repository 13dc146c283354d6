//! The few things of the guest that are the agent's to set up: the kernel's parameters, the host name. Nothing here keeps
//! a pod from running; what fails is a warning.

use std::path::Path;

use isopod_contract::config::Sysctl;
use isopod_contract::layout::{SYSCTL_ERRORS, TEMPLATE};

/// How long the kernel has been running, in milliseconds.
pub(crate) fn uptime_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

/// Whether the kernel was started with that word.
pub(crate) fn is_on_command_line(word: &str) -> bool {
    let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    line.split_ascii_whitespace().any(|given| given == word)
}

/// Where ACPI's events are masked (the kernel's Documentation/ABI/testing/sysfs-firmware-acpi). Of QEMU's q35: that a device was
/// plugged in behind a port, and that the VM is another than the one that was saved.
const PLUGGED_EVENT: &str = "/sys/firmware/acpi/interrupts/gpe01";
const RESTORED_EVENT: &str = "/sys/firmware/acpi/interrupts/gpe05";

/// Has the kernel overlook what happens to a VM as it is restored, where this one is to be saved: the firmware's programs run for it,
/// in an interpreter, just when the pod comes. Devices are found by [`find_devices`], and random numbers are the VM's own by
/// [`stir`](crate::boot::chance::stir).
pub(crate) fn overlook_restore() -> std::io::Result<()> {
    if !is_on_command_line(TEMPLATE) {
        return Ok(());
    }
    [PLUGGED_EVENT, RESTORED_EVENT]
        .into_iter()
        .try_for_each(|event| std::fs::write(event, "mask\n"))
}

/// Lets the kernel know that the VM was restored, once nobody waits for it: other drivers than that of random numbers may listen.
pub(crate) fn heed_restore() -> std::io::Result<()> {
    match is_on_command_line(TEMPLATE) {
        true => std::fs::write(RESTORED_EVENT, "unmask\n"),
        false => Ok(()),
    }
}

/// Finds the devices that the VM was given since it was saved, where it was: before this returns, those whose drivers are
/// loaded are there.
pub(crate) fn find_devices() -> std::io::Result<()> {
    match is_on_command_line(TEMPLATE) {
        true => std::fs::write("/sys/bus/pci/rescan", "1"),
        false => Ok(()),
    }
}

/// Finds devices that are plugged in while apps run: those whose drivers are loaded are there when this returns. From now on the kernel
/// heeds that one is taken away, too.
pub(crate) fn find_plugged() -> std::io::Result<()> {
    // Other boards than q35 have no such event.
    let _ = std::fs::write(PLUGGED_EVENT, "unmask\n");
    std::fs::write("/sys/bus/pci/rescan", "1")
}

/// Sets the kernel's parameters; returns what could not be set. What of that no app may start without is put where the
/// apps' units look.
pub(crate) fn write_sysctls(sysctls: &[Sysctl]) -> Vec<String> {
    let (mut failures, mut required) = (Vec::new(), String::new());
    for sysctl in sysctls {
        let Sysctl { name, value, .. } = sysctl;
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        if let Err(error) = std::fs::write(path, value) {
            let failure = format!("cannot set the kernel's parameter `{name}` to `{value}`: {error}");
            if sysctl.required {
                required.push_str(&failure);
                required.push('\n');
            }
            failures.push(failure);
        }
    }
    if !required.is_empty()
        && let Err(error) = std::fs::write(SYSCTL_ERRORS, required)
    {
        failures.push(format!("cannot write `{SYSCTL_ERRORS}`: {error}"));
    }
    failures
}

/// Sets the host name; returns that it could not be set.
pub(crate) fn set_host_name(hostname: &str) -> Option<String> {
    let set = rustix::system::sethostname(hostname.as_bytes());
    set.err()
        .map(|errno| format!("cannot set the host name `{hostname}`: {errno}"))
}
