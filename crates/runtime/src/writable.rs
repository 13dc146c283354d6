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
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use crate::{disk, private, sparse};

/// Changes whenever a file system of one size is made otherwise.
const VERSION: u32 = 1;

/// What the name of one begins with that is being made.
const NEW: &str = ".new-";

/// How long it takes at most until one that is being made is locked.
const UNLOCKED: Duration = Duration::from_secs(10);

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
    sparse::copy(&from, &private::file(path)?)
}

/// Makes the file system that all pods of that size begin with. Nobody sees half of one.
fn format(path: &Path, bytes: u64, mkfs: &Path) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    private::dir(dir)?;
    let new = tempfile::Builder::new().prefix(NEW).tempfile_in(dir)?;
    // As long as this process makes it, whatever becomes of the process.
    new.as_file().lock()?;
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

/// Removes what processes that were killed while they made a file system left in `dir`: what nobody holds the lock of.
pub fn remove_leftovers(dir: &Path) {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().as_bytes().starts_with(NEW.as_bytes())) {
        let is_left = || {
            let file = File::open(entry.path()).ok()?;
            let age = file.metadata().ok()?.modified().ok()?.elapsed().ok()?;
            file.try_lock().ok()?;
            (age > UNLOCKED).then_some(())
        };
        if is_left().is_some()
            && let Err(error) = std::fs::remove_file(entry.path())
        {
            tracing::warn!("cannot remove `{}`: {error}", entry.path().display());
        }
    }
}

/// The journal's size in MiB: all of it is written in turn, so it is what a pod takes of the host in the end.
fn journal_mib(bytes: u64) -> u32 {
    match bytes >> 20 {
        ..128 => 4,
        128..2048 => 16,
        _ => 64,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;
    use std::process::Command;

    use super::*;

    const MKFS: &str = "/sbin/mkfs.ext4";

    #[test]
    fn only_what_nobody_makes_any_more_goes() {
        let dir = tempfile::tempdir().unwrap();
        let old = std::time::SystemTime::now() - Duration::from_secs(3600);
        let file = |(name, age): (&str, Option<std::time::SystemTime>)| {
            let file = File::create(dir.path().join(name)).unwrap();
            age.into_iter().for_each(|time| file.set_modified(time).unwrap());
            file
        };
        let _ = [(".new-old", Some(old)), (".new-young", None), ("1-10", Some(old))].map(file);
        let made = file((".new-made", Some(old)));
        made.lock().unwrap();
        remove_leftovers(dir.path());
        let left = |name: &str| dir.path().join(name).exists();
        let all = [".new-old", ".new-young", ".new-made", "1-10"];
        assert_eq!(all.map(left), [false, true, true, true]);
        remove_leftovers(&dir.path().join("nowhere"));
    }

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
