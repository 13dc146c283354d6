//! Flags that say what an app is to its pod.

use std::ffi::OsStr;
use std::path::PathBuf;

use isopod_spec::flags::{self, VolumeFlag, VolumesFrom};
use isopod_spec::{AppName, Dependency, OnUnhealthy, Overrides, Readiness, RestartPolicy, RootfsAccess};

use isopod_spec::words::shown;

use super::{Flag, keep, push};
use crate::args::ArgFault;

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
    /// `--cpu-quota`, in microseconds, and `--cpu-period`.
    pub(in crate::args) cpu_quota_micros: Option<u64>,
    pub(in crate::args) cpu_period_micros: Option<u64>,
    /// `--memory-swap`: memory and swap space together, in bytes.
    pub(in crate::args) memory_and_swap_bytes: Option<u64>,
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
    Flag::app(
        "cpu-quota",
        "MICROSECONDS",
        "Give the app so much CPU time in each `--cpu-period`; -1 is no limit",
        |app, text| keep(&mut app.cpu_quota_micros, flags::read_cpu_quota(text)),
    ),
    Flag::app(
        "cpu-period",
        "MICROSECONDS",
        "The period of `--cpu-quota` [default: 100000]",
        |app, text| keep(&mut app.cpu_period_micros, flags::read_cpu_period(text)),
    ),
    Flag::app(
        "memory-swap",
        "SIZE",
        "Memory and swap space together: as much as `--memory`, or -1, since the guest has no swap space",
        |app, text| match text.to_str() {
            Some("-1") => Ok(()),
            _ => keep(
                &mut app.memory_and_swap_bytes,
                flags::read_memory_bytes("--memory-swap", text),
            ),
        },
    ),
    // What a pod is by itself.
    Flag::app(
        "ipc",
        "MODE",
        "private or shareable: the app shares memory with the apps of its pod alone",
        |_, text| only("--ipc", text, &["private", "shareable"], OTHER_POD),
    ),
    Flag::app(
        "cgroupns",
        "MODE",
        "private alone: a pod has a kernel of its own",
        |_, text| only("--cgroupns", text, &["private"], OWN_KERNEL),
    ),
    Flag::app(
        "volume-driver",
        "DRIVER",
        "local alone: a named volume is a directory of the host",
        |_, text| only("--volume-driver", text, &["local"], ON_THE_HOST),
    ),
];

const OTHER_POD: &str =
    "an app shares what it has with the apps of its own pod: put both into one, with `---` between them";
const OWN_KERNEL: &str = "a pod has a kernel of its own, and nothing of the host to share: leave it out";
const ON_THE_HOST: &str = "mount the volume on the host, and share it: `-v SOURCE:TARGET`";

/// Takes one of the words that ask for what every app is.
fn only(flag: &str, text: &OsStr, words: &[&str], hint: &'static str) -> Result<(), ArgFault> {
    match text.to_str().is_some_and(|word| words.contains(&word)) {
        true => Ok(()),
        false => Err(ArgFault::Refused {
            flag: format!("{flag}={}", shown(text)),
            hint,
        }),
    }
}

impl AppDraft {
    /// Makes a limit of the CPU of quota and period, and looks whether the swap space that is asked for can be had.
    pub(in crate::args) fn settle_limits(&mut self) -> Result<(), ArgFault> {
        let resources = &mut self.overrides.resources;
        if let Some(quota) = self.cpu_quota_micros.filter(|quota| *quota > 0) {
            if resources.cpu_limit_millis.is_some() {
                return Err(ArgFault::CpusAndQuota);
            }
            resources.limit_cpu(quota, self.cpu_period_micros);
        }
        match self.memory_and_swap_bytes {
            Some(both) if resources.asks_for_swap(both) => Err(ArgFault::Refused {
                flag: "--memory-swap".to_owned(),
                hint: "the guest has no swap space: write as much as `--memory`, or leave it out",
            }),
            _ => Ok(()),
        }
    }
}
