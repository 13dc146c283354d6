//! Makes the file that is a pod's writable disk: sparse, with an empty ext4 file system. Nothing is mounted and no privilege is
//! needed.
//!
//! It is formatted once for each size, and copied for each pod: a few hundred kilobytes, or nothing where the file
//! system of the state directory shares data between files (FICLONE, ioctl_ficlone(2)).
//!
//! ```text
//! DIR/writable/VERSION-BYTES   an empty file system in which so much can be written
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::{disk, private};

/// Changes whenever a file system of one size is made otherwise.
const VERSION: u32 = 1;

/// How much is copied at a time.
const BUFFER: usize = 64 << 10;

/// What the file system may take for itself beside its inodes: its journal of at most 64 MiB, bitmaps, and what Linux keeps.
const OWN_BYTES: u64 = 96 << 20;

/// One byte of inodes for so many of files (mke2fs.conf(5): 256 for 16 KiB), with room for the rounding to groups.
const BYTES_PER_INODE_BYTE: u64 = 48;

/// How often a size is tried until it is right: each time what is too much gets at least 48 times smaller.
const TRIES: usize = 8;

/// Makes the disk at `path`, with room for `bytes`: from the file system of that size in `dir`, which `mkfs` (mkfs.ext4)
/// makes where there is none yet.
///
/// # Errors
/// What making or copying a file failed with, or the words of the program that failed.
pub(crate) fn make(path: &Path, bytes: u64, dir: &Path, mkfs: Option<&Path>) -> io::Result<()> {
    let formatted = dir.join(format!("{VERSION}-{bytes}"));
    let from = match File::open(&formatted) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            format(&formatted, bytes, mkfs.ok_or(io::ErrorKind::NotFound)?)?;
            File::open(&formatted)?
        }
        opened => opened?,
    };
    copy(&from, &private::file(path)?)
}

/// Makes the file system that all pods of that size begin with. Nobody sees half of one.
fn format(path: &Path, bytes: u64, mkfs: &Path) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    private::dir(dir)?;
    let new = tempfile::Builder::new().prefix(".new-").tempfile_in(dir)?;
    let wanted = bytes.div_ceil(disk::BLOCK_BYTES);
    let mut blocks = wanted + (bytes / BYTES_PER_INODE_BYTE + OWN_BYTES).div_ceil(disk::BLOCK_BYTES);
    let journal = format!("size={}", journal_mib(bytes));
    // It never grows, and the journal and the inode tables are written when they are used.
    let lazy = "lazy_itable_init=1,lazy_journal_init=1,nodiscard";
    let options = ["-O", "^resize_inode", "-J", &journal, "-E", lazy];
    for _ in 0..TRIES {
        new.as_file().set_len(0)?;
        new.as_file().set_len(blocks * disk::BLOCK_BYTES)?;
        disk::format(mkfs, new.path(), &options)?;
        // What df(1) says: what is free, and the directories that are there.
        let seen = disk::free_blocks(new.path())? + disk::LOST_FOUND_BLOCKS + 1;
        if seen <= wanted {
            break;
        }
        blocks -= seen - wanted;
    }
    new.as_file().sync_all()?;
    new.persist(path).map_err(|error| error.error).map(drop)
}

/// The journal's size in MiB: all of it is written in turn, so it is what a pod takes of the host in the end.
fn journal_mib(bytes: u64) -> u32 {
    match bytes >> 20 {
        ..128 => 4,
        128..2048 => 16,
        _ => 64,
    }
}

/// Copies a sparse file into an empty one.
fn copy(from: &File, to: &File) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let length = from.metadata()?.len();
    to.set_len(length)?;
    let mut buffer = vec![0; BUFFER];
    let mut at = 0;
    while at < length {
        let data = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => break,
            found => found?,
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(data))?;
        at = data;
        while at < end {
            let most = usize::try_from(end - at).map_or(BUFFER, |rest| rest.min(BUFFER));
            from.read_exact_at(&mut buffer[..most], at)?;
            to.write_all_at(&buffer[..most], at)?;
            at += most as u64;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;
    use std::process::Command;

    use super::*;

    const MKFS: &str = "/sbin/mkfs.ext4";

    #[test]
    fn is_sound_sparse_and_as_large_as_it_is_said_to() {
        let dir = tempfile::tempdir().unwrap();
        for bytes in [64 << 20, 512 << 20, (1 << 30) + 1, 10 << 30, 100 << 30] {
            let path = dir.path().join("disk");
            for pod in 0..2 {
                // The second one comes from what is there.
                let mkfs = (pod == 0).then_some(Path::new(MKFS));
                make(&path, bytes, &dir.path().join("formatted"), mkfs).unwrap();
                let fsck = Command::new("/sbin/fsck.ext4")
                    .args(["-fn"])
                    .arg(&path)
                    .output()
                    .unwrap();
                assert!(fsck.status.success(), "{}", String::from_utf8_lossy(&fsck.stdout));
                let used = std::fs::metadata(&path).unwrap().blocks() * 512;
                assert!(used < (256 << 10) + bytes / 50_000, "{bytes}: {used} bytes");
            }
            let seen = (disk::free_blocks(&path).unwrap() + disk::LOST_FOUND_BLOCKS + 1) * disk::BLOCK_BYTES;
            let missing = bytes.next_multiple_of(disk::BLOCK_BYTES).checked_sub(seen);
            assert!(
                missing.is_some_and(|missing| missing < 4 << 20),
                "{bytes}: {seen}"
            );
        }
        assert!(
            make(
                &dir.path().join("disk"),
                1 << 30,
                &dir.path().join("formatted"),
                None
            )
            .is_err()
        );
    }
}
