//! Whether KVM works: decided by a guest that ran with it.
//!
//! On some hosts (nested ones above all) /dev/kvm opens, a VM can be made, and a standard guest then hangs. So a
//! guest is booted that ends at once, with a deadline, and the answer is kept for this boot of the host and this
//! kernel of the guest.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use isopod_plan::facts::{Kvm, Owner};
use isopod_plan::vm::board;
use isopod_plan::vm::confinement::Isolation;
use isopod_plan::vm::qemu::Accelerator;
use isopod_spec::Architecture;

use crate::launch;
use crate::launcher::{Capabilities, Launcher};

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
    /// The firmware, where it is not the board's own.
    pub firmware: Option<&'static str>,
}

/// Whether `guest` runs with KVM; `remembered` is the directory that keeps answers. QEMU begins as a launcher of `isopod`: it ends
/// with this process, however that ends.
#[must_use]
pub fn works(isopod: &Path, qemu: &Path, guest: &Guest<'_>, remembered: &Path) -> Kvm {
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
    let answer = try_guest(isopod, qemu, guest);
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

fn try_guest(isopod: &Path, qemu: &Path, guest: &Guest<'_>) -> Result<(), String> {
    // A guest of another architecture is not tried.
    let own = Architecture::HOST;
    let append = format!("console={} quiet panic=-1 {PROBE_PARAMETER}", board::console(own));
    let machine = format!("{},accel=kvm", board::board(own, Accelerator::Kvm).board);
    let words: [&OsStr; 17] = [
        qemu.as_ref(),
        "-nodefaults".as_ref(),
        "-no-user-config".as_ref(),
        "-no-reboot".as_ref(),
        "-display".as_ref(),
        "none".as_ref(),
        "-serial".as_ref(),
        "stdio".as_ref(),
        "-machine".as_ref(),
        machine.as_ref(),
        "-cpu".as_ref(),
        "host".as_ref(),
        "-m".as_ref(),
        "256".as_ref(),
        "-kernel".as_ref(),
        guest.kernel.as_ref(),
        "-initrd".as_ref(),
    ];
    let firmware = guest.firmware.into_iter().flat_map(|name| ["-bios", name]);
    let rest: [&OsStr; 3] = [guest.initrd.as_ref(), "-append".as_ref(), append.as_ref()];
    let launcher = Launcher {
        parent: std::process::id(),
        share: None,
        root: None,
        owner: Owner { uid: 0, gid: 0 },
        maps: None,
        isolation: Isolation::Mounts,
        user: None,
        capabilities: Capabilities::Dropped,
        command: words
            .into_iter()
            .chain(rest)
            .map(OsStr::to_owned)
            .chain(firmware.map(OsString::from))
            .collect(),
    };
    let child = launch::command(isopod)
        .args(launcher.argv())
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
