//! Where everything is: the guest's tree and a pod's directory on the host. No other module spells these paths, but for
//! [`isopod_contract::layout`], which has those that the agent knows too.
//!
//! ```text
//! guest                                        pod directory on the host (the working directory of its processes)
//! /mnt                     the pod's share     agent.sock        QEMU's end of the agent's port
//! /mnt/VOLUME              a volume            virtiofsd.sock    virtiofsd's socket
//! /mnt/@N                  one that came later      network.sock      the router's, where it is passt
//! /opt/stage2/APP/rootfs   an app's root       control.sock      the supervisor's, for commands
//! /isopod/agent            the agent           pod.cpio          the files that come to the VM
//! /isopod/arrival.json     what comes          images/N          root filesystem N, a link into the store
//! /isopod/modules/         kernel modules      share/            where the volumes are bound, in a namespace
//! /isopod/dev/             what is in /dev     disks/VOLUME      an empty volume on a disk of its own
//! /isopod/sys              what apps see       writable          what the apps write
//! /isopod/images/N         image N, mounted    logs/, console.log*   the apps' logs, what the guest's kernel said
//! /isopod/errors/UNIT      what mount(8) said  *.log, *.lock     what the processes said; locked while they live
//! /isopod/boot-times       of process 1        opened/*.log      the same, of a VM that had the pod opened
//!                                              pod.json          how the pod is run
//! /isopod/pids             shared processes    spec.json         what was asked for
//!                                              status.json       what has become of it
//! /isopod/volumes/VOLUME   an empty volume, or one of files
//! /isopod/disks/VOLUME     -> /dev/vdX, the disk of one that is kept on a disk of its own
//! /isopod/writable         the writable disk, with volumes/VOLUME, apps/APP/upper, apps/APP/work
//! /isopod/apps/APP/upper   what it wrote (overlayfs), and what the pod has in its root
//! /isopod/apps/APP/seed    the latter, where that is a layer of its own: one on the writable disk, or of many lives
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

pub use isopod_contract::layout::WRITABLE;
pub use isopod_contract::layout::{
    AGENT, APP_SYS, ARRIVAL, ERROR_DIR, LAUNCH_AGENT, LAUNCH_DIR, LAUNCH_FAILURE, LAUNCH_FILE, LAUNCH_PIDS,
    SHARE_DIR, SYSCTL_ERRORS, UNIT_DIR,
};
use isopod_contract::layout::{APPS, DISKS as DISK_LINKS, IMAGES, ROOTS, VOLUMES};
use isopod_spec::{AppName, VolumeName};

/// In an app's root: the directory of the files by which names are resolved.
pub(crate) const NAMES_DIR: &str = "/etc";

/// In that directory: the list of the mounts.
pub(crate) const MTAB: &str = "mtab";

/// Directories that every app's root has, made where its image has none: systemd mounts or expects them.
pub const ROOT_DIRECTORIES: [&str; 5] = ["/dev", "/proc", "/run", "/run/systemd/incoming", "/sys"];

/// Where Kubernetes lets a container say why it ended, in the app's own `/dev`.
pub const TERMINATION_LOG: &str = "termination-log";

/// The tag of the pod's one share, and the prefix of the tags of several.
pub const SHARE_TAG: &str = "isopod";

/// In the pod directory: the agent's socket.
pub const AGENT_SOCKET: &str = "agent.sock";
/// In the pod directory: virtiofsd's socket.
pub const VIRTIOFSD_SOCKET: &str = "virtiofsd.sock";
/// In the pod directory: what comes to the VM first, the pod.
pub const POD_FILES: &str = "pod.cpio";
/// In the pod directory: where the volumes are bound.
pub const HOST_SHARE_DIR: &str = "share";
/// In the pod directory: what the guest's kernel and systemd said.
pub const CONSOLE_LOG: &str = "console.log";
/// In the pod directory: what the VM's processes said when the pod was opened the last time, without its apps.
pub const OPENED_LOGS: &str = "opened";
/// In the pod directory: the supervisor's socket, for commands.
pub const CONTROL_SOCKET: &str = "control.sock";
/// In the pod directory: what QEMU said.
pub const QEMU_LOG: &str = "qemu.log";
/// In the pod directory: locked as long as QEMU lives.
pub const QEMU_LOCK: &str = "qemu.lock";
/// In the pod directory: what virtiofsd said.
pub const VIRTIOFSD_LOG: &str = "virtiofsd.log";
/// In the pod directory: locked as long as virtiofsd lives.
pub const VIRTIOFSD_LOCK: &str = "virtiofsd.lock";
/// In the pod directory: the socket of the pod's router, where that is a process of its own.
pub const NETWORK_SOCKET: &str = "network.sock";
/// In the pod directory: what passt said.
pub const PASST_LOG: &str = "passt.log";
/// In the pod directory: locked as long as passt lives.
pub const PASST_LOCK: &str = "passt.lock";
/// In the pod directory: what the supervisor of a pod in the background said.
pub const SUPERVISOR_LOG: &str = "supervisor.log";
/// In the pod directory: the apps' logs.
pub const LOGS: &str = "logs";
/// In the pod directory: how the pod is run.
pub const RECORD: &str = "pod.json";
/// In the pod directory: locked while the pod is opened and does not run.
pub const OPENED_LOCK: &str = "opened.lock";
/// In the pod directory: what was asked for.
pub const SPEC: &str = "spec.json";
/// In the pod directory: what was changed of its apps while it ran.
pub const UPDATES: &str = "updates.json";
/// In the pod directory: the networks that the pod is in, where it has joined or left one.
pub const MEMBERS: &str = "networks.json";
/// In the pod directory: that netavark has set up the pod, in the boot that is named there.
pub const INTERFACES_UP: &str = "networks.up";
/// In the pod directory: what has become of the pod.
pub const STATUS: &str = "status.json";

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
    Path::new(VOLUMES).join(volume.as_str())
}

