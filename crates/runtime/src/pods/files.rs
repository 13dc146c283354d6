//! The files of a pod's directory that outlive a process: versioned JSON, written beside and renamed into place.
//!
//! ```text
//! pod.json      PodRecord  what was prepared; written once
//! spec.json     Asked      what was asked for; written once, where JSON can hold it
//! status.json   Status     what became of it; written by the supervisor at every change
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use isopod_contract::config::GuestNetwork;
use isopod_contract::in_one_line;
use isopod_plan::vm::qemu::Mapping;
use isopod_spec::{
    AppName, AppRole, FailurePolicy, PodName, PodSpec, PortForward, RestartPolicy, RootfsAccess, Vm,
};
use isopod_vm::netns;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::arrived::ArrivedRecord;
use super::os_text::OsText;
use super::state::Phase;
use super::volumes::{AttachedRecord, MountRecord, OwnerRecord, ShareRecord, VolumeRecord};
use crate::networks::NetworksRecord;
use crate::process::Process;

/// The version of [`PodRecord`], [`Asked`] and [`Status`] that this build writes, and the only one it reads.
pub const VERSION: u32 = 1;

/// Records and statuses are smaller than this.
const MAX_BYTES: u64 = 64 << 20;

/// What was prepared: all that starting the pod needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PodRecord {
    /// [`VERSION`].
    pub version: u32,
    /// The pod's UUID.
    pub uuid: String,
    /// Its name, where it has one.
    pub name: Option<PodName>,
    /// When it was prepared, in milliseconds since 1970.
    pub created_ms: u64,
    /// What becomes of its directory when it has ended.
    pub keep: Keep,
    /// What its app reads in the background.
    pub stdin: Stdin,
    /// The key of the guest image that it boots.
    pub guest: String,
    /// The host's ports that lead into it.
    pub ports: Vec<PortForward>,
    /// What one app's failure means for the others.
    pub on_failure: FailurePolicy,
    /// The guest's host name.
    pub hostname: String,
    /// What the guest has of its network, and the name servers that are the host's; `None`: the loopback interface alone.
    pub network: Option<(GuestNetwork, Vec<IpAddr>)>,
    /// Whether it goes on when its last app has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// Whether it has a disk that takes what its apps write.
    pub writable: bool,
    /// Whether its apps are in a slice of their own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub slice: bool,
    /// How its host volumes reach the guest.
    pub share: ShareRecord,
    /// Whose files those of its host volumes are in the guest.
    pub owner: OwnerRecord,
    /// Its volumes, as far as an app mounts them or its images want them.
    pub volumes: Vec<VolumeRecord>,
    /// The IDs of its images, apps' and volumes', by their numbers.
    pub images: Vec<String>,
    /// systemd's version in the guest.
    pub systemd_version: u32,
    /// The apps, in the order of declaration.
    pub apps: Vec<AppRecord>,
    /// The launcher that becomes QEMU ([`isopod_vm::launcher::Launcher`]'s arguments, the parent left out).
    pub qemu: Vec<OsText>,
    /// The template that its VM may be restored from; `None`: it boots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateRecord>,
    /// The launcher that becomes virtiofsd.
    pub virtiofsd: Option<Vec<OsText>>,
    /// The network namespace that the VM takes over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<NetnsRecord>,
    /// What it has of networks with names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networks: Option<NetworksRecord>,
    /// The launcher that becomes passt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passt: Option<Vec<OsText>>,
    /// How long the apps have to stop.
    pub stop_timeout_ms: u64,
    /// How long the pod may run; `None`: as long as it likes.
    pub deadline_ms: Option<u64>,
    /// How long the guest may take to come up.
    pub boot_timeout_ms: u64,
    /// How long the guest may be silent before it is killed; `None`: that is only told.
    pub silent_kill_ms: Option<u64>,
}

/// A network namespace that a VM takes over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NetnsRecord {
    /// The namespace.
    pub path: PathBuf,
    /// What was in it when the pod was prepared, and the guest has.
    pub network: GuestNetwork,
}

