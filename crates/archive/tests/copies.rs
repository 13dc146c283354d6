//! Trees there and back, docker's rules for where they go, and archives that mean harm.

#![allow(clippy::unwrap_used, reason = "a test's way to fail")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use isopod_archive::{Keep, LastLink, PackError, UnpackError, pack, unpack};
use tar::{Builder, EntryType, Header};

fn packed(path: impl AsRef<Path>) -> Vec<u8> {
    let mut bytes = Vec::new();
    pack(path.as_ref(), &mut bytes, Keep::Everything, LastLink::Kept).unwrap();
    bytes
}

fn unpacked(bytes: &[u8], target: impl AsRef<Path>) -> Result<(), UnpackError> {
    unpack(target.as_ref(), &mut &bytes[..], Keep::Everything, None)
}

/// A directory with one file of each kind that every user can make.
fn tree(dir: &Path) {
    fs::create_dir_all(dir.join("sub/empty")).unwrap();
    fs::write(dir.join("file"), "content").unwrap();
    fs::set_permissions(dir.join("file"), PermissionsExt::from_mode(0o4751)).unwrap();
    fs::hard_link(dir.join("file"), dir.join("sub/second name")).unwrap();
    symlink("../file", dir.join("sub/link")).unwrap();
    symlink("/etc/passwd", dir.join("absolute")).unwrap();
    fs::write(dir.join("sub").join("n".repeat(200)), vec![7; 100_000]).unwrap();
    fs::set_permissions(dir.join("sub"), PermissionsExt::from_mode(0o550)).unwrap();
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    tree(&from);
    unpacked(&packed(&from), &to).unwrap();
    let data = |path: &str| to.join(path).symlink_metadata().unwrap();
    assert_eq!(fs::read(to.join("file")).unwrap(), b"content");
    assert_eq!(data("file").mode() & 0o7777, 0o4751);
    assert_eq!(data("file").ino(), data("sub/second name").ino());
    assert_eq!(fs::read_link(to.join("sub/link")).unwrap(), Path::new("../file"));
    assert_eq!(
        fs::read_link(to.join("absolute")).unwrap(),
        Path::new("/etc/passwd")
    );
    assert_eq!(
        fs::read(to.join("sub").join("n".repeat(200))).unwrap(),
        vec![7; 100_000]
    );
    assert_eq!(data("sub").mode() & 0o7777, 0o550);
    for path in ["", "file", "sub", "sub/empty"] {
        let before = from.join(path).symlink_metadata().unwrap();
        assert_eq!(before.mtime(), data(path).mtime(), "{path}");
    }
    // Once more, over what is there.
    unpacked(&packed(from.join(".")), &to).unwrap();

    let plain = dir.path().join("plain");
    unpack(&plain, &mut &packed(&from)[..], Keep::Plain, None).unwrap();
    assert_eq!(fs::metadata(plain.join("file")).unwrap().mode() & 0o7777, 0o751);
}

#[test]
fn where_a_tree_goes_is_dockers_rule() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    fs::create_dir_all(at("src/inner")).unwrap();
    fs::create_dir(at("dest")).unwrap();
    fs::write(at("src/inner/f"), "1").unwrap();
    unpacked(&packed(at("src")), at("dest")).unwrap();
    assert!(at("dest/src/inner/f").exists());
    unpacked(&packed(at("src/.")), at("dest")).unwrap();
    assert!(at("dest/inner/f").exists());
    unpacked(&packed(at("src")), at("fresh")).unwrap();
    unpacked(&packed(at("src/.")), at("fresh2")).unwrap();
    assert!(at("fresh/inner/f").exists() && at("fresh2/inner/f").exists());
    unpacked(&packed(at("src/inner/f")), at("dest/g")).unwrap();
    unpacked(&packed(at("src/inner/f")), at("dest/g")).unwrap();
    assert_eq!(fs::read(at("dest/g")).unwrap(), b"1");

    // A link as the target is the directory that it leads to; one as the source is a link, but for `LINK/`.
    symlink("dest", at("link")).unwrap();
    unpacked(&packed(at("src/inner/f")), at("link")).unwrap();
    assert!(at("dest/f").exists());
    unpacked(&packed(at("link")), at("copy")).unwrap();
    assert!(at("copy").is_symlink());
    unpacked(&packed(at("link/")), at("whole")).unwrap();
    assert!(at("whole/g").exists() && !at("whole").is_symlink());

    // A directory may become one that is named with a slash, a file may not.
    unpacked(&packed(at("src")), at("fresh4/")).unwrap();
    assert!(at("fresh4/inner/f").exists());
    symlink("/dev/null", at("null")).unwrap();
    for target in ["nowhere/f", "fresh3/", "dest/g/f", "null"] {
        let refused = unpacked(&packed(at("src/inner/f")), at(target));
        assert!(
            matches!(refused, Err(UnpackError::Target { .. })),
            "{target}: {refused:?}"
        );
    }
    assert!(pack(&at("nowhere"), &mut Vec::new(), Keep::Plain, LastLink::Kept).is_err());
}

