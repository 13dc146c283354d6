//! Brings a volume to apps that run, and takes it away again.
//!
//! ```text
//!   attach:  mount points ─> units, drop-ins ─> systemd reads them ─> its mounts in the guest ─> the same in each app that runs
//!   detach:  is it in use? ─> units away, systemd reads ─> unmount in the guest ─> and in each app ─> forget what is cached
//! ```
//!
//! systemd's mounts are what an app gets that starts later, or again; its drop-in requires and asserts them, as the app's
//! unit does those from the start. An app that runs has a mount namespace of its own, into which nothing propagates
//! (`docs/adr`): `enter` carries each mount there, as it is, read-only where it is. Whatever fails, what was done is undone.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use isopod_contract::hotplug::{HotplugMount, HotplugVolume, MAX_TEXT_BYTES, MAX_USERS, User, VolumeAnswer};
use isopod_contract::in_one_line;
use isopod_contract::layout::UNIT_DIR;
use isopod_protocol::codec::write_message;
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, sleep};

use super::questions::{SELF, SessionHandle};
use crate::exec;
use crate::exec::StartError;
use crate::exec::enter;
use crate::exec::enter::{Action, STATUS_BUSY, STATUS_GONE};
use crate::host::stats;
use crate::mounts::mount_point::{self, PlaceError};
use crate::mounts::mountinfo::{self, Mount};
use crate::mounts::{mount_check, users};
use crate::systemd::appstate::Activity;
use crate::systemd::diagnosis;
use isopod_protocol::mux::MuxStream;

/// How long a mount, or an app on its way up or down, may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Why a volume was not attached or detached.
#[derive(Debug, thiserror::Error)]
pub(super) enum VolumeError {
    #[error("the session has ended")]
    Ended,
    #[error("`{0}` is not the path of a unit")]
    UnitPath(String),
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("cannot write `{}`", .path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{0}")]
    Systemd(String),
    #[error("app `{app}`: unit `{unit}` did not mount it{}", UnitLog(.log))]
    Unit {
        app: String,
        unit: String,
        log: Vec<String>,
    },
    #[error("app `{app}`: {fault}")]
    Wrong { app: String, fault: String },
    #[error("app `{app}`: cannot mount it at `{place}` in the app (unit `{unit}`): {reason}")]
    Enter {
        app: String,
        place: String,
        unit: String,
        reason: String,
    },
    #[error("app `{0}` did not settle: its processes keep changing")]
    Restless(String),
    #[error("cannot unmount `{}`", .place.display())]
    Unmount {
        place: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write it back to the host")]
    Sync(#[source] io::Error),
    #[error("cannot start a process for it")]
    Start(#[source] StartError),
    #[error("it is in use")]
    Busy,
}

/// What a unit said, behind an error.
struct UnitLog<'a>(&'a [String]);

impl std::fmt::Display for UnitLog<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|line| write!(f, ": {line}"))
    }
}

/// Brings the volume, and says how it went.
pub(super) async fn attach(stream: MuxStream, session: &SessionHandle, attachment: &HotplugVolume) {
    let answer = match bring(session, attachment).await {
        Ok(()) => VolumeAnswer::Done,
        Err(error) => {
            let text = in_one_line(&error);
            match take(session, attachment, Force::Yes).await {
                Ok(()) => failed(text),
                Err(undoing) => failed(format!(
                    "{text}; and it could not be undone: {}",
                    in_one_line(&undoing)
                )),
            }
        }
    };
    send_answer(stream, answer).await;
}

/// Takes the volume away, and says how it went.
pub(super) async fn detach(
    stream: MuxStream,
    session: &SessionHandle,
    attachment: &HotplugVolume,
    force: bool,
) {
    let force = if force { Force::Yes } else { Force::No };
    let answer = match go(session, attachment, force).await {
        Ok(()) => VolumeAnswer::Done,
        Err(VolumeError::Busy) => VolumeAnswer::Busy {
            users: users_of(session, attachment).await,
        },
        Err(error) => failed(in_one_line(&error)),
    };
    send_answer(stream, answer).await;
}

fn failed(mut text: String) -> VolumeAnswer {
    text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
    VolumeAnswer::Failed { text }
}

