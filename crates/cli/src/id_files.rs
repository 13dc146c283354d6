//! `--cidfile` and `--pidfile`: files that have the UUID of the pod that was made, and the number of the process that supervises
//! it, for scripts and for service managers.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use isopod_runtime::Settings;
use isopod_runtime::pods::Claim;

use crate::output::Report;

/// Whether the file can be written later: it must not be there.
///
/// # Errors
/// A [`Report`] when it is there.
pub(crate) fn check(file: &Path, settings: &Settings) -> Result<(), Report> {
    match settings.working_dir.join(file).symlink_metadata() {
        Ok(_) => Err(is_there(file)),
        Err(_) => Ok(()),
    }
}

/// Writes the UUID of the only pod.
///
/// # Errors
/// A [`Report`] when there are several, or it cannot be written.
pub(crate) fn write(file: &Path, claims: &[Claim], settings: &Settings) -> Result<(), Report> {
    let [claim] = claims else {
        let text = format!("`--cidfile` is for one pod, and the files have {}", claims.len());
        return Err(Report::text(text).hint(Some("leave it out: the UUIDs are printed".into())));
    };
    let open = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(settings.working_dir.join(file));
    let written = open.and_then(|mut open| open.write_all(claim.uuid().as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => is_there(file),
        _ => Report::text(format!("cannot write `{}`", file.display())).because(error.to_string()),
    })
}

/// Writes the number of the process that supervises the pod; what the file had before is replaced, as with podman.
///
/// # Errors
/// A [`Report`] when it cannot be written.
pub(crate) fn write_pid(file: &Path, pid: u32, settings: &Settings) -> Result<(), Report> {
    let written = std::fs::write(settings.working_dir.join(file), format!("{pid}\n"));
    written.map_err(|error| {
        Report::text(format!("cannot write `{}`", file.display())).because(error.to_string())
    })
}

fn is_there(file: &Path) -> Report {
    Report::text(format!("`{}` already exists", file.display()))
        .hint(Some("remove it, or name another: `--cidfile FILE`".into()))
}
