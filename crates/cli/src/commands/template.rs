//! `isopod template`: the saved VMs that pods' VMs are restored from.

mod list;
mod make;
mod rm;

use std::process::ExitCode;

use clap::Subcommand;
use isopod_runtime::Settings;

use crate::failure::Failure;

/// Show, make and remove the saved VMs that pods start from
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(crate) enum TemplateCommand {
    List(list::TemplateList),
    Make(make::TemplateMake),
    Rm(rm::TemplateRm),
}

impl TemplateCommand {
    /// Executes the command.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        match self {
            Self::List(command) => command.execute(settings),
            Self::Make(command) => command.execute(settings),
            Self::Rm(command) => command.execute(settings),
        }
    }
}
