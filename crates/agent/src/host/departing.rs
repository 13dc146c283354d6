//! The stream that takes an app away: the session forgets it, then what came with it goes.

use std::io;
use std::path::Path;

use isopod_contract::arrival::{Departure, DepartureAnswer, MAX_TEXT_BYTES};
use isopod_contract::in_one_line;
use isopod_protocol::codec::write_message;
use isopod_protocol::mux::MuxStream;
use tokio::io::AsyncWriteExt as _;

use super::hotplug;
use super::questions::SessionHandle;
use crate::mounts::mountinfo;

/// Takes the app away, and says how that went.
pub(super) async fn take(mut stream: MuxStream, session: &SessionHandle, departure: Departure) {
    let answer = match go(session, departure).await {
        Ok(()) => DepartureAnswer::Done,
        Err(mut text) => {
            text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
            DepartureAnswer::Failed { text }
        }
    };
    let _ = write_message(&mut stream, &answer).await;
    let _ = stream.shutdown().await;
}

async fn go(session: &SessionHandle, departure: Departure) -> Result<(), String> {
    session.forget(departure.clone()).await?;
    let removed = tokio::task::spawn_blocking(move || {
        for place in &departure.mount_points {
            // Nobody uses it: its app has ended.
            hotplug::unmount(Path::new(place), true).map_err(|error| in_one_line(&error))?;
        }
        for path in &departure.paths {
            remove(Path::new(path)).map_err(|error| format!("cannot remove `{path}`: {error}"))?;
        }
        Ok(())
    });
    removed.await.map_err(|panic| panic.to_string())?
}

/// Removes what is at `path`, where nothing is mounted at it or below it: what is in a volume is not the app's to lose.
fn remove(path: &Path) -> io::Result<()> {
    let mounts = mountinfo::read()?;
    if let Some(left) = mounts.iter().find(|mount| mount.mount_point.starts_with(path)) {
        let left = left.mount_point.display();
        return Err(io::Error::other(format!(
            "something is still mounted at `{left}`"
        )));
    }
    let removed = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
