//! What happens to pods, as a log of the whole state directory: every process that changes a pod appends to it, and it
//! outlives the pods.
//!
//! ```text
//! STATE/pods/events.jsonl      what is written now; one JSON object per line
//! STATE/pods/events.jsonl.1    what is older
//! STATE/pods/events.jsonl.2    what is older still, each pod's part of it bounded
//!
//! {"version":1,"timeMs":1795464516123,"type":"app-exited","uuid":"...","name":"web","app":"a","exitStatus":3}
//! ```
//!
//! - A line is one write(2) to a file that is open for appending, under flock(2): lines of several processes do not mix.
//! - A writer that is stopped with the lock in hand holds nobody up for longer than [`LOCK_PATIENCE`]: appending without
//!   it is still one write.
//! - A line that was torn, by a full disk or a crash, is ended by the next writer, and left out by readers.
//! - It is bounded: three files of [`FILE_BYTES`]. A pod with many events pushes out its own events, and not
//!   those of others: the oldest file has at most a fair part of each ([`keep`]). Nothing is synchronised to the disk.
//! - Nothing depends on it. A pod's state is its directory; what cannot be written here is reported and forgotten.
//!
//! A pod whose supervisor was killed has nobody to report its end: whoever starts or removes it next does.

mod keep;
mod read;

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use isopod_spec::{AppName, PodName, VolumeName};
use serde::{Deserialize, Serialize};

use crate::clock::now_ms;

pub use read::EventReader;

/// The version of [`Event`] that this build writes, and the only one that it reads.
pub const VERSION: u32 = 1;

/// The size of a file after which the next is begun.
pub const FILE_BYTES: u64 = 4 << 20;

/// How long the lock is waited for.
const LOCK_PATIENCE: Duration = Duration::from_millis(200);

/// The longest reason, in bytes: an error may bring the console's last lines.
const MAX_REASON_BYTES: usize = 4096;

/// Something that happened to a pod or an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// [`VERSION`].
    pub version: u32,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    #[serde(rename = "type")]
    pub kind: EventKind,
    pub uuid: String,
    /// The pod's name, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<PodName>,
    /// The app, where it is an app's event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// The volume, where it is a volume's event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeName>,
    /// The exit status as a shell shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<u8>,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// How often the app will have been restarted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u32>,
    /// Why, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many events of this pod's apps were left out before this one, because there were too many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// The pod can be started.
    Prepared,
    /// Its start was asked for.
    Started,
    /// Every app has been ready.
    Ready,
    /// The apps are asked to stop, or have ended.
    Stopping,
    /// The pod has ended.
    Exited,
    /// Its directory is gone.
    Removed,
    /// An app's program executes.
    AppStarted,
    /// An app is ready.
    AppReady,
    /// An app is not ready any more.
    AppUnready,
    /// An app's processes are held.
    AppPaused,
    AppUnpaused,
    /// An app's probes find it healthy.
    AppHealthy,
    /// An app's probes find it unhealthy.
    AppUnhealthy,
    /// An app is ended because of its probes.
    AppEnding,
    /// An app has ended, and will be restarted.
    AppRestarting,
    /// An app has ended for good.
    AppExited,
    /// An app never ran.
    AppFailed,
    /// A volume came while the pod runs.
    VolumeAttached,
    /// Such a volume went.
    VolumeDetached,
    /// The guest does not answer any more.
    Silent,
    Responsive,
}

impl EventKind {
    pub const ALL: [EventKind; 21] = [
        EventKind::Prepared,
        EventKind::Started,
        EventKind::Ready,
        EventKind::Stopping,
        EventKind::Exited,
        EventKind::Removed,
        EventKind::AppStarted,
        EventKind::AppReady,
        EventKind::AppUnready,
        EventKind::AppPaused,
        EventKind::AppUnpaused,
        EventKind::AppHealthy,
        EventKind::AppUnhealthy,
        EventKind::AppEnding,
        EventKind::AppRestarting,
        EventKind::AppExited,
        EventKind::AppFailed,
        EventKind::VolumeAttached,
        EventKind::VolumeDetached,
        EventKind::Silent,
        EventKind::Responsive,
    ];

    /// The word for it, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Prepared => "prepared",
            EventKind::Started => "started",
            EventKind::Ready => "ready",
            EventKind::Stopping => "stopping",
            EventKind::Exited => "exited",
            EventKind::Removed => "removed",
            EventKind::AppStarted => "app-started",
            EventKind::AppReady => "app-ready",
            EventKind::AppUnready => "app-unready",
            EventKind::AppPaused => "app-paused",
            EventKind::AppUnpaused => "app-unpaused",
            EventKind::AppHealthy => "app-healthy",
            EventKind::AppUnhealthy => "app-unhealthy",
            EventKind::AppEnding => "app-ending",
            EventKind::AppRestarting => "app-restarting",
            EventKind::AppExited => "app-exited",
            EventKind::AppFailed => "app-failed",
            EventKind::VolumeAttached => "volume-attached",
            EventKind::VolumeDetached => "volume-detached",
            EventKind::Silent => "silent",
            EventKind::Responsive => "responsive",
        }
    }
}

