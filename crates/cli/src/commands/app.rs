//! `isopod app`: the apps of a pod that runs come and go.

pub(crate) mod add;
pub(crate) mod list;
pub(crate) mod rm;
pub(crate) mod start;
pub(crate) mod stop;

use std::process::ExitCode;

use clap::Subcommand;
use isopod_runtime::Settings;

use crate::arrival::{failed, live};
use crate::failure::Failure;

/// Add apps to a running pod; start, stop, remove and list them
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(crate) enum AppCommand {
    Add(add::AppAdd),
    Start(start::AppStart),
    Stop(stop::AppStop),
    Rm(rm::AppRm),
    List(list::AppList),
}

impl AppCommand {
    /// Executes the command.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        match self {
            Self::Add(command) => command.execute(settings),
            Self::Start(command) => command.execute(settings),
            Self::Stop(command) => command.execute(settings),
            Self::Rm(command) => command.execute(settings),
            Self::List(command) => command.execute(settings),
        }
    }
}
