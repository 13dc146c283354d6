//! From the arguments of `run` and `plan` to a pod: a manifest is read here.

use std::path::Path;
use std::process::ExitCode;

use isopod_spec::{PodSpec, appc};

use crate::args::PodSource;
use crate::output::{self, Report};

/// More than any manifest: 10,000 volumes take 1 MiB.
const MAX_MANIFEST_BYTES: u64 = 64 << 20;

/// The pod that the arguments describe. What is wrong with a manifest is printed, all of it, and the exit status given.
///
/// # Errors
/// The exit status, when everything was told already.
pub(crate) fn pod(source: &PodSource) -> Result<PodSpec, ExitCode> {
    match source {
        PodSource::Apps(pod) => Ok(pod.clone()),
        PodSource::Manifest {
            path,
            machine,
            implicit_volumes,
        } => {
            let text = read(path).map_err(|report| output::fail(&report))?;
            let mut pod = appc::read_pod_manifest(&text, &path.display().to_string()).map_err(|errors| {
                let reports = errors
                    .faults
                    .iter()
                    .map(|fault| Report::new(fault).hint(fault.hint()));
                output::fail_all(&reports.collect::<Vec<_>>())
            })?;
            pod.machine = machine.clone();
            pod.implicit_volumes = *implicit_volumes;
            Ok(pod)
        }
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
