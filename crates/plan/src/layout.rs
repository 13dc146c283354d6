//! Where everything is: the guest's tree and a pod's directory on the host. No other module spells these paths.
//!
//! ```text
//! guest                                        pod directory on the host (the working directory of its processes)
//! /mnt                     the pod's share     agent.sock        QEMU's end of the agent's port
//! /mnt/VOLUME              a volume            virtiofsd.sock    virtiofsd's socket
//! /mnt/@N                  one that came later
//! /opt/stage2/APP/rootfs   an app's root       pod.cpio          the pod's part of the guest's tree
//! /isopod/agent            the agent           images/N          root filesystem N, a link into the store
//! /isopod/pod.json         its configuration   share/            where the volumes are bound, in a namespace
//! /isopod/modules/         kernel modules      disks/VOLUME      an empty volume that is kept on disk
//! /isopod/dev/             what is in /dev     console.log*      what the guest's kernel said
//! /isopod/proc, sys        what apps see
//! /isopod/images/N         image N, mounted    *.log             what the processes said
//! /isopod/errors/UNIT      what mount(8) said
//! /isopod/volumes/VOLUME   an empty volume, or one of files
//! /isopod/disks/VOLUME     -> /dev/vdX, the disk of one that is kept on disk
//! /isopod/apps/APP/upper   what it wrote (overlayfs)
//! /isopod/apps/APP/work    overlayfs's own
//! /isopod/apps/APP/launch/ what it executes, for the agent
//! /isopod/apps/APP/failure why that could not be done
//! /isopod/apps/APP/dev     its /dev
//! /isopod/apps/APP/sys     its /sys, where a volume is mounted in it
//! /isopod/apps/APP/last-words   what it says of its end, where its /dev has not that file
//! /isopod/apps/APP/std*    its named pipes
//! /usr/lib/systemd/system  units
//! ```
//!
//! `/mnt/VOLUME` and `/opt/stage2/APP/rootfs` are rkt's names.

use std::path::{Path, PathBuf};

use isopod_spec::{AppName, VolumeName};

/// Where the guest looks for units.
pub const UNIT_DIR: &str = "/usr/lib/systemd/system";
/// Below this directory the host's volumes appear in the guest.
pub const SHARE_DIR: &str = "/mnt";
/// The agent.
pub const AGENT: &str = "/isopod/agent";
/// Below this directory is, by unit, what its mount(8) wrote to standard error.
pub const ERROR_DIR: &str = "/isopod/errors";
/// Which of the pod's sysctls could not be set; it is not there where all could.
pub const SYSCTL_ERRORS: &str = "/isopod/errors/sysctls";
/// The agent's configuration.
pub const POD_CONFIG: &str = "/isopod/pod.json";

/// Where Kubernetes lets a container say why it ended, in the app's own `/dev`.
pub const TERMINATION_LOG: &str = "termination-log";

/// The tag of the pod's one share, and the prefix of the tags of several.
pub const SHARE_TAG: &str = "isopod";
/// The name of the agent's virtio-serial port.
pub const AGENT_PORT: &str = "isopod.agent.0";

/// In the pod directory: the agent's socket.
pub const AGENT_SOCKET: &str = "agent.sock";
/// In the pod directory: virtiofsd's socket.
pub const VIRTIOFSD_SOCKET: &str = "virtiofsd.sock";
/// In the pod directory: the pod's part of the guest's tree, as the agent unpacks it over the guest image.
pub const POD_FILES: &str = "pod.cpio";
/// In the pod directory: where the volumes are bound.
pub const HOST_SHARE_DIR: &str = "share";
/// In the pod directory: what the guest's kernel and systemd said.
pub const CONSOLE_LOG: &str = "console.log";

/// The guest's view of a volume's root.
#[must_use]
pub fn shared_volume(volume: &VolumeName) -> PathBuf {
    Path::new(SHARE_DIR).join(volume.as_str())
}

/// The name, below the share, of the volume that was attached as the `serial`th while the pod ran. No volume can be
/// named so.
#[must_use]
pub fn attached_name(serial: u32) -> String {
    format!("@{serial}")
}

/// The guest's view of the root of such a volume.
#[must_use]
pub fn attached_volume(serial: u32) -> PathBuf {
    Path::new(SHARE_DIR).join(attached_name(serial))
}

/// The directory of an empty volume in the guest, or of one of files.
#[must_use]
pub fn empty_volume(volume: &VolumeName) -> PathBuf {
    Path::new("/isopod/volumes").join(volume.as_str())
}

