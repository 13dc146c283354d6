//! Tests of the rules that merge layers, each with small archives of its own.

#[path = "../../../archive/src/reader/build.rs"]
mod build;
mod streams;

use std::error::Error as _;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::erofs::{Node, NodeKind, Reader};
use crate::section::Section;
use build::{Head, Tar};

struct Merged {
    reader: Reader,
    _dir: tempfile::TempDir,
}

fn blob(dir: &Path, bytes: &[u8]) -> Section {
    let path = dir.join("blob");
    std::fs::write(&path, bytes).unwrap();
    Section::open(&path).unwrap()
}

fn merge_with(layers: &[Vec<u8>], limits: &Limits) -> Result<Merged, LayerError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    let out = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    let mut writer = Writer::new(out, tempfile::tempfile().unwrap()).unwrap();
    let (mut tree, mut usage) = (Tree::new(), Usage::default());
    for (tar, number) in layers.iter().zip(1..) {
        let diff_id = Digest::of(tar);
        let layer = LayerBlob {
            blob: blob(dir.path(), tar),
            digest: Some(diff_id),
            diff_id,
            entries: Entries::All,
        };
        apply(layer, number, &mut tree, &mut writer, &mut usage, limits)?;
    }
    writer.finish(&mut tree, [0; 16]).unwrap();
    Ok(Merged {
        reader: Reader::open(&path).unwrap(),
        _dir: dir,
    })
}

fn merge(layers: impl IntoIterator<Item = Tar>) -> Merged {
    let layers: Vec<_> = layers.into_iter().map(Tar::finish).collect();
    merge_with(&layers, &Limits::default()).unwrap()
}

/// The message of what is refused, causes and all.
fn refused(tar: Tar) -> String {
    let error = merge_with(&[tar.finish()], &Limits::default())
        .err()
        .expect("this must be refused");
    chain(&error)
}

fn chain(error: &LayerError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

impl Merged {
    fn node(&self, path: &str) -> Node {
        self.reader
            .lookup(Path::new(path))
            .unwrap()
            .unwrap_or_else(|| panic!("no `{path}`"))
    }

    fn text(&self, path: &str) -> String {
        String::from_utf8(self.reader.read(&self.node(path), 1 << 20).unwrap()).unwrap()
    }

    /// All paths, in the order of their bytes, directories with a slash, links with their target.
    fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        let mut pending = vec![(String::new(), self.reader.root().unwrap())];
        while let Some((path, node)) = pending.pop() {
            for entry in self.reader.read_dir(&node).unwrap() {
                let child = self.reader.node(entry.inode).unwrap();
                let path = format!("{path}{}", String::from_utf8_lossy(entry.name.as_bytes()));
                match &child.kind {
                    NodeKind::Directory => {
                        out.push(format!("{path}/"));
                        pending.push((format!("{path}/"), child));
                    }
                    NodeKind::Symlink { target } => out.push(format!("{path} -> {}", target.display())),
                    _ => out.push(path),
                }
            }
        }
        out.sort();
        out
    }
}

#[test]
fn whiteouts_take_away_what_lower_layers_have() {
    let lower = Tar::new()
        .dir("d", 0o755)
        .file("d/a", b"1")
        .file("d/b", b"2")
        .dir("e", 0o700)
        .file("e/x", b"");
    let upper = Tar::new()
        .file("d/.wh.a", b"")
        .file(".wh.e", b"")
        .file(".wh.missing", b"")
        .file("no/.wh.x", b"");
    assert_eq!(merge([lower, upper]).paths(), ["d/", "d/b"]);
}

#[test]
fn a_whiteout_spares_what_its_own_layer_wrote_before_and_after_it() {
    let lower = || {
        Tar::new()
            .dir("d", 0o755)
            .file("d/old", b"")
            .dir("d/s", 0o755)
            .file("d/s/old", b"")
    };
    let before = Tar::new().dir("d", 0o711).file("d/s/new", b"").file(".wh.d", b"");
    let merged = merge([lower(), before]);
    assert_eq!(merged.paths(), ["d/", "d/s/", "d/s/new"]);
    assert_eq!(merged.node("d").mode, 0o711);
    let after = Tar::new().file(".wh.d", b"").file("d/s/new", b"");
    let merged = merge([lower(), after]);
    assert_eq!(merged.paths(), ["d/", "d/s/", "d/s/new"]);
    let twice = Tar::new().file("x", b"1").file(".wh.x", b"");
    assert_eq!(merge([Tar::new().file("x", b"0"), twice]).text("x"), "1");
}