/// An archive that cuts a file off when something of it has come.
struct Cutting {
    file: fs::File,
    bytes: Vec<u8>,
}

impl Write for Cutting {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes.extend(bytes);
        if self.bytes.len() > 8000 {
            self.file.set_len(100_000)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_file_that_becomes_shorter_is_reported_and_the_rest_comes() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    fs::create_dir(at("d")).unwrap();
    fs::write(at("d/big"), vec![7; 300_000]).unwrap();
    fs::write(at("d/last"), "behind it").unwrap();
    let mut cutting = Cutting {
        file: fs::File::options().write(true).open(at("d/big")).unwrap(),
        bytes: Vec::new(),
    };
    let packed = pack(&at("d"), &mut cutting, Keep::Plain, LastLink::Kept).unwrap();
    let expected = format!("`{}` became shorter while it was copied", at("d/big").display());
    assert_eq!(packed.fault(), Some(expected));
    assert_eq!(packed.warning(), None);
    unpacked(&cutting.bytes, at("to")).unwrap();
    let big = fs::read(at("to/big")).unwrap();
    assert_eq!(
        (big.len(), big.iter().filter(|byte| **byte == 7).count()),
        (300_000, 100_000)
    );
    assert_eq!(fs::read(at("to/last")).unwrap(), b"behind it");
}

#[test]
fn files_of_the_kernels_have_their_content_whatever_length_they_say() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["/proc/version", "/sys/devices/system/cpu/online"] {
        let to = dir.path().join("to");
        unpacked(&packed(path), &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), fs::read(path).unwrap(), "{path}");
    }
    // One that cannot be read, and one of 256 GiB.
    for path in ["/proc/self/mem", "/proc/self/pagemap"] {
        let refused = pack(Path::new(path), &mut Vec::new(), Keep::Plain, LastLink::Kept);
        assert!(
            matches!(refused, Err(PackError::Lengthless { .. })),
            "{path}: {refused:?}"
        );
    }
}

#[test]
fn a_socket_is_refused_and_left_out_of_a_tree_with_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    fs::create_dir(at("d")).unwrap();
    let _listener = UnixListener::bind(at("d/s.sock")).unwrap();
    let reported = format!("`{}` is a socket, which is not copied", at("d/s.sock").display());
    let refused = pack(&at("d/s.sock"), &mut Vec::new(), Keep::Plain, LastLink::Kept);
    assert_eq!(refused.unwrap_err().to_string(), reported);

    fs::write(at("d/z"), "1").unwrap();
    let mut bytes = Vec::new();
    let packed = pack(&at("d"), &mut bytes, Keep::Plain, LastLink::Kept).unwrap();
    assert_eq!((packed.warning(), packed.fault()), (Some(reported.clone()), None));
    // Its other name, too, is none of an entry that is not there.
    fs::hard_link(at("d/s.sock"), at("d/t.sock")).unwrap();
    let mut bytes = Vec::new();
    let packed = pack(&at("d"), &mut bytes, Keep::Plain, LastLink::Kept).unwrap();
    assert_eq!(packed.warning(), Some(format!("{reported} (and 1 more)")));
    unpacked(&bytes, at("to")).unwrap();
    assert_eq!(fs::read_dir(at("to")).unwrap().count(), 1);
}

