//! `isopod rm`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Arg;
use isopod_runtime::Settings;
use isopod_runtime::pods::PodEntry;

use super::selection::{Missing, Selection};
use crate::args::seconds;
use crate::ending::{remove, stop_and_remove};
use crate::failure::Failure;

/// Remove pods with their logs and volumes on disk
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(mut_arg("all", |arg: Arg| arg.short('a')))]
pub(crate) struct Rm {
    #[command(flatten)]
    selection: Selection,
    /// Also remove pods that run: they are killed; pods that do not exist are not an error
    #[arg(short, long)]
    force: bool,
    /// Stop pods that run, with so long for their apps, instead of killing them
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds, requires = "force")]
    time: Option<Duration>,
    /// A pod that does not exist is not an error
    #[arg(short, long)]
    ignore: bool,
    /// No effect: a pod's own volumes are always removed with it; named ones are kept
    #[arg(short, long)]
    volumes: bool,
}

impl Rm {
    /// Removes each, and prints the name by which it was asked for. One that is not there is no error where it was to go whatever it does.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let missing = match self.force || self.ignore {
            true => Missing::IsNoted,
            false => Missing::Fails,
        };
        let can = |pod: &PodEntry| self.force || !pod.state.is_live();
        self.selection
            .each(settings, missing, can, |all, pod| match self.time {
                Some(_) => stop_and_remove(all, pod, self.time),
                None => remove(all, pod, self.force),
            })
    }
}
