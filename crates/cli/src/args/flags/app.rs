//! Flags that say what an app is to its pod.

use std::path::PathBuf;

use isopod_spec::flags::{self, VolumeFlag, VolumesFrom};
use isopod_spec::{AppName, Dependency, OnUnhealthy, Overrides, Readiness, RestartPolicy, RootfsAccess};

use super::{Flag, keep, push};

/// What the flags of an app say.
#[derive(Clone, Debug, Default)]
pub(in crate::args) struct AppDraft {
    pub(in crate::args) name: Option<AppName>,
    pub(in crate::args) overrides: Overrides,
    /// The first arguments, where `--entrypoint` is a list.
    pub(in crate::args) entrypoint_args: Vec<String>,
    /// `--group`, beside the group of `--user`.
    pub(in crate::args) group: Option<String>,
    pub(in crate::args) rootfs: RootfsAccess,
    /// Whether a directory stands where an image would.
    pub(in crate::args) of_directory: bool,
    pub(in crate::args) restart: RestartPolicy,
    pub(in crate::args) readiness: Readiness,
    pub(in crate::args) depends_on: Vec<Dependency>,
    pub(in crate::args) on_unhealthy: OnUnhealthy,
    pub(in crate::args) no_health_check: bool,
    pub(in crate::args) env_files: Vec<PathBuf>,
    /// `--volume`, `--mount` and `--tmpfs`, in order.
    pub(in crate::args) mounts: Vec<VolumeFlag>,
    pub(in crate::args) volumes_from: Vec<VolumesFrom>,
    /// Whether a volume could not be read, which may be the one that is missing elsewhere.
    pub(in crate::args) has_unread_volume: bool,
}

pub(super) const FLAGS: &[Flag] = &[
    Flag::app(
        "app-name",
        "NAME",
        "The app's name [default: from the image's]",
        |app, text| keep(&mut app.name, flags::read_app_name(text)),
    ),
    Flag::app_switch(
        "rootfs",
        "IMAGE is a host directory, which becomes the app's root and which the app writes to; with DIR:O it stays unchanged, and \
         the pod keeps what the app writes",
        |app, on| app.of_directory = on,
    ),
    Flag::app(
        "restart",
        "POLICY",
        "Restart the app when it has ended: no, on-failure[:N], always or unless-stopped, after 100 ms, then twice as \
         long each time up to 5 minutes [default: no]",
        |app, text| {
            app.restart = flags::read_restart(text)?;
            Ok(())
        },
    ),
    Flag::app_switch(
        "notify",
        "The app reports when it is ready, by sd_notify(3); without this flag it is ready as soon as it has started",
        |app, on| {
            app.readiness = match on {
                true => Readiness::Notify,
                false => Readiness::Started,
            };
        },
    ),
    Flag::app(
        "depends-on",
        "APP[=CONDITION]",
        "Start the app when another has started (APP or APP=started), has ended with status 0 (APP=succeeded) or is \
         healthy (APP=healthy); they stop in the reverse order",
        |app, text| push(&mut app.depends_on, flags::read_depends_on(text)),
    ),
    Flag::app(
        "stop-signal",
        "SIGNAL",
        "The signal that asks the app to stop [default: the image's, or TERM]",
        |app, text| keep(&mut app.overrides.stop_signal, flags::read_stop_signal(text)),
    ),
];
