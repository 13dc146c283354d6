//! The locks that `--locked` goes by: files beside pod files, which `isopod pod lock` writes.

use std::path::{Path, PathBuf};

use isopod_runtime::Settings;
use isopod_spec::PodSpec;
use isopod_spec::lock::Lock;

use crate::failure::Failure;
use crate::output::Report;
use crate::text_file;

/// Makes `pods`, which `files` describe, run just the images of their lock.
///
/// # Errors
/// What is wrong with the lock, or with the pods by it.
pub(crate) fn apply<'p>(
    files: &[PathBuf],
    pods: impl IntoIterator<Item = &'p mut PodSpec>,
    settings: &Settings,
) -> Result<(), Failure> {
    let path = place(files)?;
    let failed = |why: String| {
        let report = Report::text(format!("cannot use the lock `{}`: {why}", path.display()));
        report.hint(Some(
            "`isopod pod lock` with the same files writes it again".into(),
        ))
    };
    let open = std::fs::File::open(settings.working_dir.join(&path)).map_err(|error| error.to_string());
    let text = open.and_then(text_file::read).map_err(&failed)?;
    let lock = Lock::read(&text).map_err(|fault| failed(fault.to_string()))?;
    lock.apply(pods).map_err(|faults| {
        let reports: Vec<Report> = faults.iter().map(|fault| failed(fault.to_string())).collect();
        reports.into()
    })
}

/// Where the lock of pod files is: beside the first of them.
///
/// # Errors
/// A [`Report`] where that is standard input.
pub(crate) fn place(files: &[PathBuf]) -> Result<PathBuf, Report> {
    let Some(first) = files.first().filter(|file| *file != Path::new("-")) else {
        return Err(Report::text("standard input has no lock beside it").hint(Some("name a file".into())));
    };
    let mut path = first.clone().into_os_string();
    path.push(".lock");
    Ok(path.into())
}