impl NetnsRecord {
    /// Takes away what is left of the VM in it, which has ended.
    pub(crate) fn release(&self) {
        let interfaces = self.network.interfaces.iter();
        let released = netns::release(&self.path, interfaces.map(|interface| &*interface.name));
        if let Err(error) = released {
            tracing::warn!(
                "cannot clean up the network namespace `{}`: {}",
                self.path.display(),
                in_one_line(&error)
            );
        }
    }
}

/// A VM that is restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TemplateRecord {
    /// The template's key.
    pub key: String,
    /// Its VM: memory, CPUs and accelerator, and whether it is made where it is not there before the pod starts.
    pub vm: Vm,
    /// The launcher that becomes QEMU, in place of the one that boots.
    pub qemu: Vec<OsText>,
    /// Whether another process has the VM's memory too.
    pub shares_memory: bool,
    /// The devices that QEMU gets before the guest goes on: the arguments of QMP's `device_add`.
    pub added: Vec<serde_json::Value>,
}

impl TemplateRecord {
    /// How the VM has its memory.
    pub(crate) fn mapping(&self) -> Mapping {
        match self.shares_memory {
            true => Mapping::Shared,
            false => Mapping::Private,
        }
    }
}

/// What was asked for, before images and the host had their say. Starting the pod does not need it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Asked {
    /// [`VERSION`].
    pub version: u32,
    /// The pod.
    pub spec: PodSpec,
}

impl Asked {
    /// Whether it can be written: JSON has no paths but UTF-8.
    pub(crate) fn is_text(&self) -> bool {
        serde_json::to_writer(io::sink(), self).is_ok()
    }
}

/// What becomes of a pod's directory when the pod has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// It stays until somebody removes it.
    UntilRemoved,
    /// It is removed (`--rm`, and every pod that ran in the foreground).
    UntilEnded,
}

/// What the app of a pod in the background reads as its standard input. In the foreground it is the caller's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stdin {
    /// Nothing: it has ended when the app begins.
    #[default]
    Empty,
    /// What those who attach to the pod write, one after the other, without an end (docker's `-i`).
    Attached,
}

/// What an app's root is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum RootRecord {
    Image {
        id: String,
        /// The number of its file.
        number: usize,
    },
    /// A directory of the host.
    Directory {
        /// Its path, links followed.
        path: OsText,
        /// Which directory it was: device and inode.
        id: (u64, u64),
        /// Whether what the app writes changes it.
        written: bool,
    },
}

impl RootRecord {
    /// The image's ID, where it is one.
    #[must_use]
    pub fn image_id(&self) -> Option<&str> {
        match self {
            Self::Image { id, .. } => Some(id),
            Self::Directory { .. } => None,
        }
    }

    /// The number of the image's file, where it is one.
    #[must_use]
    pub fn image_number(&self) -> Option<usize> {
        match self {
            Self::Image { number, .. } => Some(*number),
            Self::Directory { .. } => None,
        }
    }

    /// The directory, where it is one.
    #[must_use]
    pub fn directory(&self) -> Option<PathBuf> {
        match self {
            Self::Image { .. } => None,
            Self::Directory { path, .. } => Some(std::ffi::OsString::from(path.clone()).into()),
        }
    }
}

/// An app of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AppRecord {
    pub name: AppName,
    /// What its root is.
    pub root: RootRecord,
    /// Whether its standard streams are a terminal of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tty: bool,
    /// Whether it came while the pod runs, and has a standard input; of the others the pod says it ([`PodRecord::stdin`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stdin: bool,
    /// Whether it may write to its root filesystem.
    pub rootfs: RootfsAccess,
    /// The user that it runs as.
    pub uid: u32,
    /// The program.
    pub executable: String,
    /// Its arguments, the program's name first.
    pub argv: Vec<String>,
    /// What happens when it has ended.
    pub restart: RestartPolicy,
    /// Whether it is told when it is ready, which otherwise it is as soon as it has started.
    pub reports_readiness: bool,
    /// Whether it has probes or a health check.
    pub probed: bool,
    /// Whether the pod lives as long as it does.
    pub role: AppRole,
    /// Whether the end of its log is its last words where it failed and left none.
    #[serde(default)]
    pub words_from_log: bool,
    /// Its volumes.
    pub mounts: Vec<MountRecord>,
    /// Whether it came while the pod runs and has gone again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
}

