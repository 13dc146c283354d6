//! Makes the file of an empty volume that is kept on disk: sparse, with an ext4 file system whose root has the volume's
//! mode and owner. Nothing is mounted and no privilege is needed: e2fsprogs work on the file.
//!
//! A volume's size is what an app can write to it. So the file system is larger, by its own tables and journal, and what is
//! too much of that is reserved, for a user that no app is.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use isopod_plan::vm::disks::DiskVolume;
use isopod_vm::launch;

use crate::private;

/// Makes the file at `path` with `mkfs` (mkfs.ext4, with debugfs beside it).
///
/// # Errors
/// What creating the file failed with, or the words of the program that failed.
pub(crate) fn make(path: &Path, disk: &DiskVolume, mkfs: Option<&Path>) -> io::Result<()> {
    let mkfs = mkfs.ok_or(io::ErrorKind::NotFound)?;
    let bytes = (disk.size_bytes.saturating_add(disk.size_bytes / 4)).saturating_add(OWN_BYTES);
    let bytes = bytes.next_multiple_of(BLOCK_BYTES);
    private::file(path)?.set_len(bytes)?;
    // The journal and the inode tables are written when they are used: a sparse file stays small.
    let options = format!(
        "root_owner={}:{},lazy_itable_init=1,lazy_journal_init=1,nodiscard",
        disk.uid, disk.gid
    );
    format(mkfs, path, &["-E", &options])?;
    // An empty volume is empty, and mkfs.ext4 knows no mode.
    let wanted = disk.size_bytes.div_ceil(BLOCK_BYTES) + kept_by_linux(bytes);
    let reserved = (free_blocks(path)? + LOST_FOUND_BLOCKS).saturating_sub(wanted);
    let requests = format!(
        "rmdir lost+found\nset_inode_field / mode 0{:o}\nset_super_value r_blocks_count {reserved}\n\
         set_super_value def_resuid {NOBODY}\nset_super_value def_resgid {NOBODY}\n",
        0o040_000 | disk.mode
    );
    let debugfs = mkfs.with_file_name("debugfs");
    run(
        launch::command(&debugfs).args(["-w", "-f", "-"]).arg(path),
        &requests,
    )
}

/// Makes a file system in all of the file at `path`, with these options of mke2fs(8) besides.
pub(crate) fn format(mkfs: &Path, path: &Path, options: &[&str]) -> io::Result<()> {
    let block = BLOCK_BYTES.to_string();
    let args = ["-q", "-F", "-m", "0", "-b", &block];
    run(launch::command(mkfs).args(args).args(options).arg(path), "")
}

/// The file system's blocks.
pub(crate) const BLOCK_BYTES: u64 = 4096;

/// What `lost+found` takes of them, which goes.
pub(crate) const LOST_FOUND_BLOCKS: u64 = 4;

/// What the smallest file system takes for itself: a journal of 4 MiB, the fewest tables, and room to grow them. A larger one takes less
/// than another quarter: 16 MiB of journal from 128 MiB on, a sixteenth for its inodes below 512 MiB (mke2fs.conf(5)).
const OWN_BYTES: u64 = 8 << 20;

/// Whose what is reserved is (ext4(5), `resuid=`): the user that nobody is.
const NOBODY: u16 = 65534;

/// How many blocks of a file system of so many bytes Linux lets nobody write to (fs/ext4/super.c,
/// `ext4_set_resv_clusters`).
fn kept_by_linux(bytes: u64) -> u64 {
    (bytes / BLOCK_BYTES / 50).min(4096)
}

/// How many blocks a new file system has free (Linux's Documentation/filesystems/ext4/super.rst).
pub(crate) fn free_blocks(path: &Path) -> io::Result<u64> {
    const SUPER_BLOCK: u64 = 1024;
    let file = File::open(path)?;
    let word = |offset: u64| {
        let mut bytes = [0; 4];
        file.read_exact_at(&mut bytes, SUPER_BLOCK + offset)?;
        io::Result::Ok(u64::from(u32::from_le_bytes(bytes)))
    };
    let (low, high) = (word(0x0c)?, word(0x158)?);
    Ok(high << 32 | low)
}

/// Runs a program of e2fsprogs, with that to read.
fn run(command: &mut Command, input: &str) -> io::Result<()> {
    let output = command.stdin(Stdio::piped());
    let mut child = output.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    // It says itself what is wrong where it does not read.
    let _ = child
        .stdin
        .take()
        .map(|mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(io::Error::other(format!(
        "`{}`: {words}",
        command.get_program().display()
    )))
}

#[cfg(test)]
mod tests {
    use isopod_spec::VolumeName;

    use super::*;

    #[test]
    fn has_the_mode_and_owner_and_is_empty_and_sparse() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let name = VolumeName::new("scratch").unwrap();
        let disk = DiskVolume {
            name,
            size_bytes: 1 << 30,
            mode: 0o1770,
            uid: 7,
            gid: 8,
        };
        make(&path, &disk, Some(Path::new("/sbin/mkfs.ext4"))).unwrap();
        let ask = |request: &str| {
            let output = Command::new("/sbin/debugfs")
                .args(["-R", request])
                .arg(&path)
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let stat = ask("stat /");
        assert!(
            stat.contains("Mode:  01770") && stat.contains("User:     7   Group:     8"),
            "{stat}"
        );
        assert!(!ask("ls /").contains("lost+found"));
        let fsck = Command::new("/sbin/fsck.ext4")
            .args(["-fn"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(fsck.status.success(), "{}", String::from_utf8_lossy(&fsck.stdout));
        let used = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&path).unwrap()) * 512;
        assert!(used < 32 << 20, "{used} bytes");
        assert!(make(&path, &disk, None).is_err());
    }

    /// From the superblock: what is free and not reserved is what was asked for.
    #[test]
    fn takes_just_what_it_is_said_to() {
        let dir = tempfile::tempdir().unwrap();
        for size_bytes in [
            1,
            1 << 20,
            20 << 20,
            96 << 20,
            105 << 20,
            128 << 20,
            400 << 20,
            1 << 30,
            10 << 30,
        ] {
            let path = dir.path().join(size_bytes.to_string());
            let disk = DiskVolume {
                name: VolumeName::new("scratch").unwrap(),
                size_bytes,
                mode: 0o755,
                uid: 0,
                gid: 0,
            };
            make(&path, &disk, Some(Path::new("/sbin/mkfs.ext4"))).unwrap();
            let mut reserved = [0; 4];
            let file = File::open(&path).unwrap();
            file.read_exact_at(&mut reserved, 1024 + 8).unwrap();
            let kept = kept_by_linux(file.metadata().unwrap().len());
            let free = free_blocks(&path).unwrap() - u64::from(u32::from_le_bytes(reserved)) - kept;
            assert_eq!(free, size_bytes.div_ceil(BLOCK_BYTES), "{size_bytes}");
            let fsck = Command::new("/sbin/fsck.ext4")
                .args(["-fn"])
                .arg(&path)
                .output()
                .unwrap();
            assert!(fsck.status.success(), "{}", String::from_utf8_lossy(&fsck.stdout));
        }
    }
}
