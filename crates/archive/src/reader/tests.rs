//! Tests of the tar reader.

use proptest::prelude::*;

use super::build::{Head, Tar};
use super::*;

fn read_all(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
    let mut reader = TarReader::new(bytes);
    let mut all = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut data = Vec::new();
        reader.read_to_end(&mut data).map_err(|source| TarError::Read {
            offset: entry.offset,
            source,
        })?;
        all.push((entry, data));
    }
    Ok(all)
}

#[test]
fn reads_names_of_every_kind() {
    let long = "d/".repeat(90) + &"x".repeat(255);
    let gnu = Tar::new()
        .raw(
            &Head {
                name: b"././@LongLink",
                type_flag: b'L',
                ..Head::default()
            },
            b"gnu-name\0",
        )
        .raw(
            &Head {
                name: b"././@LongLink",
                type_flag: b'K',
                ..Head::default()
            },
            b"gnu-target\0",
        )
        .raw(
            &Head {
                name: b"cut",
                link: b"cut",
                type_flag: b'2',
                ..Head::default()
            },
            b"",
        );
    let entries = read_all(&gnu.file(&long, b"contents").finish()).unwrap();
    assert_eq!(
        (&entries[0].0.name[..], &entries[0].0.link[..]),
        (&b"gnu-name"[..], &b"gnu-target"[..])
    );
    assert_eq!(
        (&entries[1].0.name[..], &entries[1].1[..]),
        (long.as_bytes(), &b"contents"[..])
    );
}

#[test]
fn pax_records_win_over_the_header() {
    let records: [(&[u8], &[u8]); 6] = [
        (b"path", b"\xff\xfe"),
        (b"uid", b"4294967295"),
        (b"gid", b"3000000000"),
        (b"mtime", b"-1.25"),
        (b"SCHILY.xattr.security.capability", b"\x01\n\0\x02"),
        (b"LIBARCHIVE.xattr.user.x", b"ignored"),
    ];
    let tar = Tar::new()
        .pax(&records)
        .file("short", b"x")
        .file("next", b"")
        .finish();
    let entries = read_all(&tar).unwrap();
    let entry = &entries[0].0;
    assert_eq!(
        (&entry.name[..], entry.uid, entry.gid),
        (&b"\xff\xfe"[..], u32::MAX, 3_000_000_000)
    );
    assert_eq!(
        entry.mtime,
        Time {
            seconds: -2,
            nanoseconds: 750_000_000
        }
    );
    assert_eq!(
        entry.xattrs,
        [(b"security.capability".to_vec(), b"\x01\n\0\x02".to_vec())]
    );
    let next = &entries[1].0;
    assert_eq!(
        (&next.name[..], next.uid, next.xattrs.len()),
        (&b"next"[..], 0, 0)
    );
}

#[test]
fn agrees_with_archives_of_gnu_tar() {
    let dir = tempfile::tempdir().unwrap();
    let name = "n".repeat(200);
    std::fs::write(dir.path().join(&name), b"hello").unwrap();
    std::os::unix::fs::symlink("t".repeat(150), dir.path().join("link")).unwrap();
    for format in ["gnu", "oldgnu", "pax", "posix"] {
        let out = std::process::Command::new("tar")
            .args(["--sort=name", &format!("--format={format}"), "-C"])
            .arg(dir.path())
            .args(["-c", "."])
            .output()
            .unwrap();
        assert!(out.status.success());
        let entries = read_all(&out.stdout).unwrap();
        let names: Vec<_> = entries
            .iter()
            .map(|(e, _)| String::from_utf8_lossy(&e.name).into_owned())
            .collect();
        assert_eq!(
            names,
            ["./".to_owned(), "./link".to_owned(), format!("./{name}")],
            "{format}"
        );
        assert_eq!(entries[1].0.link, "t".repeat(150).as_bytes(), "{format}");
        assert_eq!(entries[2].1, b"hello", "{format}");
    }
}

#[test]
fn sparse_files_of_gnu_tar_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    // Some begin, some end with a hole; one has more parts than a header and a block hold.
    let files = [
        ("hole-first", vec![(1 << 20, &b"end"[..])], (1 << 20) + 3),
        ("hole-last", vec![(0, &b"begin"[..])], 3 << 20),
        ("hole-only", vec![], 1 << 20),
        (
            "many",
            (0..60).map(|i| (i * 65_536, &b"part"[..])).collect(),
            60 * 65_536,
        ),
    ];
    for (name, parts, size) in &files {
        let file = std::fs::File::create(dir.path().join(name)).unwrap();
        file.set_len(*size).unwrap();
        for (offset, bytes) in parts {
            std::os::unix::fs::FileExt::write_all_at(&file, bytes, *offset).unwrap();
        }
    }
    for format in [
        &["--format=gnu"][..],
        &["--format=oldgnu"],
        &["--format=pax", "--sparse-version=0.0"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=1.0"],
    ] {
        let out = std::process::Command::new("tar")
            .args(["--sparse", "--hole-detection=raw", "-C"])
            .arg(dir.path())
            .args(format)
            .args(["-c", "hole-first", "hole-last", "hole-only", "many"])
            .output()
            .unwrap();
        assert!(out.status.success(), "{format:?}");
        assert!(out.stdout.len() < 1 << 20, "{format:?} left no hole out");
        let entries = read_all(&out.stdout).unwrap();
        assert_eq!(entries.len(), files.len(), "{format:?}");
        for ((name, ..), (entry, contents)) in files.iter().zip(entries) {
            assert_eq!(entry.name, name.as_bytes(), "{format:?}");
            let expected = std::fs::read(dir.path().join(name)).unwrap();
            assert_eq!(entry.size, expected.len() as u64);
            assert!(contents == expected, "{name}, {format:?}");
        }
    }
}

