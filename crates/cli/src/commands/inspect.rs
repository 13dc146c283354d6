//! `isopod inspect`: all that is known of pods and images, with the fields that docker has for them; what it has none for is below `Isopod`.

use std::process::ExitCode;

use clap::ValueEnum;
use isopod_runtime::Settings;
use isopod_runtime::pods::{FindError, PodEntry, Pods};
use serde_json::{Value, json};

use super::{image, network, volume};
use crate::as_docker::{self, Layout, document};
use crate::failure::Failure;
use crate::output::{self, Report};
use crate::pods::pods;
use crate::room::Room;
use crate::show::{JSON_VERSION, exit_reason};

/// Print everything about pods, images, volumes or networks, as JSON: docker's fields, and isopod's own under `Isopod`
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Inspect {
    /// Pods; where no pod has that name, an image, a named volume or a network
    #[arg(required = true, value_name = "POD")]
    names: Vec<String>,
    /// Print each by a Go template; `json` is the default
    #[arg(short, long, value_name = "FORMAT", value_parser = document)]
    format: Option<Layout>,
    /// Print the disk space that a pod's writes take, too
    #[arg(short, long)]
    size: bool,
    /// Look for these alone
    #[arg(short, long, value_name = "TYPE")]
    r#type: Option<InspectedKind>,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum InspectedKind {
    /// Pods.
    #[value(alias = "container")]
    Pod,
    Image,
    /// Named volumes.
    Volume,
    /// Networks with names.
    Network,
}

impl Inspect {
    /// Prints it.
    ///
    /// # Errors
    /// A [`Failure`] for each name that is not one, or that the template does not fit.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let pods = pods(settings)?;
        let (mut documents, mut reports) = (Vec::new(), Vec::new());
        for name in &self.names {
            match self.document(&pods, name, settings) {
                Ok(document) => documents.push(document),
                Err(report) => reports.push(report),
            }
        }
        output::data(&as_docker::inspection(&documents, self.format.as_ref())?);
        Failure::unless_empty(reports)?;
        Ok(ExitCode::SUCCESS)
    }

    fn document(&self, pods: &Pods, name: &str, settings: &Settings) -> Result<Value, Report> {
        let of = |kind| match kind {
            InspectedKind::Pod => Ok(of_pod(&pods.find(name)?, self.size, settings)),
            InspectedKind::Image => image::inspect::document_of(name, settings),
            InspectedKind::Volume => volume::inspect::document_of(name, settings),
            InspectedKind::Network => network::inspect::document_of(name, settings),
        };
        match (self.r#type, pods.find(name)) {
            (Some(kind), _) => of(kind),
            // As with docker, the name may be another thing's.
            (None, Err(error @ FindError::None(_))) => {
                let others = [
                    InspectedKind::Image,
                    InspectedKind::Volume,
                    InspectedKind::Network,
                ];
                let found = others.into_iter().find_map(|kind| of(kind).ok());
                found.ok_or_else(|| error.into())
            }
            (None, _) => of(InspectedKind::Pod),
        }
    }
}

/// All that is known of a pod, with docker's fields.
fn of_pod(pod: &PodEntry, sized: bool, settings: &Settings) -> Value {
    let spec = pod.asked().ok().flatten().map(|asked| asked.spec);
    // A pod may outlive its image in the store.
    let config = |id: &str| image::inspect::run_config_of(id, settings);
    let mut document = as_docker::inspected(pod, spec.as_ref(), &config);
    document["Isopod"] = own(pod);
    if sized {
        let Room { written, images } = Room::of(pod);
        document["SizeRw"] = written.into();
        document["SizeRootFs"] = (written + images).into();
    }
    document
}

/// What isopod itself knows of a pod.
fn own(pod: &PodEntry) -> Value {
    json!({
        "version": JSON_VERSION,
        "uuid": pod.uuid,
        "state": pod.state.as_str(),
        "directory": pod.path.display().to_string(),
        "record": pod.record,
        "status": pod.status,
        "exitReason": exit_reason(pod),
    })
}
