//! The guest's paths, as far as host and guest must agree on them. `isopod_plan::layout` draws the guest's tree and has the
//! paths of each app, volume and image in it; the agent is told those.

/// The program that the kernel starts after the agent's first life.
pub const SYSTEMD: &str = "/usr/lib/systemd/systemd";
/// Where the guest looks for units: a search through the dozen directories of systemd's own path takes tens of
/// milliseconds.
pub const UNIT_DIR: &str = "/usr/lib/systemd/system";
/// Below this directory the host's volumes appear in the guest.
pub const SHARE_DIR: &str = "/mnt";
/// Below this directory each app has its root.
pub const ROOTS: &str = "/opt/stage2";

/// The agent.
pub const AGENT: &str = "/isopod/agent";
/// The agent's configuration.
pub const POD_CONFIG: &str = "/isopod/pod.json";
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
/// Why the network could not be set up; it is not there where it could.
pub const NETWORK_FAILURE: &str = "/isopod/network-failure";
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

/// In that directory, in a pod whose apps share their processes: their namespace (pid_namespaces(7)).
pub const LAUNCH_PIDS: &str = "pids";

/// The disk that is the guest overlay: a cpio archive, with no file system around it, which the agent unpacks before
/// anything else.
pub const OVERLAY_DISK: &str = "/dev/vda";
/// The kernel modules without which there is no [`OVERLAY_DISK`].
pub const OVERLAY_DISK_MODULES: [&str; 2] = ["virtio_pci", "virtio_blk"];