#[test]
fn an_opaque_directory_keeps_its_metadata_and_its_own_layers_files() {
    let head = Head {
        name: b"d",
        type_flag: b'5',
        mode: 0o1770,
        uid: 7,
        gid: 8,
        mtime: 9,
        ..Head::default()
    };
    let lower = || {
        Tar::new()
            .entry(&head, b"")
            .file("d/old", b"")
            .dir("d/sub", 0o755)
            .file("d/sub/old", b"")
    };
    for upper in [
        Tar::new()
            .file("d/new", b"")
            .file("d/sub/new", b"")
            .file("d/.wh..wh..opq", b""),
        Tar::new()
            .file("d/.wh..wh..opq", b"")
            .file("d/new", b"")
            .file("d/sub/new", b""),
    ] {
        let merged = merge([lower(), upper]);
        assert_eq!(merged.paths(), ["d/", "d/new", "d/sub/", "d/sub/new"]);
        let node = merged.node("d");
        assert_eq!(
            (node.mode, node.uid, node.gid, node.mtime.seconds),
            (0o1770, 7, 8, 9)
        );
    }
    let root = Tar::new().file(".wh..wh..opq", b"").file("only", b"");
    assert_eq!(merge([lower(), root]).paths(), ["only"]);
}

#[test]
fn a_whiteout_acts_again_in_every_layer() {
    let make = || Tar::new().dir("d", 0o755).file("d/f", b"");
    let empty = || Tar::new().file("d/.wh..wh..opq", b"");
    assert_eq!(merge([make(), empty(), make(), empty()]).paths(), ["d/"]);
}

#[test]
fn hard_links_share_the_inode_across_layers() {
    let lower = Tar::new().file("a", b"one").hard_link("b", "a");
    let upper = Tar::new()
        .hard_link("dir/c", "./b")
        .hard_link("/d", "/a")
        .hard_link("a", "a");
    let merged = merge([lower, upper]);
    let node = merged.node("a");
    assert_eq!((node.links, merged.text("dir/c")), (4, "one".to_owned()));
    assert!(["b", "dir/c", "d"].iter().all(|path| merged.node(path) == node));
}

#[test]
fn a_replaced_file_leaves_its_other_names_alone() {
    let lower = Tar::new().file("a", b"old").hard_link("b", "a");
    let merged = merge([lower, Tar::new().file("a", b"new")]);
    assert_eq!(
        (merged.text("a").as_str(), merged.text("b").as_str()),
        ("new", "old")
    );
    assert_eq!((merged.node("a").links, merged.node("b").links), (1, 1));
}

#[test]
fn hard_links_to_symlinks_link_the_symlink() {
    let merged = merge([Tar::new().symlink("s", "nowhere").hard_link("t", "s")]);
    assert_eq!(merged.paths(), ["s -> nowhere", "t -> nowhere"]);
    assert_eq!(merged.node("t").links, 2);
}

#[test]
fn everything_replaces_everything_else() {
    let lower = || {
        Tar::new()
            .dir("x", 0o755)
            .file("x/f", b"")
            .file("y", b"")
            .symlink("z", "x")
    };
    let upper = Tar::new().file("x", b"file").dir("y", 0o700).dir("z", 0o711);
    let merged = merge([lower(), upper]);
    assert_eq!(merged.paths(), ["x", "y/", "z/"]);
    assert_eq!((merged.node("y").mode, merged.node("z").mode), (0o700, 0o711));
    let upper = Tar::new().symlink("x", "y").symlink("y", "z").file("z", b"");
    assert_eq!(merge([lower(), upper]).paths(), ["x -> y", "y -> z", "z"]);
}

#[test]
fn a_directory_over_a_directory_changes_its_metadata_alone() {
    let lower = Tar::new()
        .pax(&[(b"SCHILY.xattr.user.x", b"1")])
        .dir("d", 0o700)
        .file("d/f", b"");
    let merged = merge([lower, Tar::new().dir("./d/", 0o2755)]);
    assert_eq!(merged.paths(), ["d/", "d/f"]);
    assert_eq!(merged.node("d").mode, 0o2755);
    assert_eq!(merged.reader.xattrs(&merged.node("d")).unwrap(), []);
}

