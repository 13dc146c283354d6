//! `isopod generate`: a pod of the state directory, or of a file, in another form.

pub(crate) mod kube;
pub(crate) mod systemd;

use std::convert::Infallible;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{Args, Subcommand};
use isopod_runtime::Settings;
use isopod_runtime::pods::PodEntry;
use isopod_spec::PodSpec;

use crate::args::FileArgs;
use crate::failure::Failure;
use crate::manifest;
use crate::output::{self, Report};
use crate::pod_files::Purpose;
use crate::pods::{find, kept, pods};
use crate::{pod_files, text_file};

const SUBJECTS: &str = "\
POD is a pod's name, its UUID or the beginning of it, in any state. An argument that contains a `/`, ends in .yaml, .yml \
or .json, or is `-` (standard input) is a FILE: a Kubernetes pod file or an appc pod manifest.
";

/// Print a pod in another form
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(crate) enum GenerateCommand {
    Kube(kube::GenerateKube),
    Systemd(systemd::GenerateSystemd),
}

impl GenerateCommand {
    /// Executes the command.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        match self {
            Self::Kube(command) => command.execute(settings),
            Self::Systemd(command) => command.execute(settings),
        }
    }
}

/// The pod, and what is done about what cannot be said of it.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
struct SubjectArgs {
    /// The pod, or the file that describes it
    #[arg(value_name = "POD|FILE", value_parser = OsStringValueParser::new().try_map(subject))]
    subject: Subject,
    /// Leave out what cannot be honoured, or cannot be written, with a warning for each
    #[arg(long)]
    ignore_unsupported: bool,
}

/// What is printed in another form.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    /// A pod of the state directory: its name, UUID or the beginning of that.
    Pod(String),
    /// A file, or `-`.
    File(PathBuf),
}

fn subject(text: OsString) -> Result<Subject, Infallible> {
    let endings = [".yaml", ".yml", ".json"];
    Ok(match text.into_string() {
        Ok(text) if text != "-" && !text.contains('/') && !endings.iter().any(|end| text.ends_with(end)) => {
            Subject::Pod(text)
        }
        Ok(text) => Subject::File(text.into()),
        Err(text) => Subject::File(text.into()),
    })
}

/// A pod and where it is from.
struct Found {
    spec: PodSpec,
    origin: Origin,
}

enum Origin {
    Pod(Box<PodEntry>),
    /// A file, or `-`, and the flag of `run` that takes it.
    File(PathBuf, &'static str),
}

impl SubjectArgs {
    /// The pod that is meant.
    fn find(&self, settings: &Settings) -> Result<Found, Failure> {
        match &self.subject {
            Subject::Pod(query) => {
                let pod = find(&pods(settings)?, query)?;
                let spec = kept(&pod)?.spec;
                note_attached(&pod);
                let origin = Origin::Pod(Box::new(pod));
                Ok(Found { spec, origin })
            }
            Subject::File(path) => read(path, self.ignore_unsupported, settings),
        }
    }
}

/// What a pod has only as long as it runs is said by no form.
fn note_attached(pod: &PodEntry) {
    let status = pod.status.iter().filter(|_| pod.state.is_live());
    for attached in status.flat_map(|status| &status.attached) {
        let name = &attached.volume.name;
        output::note(&format!(
            "volume `{name}` was attached to the running pod, goes when that stops, and is left out"
        ));
    }
}

fn read(path: &Path, ignore_unsupported: bool, settings: &Settings) -> Result<Found, Failure> {
    let is_stdin = path == Path::new("-");
    let name = match is_stdin {
        true => "<stdin>".to_owned(),
        false => path.display().to_string(),
    };
    let read = match is_stdin {
        true => text_file::read(std::io::stdin()),
        false => std::fs::File::open(settings.working_dir.join(path))
            .map_err(|error| error.to_string())
            .and_then(text_file::read),
    };
    let text = read.map_err(|why| Report::text(format!("cannot read the pod file `{name}`: {why}")))?;
    let is_manifest = text.trim_start().starts_with('{') && text.contains("\"acKind\"");
    let (spec, flag) = if is_manifest {
        (manifest::read_text(&text, &name)?, "--pod-manifest")
    } else {
        let args = FileArgs {
            ignore_unsupported,
            ..FileArgs::default()
        };
        let pods = pod_files::of_texts(&[(name, text)], &args, None, &Purpose::Show, settings)?;
        let count = pods.len();
        let mut pods = pods.into_iter();
        let (Some(file), None) = (pods.next(), pods.next()) else {
            let report = Report::text(format!("the file has {count} pods, and one is printed at a time"));
            let hint = "put the one that is meant into a file of its own";
            return Err(report.hint(Some(hint.into())).into());
        };
        (file.pod, "--file")
    };
    Ok(Found {
        spec,
        origin: Origin::File(path.to_owned(), flag),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_pod_or_a_file() {
        let pod = |text: &str| Subject::Pod(text.into());
        let file = |text: &str| Subject::File(text.into());
        for (text, expected) in [
            ("web", pod("web")),
            ("web.1", pod("web.1")),
            ("6ba7b810", pod("6ba7b810")),
            ("web.yaml", file("web.yaml")),
            ("web.yml", file("web.yml")),
            ("pod.json", file("pod.json")),
            ("./web", file("./web")),
            ("/web", file("/web")),
            ("-", file("-")),
        ] {
            assert_eq!(subject(text.into()), Ok(expected), "{text}");
        }
    }
}