/// An archive of entries: kind, name, link.
fn archive(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, name, link) in entries {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o777);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_size(0);
        if *kind == EntryType::GNUSparse {
            header.as_gnu_mut().unwrap().set_real_size(1 << 40);
        }
        header.set_cksum();
        builder.append(&header, std::io::empty()).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn directories_that_an_archive_has_no_entries_of_are_made() {
    use EntryType::{Directory, Link, Regular, Symlink};
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    let bytes = archive(&[
        (Regular, "q/r/f", ""),
        (Link, "q/s/g", "q/r/f"),
        (Directory, "q", ""),
    ]);
    unpacked(&bytes, dir.path()).unwrap();
    let mode = |path: &str| at(path).symlink_metadata().unwrap().mode() & 0o7777;
    assert_eq!(mode("q/r"), 0o755);
    // With an entry of its own it is as that says, whenever it comes.
    assert_eq!(mode("q"), 0o777);
    assert_eq!(at("q/r/f").metadata().unwrap().nlink(), 2);
    unpacked(&archive(&[(Regular, "q/r/f", "")]), at("new")).unwrap();
    assert!(at("new/r/f").is_file());
    // What a link leads to, and what a file is, is no place for one.
    for first in [(Symlink, "l", "q"), (Symlink, "l", "nowhere"), (Regular, "l", "")] {
        let refused = unpacked(&archive(&[first, (Regular, "l/x/f", "")]), dir.path());
        assert!(matches!(refused, Err(UnpackError::Write { .. })), "{refused:?}");
    }
    assert!(!at("q/x").exists() && !at("nowhere").exists());
    // What a hard link is to be of has to be there.
    assert!(unpacked(&archive(&[(Link, "h", "no/f")]), dir.path()).is_err());
    assert!(!at("no").exists());
}

#[test]
fn compressed_archives_are_called_so() {
    for (bytes, program) in [
        (&b"\x1f\x8b\x08\0\0\0\0\0\0\x03"[..], "gzip"),
        (b"\xfd7zXZ\0\0\x04\xe6\xd6", "xz"),
        (b"\x28\xb5\x2f\xfd\x04\x58\x59\0\0\0", "zstd"),
        (b"BZh91AY&SY\0", "bzip2"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let refused = unpacked(bytes, dir.path()).unwrap_err().to_string();
        let expected =
            format!("the archive is compressed with {program}: decompress it first, with `{program} -dc`");
        assert_eq!(refused, expected);
    }
    let dir = tempfile::tempdir().unwrap();
    unpacked(&archive(&[(EntryType::Regular, "BZh9", "")]), dir.path()).unwrap();
    assert!(dir.path().join("BZh9").is_file());
}

#[test]
fn nothing_is_written_outside_of_the_target() {
    use EntryType::{Block, Char, Directory, Link, Regular, Symlink};
    for entries in [
        &[(Regular, "../out", "")][..],
        &[(Regular, "/out", "")],
        &[(Regular, "a/../../out", "")],
        &[(Symlink, "a", ".."), (Regular, "a/out", "")],
        &[(Symlink, "a", "/"), (Regular, "a/tmp/out", "")],
        &[
            (Directory, "d", ""),
            (Symlink, "d/a", "../.."),
            (Regular, "d/a/out", ""),
        ],
        &[(Regular, "outside/out", "")],
        &[(Link, "a", "../secret"), (Regular, "a", "")],
        &[(Link, "a", "outside/secret")],
        &[(Symlink, "a", "outside"), (Directory, "a", "")],
        &[(Regular, ".", "")],
        &[(Regular, "", "")],
        &[(Char, "device", "")],
        &[(Block, "device", "")],
        &[(EntryType::GNUSparse, "sparse", "")],
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("target")).unwrap();
        fs::write(dir.path().join("secret"), "kept").unwrap();
        symlink("..", dir.path().join("target/outside")).unwrap();
        let refused = unpack(
            &dir.path().join("target"),
            &mut &archive(entries)[..],
            Keep::Plain,
            None,
        );
        assert!(refused.is_err(), "{entries:?}");
        assert!(
            !dir.path().join("out").exists() && !Path::new("/tmp/out").exists(),
            "{entries:?}"
        );
        assert_eq!(fs::read(dir.path().join("secret")).unwrap(), b"kept");
        assert_eq!(fs::metadata(dir.path().join("secret")).unwrap().nlink(), 1);
    }
    // A file replaces a link, and not what it leads to.
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("target")).unwrap();
    fs::write(dir.path().join("secret"), "kept").unwrap();
    symlink("../secret", dir.path().join("target/a")).unwrap();
    unpacked(&archive(&[(Regular, "a", "")]), dir.path().join("target")).unwrap();
    assert_eq!(fs::read(dir.path().join("secret")).unwrap(), b"kept");
}

