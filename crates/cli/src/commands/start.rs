//! `isopod start`.

use std::process::ExitCode;
use std::time::Instant;

use isopod_runtime::Settings;
use isopod_runtime::pods::state::Verb;

use crate::args::Outputs;
use crate::detach_keys::DetachKeys;
use crate::failure::Failure;
use crate::output::Report;
use crate::pods::{each, find, pods};
use crate::relay::Connection;
use crate::{background, foreground};

/// Start a pod that was prepared, or that has exited
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Start {
    /// The pods: names, UUIDs or their beginnings
    #[arg(required = true, value_name = "POD")]
    pods: Vec<String>,
    /// Wait for the pod and show what its apps write
    #[arg(short, long)]
    attach: bool,
}

impl Start {
    /// Starts the pods in the background and prints the name by which each was asked for, or one in the foreground.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        if !self.attach {
            return each(&self.pods, settings, |pods, pod| {
                background::restart(pods, &pod, settings)
            });
        }
        let [query] = &self.pods[..] else {
            return Err(Report::text("`--attach` is for one pod").into());
        };
        let begun = Instant::now();
        let pods = pods(settings)?;
        let claim = pods.claim(&find(&pods, query)?.uuid, Verb::Start)?;
        let connection = Connection {
            outputs: Outputs::default(),
            keys: &DetachKeys::default(),
            sig_proxy: true,
        };
        foreground::run(vec![claim], &connection, begun.elapsed(), settings)
    }
}