/// What became of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Status {
    /// [`VERSION`].
    pub version: u32,
    /// How far it is.
    pub phase: Phase,
    /// The host's boot that it runs in (random(4), `boot_id`).
    pub boot_id: String,
    /// When this was written, in milliseconds since that boot (time_namespaces(7), `CLOCK_BOOTTIME`): the clock that
    /// nobody sets.
    pub boot_ms: u64,
    /// When its start was asked for, in milliseconds since 1970.
    pub started_ms: u64,
    /// When every app had been ready.
    pub ready_ms: Option<u64>,
    /// When it had ended.
    pub ended_ms: Option<u64>,
    /// The apps, in the order of declaration.
    pub apps: Vec<AppStatus>,
    /// The volumes that were attached while it runs.
    pub attached: Vec<AttachedRecord>,
    /// The apps that came while it runs, those that have gone again included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arrived: Vec<ArrivedRecord>,
    /// How often volumes came or went, or were to.
    pub volume_changes: u32,
    /// The process that supervises it.
    pub supervisor: Option<Process>,
    /// Since when its guest has not been heard, in milliseconds since the host's boot; `None`: it is heard.
    pub silent_since_ms: Option<u64>,
    /// The pod's exit status, once it has ended.
    pub exit_status: Option<u8>,
    /// Why it ended, in words.
    pub reason: Option<String>,
}

/// What became of an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AppStatus {
    pub name: AppName,
    /// Where it is.
    pub state: AppState,
    /// The exit status as a shell shows it, once it has ended.
    pub exit_status: Option<u8>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether its processes are held.
    #[serde(default)]
    pub paused: bool,
    /// How often it was restarted.
    pub restarts: u32,
    /// When its program was started last, in milliseconds since 1970.
    pub started_ms: Option<u64>,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// Why it did not start, or what ended it that was not its own doing.
    pub error: Option<String>,
    /// What its probes find while it runs; `None`: it has none, or does not run.
    pub health: Option<HealthState>,
    /// What the probe last said to which that is due.
    pub health_text: Option<String>,
    /// Why its last life was ended by Isopod itself, where one was.
    pub ended_because: Option<String>,
    /// What it left to be known of the end of its last life. It may hold anything.
    #[serde(default)]
    pub last_words: Option<String>,
}

/// What an app's probes find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthState {
    /// Nothing yet.
    Starting,
    /// All is well.
    Healthy,
    /// One of them has failed.
    Unhealthy,
}

impl HealthState {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            HealthState::Starting => "starting",
            HealthState::Healthy => "healthy",
            HealthState::Unhealthy => "unhealthy",
        }
    }
}

/// Where an app is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AppState {
    /// It has not started yet.
    Waiting,
    /// It runs.
    Running,
    /// It has ended, and will be restarted.
    Restarting,
    /// It has ended.
    Exited,
    /// It never ran.
    Failed,
}

impl AppState {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            AppState::Waiting => "waiting",
            AppState::Running => "running",
            AppState::Restarting => "restarting",
            AppState::Exited => "exited",
            AppState::Failed => "failed",
        }
    }
}

impl AppStatus {
    /// The status of an app that has not started yet.
    pub(crate) fn waiting(name: AppName) -> Self {
        Self {
            name,
            state: AppState::Waiting,
            exit_status: None,
            signal: None,
            ready: false,
            paused: false,
            restarts: 0,
            started_ms: None,
            ended_ms: None,
            error: None,
            health: None,
            health_text: None,
            ended_because: None,
            last_words: None,
        }
    }
}

