//! An archive to a tree of files. Nothing in the archive is trusted: each name is taken apart, and each directory above
//! an entry is opened below the target by a walk that follows no link (openat2(2), `RESOLVE_BENEATH`,
//! `RESOLVE_NO_SYMLINKS`).

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT, Uid, chmodat,
    chownat, linkat, mkdirat, mknodat, open, openat2, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::reader::{Entry, EntryKind, Skip, TarError, TarReader, Time};

/// The longest name or link target: what Linux takes, and room for an archive's own frills.
const MAX_NAME_BYTES: usize = 16 * 1024;

/// The bytes by which a compressed file is known.
const MAGIC_BYTES: u64 = 10;

/// What is kept of a file besides name, content, mode and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Owners, set-ID bits, devices: within an app, whose files they are.
    Everything,
    /// Nothing: files belong to root in an archive and to whoever unpacks one, and devices are refused.
    Plain,
}

/// Why an archive could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive ended early, or is none.
    #[error("cannot read the archive")]
    Archive(#[source] TarError),
    #[error("the archive is compressed with {0}: decompress it first, with `{0} -dc`")]
    Compressed(&'static str),
    /// The place for it is none.
    #[error("cannot copy to `{}`", .path.to_string_lossy().escape_debug())]
    Target {
        /// The target.
        path: PathBuf,
        source: io::Error,
    },
    /// A name of the archive's leads out of the target, or nowhere.
    #[error("the archive names `{}`, which is not below the target", .0.to_string_lossy().escape_debug())]
    Name(PathBuf),
    /// It holds another tree than the one that was asked for.
    #[error("the archive holds `{}`, which was not asked for", .0.to_string_lossy().escape_debug())]
    Tree(PathBuf),
    /// A name of the archive's is over the limit.
    #[error("the archive has a name of more than {MAX_NAME_BYTES} bytes")]
    LongName,
    /// It holds several trees, and the target is not a directory that could hold them.
    #[error("the archive holds more than one tree, and the target is not a directory")]
    SeveralTrees,
    /// It holds what is not taken.
    #[error("the archive holds `{}`, which is of a kind that is not copied", .0.to_string_lossy().escape_debug())]
    Kind(PathBuf),
    /// A file could not be written.
    #[error("cannot write `{}`", .path.to_string_lossy().escape_debug())]
    Write {
        /// The file, below the target.
        path: PathBuf,
        source: io::Error,
    },
}

/// Unpacks `archive` into or as `target`; files that are there are replaced, directories kept, and those made that it
/// names only within other names. With `tree`, the archive's tree must be called that ([`crate::tree_name`]): who sends the archive does not choose the name.
///
/// # Errors
/// [`UnpackError`]; what was written before it stays.
pub fn unpack(
    target: &Path,
    archive: &mut dyn Read,
    keep: Keep,
    tree: Option<&OsStr>,
) -> Result<(), UnpackError> {
    let mut place = Place::at(target, keep)?;
    place.tree = tree.map(|tree| tree.as_bytes().to_vec());
    let mut beginning = Vec::new();
    let read = Read::take(&mut *archive, MAGIC_BYTES).read_to_end(&mut beginning);
    let offset = 0;
    read.map_err(|source| UnpackError::Archive(TarError::Read { offset, source }))?;
    if let Some(program) = compressed_with(&beginning) {
        return Err(UnpackError::Compressed(program));
    }
    let mut archive = TarReader::new(Stream(beginning.chain(archive)));
    while let Some(entry) = archive.next_entry().map_err(unreadable)? {
        if entry.name.len().max(entry.link.len()) > MAX_NAME_BYTES {
            return Err(UnpackError::LongName);
        }
        place.write(&entry, &mut archive)?;
    }
    place.finish()
}

/// A stream whose bytes are passed over by being read.
struct Stream<R>(R);

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl<R: Read> Skip for Stream<R> {}

fn unreadable(error: TarError) -> UnpackError {
    match error {
        TarError::Type { name, .. } => UnpackError::Kind(PathBuf::from(name)),
        error => UnpackError::Archive(error),
    }
}

/// What compressed the file that begins so.
fn compressed_with(beginning: &[u8]) -> Option<&'static str> {
    match beginning {
        [0x1f, 0x8b, ..] => Some("gzip"),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some("xz"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("zstd"),
        // With digits of pi, which no name has.
        [b'B', b'Z', b'h', _, 0x31, 0x41, 0x59, 0x26, 0x53, 0x59] => Some("bzip2"),
        _ => None,
    }
}

/// Where a tree goes.
struct Place {
    dir: OwnedFd,
    /// What the tree is called there; `None`: as in the archive.
    name: Option<PathBuf>,
    /// As it was asked for.
    target: PathBuf,
    /// What the archive must call the tree.
    tree: Option<Vec<u8>>,
    /// The archive's own name of the tree, once it was seen.
    top: Option<Vec<u8>>,
    keep: Keep,
    /// Directories with their modes and times, which are set when nothing is written into them any more.
    directories: Vec<(PathBuf, Mode, Time)>,
}

impl Place {
    fn at(target: &Path, keep: Keep) -> Result<Self, UnpackError> {
        let wrong = |source: io::Error| UnpackError::Target {
            path: target.to_owned(),
            source,
        };
        let (dir, name) = match target.metadata() {
            Ok(data) if data.is_dir() => (target, None),
            // It would be replaced, and `/dev/null` is nobody's to replace.
            Ok(data) if !data.is_file() => return Err(wrong(io::Error::other("it is not a file"))),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(wrong(error)),
            _ => {
                let (parent, name) = (target.parent(), target.file_name());
                let name = name.ok_or_else(|| wrong(io::ErrorKind::InvalidInput.into()))?;
                let parent = parent.filter(|parent| !parent.as_os_str().is_empty());
                (parent.unwrap_or(Path::new(".")), Some(PathBuf::from(name)))
            }
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = open(dir, flags, Mode::empty()).map_err(|errno| wrong(errno.into()))?;
        Ok(Self {
            dir,
            name,
            target: target.to_owned(),
            tree: None,
            top: None,
            keep,
            directories: Vec::new(),
        })
    }

    /// Where a name of the archive's leads, below the directory; empty for the directory itself.
    fn path_of(&mut self, name: &[u8]) -> Result<PathBuf, UnpackError> {
        let outside = || UnpackError::Name(PathBuf::from(OsStr::from_bytes(name)));
        let mut parts: Vec<&[u8]> = name.split(|byte| *byte == b'/').collect();
        if name.starts_with(b"/") || name.contains(&0) || parts.contains(&&b".."[..]) {
            return Err(outside());
        }
        let top = parts.remove(0).to_vec();
        if top.is_empty() {
            return Err(outside());
        }
        parts.retain(|part| !part.is_empty() && *part != b".");
        // Behind an entry `.` the names may do without it.
        let within = top == b"." || self.top.as_deref() == Some(b".");
        let asked_for = match self.tree.as_deref() {
            None => true,
            Some(b".") => within,
            Some(tree) => top == tree,
        };
        if !asked_for {
            return Err(UnpackError::Tree(PathBuf::from(OsStr::from_bytes(name))));
        }
        let mut path = match &self.name {
            None => PathBuf::new(),
            Some(_) if !within && self.top.as_ref().is_some_and(|known| *known != top) => {
                return Err(UnpackError::SeveralTrees);
            }
            Some(name) => name.clone(),
        };
        if top != b"." && (self.name.is_none() || within) {
            path.push(OsStr::from_bytes(&top));
        }
        self.top.get_or_insert(top);
        path.extend(parts.into_iter().map(OsStr::from_bytes));
        Ok(path)
    }

    /// The directory that holds `path`, and its name there.
    fn parent(&self, path: &Path) -> Result<(OwnedFd, PathBuf), Errno> {
        let name = path.file_name().ok_or(Errno::INVAL)?.into();
        let above = path.parent().filter(|above| !above.as_os_str().is_empty());
        let dir = match above {
            None => self.dir.as_fd().try_clone_to_owned().map_err(|_| Errno::MFILE)?,
            Some(above) => open_beneath(&self.dir, above)?,
        };
        Ok((dir, name))
    }

    /// The same, where the directories above it that the archive has no entries of are made.
    fn made_parent(&self, path: &Path) -> Result<(OwnedFd, PathBuf), Errno> {
        match self.parent(path) {
            Err(Errno::NOENT) => {}
            found => return found,
        }
        let mut dir = self.dir.as_fd().try_clone_to_owned().map_err(|_| Errno::MFILE)?;
        for part in path.parent().into_iter().flat_map(Path::components) {
            let Component::Normal(part) = part else {
                return Err(Errno::INVAL);
            };
            match mkdirat(&dir, part, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => dir = open_beneath(&dir, Path::new(part))?,
                Err(errno) => return Err(errno),
            }
        }
        Ok((dir, path.file_name().ok_or(Errno::INVAL)?.into()))
    }

    fn write(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), UnpackError> {
        let path = self.path_of(&entry.name)?;
        if path.as_os_str().is_empty() {
            // The target itself, which stays as it is.
            return match entry.kind {
                EntryKind::Directory => Ok(()),
                _ => Err(UnpackError::Name(PathBuf::from(OsStr::from_bytes(&entry.name)))),
            };
        }
        let is_directory = entry.kind == EntryKind::Directory;
        let is_target = self.name.as_ref() == Some(&path);
        if is_target && !is_directory && self.target.as_os_str().as_bytes().ends_with(b"/") {
            return Err(UnpackError::Target {
                path: self.target.clone(),
                source: io::ErrorKind::NotADirectory.into(),
            });
        }
        let source = match entry.kind {
            EntryKind::HardLink => Some(self.path_of(&entry.link)?),
            _ => None,
        };
        let device = matches!(entry.kind, EntryKind::CharDevice | EntryKind::BlockDevice);
        // Of holes a few bytes of an archive may claim more than any disk has.
        if (device && self.keep == Keep::Plain) || entry.holes > 0 {
            return Err(UnpackError::Kind(path));
        }
        self.make(entry, content, &path, source.as_deref())
            .map_err(|source| UnpackError::Write { path, source })
    }

    fn make(
        &mut self,
        entry: &Entry,
        content: &mut dyn Read,
        path: &Path,
        source: Option<&Path>,
    ) -> io::Result<()> {
        let (dir, name) = self.made_parent(path)?;
        let (mode, modified) = (self.mode(entry.mode), entry.mtime);
        if entry.kind == EntryKind::Directory {
            make_directory(&dir, &name)?;
            self.own(&dir, &name, entry)?;
            self.directories.push((path.to_owned(), mode, modified));
            return Ok(());
        }
        match unlinkat(&dir, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        if let Some(source) = source {
            let (from, from_name) = self.parent(source)?;
            return Ok(linkat(&from, from_name, &dir, &name, AtFlags::empty())?);
        }
        let private = Mode::from_raw_mode(0o600);
        match entry.kind {
            EntryKind::Symlink => symlinkat(OsStr::from_bytes(&entry.link), &dir, &name)?,
            EntryKind::Fifo => mknodat(&dir, &name, FileType::Fifo, private, 0)?,
            EntryKind::CharDevice | EntryKind::BlockDevice => {
                let (major, minor) = entry.device;
                let device = rustix::fs::makedev(major, minor);
                let kind = if entry.kind == EntryKind::CharDevice {
                    FileType::CharacterDevice
                } else {
                    FileType::BlockDevice
                };
                mknodat(&dir, &name, kind, private, device)?;
            }
            _ => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut file = File::from(rustix::fs::openat(&dir, &name, flags, private)?);
                io::copy(content, &mut file)?;
            }
        }
        self.own(&dir, &name, entry)?;
        if entry.kind != EntryKind::Symlink {
            // Behind the change of owner, which takes set-ID bits away.
            chmodat(&dir, &name, mode, AtFlags::empty())?;
        }
        Ok(utimensat(
            &dir,
            &name,
            &modified_at(modified),
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    fn mode(&self, mode: u16) -> Mode {
        let kept = if self.keep == Keep::Everything {
            0o7777
        } else {
            0o777
        };
        Mode::from_raw_mode(u32::from(mode) & kept)
    }

    fn own(&self, dir: &OwnedFd, name: &Path, entry: &Entry) -> io::Result<()> {
        if self.keep == Keep::Plain {
            return Ok(());
        }
        if entry.uid == u32::MAX || entry.gid == u32::MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        Ok(chownat(
            dir,
            name,
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    /// Gives the directories their modes and times, the deepest first.
    fn finish(self) -> Result<(), UnpackError> {
        for (path, mode, modified) in self.directories.iter().rev() {
            let set = || -> Result<(), Errno> {
                let (dir, name) = self.parent(path)?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let directory = rustix::fs::openat(&dir, &name, flags, Mode::empty())?;
                rustix::fs::fchmod(&directory, *mode)?;
                rustix::fs::futimens(&directory, &modified_at(*modified))
            };
            set().map_err(|errno| UnpackError::Write {
                path: path.clone(),
                source: errno.into(),
            })?;
        }
        Ok(())
    }
}

/// Opens a directory below another, by a walk that follows no link.
fn open_beneath(dir: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    openat2(dir, path, flags, Mode::empty(), resolve)
}

/// Makes a directory that its maker can write into; one that is there will do.
fn make_directory(dir: &OwnedFd, name: &Path) -> io::Result<()> {
    match mkdirat(dir, name, Mode::from_raw_mode(0o700)) {
        Err(Errno::EXIST) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(dir, name, flags, Mode::empty())?;
            Ok(())
        }
        made => Ok(made?),
    }
}

fn modified_at(time: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: time.seconds,
            tv_nsec: time.nanoseconds.into(),
        },
    }
}
