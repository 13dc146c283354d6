//! Reads what an arrival is. What it says is the planner's business.

use std::io;
use std::path::{Path, PathBuf};

use isopod_contract::config::{ARRIVAL_VERSION, Arrival};

/// Why the description cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DescriptionError {
    #[error("cannot read `{}`", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` is not a valid description of what the host sends", .path.display())]
    Parse {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("`{}` has version {found}, and this agent reads version {ARRIVAL_VERSION}", .path.display())]
    Version { path: PathBuf, found: u32 },
}

/// Reads the description at `path` and removes it: nobody needs it again, and what comes next brings its own.
pub(crate) fn take(path: &Path) -> Result<Arrival, DescriptionError> {
    let text = std::fs::read(path).map_err(|source| DescriptionError::Read {
        path: path.to_owned(),
        source,
    })?;
    let _ = std::fs::remove_file(path);
    let arrival: Arrival = serde_json::from_slice(&text).map_err(|source| DescriptionError::Parse {
        path: path.to_owned(),
        source,
    })?;
    match arrival.version {
        ARRIVAL_VERSION => Ok(arrival),
        found => Err(DescriptionError::Version {
            path: path.to_owned(),
            found,
        }),
    }
}
