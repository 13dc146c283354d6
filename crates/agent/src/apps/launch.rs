//! What the agent that serves the host knows of an app's execution: what the planner wrote for it, and what the process that
//! was to become its program wrote.

use std::io::{self, Read as _};
use std::path::Path;

use isopod_contract::config::GuestApp;
use isopod_contract::launch::GuestLaunch;
use isopod_contract::layout::{LAUNCH_FAILURE, LAUNCH_FILE};

use crate::exec::enter::Report;

/// The most that is read of a failure.
const MAX_FAILURE_BYTES: u64 = 8 * 1024;

/// What is executed of the app.
pub(crate) fn read(app: &GuestApp) -> Result<GuestLaunch, String> {
    let path = Path::new(&app.launch).join(LAUNCH_FILE);
    let read = || -> io::Result<GuestLaunch> { Ok(serde_json::from_slice(&std::fs::read(&path)?)?) };
    read().map_err(|error| format!("cannot read what the app executes, `{}`: {error}", path.display()))
}

/// Why the app's program could not be executed when it was last to be.
pub(crate) fn failure(app: &GuestApp) -> Option<Report> {
    let path = Path::new(&app.launch).parent()?.join(LAUNCH_FAILURE);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(MAX_FAILURE_BYTES).read_to_end(&mut bytes).ok()?;
    Report::parse(&bytes)
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
        assert_eq!(failure(&app), Some(Report { status: 127, text }));
    }
}
