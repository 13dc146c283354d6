//! What must differ between VMs that were restored from one template, and would not: the state of the kernel's random number
//! generator, and the ID of its boot (random(4)).
//!
//! The kernel makes the latter up when it is first read, which systemd does at the boot, and keeps it. So each app's `/proc` gets
//! another one mounted over it.

mod sys;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use isopod_contract::config::GuestApp;
use isopod_contract::layout::{BOOT_ID, LAUNCH_BOOT_ID, TEMPLATE};
use isopod_contract::message::ENTROPY_BYTES;
use rustix::mount::mount_bind;

use crate::boot::setup;

/// The device of the kernel's random number generator.
const RANDOM: &str = "/dev/urandom";

/// Lets what the kernel gives from now on depend on `entropy`, which is the host's.
///
/// # Errors
/// The kernel's.
pub(crate) fn stir(entropy: &[u8; ENTROPY_BYTES]) -> io::Result<()> {
    let device = OpenOptions::new().write(true).open(RANDOM)?;
    sys::add_entropy(&device, entropy)?;
    sys::reseed(&device)
}

/// Gives the apps an ID of the boot that is this VM's alone, where it was restored. The kernel's random numbers must be its own already.
///
/// # Errors
/// It cannot be put where the apps look for it.
pub(crate) fn boot_id(apps: &[GuestApp]) -> io::Result<()> {
    if !setup::is_on_command_line(TEMPLATE) {
        return Ok(());
    }
    let own = Path::new(BOOT_ID);
    if !own.exists() {
        // Another one at each reading.
        let id = fs::read("/proc/sys/kernel/random/uuid")?;
        fs::write(own, id)?;
    }
    for app in apps {
        let place = Path::new(&app.launch).join(LAUNCH_BOOT_ID);
        File::create(&place)?;
        mount_bind(own, &place)?;
    }
    Ok(())
}
