//! From the arguments of `run` and `plan` to a pod: a manifest is read here.

use std::path::Path;
use std::process::ExitCode;

use isopod_spec::appc::{self, Part};
use isopod_spec::{Network, PodSpec};

use crate::args::{Net, PodSource, RunArgs};
use crate::output::{self, Report};

/// More than any manifest: 10,000 volumes take 1 MiB.
const MAX_MANIFEST_BYTES: u64 = 64 << 20;

/// A pod that was asked for, and the manifest that it comes from, if it does.
pub(crate) struct Asked {
    /// The pod.
    pub(crate) spec: PodSpec,
    /// The manifest's text and name.
    manifest: Option<(String, String)>,
}

impl Asked {
    /// `report`, with the place of the manifest that it is about, where there is one.
    pub(crate) fn locate(&self, report: Report, part: Option<&Part>) -> Report {
        let locate = |(text, file): &(String, String)| appc::locate(text, file, part?);
        report.at(self.manifest.as_ref().and_then(locate))
    }
}

/// The pod that the arguments describe. What is wrong with a manifest is printed, all of it, and the exit status given.
///
/// # Errors
/// The exit status, when everything was told already.
pub(crate) fn pod(run: &RunArgs) -> Result<Asked, ExitCode> {
    let mut asked = read_source(&run.source)?;
    asked.spec.stop_timeout = run.stop_timeout.unwrap_or(asked.spec.stop_timeout);
    if let Some(pull) = run.pull {
        asked.spec.apps.iter_mut().for_each(|app| app.pull = pull);
    }
    Ok(asked)
}

fn read_source(source: &PodSource) -> Result<Asked, ExitCode> {
    match source {
        PodSource::Apps(pod) => Ok(Asked {
            spec: pod.clone(),
            manifest: None,
        }),
        PodSource::Manifest {
            path,
            machine,
            implicit_volumes,
            on_failure,
            net,
            hostname,
        } => {
            let text = read(path).map_err(|report| output::fail(&report))?;
            let file = path.display().to_string();
            let mut spec = appc::read_pod_manifest(&text, &file).map_err(|errors| {
                let report = |fault: &appc::Fault| Report::new(fault).hint(fault.hint());
                output::fail_all(&errors.faults.iter().map(report).collect::<Vec<_>>())
            })?;
            spec.machine = machine.over(&spec.machine);
            spec.implicit_volumes = *implicit_volumes;
            spec.on_failure = *on_failure;
            spec.hostname.clone_from(hostname);
            if *net == Net::None {
                spec.network = without_network(&spec).map_err(|report| output::fail(&report))?;
            }
            Ok(Asked {
                spec,
                manifest: Some((text, file)),
            })
        }
    }
}

/// The network that `--net none` asks for; the manifest must publish nothing then.
fn without_network(spec: &PodSpec) -> Result<Network, Report> {
    match &spec.network {
        Network::User { ports } if !ports.is_empty() => Err(Report::text(
            "the pod manifest publishes ports, and `--net none` leaves the pod without a network",
        )
        .hint(Some("leave `--net` out, or the manifest's `ports`".into()))),
        _ => Ok(Network::None),
    }
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
