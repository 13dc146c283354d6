//! The few things of the guest that are the agent's to set up: the kernel's parameters, the host name. Nothing here keeps
//! a pod from running; what fails is a warning.

use std::path::Path;

use isopod_contract::config::Sysctl;
use isopod_contract::layout::SYSCTL_ERRORS;

/// How long the kernel has been running, in milliseconds.
pub(crate) fn uptime_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
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

/// Sets the guest up; returns what could not be done.
pub(crate) fn run(hostname: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Err(errno) = rustix::system::sethostname(hostname.as_bytes()) {
        warnings.push(format!("cannot set the host name `{hostname}`: {errno}"));
    }
    warnings
}
