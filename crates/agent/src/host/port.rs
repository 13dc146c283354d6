//! The guest's end of the virtio-serial port (drivers/char/virtio_console.c). Without udev there is no
//! `/dev/virtio-ports`, so the port is found by its name in sysfs.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use isopod_contract::PORT_NAME;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use tokio::time::{Instant, sleep};

use crate::device::Device;

/// Between two looks for a port, or for a host at its other end: short beside everything else in a boot.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// How long the port may take to appear: the driver was loaded before systemd, and names its ports within
/// milliseconds of that.
const FIND_DEADLINE: Duration = Duration::from_secs(20);

/// Why there is no port.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortError {
    #[error("no virtio-serial port is named `{PORT_NAME}`")]
    Missing,
    #[error("cannot open `{}`", .path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot wait for the host")]
    Wait(#[source] io::Error),
}

/// The open port. Its end, reading nothing, means that the host has closed its side.
pub(crate) type Port = Device;

/// Opens the agent's port and waits until the host has, too, however long that takes.
pub(crate) async fn open() -> Result<Port, PortError> {
    let started = Instant::now();
    let path = loop {
        if let Some(path) = find(Path::new("/sys/class/virtio-ports"), Path::new("/dev")) {
            break path;
        }
        if started.elapsed() > FIND_DEADLINE {
            return Err(PortError::Missing);
        }
        sleep(LOOK_INTERVAL).await;
    };
    let mut options = std::fs::OpenOptions::new();
    options
        .read(true)
        .write(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = options
        .open(&path)
        .map_err(|source| PortError::Open { path, source })?;
    // tokio remembers a hang-up for ever, so the file comes to tokio only once the host is there.
    while !host_is_there(&file).map_err(PortError::Wait)? {
        sleep(LOOK_INTERVAL).await;
    }
    Device::new(file).map_err(PortError::Wait)
}

/// The device of the port named [`PORT_NAME`], once it is there: `/dev/vport0p1`.
fn find(class: &Path, dev: &Path) -> Option<PathBuf> {
    let ports = std::fs::read_dir(class).ok()?;
    let named = ports.filter_map(Result::ok).find(|port| {
        std::fs::read_to_string(port.path().join("name")).is_ok_and(|name| name.trim_end() == PORT_NAME)
    });
    Some(dev.join(named?.file_name())).filter(|device| device.exists())
}

fn host_is_there(file: &File) -> io::Result<bool> {
    let mut fds = [PollFd::new(file, PollFlags::OUT)];
    poll(
        &mut fds,
        Some(&Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        }),
    )?;
    Ok(!fds[0].revents().contains(PollFlags::HUP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_port_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let (class, dev) = (dir.path().join("class"), dir.path().join("dev"));
        std::fs::create_dir_all(&dev).unwrap();
        for (port, name) in [
            ("vport0p0", ""),
            ("vport0p1", "org.qemu.guest_agent.0\n"),
            ("vport1p2", "isopod.agent.0\n"),
        ] {
            std::fs::create_dir_all(class.join(port)).unwrap();
            std::fs::write(class.join(port).join("name"), name).unwrap();
        }
        assert_eq!(find(&class, &dev), None, "its device is not there yet");
        std::fs::write(dev.join("vport1p2"), "").unwrap();
        assert_eq!(find(&class, &dev), Some(dev.join("vport1p2")));
        assert_eq!(find(dir.path(), &dev), None);
    }
}