#[test]
fn broken_archives_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), vec![1; 5000]).unwrap();
    let whole = packed(dir.path().join("f"));
    for cut in [100, 600, 3000] {
        assert!(unpacked(&whole[..cut], dir.path().join("g")).is_err(), "{cut}");
    }
    assert!(unpacked(&[7; 2000], dir.path().join("g")).is_err());
    let several = archive(&[(EntryType::Directory, "a", ""), (EntryType::Directory, "b", "")]);
    assert!(matches!(
        unpacked(&several, dir.path().join("new")),
        Err(UnpackError::SeveralTrees)
    ));
    let mut long = Header::new_gnu();
    long.set_entry_type(EntryType::GNULongName);
    long.set_size(1 << 30);
    long.set_cksum();
    assert!(matches!(
        unpacked(long.as_bytes(), dir.path()),
        Err(UnpackError::Archive(_))
    ));
    let deep = "a/".repeat(10_000);
    let mut long = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(0);
    long.append_data(&mut header, deep, std::io::empty()).unwrap();
    assert!(matches!(
        unpacked(&long.into_inner().unwrap(), dir.path()),
        Err(UnpackError::LongName)
    ));
}

/// Who sends an archive does not choose what it is called where it goes.
#[test]
fn only_the_tree_that_was_asked_for() {
    use EntryType::{Directory, Regular};
    let asked = |tree: &str, entries: &[(EntryType, &str, &str)]| {
        let dir = tempfile::tempdir().unwrap();
        let bytes = archive(entries);
        let done = unpack(dir.path(), &mut &bytes[..], Keep::Plain, Some(tree.as_ref()));
        let count = fs::read_dir(dir.path()).unwrap().count();
        (done.is_ok(), count)
    };
    assert_eq!(
        asked("a", &[(Directory, "a", ""), (Regular, "a/f", "")]),
        (true, 1)
    );
    assert_eq!(
        asked(
            ".",
            &[(Directory, "./", ""), (Regular, "./f", ""), (Regular, "g", "")]
        ),
        (true, 2)
    );
    for entries in [
        &[(Regular, ".bashrc", "")][..],
        &[(Regular, "./.bashrc", "")],
        &[(Directory, ".", ""), (Regular, ".bashrc", "")],
        &[(EntryType::Link, "b", "a")],
    ] {
        assert_eq!(asked("a", entries), (false, 0), "{entries:?}");
    }
    assert_eq!(
        asked("a", &[(Regular, "a", ""), (Regular, "./b", "")]),
        (false, 1)
    );
    assert_eq!(asked("a", &[(Regular, "a", ""), (Regular, "b", "")]), (false, 1));
    assert_eq!(asked(".", &[(Regular, "a", "")]), (false, 0));
}

#[test]
fn plain_archives_are_roots() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), "x").unwrap();
    fs::set_permissions(dir.path().join("f"), PermissionsExt::from_mode(0o4755)).unwrap();
    let _ = std::os::unix::fs::chown(dir.path().join("f"), Some(7), Some(8));
    fs::set_permissions(dir.path().join("f"), PermissionsExt::from_mode(0o4755)).unwrap();
    let mut bytes = Vec::new();
    pack(&dir.path().join("f"), &mut bytes, Keep::Plain, LastLink::Kept).unwrap();
    let mut read = tar::Archive::new(&bytes[..]);
    let entry = read.entries().unwrap().next().unwrap().unwrap();
    let header = entry.header();
    assert_eq!(
        (
            header.uid().unwrap(),
            header.gid().unwrap(),
            header.mode().unwrap() & 0o7777
        ),
        (0, 0, 0o755)
    );
    assert!(
        pack(
            Path::new("/dev/null"),
            &mut Vec::new(),
            Keep::Plain,
            LastLink::Kept
        )
        .is_err()
    );
}

#[test]
fn a_last_link_is_followed_under_its_own_name() {
    let (dir, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(dir.path().join("real"), "content").unwrap();
    symlink("real", dir.path().join("link")).unwrap();
    let copied = |last_link| {
        let mut bytes = Vec::new();
        pack(&dir.path().join("link"), &mut bytes, Keep::Plain, last_link).unwrap();
        unpack(target.path(), &mut &bytes[..], Keep::Plain, None).unwrap();
        let copy = target.path().join("link");
        let is_link = copy.is_symlink();
        fs::remove_file(copy).unwrap();
        is_link
    };
    assert!(copied(LastLink::Kept));
    assert!(!copied(LastLink::Followed));
}
