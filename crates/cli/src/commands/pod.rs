//! `isopod pod`: work with pod files.

pub(crate) mod lock;

use std::process::ExitCode;

use clap::Subcommand;
use isopod_runtime::Settings;

use crate::failure::Failure;

/// Work with pod files
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(crate) enum PodCommand {
    Lock(lock::PodLock),
}

impl PodCommand {
    /// Executes the command.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        match self {
            Self::Lock(command) => command.execute(settings),
        }
    }
}
