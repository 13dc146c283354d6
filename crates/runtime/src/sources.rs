//! The sources of host volumes: what is at each path, and the making of those that a pod wants made.
//!
//! Looking comes with the gathering of facts, making with the pod's preparation: planning alone makes nothing.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use isopod_plan::facts::SourceKind;
use isopod_spec::{HostVolume, PodSpec, SourceRule, VolumeKind, VolumeName};

use crate::Settings;
use crate::gather::GatherFault;

/// A host volume's source.
pub(crate) struct FoundSource {
    pub(crate) volume: VolumeName,
    /// Its path, links followed.
    pub(crate) path: PathBuf,
    pub(crate) kind: SourceKind,
    /// Set where it is not there yet.
    pub(crate) missing: Option<MissingSource>,
}

/// A source that is not there and is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingSource {
    path: PathBuf,
    kind: SourceKind,
    mode: u32,
    /// The mode of the directories above it that are missing too.
    parent_mode: u32,
}

impl MissingSource {
    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it; one that is there by now is left as it is.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn make(&self) -> io::Result<()> {
        let made = match self.kind {
            SourceKind::Directory => {
                if let Some(parent) = self.path.parent() {
                    DirBuilder::new()
                        .recursive(true)
                        .mode(self.parent_mode)
                        .create(parent)?;
                }
                DirBuilder::new().mode(self.mode).create(&self.path)
            }
            SourceKind::File => {
                let mut options = OpenOptions::new();
                let file = options
                    .write(true)
                    .create_new(true)
                    .mode(self.mode)
                    .open(&self.path);
                file.map(drop::<File>)
            }
        };
        match made {
            // Whatever the umask is.
            Ok(()) => fs::set_permissions(&self.path, Permissions::from_mode(self.mode)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Looks at the source of every host volume; what is wrong with one is added to `faults`.
pub(crate) fn find(spec: &PodSpec, settings: &Settings, faults: &mut Vec<GatherFault>) -> Vec<FoundSource> {
    let mut found = Vec::new();
    for volume in &spec.volumes {
        let VolumeKind::Host(host) = &volume.kind else {
            continue;
        };
        match source(&volume.name, host, settings) {
            Ok(source) => found.push(source),
            Err(fault) => faults.push(fault),
        }
    }
    found
}

/// The source of the volume `volume`.
pub(crate) fn source(
    volume: &VolumeName,
    host: &HostVolume,
    settings: &Settings,
) -> Result<FoundSource, GatherFault> {
    match look(host, settings) {
        Ok((path, kind, missing)) => Ok(FoundSource {
            volume: volume.clone(),
            path,
            kind,
            missing,
        }),
        Err((reason, hint)) => Err(GatherFault::Source {
            volume: volume.clone(),
            path: host.source.clone(),
            reason,
            hint,
        }),
    }
}

/// Why a source cannot be shared, and what to do about it.
type Why = (String, Option<String>);

fn look(host: &HostVolume, settings: &Settings) -> Result<(PathBuf, SourceKind, Option<MissingSource>), Why> {
    let asked = settings.working_dir.join(&host.source);
    let path = match asked.canonicalize() {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return missing(host.must_be, &asked),
        Err(error) => return Err((error.to_string(), None)),
    };
    let file_type = path
        .metadata()
        .map_err(|error| (error.to_string(), None))?
        .file_type();
    let (kind, word) = if file_type.is_dir() {
        (Some(SourceKind::Directory), "a directory")
    } else if file_type.is_file() {
        (Some(SourceKind::File), "a regular file")
    } else if file_type.is_socket() {
        (None, "a socket")
    } else if file_type.is_fifo() {
        (None, "a named pipe")
    } else {
        (None, "a device")
    };
    let Some(kind) = kind else {
        let reason = format!(
            "it is {word}, which works on one kernel only; directories and regular files can be shared"
        );
        return Err((
            reason,
            Some("share the directory that holds what you need".into()),
        ));
    };
    let wanted = match host.must_be {
        SourceRule::Any => kind,
        SourceRule::Directory | SourceRule::DirectoryOrCreate | SourceRule::Kept => SourceKind::Directory,
        SourceRule::File | SourceRule::FileOrCreate => SourceKind::File,
    };
    if kind != wanted {
        let wanted = match wanted {
            SourceKind::Directory => "a directory",
            SourceKind::File => "a regular file",
        };
        return Err((format!("it is {word}, and the pod wants {wanted}"), None));
    }
    Ok((path, kind, None))
}

/// A source that is not there: where the pod says so it will be.
fn missing(must_be: SourceRule, asked: &Path) -> Result<(PathBuf, SourceKind, Option<MissingSource>), Why> {
    let (kind, mode) = match must_be {
        SourceRule::DirectoryOrCreate => (SourceKind::Directory, 0o755),
        SourceRule::Kept => (SourceKind::Directory, 0o777),
        SourceRule::FileOrCreate => (SourceKind::File, 0o644),
        SourceRule::Any | SourceRule::Directory | SourceRule::File => {
            let hint = match must_be {
                SourceRule::Any => {
                    "create it first: unlike docker, isopod makes no directory of a mistyped path"
                }
                _ => "create it first",
            };
            return Err((io::Error::from_raw_os_error(2).to_string(), Some(hint.into())));
        }
    };
    // A link that leads nowhere is there, and nothing can be made in its place.
    if asked.symlink_metadata().is_ok() {
        return Err(("it is a symbolic link that leads nowhere".into(), None));
    }
    let parents = asked.ancestors().skip(1);
    let (parent, depth) = parents
        .zip(1..)
        .find_map(|(parent, depth)| Some((parent.canonicalize().ok()?, depth)))
        .ok_or_else(|| ("no directory above it is there".to_owned(), None))?;
    if !parent.is_dir() {
        return Err((format!("`{}` is no directory", parent.display()), None));
    }
    if kind == SourceKind::File && depth > 1 {
        return Err(("the directory that it is to be made in is not there".into(), None));
    }
    let count = asked.components().count();
    let path: PathBuf = std::iter::once(parent.as_os_str())
        .chain(
            asked
                .components()
                .skip(count - depth)
                .map(|name| name.as_os_str()),
        )
        .collect();
    let source = MissingSource {
        path: path.clone(),
        kind,
        mode,
        // What every user of a pod may write to is no other user of the host's to reach.
        parent_mode: if must_be == SourceRule::Kept { 0o700 } else { 0o755 },
    };
    Ok((path, kind, Some(source)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_found_or_made_as_the_pod_says() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        fs::write(dir.join("file"), "").unwrap();
        fs::create_dir(dir.join("there")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.join("dangling")).unwrap();
        std::os::unix::fs::symlink("there", dir.join("link")).unwrap();
        let made = |rule, name: &str| missing(rule, &dir.join(name)).map_err(|(reason, _)| reason);

        let (path, kind, source) = made(SourceRule::DirectoryOrCreate, "link/a/b").unwrap();
        assert_eq!(
            (path.clone(), kind),
            (dir.join("there/a/b"), SourceKind::Directory)
        );
        let source = source.unwrap();
        source.make().unwrap();
        source.make().unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o755);

        let (path, _, source) = made(SourceRule::Kept, "claims/data").unwrap();
        source.unwrap().make().unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&dir.join("claims"))), (0o777, 0o700));

        let (path, kind, source) = made(SourceRule::FileOrCreate, "new").unwrap();
        source.unwrap().make().unwrap();
        assert!(path.is_file() && kind == SourceKind::File);

        assert!(
            made(SourceRule::FileOrCreate, "no/new")
                .unwrap_err()
                .contains("to be made in")
        );
        assert!(
            made(SourceRule::DirectoryOrCreate, "file/a")
                .unwrap_err()
                .contains("no directory")
        );
        assert!(
            made(SourceRule::DirectoryOrCreate, "dangling")
                .unwrap_err()
                .contains("leads nowhere")
        );
        assert!(made(SourceRule::Any, "no").unwrap_err().contains("No such file"));
    }
}
