//! From the arguments of `run` and `plan` to a pod: a manifest is read here.

use std::path::Path;

use isopod_plan::{Fault, PlanError};
use isopod_runtime::Settings;
use isopod_runtime::gather::{GatherError, GatherFault};
use isopod_spec::appc;
use isopod_spec::kube::PodFile;
use isopod_spec::located::Part;
use isopod_spec::{Network, PodSpec};

use crate::args::{PodSource, RunArgs};
use crate::failure::Failure;
use crate::output::Report;
use crate::pod_files::unpublished;
use crate::pod_files::{self, Purpose};
use crate::{env_files, volumes_from};

/// More than any manifest: 10,000 volumes take 1 MiB.
const MAX_MANIFEST_BYTES: u64 = 64 << 20;

/// A pod that was asked for, and the manifest that it comes from, if it does.
pub(crate) struct Asked {
    pub(crate) spec: PodSpec,
    /// The UUID that it must have, where something of it depends on that.
    pub(crate) uuid: Option<String>,
    origin: DescribedIn,
}

/// Where a pod was described, to say where a part of it stands.
enum DescribedIn {
    /// On the command line.
    Flags,
    /// In a manifest of this text and name.
    Manifest(String, String),
    Files(Box<PodFile>),
}

impl Asked {
    /// A pod that stands in no file.
    pub(crate) fn plain(spec: PodSpec) -> Self {
        Self {
            spec,
            uuid: None,
            origin: DescribedIn::Flags,
        }
    }

    /// All that stands against running it, each with its place.
    pub(crate) fn not_gathered(&self, GatherError { faults }: &GatherError) -> Failure {
        let report = |fault: &GatherFault| self.locate(Report::of(fault), fault.part().as_ref());
        faults.iter().map(report).collect::<Vec<_>>().into()
    }

    /// Every fault of one that cannot be planned, each with its place.
    pub(crate) fn not_planned(&self, PlanError { faults }: &PlanError) -> Failure {
        let report = |fault: &Fault| self.locate(Report::of(fault), fault.part().as_ref());
        faults.iter().map(report).collect::<Vec<_>>().into()
    }

    /// `report`, with the place of the manifest that it is about, where there is one.
    fn locate(&self, report: Report, part: Option<&Part>) -> Report {
        report.at(part.and_then(|part| match &self.origin {
            DescribedIn::Flags => None,
            DescribedIn::Manifest(text, file) => appc::locate(text, file, part),
            DescribedIn::Files(file) => file.locate(part),
        }))
    }
}

/// The pods that the arguments describe: one, or as many as pod files have.
///
/// # Errors
/// All that is wrong with a manifest.
pub(crate) fn pods(run: &RunArgs, purpose: &Purpose, settings: &Settings) -> Result<Vec<Asked>, Failure> {
    let mut all = read_source(run, purpose, settings)?;
    for asked in &mut all {
        asked.spec.stop_timeout = run.stop_timeout.unwrap_or(asked.spec.stop_timeout);
        if let Some(pull) = run.pull {
            asked.spec.set_pull(pull);
        }
    }
    Ok(all)
}

fn read_source(run: &RunArgs, purpose: &Purpose, settings: &Settings) -> Result<Vec<Asked>, Failure> {
    match &run.source {
        PodSource::Apps {
            spec,
            env_files,
            volumes_from,
            label_files,
        } => {
            let mut spec = PodSpec::clone(spec);
            env_files::add(&mut spec, env_files, settings)?;
            env_files::add_labels(&mut spec, label_files, settings)?;
            volumes_from::add(&mut spec, volumes_from, settings)?;
            Ok(vec![Asked::plain(spec)])
        }
        PodSource::Files(args) => {
            let found = pod_files::pods(args, run.name.as_ref(), purpose, settings)?;
            let asked = |file: PodFile| Asked {
                spec: file.pod.clone(),
                uuid: Some(file.uuid.clone()),
                origin: DescribedIn::Files(Box::new(file)),
            };
            Ok(found.into_iter().map(asked).collect())
        }
        PodSource::Manifest { path, flags } => {
            let text = read(path)?;
            let file = path.display().to_string();
            let mut spec = read_text(&text, &file)?;
            spec.vm = flags.vm.over(&spec.vm);
            spec.implicit_volumes = flags.implicit_volumes;
            spec.on_failure = flags.on_failure;
            spec.hostname.clone_from(&flags.hostname);
            match (&flags.net, &mut spec.network) {
                (Network::User { options: asked, .. }, Network::User { options, .. }) => *options = *asked,
                (Network::User { .. }, _) => {}
                (Network::Named { joins, .. }, network) => {
                    *network = Network::Named {
                        joins: joins.clone(),
                        ports: network.ports().to_vec(),
                    };
                }
                (other, network) if !network.ports().is_empty() => {
                    return Err(unpublished(other, "the pod manifest", "the manifest's `ports`").into());
                }
                (other, network) => *network = other.clone(),
            }
            Ok(vec![Asked {
                spec,
                uuid: None,
                origin: DescribedIn::Manifest(text, file),
            }])
        }
    }
}

/// The pod of a manifest of that text and name.
///
/// # Errors
/// All that is wrong with it.
pub(crate) fn read_text(text: &str, file: &str) -> Result<PodSpec, Failure> {
    appc::read_pod_manifest(text, file).map_err(|errors| Failure::of(&errors.faults))
}

fn read(path: &Path) -> Result<String, Report> {
    use std::io::Read as _;
    let failed = |why: String| {
        Report::text(format!(
            "cannot read the pod manifest `{}`: {why}",
            path.display()
        ))
    };
    let file = std::fs::File::open(path).map_err(|e| failed(e.to_string()))?;
    let mut text = String::new();
    let read = file
        .take(MAX_MANIFEST_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|e| failed(e.to_string()))?;
    if read as u64 > MAX_MANIFEST_BYTES {
        return Err(failed("it is larger than 64 MiB".into()));
    }
    Ok(text)
}
