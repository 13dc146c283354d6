//! What an app's unit says of the kernel that it meets: its `/dev`, `/proc` and `/sys`, and the devices that it may open.
//!
//! Which files of `/proc` and `/sys` an app finds, and which it can write, is not said here: the agent mounts both as a
//! container has them, `/sys` once for all apps.

use std::path::PathBuf;

use isopod_spec::{AppName, Device};

use crate::apps::AppPlan;
use crate::layout::{self, APP_SYS};

/// The devices that an app may open, by the guest's names, and what it may do with them: read, write, make a node. They
/// are docker's (moby, `oci/defaults.go`) but for nodes of other devices, which nobody can make, as with rkt. A node of
/// the console can be made, as programs that install a system do, but not opened: it is the VM's.
const DEVICES: [&str; 9] = [
    "/dev/null rwm",
    "/dev/zero rwm",
    "/dev/full rwm",
    "/dev/random rwm",
    "/dev/urandom rwm",
    "/dev/tty rwm",
    "/dev/console m",
    "/dev/ptmx rw",
    "char-pts rw",
];

/// What an app sees of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct World {
    /// Whether it sees all that the guest has.
    pub privileged: bool,
    /// The devices that it has besides.
    pub devices: Vec<Device>,
    /// Where its `/sys` is from.
    pub sys: Sys,
}

/// Where an app's `/sys` is from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sys {
    /// It is that of all apps.
    #[default]
    Pod,
    /// A volume is mounted at it or in it.
    Own,
}

impl World {
    /// What `app` sees.
    pub(crate) fn of(app: &AppPlan) -> Self {
        let in_sys = app.mounts.iter().any(|mount| mount.place.starts_with("/sys"));
        Self {
            privileged: app.process.privileged,
            devices: app.process.devices.clone(),
            sys: if in_sys { Sys::Own } else { Sys::Pod },
        }
    }

    /// The settings of the unit of `app`.
    pub(crate) fn settings(&self, app: &AppName) -> Vec<(&'static str, String)> {
        let sys: PathBuf = match self.sys {
            Sys::Own => layout::app_sys(app),
            Sys::Pod if self.privileged => "/sys".into(),
            Sys::Pod => APP_SYS.into(),
        };
        let dev = layout::app_dev(app);
        let binds = format!("{}:/dev {}:/sys", dev.display(), sys.display());
        let mut settings = vec![
            // In the app's namespace, without a mount(8) each. MountAPIVFS= would hide the image's /run.
            ("MountAPIVFS", "no".into()),
            ("BindPaths", binds),
        ];
        if self.privileged {
            return settings;
        }
        settings.push(("DevicePolicy", "strict".into()));
        settings.extend(DEVICES.map(|device| ("DeviceAllow", device.to_owned())));
        settings.extend(self.devices.iter().map(|device| {
            // By its numbers: the guest has no node before the module is loaded.
            let (major, minor) = device.number();
            ("DeviceAllow", format!("/dev/char/{major}:{minor} rwm"))
        }));
        settings
    }
}
