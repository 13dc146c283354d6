//! Every app's own `/dev`: a copy of the guest image's ([`DEV`]), which the app may change as it likes, with terminals
//! of its own and the pod's shared memory.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use isopod_contract::config::{GuestApp, GuestDevice};
use isopod_contract::layout::DEV;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::mount::{MountFlags, mount};

use crate::boot::memory;

/// The guest's own devices, as the kernel makes them.
const GUEST: &str = "/dev";

/// Directories of [`GUEST`] of which an app has its own.
const OWN: [&str; 3] = ["mqueue", "pts", "shm"];

/// Fills an app's `/dev`, and mounts what belongs there.
pub(crate) fn fill(app: &GuestApp) -> io::Result<()> {
    let dev = Path::new(&app.dev);
    copy(Path::new(DEV), dev)?;
    for device in &app.devices {
        make(dev, device)?;
    }
    if app.terminal.is_some() {
        // As with a container's terminal: the first of its own.
        std::os::unix::fs::symlink("pts/0", dev.join("console"))?;
    }
    if app.privileged {
        copy_devices(Path::new(GUEST), dev)?;
    }
    // Terminals are for everybody, as in a container (`ptmxmode`); group 5 is Debian's `tty`.
    let options = c"ptmxmode=0666,mode=0620,gid=5";
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount("devpts", dev.join("pts"), "devpts", flags, options)?;
    match app.own_shm {
        true => Ok(()),
        false => memory::show_shm(&dev.join("shm")),
    }
}

/// Makes a device that everybody may open.
fn make(dev: &Path, device: &GuestDevice) -> io::Result<()> {
    let at = dev.join(&device.path);
    at.parent().map_or(Ok(()), fs::create_dir_all)?;
    let number = makedev(device.major, device.minor);
    mknodat(CWD, &at, FileType::CharacterDevice, Mode::empty(), number)?;
    fs::set_permissions(&at, Permissions::from_mode(0o666))
}

/// Copies the devices in `from` and below it into the directory `to`, but for those that are there.
fn copy_devices(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, at) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() && !OWN.contains(&entry.file_name().to_str().unwrap_or_default()) {
            fs::create_dir(&at).or_else(|error| match at.is_dir() {
                true => Ok(()),
                false => Err(error),
            })?;
            copy_devices(&entry.path(), &at)?;
        } else if (kind.is_char_device() || kind.is_block_device()) && at.symlink_metadata().is_err() {
            one(&entry.path(), &entry.metadata()?, &at)?;
        }
    }
    Ok(())
}

/// Copies what is in `from` into the directory `to`.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        one(&entry.path(), &entry.metadata()?, &to.join(entry.file_name()))?;
    }
    Ok(())
}

fn one(from: &Path, metadata: &Metadata, to: &Path) -> io::Result<()> {
    let kind = metadata.file_type();
    if kind.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(from)?, to);
    }
    if kind.is_dir() {
        // A volume may be mounted there, and its mount point is the planner's.
        match fs::create_dir(to) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
    } else if kind.is_char_device() {
        mknodat(CWD, to, FileType::CharacterDevice, Mode::empty(), metadata.rdev())?;
    } else if kind.is_block_device() {
        mknodat(CWD, to, FileType::BlockDevice, Mode::empty(), metadata.rdev())?;
    } else {
        return Err(io::ErrorKind::Unsupported.into());
    }
    fs::set_permissions(to, Permissions::from_mode(metadata.mode() & 0o7777))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_links_and_directories_are_copied() {
        let dir = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| dir.path().join(name));
        fs::create_dir_all(from.join("shm")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::set_permissions(from.join("shm"), Permissions::from_mode(0o1777)).unwrap();
        std::os::unix::fs::symlink("/proc/self/fd", from.join("fd")).unwrap();
        let null = fs::metadata("/dev/null").unwrap();
        let made = one(Path::new("/dev/null"), &null, &from.join("null"));
        if rustix::process::geteuid().is_root() {
            made.unwrap();
        }
        copy(&from, &to).unwrap();
        assert_eq!(fs::metadata(to.join("shm")).unwrap().mode() & 0o7777, 0o1777);
        assert_eq!(fs::read_link(to.join("fd")).unwrap(), Path::new("/proc/self/fd"));
        if rustix::process::geteuid().is_root() {
            let copied = fs::metadata(to.join("null")).unwrap();
            assert_eq!((copied.rdev(), copied.mode()), (null.rdev(), null.mode()));
        }
        fs::write(from.join("file"), "").unwrap();
        assert!(copy(&from, &dir.path().join("to")).is_err());
    }
}
