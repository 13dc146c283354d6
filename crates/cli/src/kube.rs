//! `isopod kube`: the pods of pod files all together.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use isopod_runtime::Settings;
use isopod_runtime::pods::{PodEntry, Pods};
use isopod_spec::PodName;
use isopod_spec::kube;

use crate::args::{KubeCommand, run_args};
use crate::failure::Failure;
use crate::output::{self, Report};
use crate::{life, pod_files, run, show};

/// Does what the command says.
///
/// # Errors
/// A [`Report`] with the reason.
pub(crate) fn kube(command: &KubeCommand, settings: &Settings) -> Result<ExitCode, Failure> {
    match command {
        KubeCommand::Play {
            files,
            replace,
            ignore_unsupported,
        } => run::run(&run_args(files, *replace, *ignore_unsupported), settings),
        KubeCommand::Down { files, time } => down(&files.all(), *time, settings),
    }
}

/// Stops and removes the pods of `files`, and prints the name of each.
fn down(files: &[PathBuf], time: Option<Duration>, settings: &Settings) -> Result<ExitCode, Failure> {
    let texts = pod_files::texts(files, settings)?;
    let texts: Vec<kube::File<'_>> = texts
        .iter()
        .map(|(name, text)| kube::File { name, text })
        .collect();
    let names = kube::names(&texts).map_err(|errors| Failure::of(&errors.faults))?;
    if names.is_empty() {
        output::note("the files name no pod");
    }
    let pods = show::pods(settings)?;
    let mut reports = Vec::new();
    // The last one first: what comes later in a file needs what comes before, as a rule.
    for name in names.iter().rev() {
        match named(&pods, name)
            .and_then(|pod| pod.map(|pod| life::stop_and_remove(&pods, pod, time)).transpose())
        {
            Ok(Some(())) => output::data(&format!("{name}\n")),
            Ok(None) => output::note(&format!("there is no pod `{name}`")),
            Err(report) => reports.push(report),
        }
    }
    Failure::unless_empty(reports)?;
    Ok(ExitCode::SUCCESS)
}

/// The pod of just that name.
///
/// # Errors
/// A [`Report`] when the pods cannot be read.
pub(crate) fn named(pods: &Pods, name: &PodName) -> Result<Option<PodEntry>, Report> {
    let all = pods.list()?;
    let is_named = |pod: &PodEntry| {
        let record = pod.record.as_ref();
        record.and_then(|record| record.name.as_ref()) == Some(name)
    };
    Ok(all.into_iter().find(is_named))
}