/// An app's root filesystem in the guest.
#[must_use]
pub fn app_root(app: &AppName) -> PathBuf {
    Path::new(ROOTS).join(app.as_str()).join("rootfs")
}

/// An app's own directory in the guest, which the app does not see.
#[must_use]
pub fn app_dir(app: &AppName) -> PathBuf {
    Path::new(APPS).join(app.as_str())
}

/// An app's directory on the writable disk, likewise with `upper` and `work` in it.
#[must_use]
pub fn writable_app(app: &AppName) -> PathBuf {
    Path::new(WRITABLE_APPS).join(app.as_str())
}

/// The directory of an empty volume on the writable disk.
#[must_use]
pub fn writable_volume(volume: &VolumeName) -> PathBuf {
    Path::new(WRITABLE_VOLUMES).join(volume.as_str())
}

/// On the writable disk: where the apps' directories are.
pub const WRITABLE_APPS: &str = "/isopod/writable/apps";
/// On the writable disk: where the volumes are.
pub const WRITABLE_VOLUMES: &str = "/isopod/writable/volumes";

/// What the pod has in an app's root, where that is a layer of its own.
#[must_use]
pub fn app_seed(app: &AppName) -> PathBuf {
    app_dir(app).join("seed")
}

/// What an app's processes find, before they are its programs, at [`LAUNCH_DIR`].
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

/// The slice of a pod's apps, where they are in one of their own.
#[must_use]
pub fn pod_slice() -> PathBuf {
    Path::new(UNIT_DIR).join("pod.slice")
}

/// The target that starts the apps of the arrival of that number.
#[must_use]
pub fn arrival_unit(number: u32) -> String {
    format!("arrival-{number}.target")
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
    Path::new(IMAGES).join(index.to_string())
}

/// The guest's link to the disk of a volume. It is not below `/dev`: for a device systemd would wait for udev
/// (systemd.mount(5), "Implicit Dependencies"), and there is none.
#[must_use]
pub fn disk_link(volume: &VolumeName) -> PathBuf {
    Path::new(DISK_LINKS).join(volume.as_str())
}

/// The guest's device of image number `index`.
#[must_use]
pub fn image_device(index: usize) -> PathBuf {
    disk_device(index)
}

/// The guest's device of volume number `index` among those on disk, in a pod of so many images.
#[must_use]
pub fn volume_device(images: usize, index: usize) -> PathBuf {
    disk_device(images + index)
}

/// The guest's device of the writable disk, in a pod of so many images and volumes on disks of their own: the last one.
#[must_use]
pub fn writable_device(images: usize, volumes: usize) -> PathBuf {
    volume_device(images, volumes)
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

/// In the pod directory: where the links to images are.
pub const IMAGE_LINKS: &str = "images";
/// In the pod directory: the file that is the writable disk.
pub const WRITABLE_FILE: &str = "writable";
/// In the pod directory: where the files are that hold volumes.
pub const DISKS: &str = "disks";

/// In the pod directory: the link to image number `index`.
#[must_use]
pub fn host_image(index: usize) -> PathBuf {
    Path::new(IMAGE_LINKS).join(index.to_string())
}

/// In the pod directory: the file that holds an empty volume of medium `disk`.
#[must_use]
pub fn host_disk(volume: &VolumeName) -> PathBuf {
    Path::new(DISKS).join(volume.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_named_as_linux_names_them() {
        assert_eq!(image_device(0), Path::new("/dev/vda"));
        assert_eq!(volume_device(2, 1), Path::new("/dev/vdd"));
        let name = |i| disk_device(i).display().to_string();
        assert_eq!(
            [name(0), name(25), name(26), name(701), name(702)],
            ["/dev/vda", "/dev/vdz", "/dev/vdaa", "/dev/vdzz", "/dev/vdaaa"]
        );
    }
}
