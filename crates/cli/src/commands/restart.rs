//! `isopod restart`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Arg;
use isopod_runtime::Settings;
use isopod_runtime::pods::PodEntry;

use super::selection::{Missing, Selection};
use crate::args::seconds;
use crate::background;
use crate::ending::stop;
use crate::failure::Failure;

/// Stop pods and start them again
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(mut_arg("all", |arg: Arg| arg.short('a')), mut_arg("filters", |arg: Arg| arg.short('f')))]
pub(crate) struct Restart {
    #[command(flatten)]
    selection: Selection,
    /// How long the apps have to stop [default: what the pod was started with]
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS", value_parser = seconds)]
    time: Option<Duration>,
    /// With `--all` and `--filter`, of those that run
    #[arg(long)]
    running: bool,
}

impl Restart {
    /// Restarts each, and prints the name by which it was asked for.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let meant = |pod: &PodEntry| !self.running || pod.state.is_live();
        self.selection.each(settings, Missing::Fails, meant, |pods, pod| {
            if pod.state.is_live() {
                stop(pods, pod.clone(), self.time)?;
            }
            background::restart(pods, &pod, settings)
        })
    }
}