impl Status {
    /// The status of a pod of these apps whose start was just asked for.
    #[must_use]
    pub fn starting(apps: impl Iterator<Item = AppName>) -> Self {
        Self {
            version: VERSION,
            phase: Phase::Starting,
            boot_id: boot_id(),
            boot_ms: boot_ms(),
            started_ms: now_ms(),
            ready_ms: None,
            ended_ms: None,
            apps: apps.map(AppStatus::waiting).collect(),
            attached: Vec::new(),
            arrived: Vec::new(),
            volume_changes: 0,
            supervisor: Process::current(),
            silent_since_ms: None,
            exit_status: None,
            reason: None,
        }
    }

    /// How long ago this was written, which is the pod's end for one that has ended. Within one boot the time of day
    /// may be set as it likes; a pod of an earlier boot has ended before this one began.
    #[must_use]
    pub fn age(&self, now: &Now) -> Duration {
        if self.boot_id == now.boot_id {
            return Duration::from_millis(now.boot_ms.saturating_sub(self.boot_ms));
        }
        let ended = self.ended_ms.unwrap_or(self.started_ms);
        Duration::from_millis(now.wall_ms.saturating_sub(ended).max(now.boot_ms))
    }

    /// Why a pod with this status does not run any more: its own reason, or what must have happened.
    #[must_use]
    pub fn exit_reason(&self) -> String {
        match &self.reason {
            Some(reason) => reason.clone(),
            None if self.boot_id != boot_id() => "the host was restarted while it ran".into(),
            None => "its supervisor was killed".into(),
        }
    }
}

/// The host's clocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Now {
    /// The host's boot.
    pub boot_id: String,
    /// Milliseconds since that boot.
    pub boot_ms: u64,
    /// Milliseconds since 1970.
    pub wall_ms: u64,
}

impl Now {
    /// What they say now.
    #[must_use]
    pub fn read() -> Self {
        Self {
            boot_id: boot_id(),
            boot_ms: boot_ms(),
            wall_ms: now_ms(),
        }
    }
}

/// The host's boot; empty where the kernel does not tell.
pub(crate) fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// Milliseconds since the host's boot, sleep included.
pub(crate) fn boot_ms() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let millis = i128::from(time.tv_sec) * 1000 + i128::from(time.tv_nsec) / 1_000_000;
    u64::try_from(millis).unwrap_or_default()
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or(Duration::ZERO).as_millis()).unwrap_or(u64::MAX)
}

/// Whether a file must be there after the host lost its power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// It must.
    Durable,
    /// The pod would be removed then anyway.
    Fleeting,
}

impl From<Keep> for Durability {
    fn from(keep: Keep) -> Self {
        match keep {
            Keep::UntilRemoved => Durability::Durable,
            Keep::UntilEnded => Durability::Fleeting,
        }
    }
}

/// Room that is kept on the disk for the next [`write_reserved`]: twice what was written last, and at least this.
const RESERVE_BYTES: u64 = 4096;

/// Writes `value` as the file `name` of `dir`, as [`write`] does, and takes the room for the next time right away: on a
/// disk that fills up meanwhile, the last word of a pod can still be written.
pub(crate) fn write_reserved<T: Serialize>(
    dir: &Path,
    name: &str,
    value: &T,
    durability: Durability,
) -> io::Result<()> {
    write(dir, name, value, durability)?;
    let length = fs::metadata(dir.join(name))?.len();
    // What cannot be had now may be there when it is needed.
    let _ = open_new(&temporary(dir, name)).and_then(|file| {
        let room = RESERVE_BYTES.max(2 * length);
        Ok(rustix::fs::fallocate(
            file,
            rustix::fs::FallocateFlags::empty(),
            0,
            room,
        )?)
    });
    Ok(())
}

/// Removes what [`write_reserved`] keeps.
pub(crate) fn release(dir: &Path, name: &str) {
    let _ = fs::remove_file(temporary(dir, name));
}

fn temporary(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!(".{name}.new"))
}

