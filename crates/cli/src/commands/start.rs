//! `isopod start`.

use std::process::ExitCode;
use std::time::Instant;

use clap::Arg;
use isopod_runtime::Settings;
use isopod_runtime::pods::PodEntry;
use isopod_runtime::pods::files::Stdin;
use isopod_runtime::pods::state::Verb;

use super::selection::{Missing, Selection};
use crate::args::{Outputs, switch};
use crate::detach_keys::DetachKeys;
use crate::failure::Failure;
use crate::output;
use crate::pods::{find, pods};
use crate::relay::Connection;
use crate::{background, foreground};

/// Start pods that were prepared, or that have exited
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(mut_arg("filters", |arg: Arg| arg.short('f')), mut_arg("sig_proxy", switch::on))]
pub(crate) struct Start {
    #[command(flatten)]
    selection: Selection,
    /// Wait for the pod and show what its apps write
    #[arg(short, long)]
    attach: bool,
    /// As `--attach`, and pass this command's input to the app of a pod that was made with `-i`
    #[arg(short, long)]
    interactive: bool,
    /// End this command alone by these keys, where the app has a terminal
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q", value_parser = DetachKeys::parse)]
    detach_keys: DetachKeys,
    /// Pass signals on, so that what ends this command ends the pod
    #[arg(long)]
    sig_proxy: bool,
}

impl Start {
    /// Starts the pods in the background and prints the name by which each was asked for, or one in the foreground.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        if !self.attach && !self.interactive {
            let can = |pod: &PodEntry| !pod.state.is_live();
            return self.selection.each(settings, Missing::Fails, can, |pods, pod| {
                background::restart(pods, &pod, settings)
            });
        }
        let begun = Instant::now();
        let pods = pods(settings)?;
        let flag = if self.attach {
            "`--attach`"
        } else {
            "`--interactive`"
        };
        let query = self.selection.only(&pods, flag, settings)?;
        let pod = find(&pods, &query)?;
        let reads = |pod: &PodEntry| {
            let record = pod.record.as_ref();
            record.is_some_and(|record| record.stdin == Stdin::Attached)
        };
        if self.interactive && !reads(&pod) {
            let text = format!(
                "pod `{}` was made without `--interactive`: its apps have no standard input",
                pod.label()
            );
            output::note(&text);
        }
        let claim = pods.claim(&pod.uuid, Verb::Start)?;
        let connection = Connection {
            outputs: Outputs::default(),
            keys: &self.detach_keys,
            sig_proxy: self.sig_proxy,
        };
        foreground::run(vec![claim], &connection, begun.elapsed(), settings)
    }
}