#[test]
fn parents_are_found_through_symlinks_within_the_root() {
    let lower = Tar::new()
        .dir("usr", 0o755)
        .dir("usr/bin", 0o755)
        .symlink("bin", "usr/bin")
        .symlink("abs", "/usr")
        .symlink("out", "../../../../usr")
        .symlink("usr/up", "../bin/..")
        .symlink("dangling", "made/on/demand");
    let upper = Tar::new()
        .file("bin/a", b"")
        .file("abs/bin/b", b"")
        .file("out/c", b"")
        .file("usr/up/d", b"")
        .file("dangling/e", b"")
        .hard_link("bin/f", "abs/bin/b")
        .file("abs/.wh.up", b"");
    assert_eq!(
        merge([lower, upper]).paths(),
        [
            "abs -> /usr",
            "bin -> usr/bin",
            "dangling -> made/on/demand",
            "made/",
            "made/on/",
            "made/on/demand/",
            "made/on/demand/e",
            "out -> ../../../../usr",
            "usr/",
            "usr/bin/",
            "usr/bin/a",
            "usr/bin/b",
            "usr/bin/f",
            "usr/c",
            "usr/d",
        ]
    );
}

#[test]
fn missing_parents_are_made_and_existing_ones_left_alone() {
    let lower = Tar::new().dir("a", 0o700);
    let merged = merge([
        lower,
        Tar::new().file("a/b/c", b"").file("/abs", b"").dir("a/b", 0o500),
    ]);
    assert_eq!(merged.paths(), ["a/", "a/b/", "a/b/c", "abs"]);
    assert_eq!((merged.node("a").mode, merged.node("a/b").mode), (0o700, 0o500));
    let implied = merge([Tar::new().file("a/b", b"")]).node("a");
    assert_eq!(
        (implied.mode, implied.uid, implied.mtime.seconds, implied.links),
        (0o755, 0, 0, 2)
    );
}

#[test]
fn metadata_of_every_kind_are_kept() {
    let head = Head {
        uid: 1000,
        gid: 65534,
        mtime: 1234,
        mode: 0o6711,
        ..Head::default()
    };
    let tar = Tar::new()
        .dir(".", 0o1777)
        .pax(&[
            (b"mtime", b"99.000000007"),
            (b"SCHILY.xattr.security.capability", b"\x01\0\0\x02\n="),
            (b"SCHILY.xattr.user.empty", b""),
            (b"SCHILY.xattr.com.apple.provenance", b"x"),
        ])
        .entry(
            &Head {
                name: b"suid",
                type_flag: b'0',
                ..head.clone()
            },
            b"",
        )
        .entry(
            &Head {
                name: b"char",
                type_flag: b'3',
                device: (4095, 1_048_575),
                ..head.clone()
            },
            b"",
        )
        .entry(
            &Head {
                name: b"block",
                type_flag: b'4',
                device: (8, 300),
                ..head.clone()
            },
            b"",
        )
        .entry(
            &Head {
                name: b"fifo",
                type_flag: b'6',
                ..head.clone()
            },
            b"",
        )
        .entry(
            &Head {
                name: b"link",
                link: b"t",
                type_flag: b'2',
                ..head.clone()
            },
            b"",
        );
    let merged = merge([tar]);
    assert_eq!(merged.reader.root().unwrap().mode, 0o1777);
    let suid = merged.node("suid");
    assert_eq!((suid.mode, suid.uid, suid.gid), (0o6711, 1000, 65534));
    assert_eq!((suid.mtime.seconds, suid.mtime.nanoseconds), (99, 7));
    let xattrs = merged.reader.xattrs(&suid).unwrap();
    let expected: [(&str, &[u8]); 2] = [("security.capability", b"\x01\0\0\x02\n="), ("user.empty", b"")];
    assert_eq!(
        xattrs,
        expected.map(|(name, value)| (name.into(), value.to_vec()))
    );
    assert_eq!(
        merged.node("char").kind,
        NodeKind::CharDevice {
            major: 4095,
            minor: 1_048_575
        }
    );
    assert_eq!(
        merged.node("block").kind,
        NodeKind::BlockDevice { major: 8, minor: 300 }
    );
    assert_eq!(
        (merged.node("fifo").kind, merged.node("link").mode),
        (NodeKind::Fifo, 0o777)
    );
}

#[test]
fn names_of_any_bytes() {
    let long = "n".repeat(255);
    let odd: [&[u8]; 4] = [b"\xff\xfe", b"new\nline", b" blank ", b"back\\slash"];
    let tar = odd
        .iter()
        .fold(Tar::new().file(&format!("{long}/{long}"), b"x"), |tar, name| {
            tar.entry(
                &Head {
                    name,
                    type_flag: b'0',
                    ..Head::default()
                },
                b"",
            )
        });
    let merged = merge([tar]);
    assert_eq!(merged.text(&format!("{long}/{long}")), "x");
    for name in odd {
        assert!(
            merged
                .reader
                .lookup(Path::new(std::ffi::OsStr::from_bytes(name)))
                .unwrap()
                .is_some()
        );
    }
}