/// A file with what is in it, and its room.
fn open_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .create(true)
        .write(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// Writes `value` as the file `name` of `dir`: whole, or as it was before.
pub(crate) fn write<T: Serialize>(
    dir: &Path,
    name: &str,
    value: &T,
    durability: Durability,
) -> io::Result<()> {
    let text = serde_json::to_vec(value).map_err(io::Error::other)?;
    let temporary = temporary(dir, name);
    let mut file = open_new(&temporary)?;
    file.write_all(&text)?;
    file.set_len(u64::try_from(text.len()).map_err(io::Error::other)?)?;
    if durability == Durability::Durable {
        file.sync_all()?;
    }
    fs::rename(&temporary, dir.join(name))?;
    if durability == Durability::Durable {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// Reads the file `name` of `dir`; `None` where there is none.
pub(crate) fn read<T: DeserializeOwned>(dir: &Path, name: &str) -> io::Result<Option<T>> {
    use io::Read as _;
    let file = match File::open(dir.join(name)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text)?;
    let value = serde_json::from_slice(&text)?;
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use isopod_plan::layout;

    use super::*;

    #[test]
    fn files_are_whole_or_as_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut status = Status::starting(std::iter::once(AppName::new("web").unwrap()));
        for durability in [Durability::Durable, Durability::Fleeting] {
            status.exit_status = Some(u8::from(durability == Durability::Durable));
            write(dir.path(), layout::STATUS, &status, durability).unwrap();
            assert_eq!(
                read::<Status>(dir.path(), layout::STATUS).unwrap().as_ref(),
                Some(&status)
            );
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        // A write that fails half-way leaves what was there.
        fs::create_dir(dir.path().join(format!(".{}.new", layout::STATUS))).unwrap();
        let mut other = status.clone();
        other.exit_status = None;
        write(dir.path(), layout::STATUS, &other, Durability::Durable).unwrap_err();
        assert_eq!(read::<Status>(dir.path(), layout::STATUS).unwrap(), Some(status));
        assert_eq!(read::<Status>(dir.path(), "none").unwrap(), None);
    }

    /// The room for the next status is there before it is needed, and is used.
    #[test]
    fn the_next_status_has_its_room() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        let mut status = Status::starting(std::iter::once(AppName::new("web").unwrap()));
        let reserve = temporary(dir.path(), layout::STATUS);
        for _ in 0..2 {
            write_reserved(dir.path(), layout::STATUS, &status, Durability::Durable).unwrap();
            assert_eq!(
                read::<Status>(dir.path(), layout::STATUS).unwrap().as_ref(),
                Some(&status)
            );
            let kept = fs::metadata(&reserve).unwrap();
            assert!(kept.blocks() * 512 >= RESERVE_BYTES, "{} blocks", kept.blocks());
            status.reason = Some("for a reason that is longer than before".repeat(20));
        }
        release(dir.path(), layout::STATUS);
        assert!(!reserve.exists());
    }

    /// Whatever the time of day does, and however long the host slept.
    #[test]
    fn an_age_is_of_the_clock_that_nobody_sets() {
        let mut status = Status::starting(std::iter::empty());
        status.boot_ms = 10_000;
        status.ended_ms = Some(5_000_000);
        let now = |boot_id: &str, boot_ms, wall_ms| Now {
            boot_id: boot_id.to_owned(),
            boot_ms,
            wall_ms,
        };
        let here = status.boot_id.clone();
        for wall_ms in [0, 5_000_000, u64::MAX] {
            assert_eq!(status.age(&now(&here, 13_000, wall_ms)), Duration::from_secs(3));
        }
        // After a reboot there is the time of day, and the boot's own age where that was set back.
        assert_eq!(status.age(&now("0", 2_000, 5_060_000)), Duration::from_secs(60));
        assert_eq!(status.age(&now("0", 2_000, 0)), Duration::from_secs(2));
    }

    #[test]
    fn another_boot_is_a_reason() {
        let mut status = Status::starting(std::iter::empty());
        assert_eq!(status.exit_reason(), "its supervisor was killed");
        status.boot_id = "0".into();
        assert_eq!(status.exit_reason(), "the host was restarted while it ran");
        status.reason = Some("all apps have ended".into());
        assert_eq!(status.exit_reason(), "all apps have ended");
    }
}
