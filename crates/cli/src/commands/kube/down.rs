//! `isopod kube down`.

use std::process::ExitCode;
use std::time::Duration;

use isopod_runtime::Settings;
use isopod_spec::kube;

use super::Files;
use crate::args::seconds;
use crate::ending::stop_and_remove;
use crate::failure::Failure;
use crate::output::{self};
use crate::pod_files;
use crate::pods::{named, pods};

const DOWN_NOTES: &str = "\
Pods are found by the names that the files give them; one that does not exist is not an error. Claims are kept.

Examples:
  isopod kube down shop.yaml
  kubectl kustomize overlay | isopod kube down -
";

/// Stop the pods of pod files, and remove them
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(visible_alias = "rm", after_help = DOWN_NOTES)]
pub(crate) struct KubeDown {
    #[command(flatten)]
    files: Files,
    /// How long the apps have to stop [default: as the pod says]
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    time: Option<Duration>,
}

impl KubeDown {
    /// Stops and removes the pods, and prints the name of each.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let texts = pod_files::texts(&self.files.all(), settings)?;
        let texts: Vec<kube::File<'_>> = texts
            .iter()
            .map(|(name, text)| kube::File { name, text })
            .collect();
        let names = kube::names(&texts).map_err(|errors| Failure::of(&errors.faults))?;
        if names.is_empty() {
            output::note("the files name no pod");
        }
        let pods = pods(settings)?;
        let mut reports = Vec::new();
        // The last one first: what comes later in a file needs what comes before, as a rule.
        for name in names.iter().rev() {
            match named(&pods, name)
                .and_then(|pod| pod.map(|pod| stop_and_remove(&pods, pod, self.time)).transpose())
            {
                Ok(Some(())) => output::data(&format!("{name}\n")),
                Ok(None) => output::note(&format!("there is no pod `{name}`")),
                Err(report) => reports.push(report),
            }
        }
        Failure::unless_empty(reports)?;
        Ok(ExitCode::SUCCESS)
    }
}
