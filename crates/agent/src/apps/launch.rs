//! What the agent that serves the host knows of an app's execution: what the planner wrote for it, and what the process that
//! was to become its program wrote.

use std::io::{self, Read as _};
use std::path::Path;

use isopod_contract::config::GuestApp;
use isopod_contract::launch::GuestLaunch;
use isopod_contract::layout::{LAUNCH_FAILURE, LAUNCH_FILE};
use isopod_contract::message::ExitStatus;

/// The most that is read of a failure.
const MAX_FAILURE_BYTES: u64 = 8 * 1024;

/// What is executed of the app.
pub(crate) fn read(app: &GuestApp) -> Result<GuestLaunch, String> {
    let path = Path::new(&app.launch).join(LAUNCH_FILE);
    let read = || -> io::Result<GuestLaunch> { Ok(serde_json::from_slice(&std::fs::read(&path)?)?) };
    read().map_err(|error| format!("cannot read what the app executes, `{}`: {error}", path.display()))
}

/// What the process that was to become an app's program wrote, or the one around it: what systemd does not say of its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It could not be executed.
    NotExecuted {
        /// What a shell would exit with.
        status: u8,
        text: String,
    },
    /// A signal ended it.
    Killed {
        /// The number that it had in the guest.
        pid: u32,
        /// Whether it left a core file.
        core: bool,
    },
}

impl Failure {
    /// How [`Failure::Killed`] is written: a status that no failure has, then what there is to say.
    pub(crate) fn killed(pid: i32, core: bool) -> [u8; 6] {
        let [a, b, c, d] = pid.to_le_bytes();
        [0, core.into(), a, b, c, d]
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        match *bytes {
            [] => None,
            [0, core, a, b, c, d] => Some(Self::Killed {
                pid: u32::from_le_bytes([a, b, c, d]),
                core: core != 0,
            }),
            [status, ref text @ ..] => Some(Self::NotExecuted {
                status,
                text: String::from_utf8_lossy(text).into_owned(),
            }),
        }
    }
}

/// How an app's program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessEnd {
    pub(crate) status: ExitStatus,
    /// Its number, where a signal killed it; 0 otherwise.
    pub(crate) killed_pid: u32,
}

impl ProcessEnd {
    /// What systemd says of its unit's main process, which ends as the program did, and what was written.
    pub(crate) fn of(status: ExitStatus, main_pid: u32, written: Option<Failure>) -> Self {
        match (status, written) {
            (ExitStatus::Signal { signal, .. }, Some(Failure::Killed { pid, core })) => Self {
                status: ExitStatus::Signal { signal, core },
                killed_pid: pid,
            },
            _ => Self {
                status,
                killed_pid: main_pid,
            },
        }
    }
}

/// What was written of how the app last ended, if anything.
pub(crate) fn failure(app: &GuestApp) -> Option<Failure> {
    let path = Path::new(&app.launch).parent()?.join(LAUNCH_FAILURE);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(MAX_FAILURE_BYTES).read_to_end(&mut bytes).ok()?;
    Failure::parse(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let launch = dir.path().join("launch");
        std::fs::create_dir(&launch).unwrap();
        let app = GuestApp {
            launch: launch.display().to_string(),
            ..GuestApp::default()
        };
        assert!(read(&app).unwrap_err().contains("No such file"));
        let written = GuestLaunch {
            main: vec!["/bin/a".to_owned(), "\u{1}".to_owned()],
            ..GuestLaunch::default()
        };
        std::fs::write(launch.join(LAUNCH_FILE), serde_json::to_vec(&written).unwrap()).unwrap();
        assert_eq!(read(&app), Ok(written));
        assert_eq!(failure(&app), None);
        std::fs::write(dir.path().join(LAUNCH_FAILURE), b"").unwrap();
        assert_eq!(failure(&app), None);
        std::fs::write(dir.path().join(LAUNCH_FAILURE), b"\x7fcannot").unwrap();
        let text = "cannot".to_owned();
        assert_eq!(failure(&app), Some(Failure::NotExecuted { status: 127, text }));
        std::fs::write(dir.path().join(LAUNCH_FAILURE), Failure::killed(70_000, true)).unwrap();
        let killed = Failure::Killed {
            pid: 70_000,
            core: true,
        };
        assert_eq!(failure(&app), Some(killed));
    }
}