async fn send_answer(mut stream: MuxStream, answer: VolumeAnswer) {
    let _ = write_message(&mut stream, &answer).await;
    let _ = stream.shutdown().await;
}

/// Whether what is in use goes, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Force {
    Yes,
    No,
}

async fn bring(session: &SessionHandle, attachment: &HotplugVolume) -> Result<(), VolumeError> {
    let places = attachment.clone();
    blocking(move || {
        for mount in &places.mounts {
            mount_point::make(Path::new(&mount.root), Path::new(&mount.place), mount.file)?;
        }
        places.files.iter().try_for_each(write_unit)
    })
    .await?;
    session.reload().await.map_err(VolumeError::Systemd)?;
    for mount in &attachment.mounts {
        start(session, mount).await?;
    }
    // From here on an app that starts again is looked at for them, too.
    session
        .expect(attachment, true)
        .await
        .map_err(VolumeError::Systemd)?;
    for mount in &attachment.mounts {
        carry(session, mount).await?;
    }
    Ok(())
}

async fn go(session: &SessionHandle, attachment: &HotplugVolume, force: Force) -> Result<(), VolumeError> {
    if force == Force::No && !users_of(session, attachment).await.is_empty() {
        return Err(VolumeError::Busy);
    }
    let shared = attachment.shared.clone();
    let synced = blocking(move || {
        let volume = rustix::fs::open(
            Path::new(&shared),
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::NOFOLLOW,
            rustix::fs::Mode::empty(),
        )?;
        Ok(rustix::fs::syncfs(&volume)?)
    });
    match synced.await {
        Err(error) if force == Force::No => return Err(VolumeError::Sync(error)),
        _ => {}
    }
    if let Err(error) = take(session, attachment, force).await {
        // Somebody may have begun to use it after they were looked for: as it was before.
        bring(session, attachment).await?;
        return Err(error);
    }
    Ok(())
}

/// Unmounts it everywhere and removes its units. What is not there is as it should be.
async fn take(session: &SessionHandle, attachment: &HotplugVolume, force: Force) -> Result<(), VolumeError> {
    session
        .expect(attachment, false)
        .await
        .map_err(VolumeError::Systemd)?;
    let files = attachment.files.clone();
    blocking(move || files.iter().try_for_each(remove_unit)).await?;
    session.reload().await.map_err(VolumeError::Systemd)?;
    // First where apps are started from: one that starts now does not have it any more.
    let places = attachment.mounts.clone();
    let lazy = force == Force::Yes;
    blocking(move || {
        places
            .iter()
            .rev()
            .try_for_each(|mount| unmount(Path::new(&mount.mount.mount_point), lazy))
    })
    .await?;
    for mount in attachment.mounts.iter().rev() {
        leave(session, mount, lazy).await?;
    }
    // A file system of the host on the way has been mounted here by itself.
    let shared = PathBuf::from(&attachment.shared);
    blocking(move || {
        unmount(&shared, true)?;
        // The server keeps a file of the host open as long as the guest remembers its name.
        let _ = std::fs::write("/proc/sys/vm/drop_caches", "2");
        Ok(())
    })
    .await
}

async fn blocking<T: Send + 'static, E: Send + From<Stopped> + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(Stopped.into()),
    }
}

/// The runtime ended below a task.
struct Stopped;

impl From<Stopped> for VolumeError {
    fn from(_: Stopped) -> Self {
        Self::Ended
    }
}

impl From<Stopped> for io::Error {
    fn from(_: Stopped) -> Self {
        io::ErrorKind::Interrupted.into()
    }
}

fn unit_path(path: &str) -> Result<PathBuf, VolumeError> {
    let plain = Path::new(path)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    match plain && !path.is_empty() {
        true => Ok(Path::new(UNIT_DIR).join(path)),
        false => Err(VolumeError::UnitPath(path.to_owned())),
    }
}

fn write_unit(file: &isopod_contract::hotplug::UnitText) -> Result<(), VolumeError> {
    let path = unit_path(&file.path)?;
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(&path, &file.text))
        .map_err(|source| VolumeError::Write { path, source })
}

fn remove_unit(file: &isopod_contract::hotplug::UnitText) -> Result<(), VolumeError> {
    let path = unit_path(&file.path)?;
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(VolumeError::Write { path, source }),
        _ => Ok(()),
    }
}

