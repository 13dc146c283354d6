//! `isopod pod lock`, and the locks that `--locked` goes by: files beside pod files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::gather;
use isopod_spec::lock::{Lock, LockedImage, VERSION, sources};
use isopod_spec::{ImageSource, PodSpec};

use crate::args::FileArgs;
use crate::failure::Failure;
use crate::manifest::Purpose;
use crate::output::{self, Report};
use crate::pod_files;

/// Brings the images of the pods in `files` into the store and writes down which they are.
///
/// # Errors
/// A [`Report`] with the reason.
pub(crate) fn write(files: &[PathBuf], settings: &Settings) -> Result<ExitCode, Failure> {
    let path = path(files).ok_or_else(no_place)?;
    let args = FileArgs {
        files: files.to_vec(),
        // What cannot be honoured is told when the pod is run.
        ignore_unsupported: true,
        ..FileArgs::default()
    };
    let pods = pod_files::pods(&args, None, &Purpose::Show, settings)?;
    let mut images = BTreeMap::new();
    for pod in pods.iter().map(|file| &file.pod) {
        let found = gather::all_images(pod, settings).map_err(|error| Failure::of(&error.faults))?;
        for (source, image) in sources(pod).into_iter().zip(found) {
            let ImageSource::Reference(reference) = source else {
                continue;
            };
            let locked = LockedImage {
                id: image.id.to_string(),
                manifest: image.manifest.map(|digest| digest.to_string()),
            };
            images.insert(reference.to_string(), locked);
        }
    }
    let lock = Lock {
        version: VERSION,
        images,
    };
    let text = lock.write()?;
    let place = settings.working_dir.join(&path);
    std::fs::write(&place, text)
        .map_err(|error| Report::text(format!("cannot write the lock `{}`: {error}", path.display())))?;
    output::data(&format!("{}\n", path.display()));
    Ok(ExitCode::SUCCESS)
}

/// Makes `pods`, which `files` describe, run just the images of their lock.
///
/// # Errors
/// What is wrong with the lock, or with the pods by it.
pub(crate) fn apply<'p>(
    files: &[PathBuf],
    pods: impl IntoIterator<Item = &'p mut PodSpec>,
    settings: &Settings,
) -> Result<(), Failure> {
    let path = path(files).ok_or_else(no_place)?;
    let failed = |why: String| {
        let report = Report::text(format!("cannot run by the lock `{}`: {why}", path.display()));
        report.hint(Some(
            "`isopod pod lock` with the same files writes it anew".into(),
        ))
    };
    let open = std::fs::File::open(settings.working_dir.join(&path)).map_err(|error| error.to_string());
    let text = open.and_then(pod_files::read).map_err(&failed)?;
    let lock = Lock::read(&text).map_err(|fault| failed(fault.to_string()))?;
    lock.apply(pods).map_err(|faults| {
        let reports: Vec<Report> = faults.iter().map(|fault| failed(fault.to_string())).collect();
        reports.into()
    })
}

/// Where the lock of pod files is: beside the first of them.
fn path(files: &[PathBuf]) -> Option<PathBuf> {
    let first = files.first().filter(|file| *file != Path::new("-"))?;
    let mut path = first.clone().into_os_string();
    path.push(".lock");
    Some(path.into())
}

fn no_place() -> Report {
    Report::text("standard input has no lock beside it").hint(Some("name a file".into()))
}
