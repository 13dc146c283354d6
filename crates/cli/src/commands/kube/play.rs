//! `isopod kube play`.

use std::process::ExitCode;

use isopod_runtime::Settings;

use super::Files;
use crate::args::{FileArgs, RunArgs};
use crate::commands::run;
use crate::failure::Failure;

const PLAY_NOTES: &str = "\
This is `isopod run --detach -f FILE`, which takes the flags of a pod.

Examples:
  isopod kube play shop.yaml
  isopod kube play --replace shop.yaml
";

/// Start the pods of pod files in the background, and print their UUIDs
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(after_help = PLAY_NOTES)]
pub(crate) struct KubePlay {
    #[command(flatten)]
    files: Files,
    /// Stop and remove pods of the same names first
    #[arg(long)]
    replace: bool,
    /// Run the pods without the fields that cannot be honoured, with a warning for each
    #[arg(long)]
    ignore_unsupported: bool,
}

impl KubePlay {
    /// Starts the pods, and prints their UUIDs.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let files = FileArgs {
            files: self.files.all(),
            ignore_unsupported: self.ignore_unsupported,
            ..FileArgs::default()
        };
        let args = RunArgs {
            replace: self.replace,
            ..RunArgs::in_background(files)
        };
        run::run(&args, settings)
    }
}
