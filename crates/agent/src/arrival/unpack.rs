//! Unpacks the files of an arrival over the guest's tree: cpio archives in the `newc` format, one after another with zeros
//! between. What comes later has its way.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{self as unix, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use cpio::newc;
use rustix::fs::{FileType, Mode};

/// How much is read at a time.
const BUFFER: usize = 128 << 10;

/// The longest target of a symbolic link (PATH_MAX).
const MAX_TARGET: u64 = 4096;

/// Why the files are not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    #[error("cannot read the files that the host sends")]
    Read(#[source] io::Error),
    #[error("cannot write `{}` of the files that the host sends", .path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Unpacks `archives`, up to their end, below `root`.
pub(crate) fn unpack(archives: impl Read, root: &Path) -> Result<(), UnpackError> {
    let mut archives = BufReader::with_capacity(BUFFER, archives);
    let mut ended = false;
    while skip_zeros(&mut archives).map_err(UnpackError::Read)? {
        let mut entry = newc::Reader::new(archives).map_err(UnpackError::Read)?;
        ended = entry.entry().is_trailer();
        if !ended {
            let path = root.join(entry.entry().name().trim_start_matches('/'));
            write(&mut entry, &path).map_err(|source| UnpackError::Write { path, source })?;
        }
        archives = entry.finish().map_err(UnpackError::Read)?;
    }
    match ended {
        true => Ok(()),
        false => Err(UnpackError::Read(io::ErrorKind::UnexpectedEof.into())),
    }
}

/// Whether anything but zeros follows; it is what is read next.
fn skip_zeros(archives: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let buffer = archives.fill_buf()?;
        let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
        match buffer.len() {
            0 => return Ok(false),
            all if zeros < all => {
                archives.consume(zeros);
                return Ok(true);
            }
            all => archives.consume(all),
        }
    }
}

/// Writes an entry to `path`.
fn write(reader: &mut newc::Reader<impl Read>, path: &Path) -> io::Result<()> {
    let entry = reader.entry();
    let (mode, uid, gid) = (entry.mode(), entry.uid(), entry.gid());
    match FileType::from_raw_mode(mode) {
        FileType::Directory => fs::create_dir(path).or_else(|error| match path.is_dir() {
            true => Ok(()),
            false => Err(error),
        })?,
        FileType::RegularFile => {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o600);
            let mut file = in_place_of(path, || options.open(path))?;
            io::copy(reader, &mut file)?;
        }
        FileType::Symlink => {
            let mut target = Vec::new();
            reader.take(MAX_TARGET).read_to_end(&mut target)?;
            let target = std::ffi::OsStr::from_bytes(&target);
            in_place_of(path, || unix::symlink(target, path))?;
            return owner(path, uid, gid);
        }
        FileType::Fifo => {
            let make =
                || rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0);
            in_place_of(path, || make().map_err(io::Error::from))?;
        }
        _ => return Err(io::ErrorKind::Unsupported.into()),
    }
    owner(path, uid, gid)?;
    fs::set_permissions(path, Permissions::from_mode(mode & 0o7777))
}

/// Makes something at `path`, in place of a file that is there.
fn in_place_of<T>(path: &Path, make: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match make() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            make()
        }
        made => made,
    }
}

/// Gives what was just made to another than root.
fn owner(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    match (uid, gid) {
        (0, 0) => Ok(()),
        _ => unix::lchown(path, Some(uid), Some(gid)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    use std::process::{Command, Stdio};

    use super::*;

    /// An archive of everything below `dir`, as cpio(1) makes it.
    fn pack(dir: &Path) -> Vec<u8> {
        let script = "find . -mindepth 1 | LC_ALL=C sort | cpio --quiet -o -H newc";
        let cpio = Command::new("sh")
            .args(["-c", script])
            .current_dir(dir)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(cpio.status.success(), "{cpio:?}");
        cpio.stdout
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn unpacks_what_cpio_packs() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two, root] = ["one", "two", "root"].map(|name| dir.path().join(name));
        fs::create_dir_all(one.join("a/b")).unwrap();
        fs::set_permissions(one.join("a"), Permissions::from_mode(0o1750)).unwrap();
        let large: Vec<u8> = (0..300_000_u32).map(|i| i.to_le_bytes()[1]).collect();
        fs::write(one.join("a/large"), &large).unwrap();
        fs::set_permissions(one.join("a/large"), Permissions::from_mode(0o4711)).unwrap();
        fs::write(one.join("a/later"), "first").unwrap();
        unix::symlink("over/there", one.join("a/b/link")).unwrap();
        let mkfifo = Command::new("mkfifo")
            .arg("-m666")
            .arg(one.join("pipe"))
            .status()
            .unwrap();
        assert!(mkfifo.success());
        fs::create_dir_all(two.join("a")).unwrap();
        fs::write(two.join("a/later"), "second").unwrap();
        fs::write(two.join("was-link"), "file").unwrap();

        // What the guest image has: the directories stay, a link is not followed.
        fs::create_dir_all(root.join("a")).unwrap();
        fs::write(root.join("kept"), "kept").unwrap();
        unix::symlink("kept", root.join("was-link")).unwrap();
        let archives = [pack(&one), vec![0; 200_000], pack(&two), vec![0; 512]].concat();
        unpack(&*archives, &root).unwrap();

        assert_eq!(fs::read(root.join("a/large")).unwrap(), large);
        assert_eq!(mode(&root.join("a/large")), 0o4711);
        assert_eq!(mode(&root.join("a/b")), mode(&one.join("a/b")));
        assert_eq!(
            fs::read_link(root.join("a/b/link")).unwrap(),
            Path::new("over/there")
        );
        let pipe = fs::symlink_metadata(root.join("pipe")).unwrap();
        assert!(pipe.file_type().is_fifo());
        assert_eq!(mode(&root.join("pipe")), 0o666);
        for (file, text) in [("a/later", "second"), ("was-link", "file"), ("kept", "kept")] {
            assert_eq!(fs::read_to_string(root.join(file)).unwrap(), text, "{file}");
        }
    }

    #[test]
    fn what_is_no_archive_or_does_not_fit_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let says = |content: &[u8], words: &str| {
            let error = unpack(content, &dir.path().join("root")).unwrap_err();
            assert_eq!(error.to_string(), words);
        };
        let unreadable = "cannot read the files that the host sends";
        says(&[b'x'; 512], unreadable);
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("a")).unwrap();
        let archive = pack(&tree);
        // Within an entry, and between two.
        says(&archive[..60], unreadable);
        fs::create_dir(dir.path().join("root")).unwrap();
        says(&archive[..112], unreadable);
        fs::remove_dir_all(dir.path().join("root")).unwrap();
        // There is no directory to put it in.
        let at = dir.path().join("root/a");
        says(
            &archive,
            &format!("cannot write `{}` of the files that the host sends", at.display()),
        );
    }
}