/// Lets systemd mount it where apps are started from, and looks whether it did.
async fn start(session: &SessionHandle, mount: &HotplugMount) -> Result<(), VolumeError> {
    let app = session.app_name(mount.app).await;
    start_mount(session, &app, &mount.mount).await
}

/// Likewise, of the app of that name.
pub(super) async fn start_mount(
    session: &SessionHandle,
    app: &str,
    mount: &isopod_contract::config::GuestMount,
) -> Result<(), VolumeError> {
    let (app, unit) = (app.to_owned(), &mount.unit);
    session.start(unit).await.map_err(VolumeError::Systemd)?;
    let begun = Instant::now();
    let active = loop {
        match session.rest(unit).await.map_err(VolumeError::Systemd)? {
            Some(active) => break active,
            None if begun.elapsed() > PATIENCE => break Activity::Changing,
            None => sleep(LOOK_EVERY).await,
        }
    };
    if active != Activity::Active {
        let (unit, log) = (unit.to_owned(), diagnosis::messages_of(unit));
        return Err(VolumeError::Unit { app, unit, log });
    }
    let mounts = mountinfo::read().unwrap_or_default();
    match mount_check::fault(mount, &mounts) {
        Some(fault) => Err(VolumeError::Wrong { app, fault }),
        None => Ok(()),
    }
}

/// An app's process, once its unit is not on its way up or down; none where the app does not run.
async fn process(
    session: &SessionHandle,
    mount: &HotplugMount,
) -> Result<Option<enter::Target>, VolumeError> {
    let begun = Instant::now();
    loop {
        let process = session
            .unit_process(mount.app)
            .await
            .map_err(VolumeError::Systemd)?;
        match process.active {
            Activity::Inactive | Activity::Failed => return Ok(None),
            Activity::Active if process.main_pid != 0 => {
                return Ok(Some(enter::Target {
                    pid: process.main_pid.cast_signed(),
                    cgroup: process.cgroup,
                }));
            }
            _ if begun.elapsed() > PATIENCE => {
                return Err(VolumeError::Restless(session.app_name(mount.app).await));
            }
            _ => sleep(LOOK_EVERY).await,
        }
    }
}

/// Carries a mount into its app, where that runs, and looks whether it is there as it must be.
async fn carry(session: &SessionHandle, mount: &HotplugMount) -> Result<(), VolumeError> {
    let app = session.app_name(mount.app).await;
    let refused = |reason| VolumeError::Enter {
        app: app.clone(),
        place: mount.place.clone(),
        unit: mount.mount.unit.clone(),
        reason,
    };
    let begun = Instant::now();
    while let Some(target) = process(session, mount).await? {
        let (pid, at) = (target.pid, Path::new(&mount.place));
        if seen_by(pid).is_some_and(|mounts| is_at(&mounts, at)) {
            // It was started after systemd had mounted it.
            return Ok(());
        }
        let action = Action::Mount {
            from: mount.mount.mount_point.clone(),
            at: mount.place.clone(),
        };
        match enter(target, action).await? {
            // It has ended meanwhile: another may have come in its place.
            Attempt::Gone(_) if begun.elapsed() < PATIENCE => sleep(LOOK_EVERY).await,
            Attempt::Gone(reason) | Attempt::Busy(reason) | Attempt::Failed(reason) => {
                return Err(refused(reason));
            }
            Attempt::Done => {
                let Some(mounts) = seen_by(pid) else {
                    sleep(LOOK_EVERY).await;
                    continue;
                };
                let mut wanted = mount.mount.clone();
                wanted.mount_point.clone_from(&mount.place);
                return match mount_check::fault(&wanted, &mounts) {
                    Some(fault) => Err(refused(fault)),
                    None => Ok(()),
                };
            }
        }
    }
    Ok(())
}

