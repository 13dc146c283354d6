//! The sources of host volumes: what is at each path, and the making of those that a pod wants made.
//!
//! Looking comes with the gathering of facts, making with the pod's preparation: planning alone makes nothing.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use isopod_plan::facts::{FileId, MountNames, Sizes, SourceKind};
use isopod_spec::{HostVolume, PodSpec, SourceRule, VolumeKind, VolumeName};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use super::fault::GatherFault;
use crate::Settings;
use crate::named_volume;

/// A host volume's source.
pub(crate) struct FoundSource {
    pub(crate) volume: VolumeName,
    /// Its path, links followed.
    pub(crate) path: PathBuf,
    pub(crate) kind: SourceKind,
    /// Which file it is, where it is there.
    pub(crate) id: Option<FileId>,
    /// How what is mounted at it and below it is named.
    pub(crate) mounts: MountNames,
    /// Whether its files have their sizes.
    pub(crate) sizes: Sizes,
    /// Set where it is not there yet.
    pub(crate) missing: Option<MissingSource>,
}

/// The mode of the directory that what is kept is in.
const KEPT_PARENT_MODE: u32 = 0o700;

/// A source that is not there and is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingSource {
    path: PathBuf,
    /// The directory above it that is there.
    there: PathBuf,
    kind: SourceKind,
    mode: u32,
    /// The mode of the directories above it that are missing too.
    parent_mode: u32,
}

impl MissingSource {
    /// Whether it is a directory of isopod's own.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.parent_mode == KEPT_PARENT_MODE
    }

    /// What it will be, in a word.
    #[must_use]
    pub fn kind_word(&self) -> &'static str {
        match self.kind {
            SourceKind::Directory => "directory",
            SourceKind::File => "file",
        }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it, and says which file it is; one that is there by now is left as it is. No link is followed that was not there
    /// when it was looked for: what is made is made below the directory that was there then.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn make(&self) -> io::Result<FileId> {
        let mut parent = open(CWD, &self.there, OFlags::PATH | OFlags::DIRECTORY)?;
        let missing = self.path.strip_prefix(&self.there).unwrap_or(&self.path);
        let mut names = missing.components().peekable();
        while let Some(name) = names.next() {
            let name = Path::new(name.as_os_str());
            let (kind, mode) = match names.peek() {
                None => (self.kind, self.mode),
                Some(_) => (SourceKind::Directory, self.parent_mode),
            };
            parent = make(&parent, name, kind, mode)?;
        }
        id(&parent)
    }
}

/// Makes a directory or a file in `parent`, with that mode whatever the umask is; one that is there is left as it is.
fn make(parent: &OwnedFd, name: &Path, kind: SourceKind, mode: u32) -> io::Result<OwnedFd> {
    let bits = Mode::from_raw_mode(mode);
    let (made, how) = match kind {
        SourceKind::Directory => (rustix::fs::mkdirat(parent, name, bits), OFlags::DIRECTORY),
        SourceKind::File => {
            let new = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            let made = rustix::fs::openat(parent, name, new, bits).map(drop);
            (made, OFlags::NONBLOCK)
        }
    };
    match made {
        Ok(()) => {
            let file = open(parent, name, how | OFlags::RDONLY)?;
            rustix::fs::fchmod(&file, bits)?;
            Ok(file)
        }
        Err(Errno::EXIST) => open(parent, name, OFlags::PATH),
        Err(error) => Err(error.into()),
    }
}

/// Opens a file, following no link wherever in its path.
fn open(dir: impl AsFd, path: &Path, how: OFlags) -> io::Result<OwnedFd> {
    let how = how | OFlags::CLOEXEC;
    Ok(openat2(dir, path, how, Mode::empty(), ResolveFlags::NO_SYMLINKS)?)
}

/// Opens a file for no more than a look. What is mounted at a directory at the first look is mounted then (autofs(5)).
fn open_any(path: &Path) -> io::Result<File> {
    let file = match open(CWD, path, OFlags::PATH | OFlags::DIRECTORY) {
        Err(error) if error.raw_os_error() == Some(Errno::NOTDIR.raw_os_error()) => {
            open(CWD, path, OFlags::PATH)
        }
        directory => directory,
    };
    file.map(File::from)
}

/// Which file that is.
fn id(file: impl AsFd) -> io::Result<FileId> {
    let stat = rustix::fs::fstat(file)?;
    let (device, inode) = (stat.st_dev, stat.st_ino);
    Ok(FileId { device, inode })
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
        Ok((path, kind, found)) => Ok(FoundSource {
            volume: volume.clone(),
            mounts: mount_names(&path),
            sizes: sizes(&path),
            path,
            kind,
            id: found.as_ref().ok().copied(),
            missing: found.err(),
        }),
        Err((reason, hint)) => Err(GatherFault::Source {
            volume: volume.clone(),
            path: host.source.clone(),
            reason,
            hint,
        }),
    }
}

