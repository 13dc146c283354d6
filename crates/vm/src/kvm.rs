//! Whether KVM works: decided by a guest that ran with it.
//!
//! On some hosts (nested ones above all) /dev/kvm opens, a machine can be made, and a standard guest then hangs. So a
//! guest is booted that ends at once, with a deadline, and the answer is kept for this boot of the host and this
//! kernel of the guest.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use isopod_plan::facts::Kvm;

/// How long the probe may take: with KVM it ends within a second.
const DEADLINE: Duration = Duration::from_secs(5);

/// What the guest prints when it ran ([`PROBE_PARAMETER`] makes it).
const ANSWER: &str = "isopod-probe ok";

/// The kernel parameter that makes the guest's first process answer and end.
pub const PROBE_PARAMETER: &str = "isopod.probe";

/// The guest to try with.
pub struct Guest<'a> {
    /// The uncompressed kernel.
    pub kernel: &'a Path,
    /// The guest image.
    pub initrd: &'a Path,
    /// What names both: another guest is another question.
    pub digest: &'a str,
}

/// Whether `guest` runs with KVM; `remembered` is the directory that keeps answers.
#[must_use]
pub fn works(qemu: &Path, guest: &Guest<'_>, remembered: &Path) -> Kvm {
    if let Err(error) = fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        return Kvm::Unusable(format!("cannot open /dev/kvm: {error}"));
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let file = remembered.join(format!("{}-{}", boot.trim(), guest.digest));
    match fs::read_to_string(&file).as_deref().map(str::trim) {
        Ok("works") => return Kvm::Works,
        Ok(reason) if !reason.is_empty() => return Kvm::Unusable(reason.to_owned()),
        _ => {}
    }
    let answer = try_guest(qemu, guest);
    let text = match &answer {
        Ok(()) => "works",
        Err(reason) => reason.as_str(),
    };
    // An answer that cannot be kept is found again next time.
    if fs::create_dir_all(remembered).is_ok() {
        let temporary = file.with_extension(std::process::id().to_string());
        let _ = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, &file));
    }
    match answer {
        Ok(()) => Kvm::Works,
        Err(reason) => Kvm::Unusable(reason),
    }
}

fn try_guest(qemu: &Path, guest: &Guest<'_>) -> Result<(), String> {
    let child = Command::new(qemu)
        .args([
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
            "-serial",
            "stdio",
        ])
        .args(["-machine", "q35,accel=kvm", "-cpu", "host", "-m", "256"])
        .arg("-kernel")
        .arg(guest.kernel)
        .arg("-initrd")
        .arg(guest.initrd)
        .args([
            "-append",
            &format!("console=ttyS0 quiet panic=-1 {PROBE_PARAMETER}"),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.map_err(|e| format!("cannot execute `{}`: {e}", qemu.display()))?;
    let started = Instant::now();
    let ended = loop {
        match child.try_wait() {
            Ok(Some(_)) => break true,
            Ok(None) if started.elapsed() < DEADLINE => std::thread::sleep(Duration::from_millis(10)),
            _ => break false,
        }
    };
    if !ended {
        let _ = child.kill();
    }
    let output = child
        .wait_with_output()
        .map_err(|e| format!("cannot wait for `{}`: {e}", qemu.display()))?;
    if String::from_utf8_lossy(&output.stdout).contains(ANSWER) {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(match words.lines().next() {
        _ if !ended => format!(
            "a guest did not come up with KVM within {} seconds",
            DEADLINE.as_secs()
        ),
        Some(line) => format!("QEMU cannot use KVM: {line}"),
        None => "a guest ended at once with KVM".into(),
    })
}