/// Unmounts it in its app, where that runs and has it.
async fn leave(session: &SessionHandle, mount: &HotplugMount, lazy: bool) -> Result<(), VolumeError> {
    let begun = Instant::now();
    while let Some(target) = process(session, mount).await? {
        let Some(mounts) = seen_by(target.pid) else {
            sleep(LOOK_EVERY).await;
            continue;
        };
        let places = below(&mounts, Path::new(&mount.place));
        if places.is_empty() {
            return Ok(());
        }
        let places = places.into_iter().map(mountinfo::bytes).collect();
        match enter(target, Action::Unmount { places, lazy }).await? {
            Attempt::Done => return Ok(()),
            Attempt::Gone(_) if begun.elapsed() < PATIENCE => sleep(LOOK_EVERY).await,
            Attempt::Busy(_) => return Err(VolumeError::Busy),
            Attempt::Gone(reason) | Attempt::Failed(reason) => {
                return Err(VolumeError::Enter {
                    app: session.app_name(mount.app).await,
                    place: mount.place.clone(),
                    unit: mount.mount.unit.clone(),
                    reason,
                });
            }
        }
    }
    Ok(())
}

/// What came of something that was to be done in an app's world, with the words of why not.
enum Attempt {
    Done,
    /// The app has ended.
    Gone(String),
    /// What was to be unmounted is in use.
    Busy(String),
    Failed(String),
}

/// Does something in an app's world.
async fn enter(target: enter::Target, action: Action) -> Result<Attempt, VolumeError> {
    let job = enter::Job {
        pid: target.pid,
        cgroup: target.cgroup,
        oom_score_adj: 0,
        root: None,
        action,
    };
    let entering = exec::spawn(Path::new(SELF), &job, []).await;
    let done = entering.map_err(VolumeError::Start)?.done().await;
    Ok(match done.map_err(|report| (report.status, report.text)) {
        Ok(()) => Attempt::Done,
        Err((STATUS_GONE, text)) => Attempt::Gone(text),
        Err((STATUS_BUSY, text)) => Attempt::Busy(text),
        Err((_, text)) => Attempt::Failed(text),
    })
}

/// The mounts as a process sees them; `None` when it has ended.
fn seen_by(pid: i32) -> Option<Vec<Mount>> {
    let text = std::fs::read(format!("/proc/{pid}/mountinfo")).ok()?;
    Some(mountinfo::parse(&text)).filter(|mounts| !mounts.is_empty())
}

/// Whether something is mounted just there.
fn is_at(mounts: &[Mount], place: &Path) -> bool {
    mountinfo::visible(mounts, place).is_some_and(|mount| mount.mount_point == place)
}

/// What is mounted at and below `place`, the innermost first.
fn below(mounts: &[Mount], place: &Path) -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = mounts
        .iter()
        .filter(|mount| mount.mount_point.starts_with(place))
        .map(|mount| mount.mount_point.clone())
        .collect();
    places.sort_by_key(|place| std::cmp::Reverse(place.components().count()));
    places
}

/// Unmounts what is at a place of the guest's own and below it.
pub(super) fn unmount(place: &Path, lazy: bool) -> Result<(), VolumeError> {
    let mounts = mountinfo::read().unwrap_or_default();
    let flags = match lazy {
        true => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
        false => UnmountFlags::NOFOLLOW,
    };
    for place in below(&mounts, place) {
        match rustix::mount::unmount(&place, flags) {
            // It went with another.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(Errno::BUSY) => return Err(VolumeError::Busy),
            Err(errno) => {
                return Err(VolumeError::Unmount {
                    place,
                    source: errno.into(),
                });
            }
        }
    }
    Ok(())
}

/// Who uses the volume, as far as that can be seen.
async fn users_of(session: &SessionHandle, attachment: &HotplugVolume) -> Vec<User> {
    let cgroups = session.cgroups().await.unwrap_or_default();
    let mounts = attachment.mounts.clone();
    let found = tokio::task::spawn_blocking(move || {
        let mut found: Vec<User> = Vec::new();
        let apps: std::collections::BTreeSet<_> = mounts.iter().map(|mount| mount.app).collect();
        for app in apps {
            let places = mounts.iter().filter(|mount| mount.app == app);
            let places: Vec<PathBuf> = places.map(|mount| PathBuf::from(&mount.place)).collect();
            let Some((cgroup, _)) = cgroups
                .get(usize::from(app))
                .filter(|(cgroup, _)| !cgroup.is_empty())
            else {
                continue;
            };
            let users = users::of(Path::new(stats::CGROUPS), cgroup, &places);
            found.extend(users.into_iter().map(|(pid, name)| User { app, pid, name }));
        }
        found.truncate(MAX_USERS);
        found
    });
    found.await.unwrap_or_default()
}