/// An app's root filesystem in the guest.
#[must_use]
pub fn app_root(app: &AppName) -> PathBuf {
    Path::new("/opt/stage2").join(app.as_str()).join("rootfs")
}

/// An app's own directory in the guest, which the app does not see.
#[must_use]
pub fn app_dir(app: &AppName) -> PathBuf {
    Path::new("/isopod/apps").join(app.as_str())
}

/// What an app's processes find, before they are its programs, at [`DIRECTORY`](isopod_protocol::launch::DIRECTORY).
#[must_use]
pub fn app_launch(app: &AppName) -> PathBuf {
    app_dir(app).join("launch")
}

/// Where they write why the app's program could not be executed.
#[must_use]
pub fn app_failure(app: &AppName) -> PathBuf {
    app_dir(app).join("failure")
}

/// What an app sees as `/dev`.
#[must_use]
pub fn app_dev(app: &AppName) -> PathBuf {
    app_dir(app).join("dev")
}

/// What an app sees as `/sys`, where a volume is mounted in it.
#[must_use]
pub fn app_sys(app: &AppName) -> PathBuf {
    app_dir(app).join("sys")
}

/// Where something is mounted in the guest that is to be at `place` of an app: in its root, or where what the app sees
/// there is prepared.
#[must_use]
pub fn app_place(app: &AppName, place: &Path) -> PathBuf {
    match (place.strip_prefix("/dev"), place.strip_prefix("/sys")) {
        (Ok(inner), _) => crate::path::below(&app_dev(app), inner),
        (_, Ok(inner)) => crate::path::below(&app_sys(app), inner),
        _ => crate::path::below(&app_root(app), place),
    }
}

/// The file in which an app says why it ended, in the guest.
#[must_use]
pub fn app_last_words(app: &AppName) -> PathBuf {
    app_dir(app).join("last-words")
}

/// The socket on which an app says that it is ready, in the guest.
#[must_use]
pub fn app_notify_socket(app: &AppName) -> PathBuf {
    app_dir(app).join("notify")
}

/// Where the app finds that socket: where systemd's own is (sd_notify(3)).
pub const NOTIFY_SOCKET: &str = "/run/systemd/notify";

/// Where the guest mounts image number `index`.
#[must_use]
pub fn image_mount(index: usize) -> PathBuf {
    Path::new("/isopod/images").join(index.to_string())
}

/// The guest's link to the disk of a volume. It is not below `/dev`: for a device systemd would wait for udev
/// (systemd.mount(5), "Implicit Dependencies"), and there is none.
#[must_use]
pub fn disk_link(volume: &VolumeName) -> PathBuf {
    Path::new("/isopod/disks").join(volume.as_str())
}

/// The guest's device of image number `index`. The first disk has the pod's files ([`POD_DISK`](isopod_protocol::config::POD_DISK)).
#[must_use]
pub fn image_device(index: usize) -> PathBuf {
    disk_device(1 + index)
}

/// The guest's device of volume number `index` among those on disk, in a pod of so many images.
#[must_use]
pub fn volume_device(images: usize, index: usize) -> PathBuf {
    disk_device(1 + images + index)
}

/// The guest's device of disk number `index`: `/dev/vda` to `/dev/vdz`, then `/dev/vdaa`.
fn disk_device(index: usize) -> PathBuf {
    let mut name = Vec::new();
    let mut rest = index + 1;
    while rest > 0 {
        rest -= 1;
        name.push(b'a' + u8::try_from(rest % 26).unwrap_or(0));
        rest /= 26;
    }
    name.reverse();
    PathBuf::from(format!("/dev/vd{}", String::from_utf8_lossy(&name)))
}

/// In the pod directory: the link to image number `index`.
#[must_use]
pub fn host_image(index: usize) -> PathBuf {
    Path::new("images").join(index.to_string())
}

/// In the pod directory: the file that holds an empty volume of medium `disk`.
#[must_use]
pub fn host_disk(volume: &VolumeName) -> PathBuf {
    Path::new("disks").join(volume.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_named_as_linux_names_them() {
        assert_eq!(disk_device(0), Path::new(isopod_protocol::config::POD_DISK));
        assert_eq!(image_device(0), Path::new("/dev/vdb"));
        assert_eq!(volume_device(2, 1), Path::new("/dev/vde"));
        let name = |i| disk_device(i).display().to_string();
        assert_eq!(
            [name(0), name(25), name(26), name(701), name(702)],
            ["/dev/vda", "/dev/vdz", "/dev/vdaa", "/dev/vdzz", "/dev/vdaaa"]
        );
    }
}