/// The directory of the host at `path`, which must be there.
pub(crate) fn directory(path: &Path, settings: &Settings) -> Result<(PathBuf, FileId), Why> {
    let asked = HostVolume {
        source: path.to_owned(),
        recursive: true,
        propagation: isopod_spec::Propagation::Private,
        must_be: SourceRule::Directory,
    };
    let (path, _, id) = look(&asked, settings)?;
    let id = id.map_err(|_| ("it is not there".to_owned(), None))?;
    Ok((path, id))
}

/// How what is mounted at a path and below it is named; where the kernel does not say, somehow.
pub(crate) fn mount_names(path: &Path) -> MountNames {
    let mounts = fs::read("/proc/self/mountinfo").unwrap_or_else(|_| b"\\".to_vec());
    match escaped_mount(&mounts, path) {
        true => MountNames::Any,
        false => MountNames::Plain,
    }
}

/// Whether something is mounted at `path` or below it whose path is escaped in `mounts` (proc_pid_mountinfo(5)), or no UTF-8. That a path which is
/// itself escaped begins another is not looked at: such a one is found, too.
fn escaped_mount(mounts: &[u8], path: &Path) -> bool {
    let fields = mounts
        .split(|byte| *byte == b'\n')
        .map(|line| line.split(|byte| *byte == b' '));
    let places = fields.filter_map(|mut fields| fields.nth(4));
    let mut escaped = places.filter(|place| place.contains(&b'\\') || str::from_utf8(place).is_err());
    let below = |place: &[u8]| {
        let plain = place
            .split(|byte| *byte == b'\\' || !byte.is_ascii())
            .next()
            .unwrap_or_default();
        let (plain, path) = (plain, path.as_os_str().as_bytes());
        plain.starts_with(path) || path.starts_with(plain)
    };
    escaped.any(below)
}

/// The file systems of the kernel's own, whose files are made when they are read (`linux/magic.h`).
const UNTOLD: [i64; 8] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x6265_6570, // configfs
];

/// Whether the files there have their sizes.
fn sizes(path: &Path) -> Sizes {
    match rustix::fs::statfs(path) {
        Ok(found) if UNTOLD.contains(&found.f_type) => Sizes::Untold,
        _ => Sizes::Known,
    }
}

/// Why a source cannot be shared, and what to do about it.
pub(crate) type Why = (String, Option<String>);

/// A path, what is there, and which file that is or how it is to be made.
type Looked = (PathBuf, SourceKind, Result<FileId, MissingSource>);

fn look(host: &HostVolume, settings: &Settings) -> Result<Looked, Why> {
    let asked = match host.must_be {
        SourceRule::Named { .. } => named_volume::dir(&settings.state_dir).join(&host.source),
        _ => settings.working_dir.join(&host.source),
    };
    let path = match asked.canonicalize() {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return missing(host.must_be, &asked),
        Err(error) => return Err((error.to_string(), None)),
    };
    let failed = |error: io::Error| (error.to_string(), None);
    if host.must_be == (SourceRule::Named { copies: true }) && named_volume::is_empty(&path) {
        return Ok((path.clone(), SourceKind::Directory, Err(to_be_filled(path))));
    }
    // One descriptor says what it is and which file.
    let file = open_any(&path).map_err(failed)?;
    let id = id(&file).map_err(failed)?;
    let file_type = file.metadata().map_err(failed)?.file_type();
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
        SourceRule::Any | SourceRule::AnyOrCreate => kind,
        SourceRule::Directory
        | SourceRule::DirectoryOrCreate
        | SourceRule::Kept
        | SourceRule::Named { .. } => SourceKind::Directory,
        SourceRule::File | SourceRule::FileOrCreate => SourceKind::File,
    };
    if kind != wanted {
        let wanted = match wanted {
            SourceKind::Directory => "a directory",
            SourceKind::File => "a regular file",
        };
        return Err((format!("it is {word}, and the pod wants {wanted}"), None));
    }
    Ok((path, kind, Ok(id)))
}

/// A named volume that is there and empty: one that was filled comes in its place.
fn to_be_filled(path: PathBuf) -> MissingSource {
    MissingSource {
        there: path.parent().unwrap_or(&path).to_owned(),
        path,
        kind: SourceKind::Directory,
        mode: 0o777,
        parent_mode: KEPT_PARENT_MODE,
    }
}