impl Event {
    /// Something that happens to a pod now.
    #[must_use]
    pub fn now(kind: EventKind, uuid: &str, name: Option<&PodName>) -> Self {
        Self {
            version: VERSION,
            time_ms: now_ms(),
            kind,
            uuid: uuid.to_owned(),
            name: name.cloned(),
            app: None,
            volume: None,
            exit_status: None,
            signal: None,
            restarts: None,
            reason: None,
            left_out: None,
        }
    }

    /// It as a line, its end included.
    fn line(&self) -> io::Result<Vec<u8>> {
        let mut event = self.clone();
        if let Some(reason) = &mut event.reason {
            reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
        }
        let mut line = serde_json::to_vec(&event).map_err(io::Error::other)?;
        line.push(b'\n');
        Ok(line)
    }
}

/// Why the events could not be written or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the events in `{}`", path.display())]
pub struct EventError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// The events of a state directory.
#[derive(Clone, Debug)]
pub struct EventLog {
    path: PathBuf,
    file_bytes: u64,
}

impl EventLog {
    /// The events of the pods below `pods_dir`, the directory of [`crate::pods::Pods`].
    pub(crate) fn below(pods_dir: &Path) -> Self {
        Self {
            path: pods_dir.join("events.jsonl"),
            file_bytes: FILE_BYTES,
        }
    }

    /// Appends an event. What fails is logged, and keeps nobody from what happened.
    pub fn add(&self, event: &Event) {
        if let Err(source) = self.append(event) {
            let error = self.error("write", source);
            tracing::warn!("{error}: {}", error.source);
        }
    }

    /// The events from the oldest on.
    ///
    /// # Errors
    /// [`EventError`].
    pub fn read(&self) -> Result<EventReader, EventError> {
        EventReader::open(self)
    }

    fn error(&self, action: &'static str, source: io::Error) -> EventError {
        EventError {
            action,
            path: self.path.clone(),
            source,
        }
    }

    fn older(&self) -> PathBuf {
        self.path.with_added_extension("1")
    }

    fn oldest(&self) -> PathBuf {
        self.path.with_added_extension("2")
    }

    fn append(&self, event: &Event) -> io::Result<()> {
        let line = event.line()?;
        let mut file = self.locked()?;
        let mut length = file.metadata()?.len();
        if length > 0 && length + line.len() as u64 > self.file_bytes {
            // What cannot be kept is lost, and no reason not to continue.
            let kept = keep::merge(&self.oldest(), &self.older(), self.file_bytes);
            kept.or_else(|_| fs::remove_file(self.oldest())).ok();
            fs::rename(&self.path, self.older())?;
            // Until the lock on this one is gone, who opened it waits, and then finds another in its place.
            let next = self.locked()?;
            length = next.metadata()?.len();
            file = next;
        }
        let mut last = [b'\n'];
        if length > 0 {
            file.read_exact_at(&mut last, length - 1)?;
        }
        match last {
            [b'\n'] => file.write_all(&line),
            // What a writer before this one began and could not end is a line of its own.
            _ => file.write_all(&[b"\n", &line[..]].concat()),
        }
    }

    /// The file that is written now, locked, or nearly so.
    fn locked(&self) -> io::Result<File> {
        let begun = Instant::now();
        loop {
            let mut options = File::options();
            let file = options
                .read(true)
                .append(true)
                .create(true)
                .mode(0o600)
                .open(&self.path)?;
            while let Err(fs::TryLockError::WouldBlock) = file.try_lock() {
                if begun.elapsed() > LOCK_PATIENCE {
                    return Ok(file);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            // It may have been renamed before it was locked.
            match identity(&self.path)? {
                Some(current) if current == identity_of(&file)? => return Ok(file),
                _ => {}
            }
        }
    }
}

/// What distinguishes two files.
type Identity = (u64, u64);

fn identity_of(file: &File) -> io::Result<Identity> {
    let data = file.metadata()?;
    Ok((data.dev(), data.ino()))
}

/// Of the file at `path`; `None` when there is none.
fn identity(path: &Path) -> io::Result<Option<Identity>> {
    match path.metadata() {
        Ok(data) => Ok(Some((data.dev(), data.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
