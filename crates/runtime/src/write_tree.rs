//! Writes a guest tree to a directory of the host, for `isopod plan --write`.
//!
//! Each file costs what the kernel takes to make it and next to nothing else: names are looked up in a directory that is
//! held open, and mode and owner are set only where the kernel gave others. One thread writes: two were not faster on
//! ext4, where they wait for one journal.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use isopod_plan::guest::entry::{Entry, EntryKind};
use isopod_plan::guest::tree::GuestTree;
use isopod_plan::path;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};

/// Why a tree could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteTreeError {
    /// The directory holds something.
    #[error("`{}` is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// A file could not be written.
    #[error("cannot write `{}`", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl WriteTreeError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotEmpty(_) => Some("name a new or an empty directory: nothing is overwritten".into()),
            Self::Io { .. } => None,
        }
    }
}

/// Writes `tree` below `dir`, which is made for its owner alone if it is missing and must be empty. Owners are kept by root only.
///
/// # Errors
/// [`WriteTreeError`]; what was written before it stays.
pub fn write_tree(tree: &GuestTree, dir: &Path) -> Result<(), WriteTreeError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| WriteTreeError::Io { path, source }
    };
    // A unit may hold a secret of its pod's as an argument.
    let mut owners = fs::DirBuilder::new();
    owners
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(failed(dir))?;
    if fs::read_dir(dir).map_err(failed(dir))?.next().is_some() {
        return Err(WriteTreeError::NotEmpty(dir.to_owned()));
    }
    let given = Given::by(dir);
    let mut place = OpenDirectory::at(dir).map_err(failed(dir))?;
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    for (inner, entry) in tree.iter() {
        let written = place
            .of(&inner)
            .and_then(|(above, name)| write_entry(above, name, &entry, &given, &mut buffer));
        written.map_err(|source| failed(&path::below(dir, &inner))(source))?;
    }
    Ok(())
}

/// The directory that was written to last, held open: neighbours in a tree are mostly in one.
struct OpenDirectory {
    /// The directory of the whole tree.
    root: OwnedFd,
    /// The last entry's directory, by its path in the tree.
    last: Option<(PathBuf, OwnedFd)>,
}

impl OpenDirectory {
    fn at(dir: &Path) -> io::Result<Self> {
        let root = rustix::fs::open(dir, DIRECTORY, Mode::empty())?;
        Ok(Self { root, last: None })
    }

    /// The directory above `inner`, and its name there.
    fn of<'a>(&mut self, inner: &'a Path) -> io::Result<(BorrowedFd<'_>, &'a OsStr)> {
        let (Some(above), Some(name)) = (inner.parent(), inner.file_name()) else {
            return Err(io::ErrorKind::InvalidFilename.into());
        };
        if self
            .last
            .as_ref()
            .is_none_or(|(last, _)| last.as_os_str() != above.as_os_str())
        {
            let relative = above.strip_prefix("/").unwrap_or(above);
            let here = if relative.as_os_str().is_empty() {
                Path::new(".")
            } else {
                relative
            };
            let opened = rustix::fs::openat(&self.root, here, DIRECTORY, Mode::empty())?;
            self.last = Some((above.to_owned(), opened));
        }
        let above = self.last.as_ref().map_or(&self.root, |(_, opened)| opened);
        Ok((above.as_fd(), name))
    }
}

/// A directory to make files in.
const DIRECTORY: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// A file that must not be there yet.
const NEW_FILE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::CLOEXEC);

/// What the system gives every file that is made, as far as it is known: for a thousand volumes, not to set it once
/// more is half of the calls.
struct Given {
    /// The bits that are taken from a new file's mode.
    umask: Option<u32>,
    /// The owner and the group of a new file.
    owner: Option<(u32, u32)>,
    /// Whether owners can be set.
    root: bool,
}

impl Given {
    /// What new files below `dir` get.
    fn by(dir: &Path) -> Self {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        let umask = umask.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok());
        // Below a directory with the set-group-ID bit, group and mode are others (inode(7)); so they are with default
        // access control lists, of which the mode says nothing: they show in what a new directory gets.
        let plain = fs::metadata(dir).is_ok_and(|metadata| metadata.mode() & 0o2000 == 0);
        let owner = plain.then_some((uid.as_raw(), gid.as_raw()));
        Self {
            umask: umask.filter(|_| plain && !has_default_acl(dir)),
            owner,
            root: uid.is_root(),
        }
    }
}

/// Whether new files in `dir` get their mode from an access control list (acl(5), "OBJECT CREATION AND DEFAULT ACLs").
fn has_default_acl(dir: &Path) -> bool {
    let mut none: [u8; 0] = [];
    rustix::fs::getxattr(dir, "system.posix_acl_default", &mut none).is_ok_and(|length| length > 0)
}

/// How much of a file is kept before it is written, in bytes: all of a unit's, so that it is one call.
const BUFFER_BYTES: usize = 64 * 1024;

