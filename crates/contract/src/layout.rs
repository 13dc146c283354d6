//! The guest's paths, as far as host and guest must agree on them. `isopod_plan::layout` draws the guest's tree and has the
//! paths of each app, volume and image in it; the agent receives those.

/// The program that the kernel starts after the agent's first life.
pub const SYSTEMD: &str = "/usr/lib/systemd/systemd";
/// Where the guest looks for units: a search through the dozen directories of systemd's own path takes tens of
/// milliseconds.
pub const UNIT_DIR: &str = "/usr/lib/systemd/system";
/// Below this directory the host's volumes appear in the guest.
pub const SHARE_DIR: &str = "/mnt";
/// Below this directory each app has its root.
pub const ROOTS: &str = "/opt/stage2";

pub const AGENT: &str = "/isopod/agent";
/// In the files of an arrival: what comes ([`Arrival`](crate::config::Arrival)).
pub const ARRIVAL: &str = "/isopod/arrival.json";
/// The kernel's modules.
pub const MODULES: &str = "/isopod/modules";
/// In that directory: in which order those are loaded that every pod needs, and which others there are.
pub const MODULES_ORDER: &str = "order";
/// In that directory: by which names the kernel asks for a module.
pub const MODULES_ALIASES: &str = "aliases";
/// What an app's `/dev` is a copy of.
pub const DEV: &str = "/isopod/dev";
/// The `/sys` of the apps: as a container has it, which hides and keeps from being written what concerns the kernel and
/// not one app.
pub const APP_SYS: &str = "/isopod/sys";
/// Below this directory is, by unit, what its mount(8) wrote to standard error.
pub const ERROR_DIR: &str = "/isopod/errors";
/// Which of the pod's sysctls could not be set; it is not there where all could.
pub const SYSCTL_ERRORS: &str = "/isopod/errors/sysctls";
/// When the agent's first life began and ended, in milliseconds of uptime.
pub const BOOT_TIMES: &str = "/isopod/boot-times";
/// Below this directory each image is mounted, by its number.
pub const IMAGES: &str = "/isopod/images";
/// Below this directory are empty volumes and those of files.
pub const VOLUMES: &str = "/isopod/volumes";
/// Below this directory are links to the disks of volumes.
pub const DISKS: &str = "/isopod/disks";
/// Where the writable disk is mounted.
pub const WRITABLE: &str = "/isopod/writable";
/// Below this directory each app has what it does not see.
pub const APPS: &str = "/isopod/apps";

/// Where an app's processes find what they need to become its programs, until they are one.
pub const LAUNCH_DIR: &str = "/dev/.isopod";
/// In that directory: the agent's program.
pub const LAUNCH_AGENT: &str = "agent";
/// In that directory: the [`GuestLaunch`](crate::launch::GuestLaunch) as JSON.
pub const LAUNCH_FILE: &str = "launch.json";
/// In that directory: why the app's own program could not be executed, empty where it could.
pub const LAUNCH_FAILURE: &str = "failure";

/// In that directory, in an app that shares its processes with others: [`PIDS`].
pub const LAUNCH_PIDS: &str = "pids";

/// In that directory, in a VM that was restored: [`BOOT_ID`].
pub const LAUNCH_BOOT_ID: &str = "boot-id";

/// What apps see as the ID of the boot in a VM that was restored.
pub const BOOT_ID: &str = "/isopod/boot-id";

/// The processes that apps share, where they do: their namespace (pid_namespaces(7)).
pub const PIDS: &str = "/isopod/pids";

/// The kernel modules that a VM has before its pod comes: the way to the host, and what every pod needs. The others are
/// loaded when the pod comes, which says what it needs.
pub const VM_MODULES: [&str; 4] = ["virtio_pci", "virtio_console", "erofs", "overlay"];

/// The word on the kernel's command line by which a VM is one that is saved before its pod comes, and restored for many.
/// It has no device of a pod's yet.
pub const TEMPLATE: &str = "isopod.template";

/// What such a VM has besides, since it is loaded once for all of them. No module does anything without its device.
pub const TEMPLATE_MODULES: [&str; 7] = [
    "virtio_blk",
    "virtio_net",
    "virtiofs",
    "9pnet_virtio",
    "9p",
    "ext4",
    "virtio_balloon",
];
