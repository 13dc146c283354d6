//! Makes the file of an empty volume that is kept on disk: sparse, with an ext4 file system whose root has the volume's
//! mode and owner. Nothing is mounted and no privilege is needed: e2fsprogs work on the file.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use isopod_plan::machine::DiskVolume;

use crate::private;

/// Makes the file at `path` with `mkfs` (mkfs.ext4, with debugfs beside it).
///
/// # Errors
/// What creating the file failed with, or the words of the program that failed.
pub(crate) fn make(path: &Path, disk: &DiskVolume, mkfs: Option<&Path>) -> io::Result<()> {
    let mkfs = mkfs.ok_or(io::ErrorKind::NotFound)?;
    private::file(path)?.set_len(disk.size_bytes)?;
    // The journal and the inode tables are written when they are used: a sparse file stays small.
    let options = format!(
        "root_owner={}:{},lazy_itable_init=1,lazy_journal_init=1,nodiscard",
        disk.uid, disk.gid
    );
    run(Command::new(mkfs)
        .args(["-q", "-F", "-m", "0", "-E", &options])
        .arg(path))?;
    // An empty volume is empty, and mkfs.ext4 knows no mode.
    let debugfs = mkfs.with_file_name("debugfs");
    let mode = format!("set_inode_field / mode 0{:o}", 0o040_000 | disk.mode);
    for request in ["rmdir lost+found", &mode] {
        run(Command::new(&debugfs).args(["-w", "-R", request]).arg(path))?;
    }
    Ok(())
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.env_clear().stdin(Stdio::null()).output()?;
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
}
