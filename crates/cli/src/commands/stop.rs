//! `isopod stop`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Arg;
use isopod_runtime::Settings;

use super::selection::{Missing, Selection};
use crate::args::seconds;
use crate::ending::{force_stop, stop};
use crate::failure::Failure;

/// Stop pods: send each app its stop signal, then kill what is left
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(mut_arg("all", |arg: Arg| arg.short('a')), mut_arg("filters", |arg: Arg| arg.short('f')))]
pub(crate) struct Stop {
    #[command(flatten)]
    selection: Selection,
    /// How long the apps have to stop [default: what the pod was started with]
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS", value_parser = seconds)]
    time: Option<Duration>,
    /// Kill them at once, and the VM if its supervisor does not answer
    #[arg(long, conflicts_with = "time")]
    force: bool,
    /// A pod that does not exist is not an error
    #[arg(short, long)]
    ignore: bool,
}

impl Stop {
    /// Stops each, and prints the name by which it was asked for.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let missing = if self.ignore {
            Missing::IsNoted
        } else {
            Missing::Fails
        };
        let live = |pod: &isopod_runtime::pods::PodEntry| pod.state.is_live();
        self.selection
            .each(settings, missing, live, |all, pod| match self.force {
                true => force_stop(all, pod),
                false => stop(all, pod, self.time),
            })
    }
}
