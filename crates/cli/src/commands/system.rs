//! `isopod system`: all of isopod's state together.

mod df;
mod prune;

use std::process::ExitCode;

use clap::Subcommand;
use isopod_runtime::Settings;

use crate::failure::Failure;

/// Show and clear what isopod keeps
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(crate) enum SystemCommand {
    Df(df::SystemDf),
    Prune(prune::SystemPrune),
}

impl SystemCommand {
    /// Executes the command.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        match self {
            Self::Df(command) => command.execute(settings),
            Self::Prune(command) => command.execute(settings),
        }
    }
}
