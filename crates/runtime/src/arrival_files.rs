//! Writes the files that come to a VM, as the agent unpacks them: a cpio archive in the `newc` format (the kernel's
//! Documentation/driver-api/early-userspace/buffer-format.rst).

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cpio::newc::{Builder, ModeFileType, trailer};
use isopod_plan::guest::entry::EntryKind;
use isopod_plan::guest::tree::GuestTree;

/// Writes `tree` to `path`, and behind it the archive `more`.
///
/// # Errors
/// What reading and writing failed with.
pub(crate) fn write(path: &Path, tree: &GuestTree, more: Option<&Path>) -> io::Result<()> {
    let file = crate::private::file(path)?;
    let mut out = BufWriter::new(&file);
    append(&mut out, tree)?;
    if let Some(more) = more {
        io::copy(&mut File::open(more)?, &mut out)?;
    }
    out.flush()
}

/// Writes `tree` to `out`.
///
/// # Errors
/// As [`write`].
pub(crate) fn append(out: &mut impl Write, tree: &GuestTree) -> io::Result<()> {
    for (i, (path, entry)) in tree.iter().enumerate() {
        let (file_type, content): (_, Cow<'_, [u8]>) = match &entry.kind {
            EntryKind::Directory => (ModeFileType::Directory, Cow::default()),
            EntryKind::File(content) => (ModeFileType::Regular, content.bytes()?),
            EntryKind::Symlink(target) => (
                ModeFileType::Symlink,
                Cow::Borrowed(target.as_os_str().as_bytes()),
            ),
            EntryKind::Fifo => (ModeFileType::Fifo, Cow::default()),
        };
        // The kernel links entries of one inode number and several names; each of ours has one of each.
        let inode = u32::try_from(i + 1).map_err(io::Error::other)?;
        let name = path
            .to_str()
            .ok_or(io::ErrorKind::InvalidInput)?
            .trim_start_matches('/');
        let builder = Builder::new(name)
            .ino(inode)
            .mode(entry.mode)
            .set_mode_file_type(file_type)
            .uid(entry.uid)
            .gid(entry.gid)
            .nlink(1);
        let size = u32::try_from(content.len()).map_err(io::Error::other)?;
        let mut writer = builder.write(&mut *out, size);
        writer.write_all(&content)?;
        writer.finish()?;
    }
    trailer(out).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_back_by_cpio() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = GuestTree::default();
        tree.file(Path::new("/a/b"), "content", 0o640);
        tree.symlink(Path::new("/a/link"), "b");
        tree.add(Path::new("/a/pipe"), EntryKind::Fifo, 0o666);
        let path = dir.path().join("pod.cpio");
        write(&path, &tree, None).unwrap();
        let list = std::process::Command::new("cpio")
            .arg("-tv")
            .stdin(std::fs::File::open(&path).unwrap())
            .output()
            .unwrap();
        let list = String::from_utf8(list.stdout).unwrap();
        let lines: Vec<&str> = list.lines().collect();
        assert_eq!(lines.len(), 4, "{list}");
        for (line, (start, end)) in lines.iter().zip([
            ("drwxr-xr-x", " a"),
            ("-rw-r-----", " a/b"),
            ("lrwx", " a/link -> b"),
            ("prw-rw-rw-", " a/pipe"),
        ]) {
            assert!(line.starts_with(start) && line.ends_with(end), "{line}");
        }
    }
}
