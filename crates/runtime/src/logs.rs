//! What the apps wrote, on disk: one log per app, in Kubernetes' format, rotated.
//!
//! ```text
//! logs/APP.log      what is written now; logs/APP.log.1 is older, logs/APP.log.2 older still
//!
//! 2026-11-23T20:08:36.123456789Z stdout F a whole line, or the end of one
//! 2026-11-23T20:08:36.123456789Z stderr P a piece of a line that continues in this stream's next record
//! 2026-11-23T20:08:37.000000000Z stderr F:lost 4096 bytes are missing here: No space left on device (os error 28)
//! ```
//!
//! The format is CRI's (kubelet, "CRI log format"; tags are separated by colons, and readers look at the first): what
//! collects Kubernetes' logs reads these. The content is raw bytes: whatever an app writes comes back exactly, line ends
//! distinguished from pieces by the tag. Only the tag `lost` is ours, and no app can forge it: a record's head is ours.
//!
//! - A record is written at once, also when its line has no end yet: a prompt is seen when it is shown. So nothing is
//!   held back that would be lost with the supervisor.
//! - Nothing is synchronised to the disk: when the host itself crashes, the last seconds may be missing.
//! - A log is bounded by [`Limits`], a record by [`MAX_PIECE_BYTES`], a reader's memory by its buffer.
//! - A disk that is full never stops an app: what could not be written is counted and said ([`LogWriter::lost`]).
//!
//! One writer per log: the supervisor, which holds the pod's lock. Any number of readers, which need no lock.

mod files;
mod read;
mod record;
mod stamp;
mod write;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use isopod_spec::{AppName, LogLimits};

pub use read::{LogReader, Options};
pub use record::{Kind, Record};
pub use stamp::{parse_stamp, stamp};
pub use write::{LogWriter, Outage};

/// The most content of one record, in bytes: what containerd and CRI-O use.
pub const MAX_PIECE_BYTES: usize = 16 * 1024;

/// Which of an app's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    /// Both.
    pub const ALL: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

    /// Its name in a record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// How large an app's log may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The size of a file after which the next is begun. A file with a single record may be larger.
    pub file_bytes: u64,
    /// How many files are kept, the one that is written included; at least one is.
    pub files: u32,
}

impl Default for Limits {
    /// Three files of 10 MiB, as kubelet's default size.
    fn default() -> Self {
        Self {
            file_bytes: 10 * 1024 * 1024,
            files: 3,
        }
    }
}

impl From<LogLimits> for Limits {
    fn from(asked: LogLimits) -> Self {
        let usual = Self::default();
        Self {
            file_bytes: asked.file_bytes.unwrap_or(usual.file_bytes),
            files: asked.files.unwrap_or(usual.files),
        }
    }
}

/// Why a log could not be opened or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the log `{}`", path.display())]
pub struct LogError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl LogError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self.source.kind() {
            io::ErrorKind::PermissionDenied => {
                Some("a pod's logs are its owner's; use the user that runs it".into())
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Some("make room on that disk".into())
            }
            _ => None,
        }
    }
}

/// File number `number` of an app's log: 0 is the one that is written.
fn file(dir: &Path, app: &AppName, number: u32) -> PathBuf {
    dir.join(match number {
        0 => format!("{app}.log"),
        _ => format!("{app}.log.{number}"),
    })
}

/// Removes an app's log, as far as it is there. What stays is removed with its pod.
pub(crate) fn remove(dir: &Path, app: &AppName) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if app_of(&entry.file_name()).as_ref() == Some(app) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The app that a file of a log is of.
fn app_of(file: &OsStr) -> Option<AppName> {
    let (app, _) = file.to_str()?.split_once(".log")?;
    AppName::new(app).ok()
}

/// The apps that have a log below `dir`, sorted by name. A directory that is not there has none.
///
/// # Errors
/// [`LogError`]: the directory cannot be read.
pub fn apps(dir: &Path) -> Result<Vec<AppName>, LogError> {
    let failed = |source| LogError {
        action: "look for",
        path: dir.to_owned(),
        source,
    };
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut apps = Vec::new();
    for entry in entries {
        apps.extend(app_of(&entry.map_err(failed)?.file_name()));
    }
    apps.sort();
    apps.dedup();
    Ok(apps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_removed_with_all_its_files_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["web.log", "web.log.1", "web.log.999", "web-2.log", "web"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        remove(dir.path(), &AppName::new("web").unwrap());
        let left = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let mut left: Vec<_> = left.collect();
        left.sort();
        assert_eq!(left, ["web", "web-2.log"]);
    }
}