#[test]
fn refuses_what_it_cannot_read() {
    let head = |type_flag| Head {
        name: b"it",
        type_flag,
        ..Head::default()
    };
    let cases = [
        (
            Tar::new()
                .pax(&[(b"GNU.sparse.major", b"2"), (b"GNU.sparse.size", b"1")])
                .file("it", b"")
                .finish(),
            "invalid tar entry `it`: sparse files of this version are not supported",
        ),
        (
            Tar::new()
                .pax(&[(b"GNU.sparse.map", b"0,1")])
                .file("it", b"x")
                .finish(),
            "invalid tar entry `it`: a sparse file has no size",
        ),
        (
            Tar::new()
                .pax(&[(b"GNU.sparse.map", b"0,1,2,1"), (b"GNU.sparse.size", b"3")])
                .file("it", b"x")
                .finish(),
            "invalid tar entry `it`: the map of the sparse file and its contents do not fit together",
        ),
        (
            Tar::new()
                .pax(&[(b"GNU.sparse.major", b"1"), (b"GNU.sparse.realsize", b"3")])
                .file("it", &[b'x'; 512])
                .finish(),
            "invalid tar entry `it`: the map of the sparse file is malformed",
        ),
        (
            Tar::new().raw(&head(b'V'), b"").finish(),
            "tar entry `it` has the unsupported type `V`",
        ),
        (
            Tar::new().pax(&[(b"path", b"a\0b")]).file("it", b"").finish(),
            "invalid tar entry `a\\0b`: a name holds a NUL",
        ),
        (
            Tar::new().pax(&[(b"size", b"-1")]).file("it", b"").finish(),
            "invalid tar entry `it`: the size is not a number",
        ),
        (
            Tar::new()
                .pax(&[(b"uid", b"4294967296")])
                .file("it", b"")
                .finish(),
            "invalid tar entry `it`: the owner is not a number of 32 bits",
        ),
        (
            Tar::new()
                .raw(
                    &Head {
                        device: (4096, 0),
                        ..head(b'3')
                    },
                    b"",
                )
                .finish(),
            "invalid tar entry `it`: the device number is out of range",
        ),
        (
            Tar::new().file("it", b"xy").finish()[..513].to_vec(),
            "cannot read the tar stream at byte 512",
        ),
        (
            Tar::new().file("it", b"x").finish()[..1100].to_vec(),
            "cannot read the tar stream at byte 1024",
        ),
        (
            Tar::new().file("it", b"x").finish()[..100].to_vec(),
            "cannot read the tar stream at byte 0",
        ),
        (vec![1; 512], "invalid tar header at byte 0: wrong checksum"),
        (
            Tar::new().raw(&head(b'L'), &vec![b'x'; (1 << 20) + 1]).finish(),
            "invalid tar header at byte 0: an extended header is longer than 1 MiB",
        ),
        (
            Tar::new().pax(&[]).finish(),
            "invalid tar header at byte 512: an extended header ends the archive",
        ),
    ];
    for (bytes, message) in cases {
        assert_eq!(read_all(&bytes).unwrap_err().to_string(), message);
    }
}

#[test]
fn an_archive_may_end_without_its_closing_blocks() {
    assert_eq!(
        read_all(&Tar::new().file("it", b"x").unfinished()).unwrap().len(),
        1
    );
}

#[test]
fn the_last_block_of_an_archive_may_be_cut_where_the_data_end() {
    let whole = Tar::new().file("it", b"x").finish();
    for end in [513, 514, 1023, 1024, 1536] {
        let entries = read_all(&whole[..end]).unwrap();
        assert_eq!((entries.len(), &entries[0].1[..]), (1, &b"x"[..]), "{end}");
    }
    let extended = Tar::new().pax(&[(b"path", b"name")]).unfinished();
    let error = read_all(&extended[..600]).unwrap_err();
    assert!(error.to_string().contains("ends the archive"), "{error}");
}

proptest! {
    #[test]
    fn any_change_of_a_sparse_entry_is_read_or_refused(at in any::<usize>(), byte in any::<u8>()) {
        let records: [(&[u8], &[u8]); 3] =
            [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"900")];
        let contents = [&b"2\n0\n3\n500\n3\n"[..], &[0; 498], b"abcdef"].concat();
        let mut tar = Tar::new().pax(&records).file("x", &contents).finish();
        let at = at % tar.len();
        tar[at] = byte;
        let mut reader = TarReader::new(&tar[..]);
        while let Ok(Some(_)) = reader.next_entry() {
            let _ = std::io::copy(&mut (&mut reader).take(1 << 16), &mut std::io::sink());
        }
    }

    #[test]
    fn any_change_of_a_byte_is_read_or_refused(at in 0usize..2560, byte in any::<u8>()) {
        let mut tar = Tar::new().pax(&[(b"path", b"name")]).file("x", b"data").finish();
        let at = at % tar.len();
        tar[at] = byte;
        let _ = read_all(&tar);
    }
}