#[test]
fn hostile_entries_are_refused_by_name() {
    let link = |type_flag, link| Head {
        name: b"l",
        link,
        type_flag,
        ..Head::default()
    };
    let deep = format!("{}x", "d/".repeat(2100));
    let cases = [
        (
            Tar::new().file("a/../../etc/passwd", b""),
            "`a/../../etc/passwd`: a name must not contain `..`",
        ),
        (Tar::new().file("..", b""), "`..`: a name must not contain `..`"),
        (
            Tar::new().hard_link("x", "../y"),
            "`x`: a name must not contain `..`",
        ),
        (
            Tar::new().hard_link("x", "/etc/passwd"),
            "`x`: the target `/etc/passwd` of the hard link does not exist",
        ),
        (
            Tar::new().dir("d", 0o755).hard_link("x", "d"),
            "`x`: the target `d` of the hard link is a directory",
        ),
        (
            Tar::new().entry(&link(b'1', b""), b""),
            "`l`: the link has no target",
        ),
        (
            Tar::new().entry(&link(b'2', b""), b""),
            "`l`: the link has no target",
        ),
        (
            Tar::new().file(".", b""),
            "`.`: the root of the image must be a directory",
        ),
        (
            Tar::new().symlink("/", "/etc"),
            "`/`: the root of the image must be a directory",
        ),
        (
            Tar::new().file("f", b"").file("f/x", b""),
            "`f/x`: `f` on the way to it is not a directory",
        ),
        (
            Tar::new().symlink("l", "l").file("l/x", b""),
            "`l/x`: more than 40 symbolic links are on the way to it",
        ),
        (
            Tar::new().file("d/.wh.", b""),
            "`d/.wh.`: a name that begins with `.wh.` must be a whiteout of a file name",
        ),
        (
            Tar::new().file("d/.wh...", b""),
            "`d/.wh...`: a name that begins with `.wh.` must be a whiteout of a file name",
        ),
        (
            Tar::new().file(".wh.d/x", b""),
            "`.wh.d/x`: a name that begins with `.wh.` must be a whiteout of a file name",
        ),
        (
            Tar::new().symlink("l", &"x".repeat(4096)),
            "`l`: a name is longer than 255 bytes, or a path longer than 4095",
        ),
    ];
    for (tar, expected) in cases {
        assert_eq!(refused(tar), format!("cannot apply entry {expected}"));
    }
    for long in [&deep, &"x".repeat(256)] {
        assert!(refused(Tar::new().file(long, b"")).ends_with("a path longer than 4095"));
    }
}

#[test]
fn aufs_bookkeeping_is_ignored() {
    let tar = Tar::new()
        .dir(".wh..wh.plnk", 0o700)
        .file(".wh..wh.plnk/12.34", b"")
        .file("f", b"");
    assert_eq!(merge([tar]).paths(), ["f"]);
}

#[test]
fn limits_are_kept() {
    let tar = || Tar::new().file("a/b/c", b"12345").file("d", b"");
    let limit = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        chain(
            &merge_with(&[tar().finish(), tar().finish()], &limits)
                .err()
                .expect("over the limit"),
        )
    };
    // Entries and implied directories count.
    assert_eq!(
        limit(|l| l.entries = 5),
        "cannot apply entry `d`: the image has more than 5 entries"
    );
    assert_eq!(
        limit(|l| l.metadata_bytes = 500),
        "cannot apply entry `a/b/c`: names and attributes take more than 500 bytes"
    );
    let message = limit(|l| l.uncompressed_bytes = 4000);
    assert!(
        message.ends_with("the layers of the image have more than 4000 bytes uncompressed"),
        "{message}"
    );
    let bomb: [(&[u8], &[u8]); 2] = [
        (b"GNU.sparse.map", b"0,5"),
        (b"GNU.sparse.size", b"9999999999999"),
    ];
    let bomb = Tar::new().pax(&bomb).file("bomb", b"12345").finish();
    let error = merge_with(&[bomb], &Limits::default()).err().unwrap();
    assert_eq!(
        chain(&error),
        "cannot apply entry `bomb`: with this sparse file, the image has more than 68719476736 bytes"
    );
}

#[test]
fn truncated_layers_are_refused_by_entry() {
    let tar = Tar::new().file("big", &[7; 5000]).finish();
    let error = merge_with(&[tar[..3000].to_vec()], &Limits::default())
        .err()
        .unwrap();
    assert!(
        chain(&error).starts_with("cannot apply entry `big`: cannot read its contents: "),
        "{}",
        chain(&error)
    );
}
