//! Three layers with everything that a layer can have.

use super::*;

fn head(name: &[u8], type_flag: u8) -> Head<'_> {
    Head {
        name,
        type_flag,
        mode: 0o644,
        mtime: 1_700_000_000,
        ..Head::default()
    }
}

pub(super) fn lower() -> Tar {
    let long = [&b"long/"[..], &[b'l'; 255]].concat();
    let pattern: Vec<u8> = (0..100_000u32).map(|i| (i.wrapping_mul(i) >> 3) as u8).collect();
    let mut tar = Tar::new()
        .pax(&[(b"mtime", b"1600000000.123456789")])
        .dir("./", 0o755)
        .dir("sizes", 0o755)
        .dir("long", 0o755)
        .entry(&head(&long, b'0'), b"long name")
        .entry(
            &Head {
                link: &[b't'; 1000],
                ..head(b"long/symlink", b'2')
            },
            b"",
        )
        .dir("odd", 0o700)
        .entry(&head(b"odd/\xff\xfe\x80", b'0'), b"not UTF-8")
        .entry(&head(b"odd/new\nline \\", b'0'), b"")
        .dir("dev", 0o755)
        .entry(
            &Head {
                device: (1, 3),
                mode: 0o666,
                ..head(b"dev/null", b'3')
            },
            b"",
        )
        .entry(
            &Head {
                device: (259, 70_000),
                mode: 0o660,
                gid: 6,
                ..head(b"dev/disk", b'4')
            },
            b"",
        )
        .entry(
            &Head {
                mode: 0o600,
                ..head(b"dev/fifo", b'6')
            },
            b"",
        )
        .entry(
            &Head {
                mode: 0o4755,
                ..head(b"suid", b'0')
            },
            b"#!",
        )
        .entry(
            &Head {
                mode: 0o2755,
                gid: 50,
                ..head(b"sgid", b'0')
            },
            b"#!",
        )
        .dir("tmp", 0o1777)
        .pax(&[
            (b"uid", b"3000000000"),
            (b"gid", b"4000000000"),
            (b"mtime", b"-86400.5"),
        ])
        .entry(&head(b"large-ids", b'0'), b"")
        .pax(&[
            (
                b"SCHILY.xattr.security.capability",
                b"\x01\0\0\x02\x00\x04\0\0\0\0\0\0\n\0\0\0\0\0\0\0",
            ),
            (b"SCHILY.xattr.user.note", b"a\nb=c"),
            (b"SCHILY.xattr.trusted.large", &[b'x'; 3000]),
        ])
        .entry(&head(b"xattrs", b'0'), b"with attributes")
        .pax(&[(b"SCHILY.xattr.user.dir", b"1")])
        .dir("xattr-dir", 0o755)
        .dir("usr", 0o755)
        .dir("usr/bin", 0o755)
        .entry(
            &Head {
                link: b"usr/bin",
                ..head(b"bin", b'2')
            },
            b"",
        )
        .entry(
            &Head {
                link: b"/usr",
                ..head(b"abs", b'2')
            },
            b"",
        )
        .entry(&head(b"usr/bin/tool", b'0'), b"tool 1")
        .entry(
            &Head {
                link: b"usr/bin/tool",
                ..head(b"tool-link", b'1')
            },
            b"",
        )
        .dir("opaque", 0o1750)
        .entry(&head(b"opaque/old", b'0'), b"old")
        .dir("opaque/sub", 0o755)
        .entry(&head(b"opaque/sub/old", b'0'), b"old")
        .dir("gone", 0o755)
        .entry(&head(b"gone/x", b'0'), b"")
        .dir("dir-to-file", 0o755)
        .entry(&head(b"dir-to-file/x", b'0'), b"")
        .entry(&head(b"file-to-dir", b'0'), b"")
        .entry(
            &Head {
                link: b"usr",
                ..head(b"link-to-dir", b'2')
            },
            b"",
        )
        .dir("many", 0o755);
    for size in [0, 1, 4031, 4032, 4033, 4095, 4096, 4097, 8192, 100_000] {
        let name = format!("sizes/{size}");
        tar = tar.entry(&head(name.as_bytes(), b'0'), &pattern[..size]);
    }
    for i in 0..1000 {
        let name = format!("many/file-with-a-rather-long-name-{i}");
        tar = tar.entry(&head(name.as_bytes(), b'0'), name.as_bytes());
    }
    tar
}

pub(super) fn upper() -> Tar {
    Tar::new()
        .entry(&head(b"bin/new", b'0'), b"through a symlink")
        .entry(&head(b"abs/bin/new2", b'0'), b"through an absolute symlink")
        .entry(
            &Head {
                link: b"abs/bin/tool",
                ..head(b"usr/tool-link-2", b'1')
            },
            b"",
        )
        .entry(&head(b"usr/bin/.wh.tool", b'0'), b"")
        .entry(&head(b"opaque/new", b'0'), b"new")
        .entry(&head(b"opaque/.wh..wh..opq", b'0'), b"")
        .entry(&head(b".wh.gone", b'0'), b"")
        .entry(&head(b".wh.never-was", b'0'), b"")
        .entry(&head(b"dir-to-file", b'0'), b"a file")
        .pax(&[(b"mtime", b"1650000000.5")])
        .entry(
            &Head {
                mode: 0o711,
                uid: 5,
                ..head(b"file-to-dir", b'5')
            },
            b"",
        )
        .entry(
            &Head {
                mode: 0o700,
                ..head(b"link-to-dir", b'5')
            },
            b"",
        )
        .entry(&head(b"link-to-dir/in-dir", b'0'), b"")
        .entry(
            &Head {
                mode: 0o700,
                mtime: 5,
                ..head(b"xattr-dir", b'5')
            },
            b"",
        )
        .entry(&head(b"sizes/100000", b'0'), b"replaced")
        .entry(
            &Head {
                link: b"new",
                ..head(b"sizes/4096", b'2')
            },
            b"",
        )
}

pub(super) fn top() -> Tar {
    Tar::new()
        .entry(&head(b"opaque/.wh..wh..opq", b'0'), b"")
        .entry(&head(b"opaque/newest", b'0'), b"newest")
        .entry(
            &Head {
                link: b"tool-link",
                ..head(b"third-link", b'1')
            },
            b"",
        )
        .entry(
            &Head {
                mode: 0o555,
                mtime: 77,
                ..head(b"./", b'5')
            },
            b"",
        )
}