/// A file that is written in large pieces, through a buffer that outlives it.
struct Pieces<'a> {
    file: OwnedFd,
    buffer: &'a mut Vec<u8>,
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut rest = self.buffer.as_slice();
        while !rest.is_empty() {
            let written = rustix::io::retry_on_intr(|| rustix::io::write(&self.file, rest))?;
            rest = rest.get(written..).unwrap_or_default();
        }
        self.buffer.clear();
        Ok(())
    }
}

fn write_entry(
    above: BorrowedFd<'_>,
    name: &OsStr,
    entry: &Entry,
    given: &Given,
    buffer: &mut Vec<u8>,
) -> io::Result<()> {
    let mode = Mode::from_raw_mode(entry.mode);
    match &entry.kind {
        EntryKind::Directory => rustix::fs::mkdirat(above, name, mode)?,
        EntryKind::File(content) => {
            let file = rustix::fs::openat(above, name, NEW_FILE, mode)?;
            buffer.clear();
            let mut out = Pieces { file, buffer };
            content.write(&mut out)?;
            out.flush()?;
        }
        EntryKind::Symlink(target) => return Ok(rustix::fs::symlinkat(target, above, name)?),
        EntryKind::Fifo => rustix::fs::mknodat(above, name, FileType::Fifo, mode, 0)?,
    }
    let owned = given.owner == Some((entry.uid, entry.gid));
    if given.root && !owned {
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        rustix::fs::chownat(above, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    // mkdir(2) takes no set-user-ID bit, and chown(2) takes it away.
    let kept = given
        .umask
        .is_some_and(|umask| entry.mode & (umask | 0o7000) == 0);
    if !kept {
        rustix::fs::chmodat(above, name, mode, AtFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A text of `0` bytes in pieces of `1`.
    struct Long(usize, usize);

    impl isopod_plan::guest::entry::WriteText for Long {
        fn write(&self, out: &mut dyn Write) -> io::Result<()> {
            let bytes: Vec<u8> = (0..self.0).map(|i| b'a' + (i % 23) as u8).collect();
            bytes.chunks(self.1).try_for_each(|piece| out.write_all(piece))
        }
    }

    #[test]
    fn texts_of_any_length_are_written_whole() {
        let mut tree = GuestTree::default();
        for (i, (length, piece)) in [(0, 1), (10, 3), (200_000, 7), (65_536, 65_536), (200_000, 70_000)]
            .into_iter()
            .enumerate()
        {
            tree.deferred(&PathBuf::from(format!("/{i}")), Long(length, piece), 0o600);
        }
        let place = tempfile::tempdir().unwrap();
        write_tree(&tree, place.path()).unwrap();
        for (inner, entry) in tree.iter() {
            let EntryKind::File(content) = &entry.kind else {
                panic!("{entry:?}")
            };
            let written = fs::read(path::below(place.path(), &inner)).unwrap();
            assert_eq!(written, *content.bytes().unwrap(), "{}", inner.display());
        }
    }

    /// Modes and owners are those of the tree, whatever the umask and the directory make of new files.
    #[test]
    fn what_is_written_is_the_tree() {
        let mut tree = GuestTree::default();
        for (i, mode) in [0o700, 0o755, 0o777, 0o1777, 0o2770, 0o000]
            .into_iter()
            .enumerate()
        {
            tree.directory(&PathBuf::from(format!("/d{i}")), mode);
            tree.file(&PathBuf::from(format!("/f{i}")), format!("{i}"), mode);
            tree.add(&PathBuf::from(format!("/p{i}")), EntryKind::Fifo, mode);
        }
        tree.symlink(Path::new("/d1/link"), "../f0");
        tree.insert(
            Path::new("/d1/owned"),
            Entry {
                kind: EntryKind::Directory,
                mode: 0o750,
                uid: 7,
                gid: 8,
            },
        );
        let root = rustix::process::geteuid().is_root();
        let place = tempfile::tempdir().unwrap();
        for above in [0o755, 0o2755] {
            fs::set_permissions(place.path(), fs::Permissions::from_mode(above)).unwrap();
            let dir = place.path().join(format!("{above:o}"));
            write_tree(&tree, &dir).unwrap();
            assert_eq!(dir.metadata().unwrap().mode() & 0o777, 0o700);
            for (inner, entry) in tree.iter() {
                let found = path::below(&dir, &inner).symlink_metadata().unwrap();
                if !matches!(entry.kind, EntryKind::Symlink(_)) {
                    assert_eq!(found.mode() & 0o7777, entry.mode, "{}", inner.display());
                    assert!(
                        !root || (found.uid(), found.gid()) == (entry.uid, entry.gid),
                        "{}",
                        inner.display()
                    );
                }
            }
            assert!(matches!(
                write_tree(&tree, &dir),
                Err(WriteTreeError::NotEmpty(_))
            ));
        }
    }
}
