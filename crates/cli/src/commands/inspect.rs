//! `isopod inspect`: all that is known of pods and images, or by a Go template what docker would say of them.

use std::process::ExitCode;

use clap::ValueEnum;
use isopod_runtime::Settings;
use isopod_runtime::pods::{FindError, PodEntry, Pods};
use serde_json::{Value, json};

use super::image;
use crate::args::{Layout, document};
use crate::as_docker;
use crate::failure::Failure;
use crate::output::{self, Report};
use crate::pods::pods;
use crate::room::Room;
use crate::show::{JSON_VERSION, exit_reason, pretty};

/// Print all that is known of pods or images, as JSON
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Inspect {
    /// The pods; where there is none of that name, the images
    #[arg(required = true, value_name = "POD")]
    names: Vec<String>,
    /// Print each by a Go template over docker's fields, or `json` for those
    #[arg(short, long, value_name = "FORMAT", value_parser = document)]
    format: Option<Layout>,
    /// Also how much of the disk what a pod wrote takes
    #[arg(short, long)]
    size: bool,
    /// Look for these alone
    #[arg(long, value_name = "TYPE")]
    r#type: Option<Kind>,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Pods.
    #[value(alias = "container")]
    Pod,
    /// Images.
    Image,
}

impl Inspect {
    /// Prints it.
    ///
    /// # Errors
    /// A [`Failure`] for each name that is none, or that the template does not fit.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let pods = pods(settings)?;
        let mut reports = Vec::new();
        for name in &self.names {
            match self.text(&pods, name, settings) {
                Ok(text) => output::data(&text),
                Err(report) => reports.push(report),
            }
        }
        Failure::unless_empty(reports)?;
        Ok(ExitCode::SUCCESS)
    }

    fn text(&self, pods: &Pods, name: &str, settings: &Settings) -> Result<String, Report> {
        let layout = self.format.as_ref();
        let image = || image::inspect::inspected(name, layout, settings);
        if self.r#type == Some(Kind::Image) {
            return image();
        }
        match pods.find(name) {
            Ok(pod) => of_pod(&pod, layout, self.size),
            // As with docker, the name may be an image's.
            Err(error @ FindError::None(_)) if self.r#type.is_none() => image().map_err(|_| error.into()),
            Err(error) => Err(error.into()),
        }
    }
}

fn of_pod(pod: &PodEntry, layout: Option<&Layout>, sized: bool) -> Result<String, Report> {
    let room = sized.then(|| Room::of(pod));
    let document = match layout {
        None => {
            let mut document = own(pod);
            if let Some(Room { written, images }) = room {
                document["writtenBytes"] = written.into();
                document["imageBytes"] = images.into();
            }
            document
        }
        Some(_) => {
            let spec = pod.asked().ok().flatten().map(|asked| asked.spec);
            let mut document = as_docker::inspected(pod, spec.as_ref());
            if let Some(Room { written, images }) = room {
                document["SizeRw"] = written.into();
                document["SizeRootFs"] = (written + images).into();
            }
            document
        }
    };
    print(&document, layout)
}

/// A document by a template, or as JSON.
///
/// # Errors
/// A [`Report`] where the template asks for what there is not.
pub(super) fn print(document: &Value, layout: Option<&Layout>) -> Result<String, Report> {
    match layout {
        Some(Layout::Template(text)) => as_docker::one(text, document).map(|text| text + "\n"),
        _ => Ok(pretty(document)),
    }
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
