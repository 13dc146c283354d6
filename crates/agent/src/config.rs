//! Reads the agent's configuration. What it says is the planner's business.

use std::io;
use std::path::{Path, PathBuf};

use isopod_contract::config::{CONFIG_VERSION, GuestConfig};

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read `{}`", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` is no agent configuration", .path.display())]
    Parse {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("`{}` has version {found}, and this agent reads version {CONFIG_VERSION}", .path.display())]
    Version { path: PathBuf, found: u32 },
}

/// Reads the configuration at `path`.
pub(crate) fn read(path: &Path) -> Result<GuestConfig, ConfigError> {
    let text = std::fs::read(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    let config: GuestConfig = serde_json::from_slice(&text).map_err(|source| ConfigError::Parse {
        path: path.to_owned(),
        source,
    })?;
    match config.version {
        CONFIG_VERSION => Ok(config),
        found => Err(ConfigError::Version {
            path: path.to_owned(),
            found,
        }),
    }
}