/// A source that is not there: where the pod says so it will be.
fn missing(must_be: SourceRule, asked: &Path) -> Result<Looked, Why> {
    let (kind, mode) = match must_be {
        SourceRule::AnyOrCreate | SourceRule::DirectoryOrCreate => (SourceKind::Directory, 0o755),
        SourceRule::Kept | SourceRule::Named { .. } => (SourceKind::Directory, 0o777),
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
        return Err(("it is a symbolic link to nothing".into(), None));
    }
    let parents = asked.ancestors().skip(1);
    let (parent, depth) = parents
        .zip(1..)
        .find_map(|(parent, depth)| Some((parent.canonicalize().ok()?, depth)))
        .ok_or_else(|| ("no directory above it exists".to_owned(), None))?;
    if !parent.is_dir() {
        return Err((format!("`{}` is not a directory", parent.display()), None));
    }
    if kind == SourceKind::File && depth > 1 {
        return Err((
            "the directory in which it would be made does not exist".into(),
            None,
        ));
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
        there: parent,
        kind,
        mode,
        // What every user of a pod may write to is no other user of the host to reach.
        parent_mode: match must_be {
            SourceRule::Kept | SourceRule::Named { .. } => KEPT_PARENT_MODE,
            _ => 0o755,
        },
    };
    Ok((path, kind, Err(source)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

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
        let source = source.unwrap_err();
        let id = source.make().unwrap();
        assert_eq!(source.make().unwrap(), id);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o755);

        let (path, _, source) = made(SourceRule::Kept, "claims/data").unwrap();
        source.unwrap_err().make().unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&dir.join("claims"))), (0o777, 0o700));

        let (path, kind, source) = made(SourceRule::FileOrCreate, "new").unwrap();
        source.unwrap_err().make().unwrap();
        assert!(path.is_file() && kind == SourceKind::File);

        assert!(
            made(SourceRule::FileOrCreate, "no/new")
                .unwrap_err()
                .contains("in which it would be made")
        );
        assert!(
            made(SourceRule::DirectoryOrCreate, "file/a")
                .unwrap_err()
                .contains("is not a directory")
        );
        assert!(
            made(SourceRule::DirectoryOrCreate, "dangling")
                .unwrap_err()
                .contains("a symbolic link to nothing")
        );
        let (path, kind, source) = made(SourceRule::AnyOrCreate, "any/dir").unwrap();
        let source = source.unwrap_err();
        assert_eq!((source.is_kept(), source.kind_word()), (false, "directory"));
        source.make().unwrap();
        assert!(path.is_dir() && kind == SourceKind::Directory && mode(&path) == 0o755);
        assert!(made(SourceRule::Any, "no").unwrap_err().contains("No such file"));
    }
    /// What somebody puts in the way between the look and the making is not followed, and nothing behind it is changed.
    #[test]
    fn nothing_is_made_by_way_of_a_link_that_came_later() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let link =
            |target: &str, name: &str| std::os::unix::fs::symlink(dir.join(target), dir.join(name)).unwrap();
        fs::create_dir_all(dir.join("mine/own")).unwrap();
        fs::create_dir(dir.join("others")).unwrap();
        fs::set_permissions(dir.join("others"), fs::Permissions::from_mode(0o700)).unwrap();
        let wanted = |name: &str| missing(SourceRule::Kept, &dir.join(name)).unwrap().2.unwrap_err();

        let (one, two) = (wanted("mine/data"), wanted("mine/own/deep/data"));
        link("others", "mine/data");
        // The last name is a link: it is there, and is named as what it is.
        let id = one.make().map_err(|error| error.raw_os_error());
        assert_eq!(id, Err(Some(Errno::LOOP.raw_os_error())));
        fs::rename(dir.join("mine/own"), dir.join("mine/away")).unwrap();
        link("others", "mine/own");
        assert_eq!(
            two.make().unwrap_err().raw_os_error(),
            Some(Errno::LOOP.raw_os_error())
        );
        assert!(fs::read_dir(dir.join("others")).unwrap().next().is_none());
        assert_eq!(
            fs::metadata(dir.join("others")).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }
    #[test]
    fn what_is_mounted_with_a_blank_in_its_name_is_found() {
        let mounts = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                       23 22 8:2 / /media/My\\040Disk rw - vfat /dev/sdb1 rw\n\
                       24 22 8:3 / /srv/data rw - ext4 /dev/sdc1 rw\n\
                       25 22 8:4 / /old/latin\xe9 rw - ext4 /dev/sdd1 rw\n";
        let found = |path: &str| escaped_mount(mounts, Path::new(path));
        assert!(found("/") && found("/media") && found("/media/My Disk"));
        assert!(found("/old"));
        assert!(!found("/srv") && !found("/srv/data") && !found("/home"));
    }

    #[test]
    fn file_systems_of_the_kernels_own_are_known() {
        assert_eq!(sizes(Path::new("/proc/sys")), Sizes::Untold);
        assert_eq!(sizes(Path::new("/usr")), Sizes::Known);
    }
}
