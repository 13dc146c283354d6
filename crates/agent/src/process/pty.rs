//! Pseudoterminals (pty(7)): of apps, and of commands in them.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use isopod_contract::exec::WindowSize;
use rustix::fs::{Mode, open};
use rustix::pty::{OpenptFlags, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// How long a terminal may be silent, when what it was for has ended, before it counts as read: what a process wrote last
/// comes through a queue of the kernel.
pub(crate) const SILENCE: Duration = Duration::from_millis(200);

/// Opens a new terminal's master, of those that `ptmx` makes: it neither blocks nor becomes the agent's own.
pub(crate) fn master(ptmx: &Path, size: WindowSize) -> io::Result<File> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = open(ptmx, flags.into(), Mode::empty())?;
    unlockpt(&master)?;
    rustix::io::ioctl_fionbio(&master, true)?;
    resize(&master, size)?;
    Ok(File::from(master))
}

/// Gives a terminal another size; the kernel signals whoever has it in the foreground (`SIGWINCH`).
pub(crate) fn resize(master: impl AsFd, size: WindowSize) -> io::Result<()> {
    let size = Winsize {
        ws_row: size.rows,
        ws_col: size.cols,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(tcsetwinsize(master, size)?)
}
