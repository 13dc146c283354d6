//! `isopod kube`: the pods of pod files all together.

pub(crate) mod down;
pub(crate) mod play;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use isopod_runtime::Settings;

use crate::failure::Failure;

/// Start and remove the pods of pod files all together
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(crate) enum KubeCommand {
    Play(play::KubePlay),
    Down(down::KubeDown),
}

impl KubeCommand {
    /// Executes the command.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        match self {
            Self::Play(command) => command.execute(settings),
            Self::Down(command) => command.execute(settings),
        }
    }
}

/// Pod files, as kubectl and as podman have them.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[group(required = true)]
pub(crate) struct Files {
    /// A pod file, or several that belong together; `-` is standard input
    #[arg(value_name = "FILE")]
    plain: Vec<PathBuf>,
    /// The same
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    named: Vec<PathBuf>,
}

impl Files {
    fn all(&self) -> Vec<PathBuf> {
        self.plain.iter().chain(&self.named).cloned().collect()
    }
}
