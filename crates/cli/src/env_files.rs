//! `--env-file` and `--label-file`: variables of apps and labels of pods, from files. Here they are read from disk.

use std::path::{Path, PathBuf};

use isopod_runtime::Settings;
use isopod_spec::flags::read_env_file;
use isopod_spec::{EnvVar, PodSpec};

use crate::failure::Failure;
use crate::output::Report;
use crate::text_file;

/// Sets the variables of `files`, which has those of each app, below the ones that its flags set.
///
/// # Errors
/// A [`Failure`] for each file that cannot be read.
pub(crate) fn add(pod: &mut PodSpec, files: &[Vec<PathBuf>], settings: &Settings) -> Result<(), Failure> {
    let mut reports = Vec::new();
    for (app, files) in pod.apps.iter_mut().zip(files) {
        let mut variables = Vec::new();
        for file in files {
            match read(file, settings) {
                Ok(found) => variables.extend(found),
                Err(report) => reports.push(report),
            }
        }
        variables.append(&mut app.overrides.env);
        app.overrides.env = variables;
    }
    Failure::unless_empty(reports)
}

/// Gives the pod the labels of `files`, below those that its flags give.
///
/// # Errors
/// A [`Failure`] for each file that cannot be read.
pub(crate) fn add_labels(pod: &mut PodSpec, files: &[PathBuf], settings: &Settings) -> Result<(), Failure> {
    let mut reports = Vec::new();
    for file in files.iter().rev() {
        match read(file, settings) {
            Ok(found) => {
                for label in found.into_iter().rev() {
                    pod.labels
                        .entry(label.name)
                        .or_insert(label.value.unwrap_or_default());
                }
            }
            Err(report) => reports.push(report),
        }
    }
    Failure::unless_empty(reports)
}

/// The variables of a file.
///
/// # Errors
/// A [`Report`] where it cannot be read.
pub(crate) fn read(file: &Path, settings: &Settings) -> Result<Vec<EnvVar>, Report> {
    let failed = |why: String| Report::text(format!("cannot read `{}`: {why}", file.display()));
    let open = std::fs::File::open(settings.working_dir.join(file));
    let text = open.map_err(|error| error.to_string()).and_then(text_file::read);
    read_env_file(&text.map_err(failed)?)
        .map_err(|fault| Report::text(format!("{}:{}: {}", file.display(), fault.line, fault.what)))
}
