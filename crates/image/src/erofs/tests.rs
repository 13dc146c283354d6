//! Tests of writer and reader against each other and against `fsck.erofs`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::tree::{Directory, Inode, InodeId, Kind, Link, Metadata, Tree};
use isopod_archive::reader::Time;

/// A tree as a value.
#[derive(Clone, Debug, PartialEq)]
enum Model {
    Directory(BTreeMap<Vec<u8>, TestItem>),
    File(Vec<u8>),
    Symlink(Vec<u8>),
    Char(u32, u32),
    Block(u32, u32),
    Fifo,
}

#[derive(Clone, Debug, PartialEq)]
struct TestItem {
    model: Model,
    mode: u16,
    uid: u32,
    gid: u32,
    mtime: (i64, u32),
    xattrs: Attributes,
}

type Attributes = BTreeMap<Vec<u8>, Vec<u8>>;

fn metadata() -> impl Strategy<Value = (u16, u32, u32, (i64, u32), Attributes)> {
    let name = "(user|trusted|security)\\.[a-z]{1,9}|system\\.posix_acl_access".prop_map(String::into_bytes);
    let xattrs = proptest::collection::btree_map(name, proptest::collection::vec(any::<u8>(), 0..300), 0..3);
    (
        0u16..0o10000,
        any::<u32>(),
        any::<u32>(),
        (any::<i64>(), 0u32..1_000_000_000),
        xattrs,
    )
}

fn contents() -> impl Strategy<Value = Vec<u8>> {
    let size = prop_oneof![
        0usize..100,
        3900usize..4200,
        8000usize..8400,
        Just(0),
        Just(4096),
        Just(8192)
    ];
    (size, any::<u8>()).prop_map(|(size, first)| (0..size).map(|i| (i as u8).wrapping_add(first)).collect())
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_filter("not in a name", |b| !matches!(b, 0 | b'/'));
    let name = prop_oneof![4 => 1usize..12, 1 => 200usize..256]
        .prop_flat_map(move |length| proptest::collection::vec(byte.clone(), length));
    name.prop_filter("not a name", |name| !matches!(name.as_slice(), b"." | b".."))
}

fn item() -> impl Strategy<Value = TestItem> {
    let leaf = prop_oneof![
        4 => contents().prop_map(Model::File),
        1 => prop_oneof![1usize..100, 3900usize..4096].prop_map(|length| Model::Symlink(vec![b'x'; length])),
        1 => (0u32..4096, 0u32..1 << 20).prop_map(|(major, minor)| Model::Char(major, minor)),
        1 => (0u32..4096, 0u32..1 << 20).prop_map(|(major, minor)| Model::Block(major, minor)),
        1 => Just(Model::Fifo),
    ];
    let with_metadata = |model: BoxedStrategy<Model>| {
        (model, metadata()).prop_map(|(model, (mode, uid, gid, mtime, xattrs))| TestItem {
            model,
            mode,
            uid,
            gid,
            mtime,
            xattrs,
        })
    };
    with_metadata(leaf.boxed()).prop_recursive(4, 120, 30, move |inner| {
        let children = proptest::collection::btree_map(name(), inner, 0..30);
        with_metadata(children.prop_map(Model::Directory).boxed())
    })
}

fn root() -> impl Strategy<Value = TestItem> {
    let children = proptest::collection::btree_map(name(), item(), 0..30);
    (children, metadata()).prop_map(|(children, (mode, uid, gid, mtime, xattrs))| TestItem {
        model: Model::Directory(children),
        mode,
        uid,
        gid,
        mtime,
        xattrs,
    })
}

struct Builder {
    tree: Tree,
    writer: Writer,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Builder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        let out = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .unwrap();
        let writer = Writer::new(out, tempfile::tempfile().unwrap()).unwrap();
        Self {
            tree: Tree::new(),
            writer,
            path,
            _dir: dir,
        }
    }

    fn inode(&mut self, item: &TestItem) -> Inode {
        let xattrs: Vec<_> = item.xattrs.clone().into_iter().collect();
        let xattrs = encode_xattrs(&xattrs).unwrap();
        let kind = match &item.model {
            Model::Directory(_) => Kind::Directory(Directory::default()),
            Model::File(data) => Kind::File(
                self.writer
                    .add_file(&mut data.as_slice(), data.len() as u64, xattrs.len())
                    .unwrap(),
            ),
            Model::Symlink(target) => Kind::Symlink(target.as_slice().into()),
            Model::Char(major, minor) => Kind::CharDevice(*major, *minor),
            Model::Block(major, minor) => Kind::BlockDevice(*major, *minor),
            Model::Fifo => Kind::Fifo,
        };
        let mtime = Time {
            seconds: item.mtime.0,
            nanoseconds: item.mtime.1,
        };
        let meta = Metadata {
            mode: item.mode,
            uid: item.uid,
            gid: item.gid,
            mtime,
            xattrs,
        };
        Inode { kind, meta }
    }

    fn add(&mut self, dir: InodeId, name: &[u8], item: &TestItem) -> InodeId {
        let inode = self.inode(item);
        let inode = self.tree.add(inode);
        self.tree.link(dir, name, Link { inode, layer: 1 });
        self.fill(inode, item);
        inode
    }

    fn fill(&mut self, dir: InodeId, item: &TestItem) {
        let Model::Directory(children) = &item.model else {
            return;
        };
        for (name, child) in children {
            self.add(dir, name, child);
        }
    }

    fn finish(mut self) -> TestImage {
        self.writer.finish(&mut self.tree, [7; 16]).unwrap();
        TestImage {
            path: self.path,
            _dir: self._dir,
        }
    }
}

struct TestImage {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

fn build(root: &TestItem) -> TestImage {
    let mut builder = Builder::new();
    let inode = builder.inode(root);
    *builder.tree.inode_mut(Tree::ROOT) = inode;
    builder.fill(Tree::ROOT, root);
    builder.finish()
}

fn read_back(reader: &Reader, node: &Node) -> Result<TestItem, ReadError> {
    let model = match &node.kind {
        NodeKind::Directory => {
            let mut children = BTreeMap::new();
            for entry in reader.read_dir(node)? {
                let child = reader.node(entry.inode)?;
                assert_eq!(reader.child(node, &entry.name)?, Some(child.clone()));
                children.insert(entry.name.as_bytes().to_vec(), read_back(reader, &child)?);
            }
            assert_eq!(reader.child(node, OsStr::new("no such name")).unwrap(), None);
            Model::Directory(children)
        }
        NodeKind::File => Model::File(reader.read(node, u64::MAX)?),
        NodeKind::Symlink { target } => Model::Symlink(target.as_os_str().as_bytes().to_vec()),
        NodeKind::CharDevice { major, minor } => Model::Char(*major, *minor),
        NodeKind::BlockDevice { major, minor } => Model::Block(*major, *minor),
        NodeKind::Fifo => Model::Fifo,
    };
    let xattrs = reader.xattrs(node)?;
    Ok(TestItem {
        model,
        mode: node.mode,
        uid: node.uid,
        gid: node.gid,
        mtime: (node.mtime.seconds, node.mtime.nanoseconds),
        xattrs: xattrs
            .into_iter()
            .map(|(name, value)| (name.as_bytes().to_vec(), value))
            .collect(),
    })
}

fn fsck(path: &Path) {
    let out = Command::new("fsck.erofs")
        .arg("--extract")
        .arg(path)
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
}

fn plain(model: Model) -> TestItem {
    TestItem {
        model,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: (0, 0),
        xattrs: BTreeMap::new(),
    }
}

fn directory(children: impl IntoIterator<Item = (Vec<u8>, TestItem)>) -> TestItem {
    plain(Model::Directory(children.into_iter().collect()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read(root in root()) {
        let image = build(&root);
        let reader = Reader::open(&image.path).unwrap();
        let back = read_back(&reader, &reader.root().unwrap()).unwrap();
        prop_assert_eq!(back, root.clone());
        fsck(&image.path);
        prop_assert!(std::fs::read(&image.path).unwrap() == std::fs::read(&build(&root).path).unwrap());
    }

    #[test]
    fn a_damaged_image_is_read_or_refused(root in root(), damage in proptest::collection::vec((any::<u32>(), any::<u8>()), 1..40)) {
        let image = build(&root);
        let file = File::options().write(true).open(&image.path).unwrap();
        let blocks = file.metadata().unwrap().len() / 4096;
        for (at, byte) in damage {
            // The last blocks are the inodes; the superblock has a checksum and would end the test.
            let from = 4096 * blocks.saturating_sub(4).max(1);
            file.write_all_at(&[byte], from + u64::from(at) % (blocks * 4096 - from)).unwrap();
        }
        let reader = Reader::open(&image.path).unwrap();
        if let Ok(root) = reader.root() {
            let _ = reader.xattrs(&root);
            for entry in reader.read_dir(&root).unwrap_or_default() {
                let _ = reader.lookup(Path::new(&entry.name));
                let Ok(node) = reader.node(entry.inode) else { continue };
                let _ = (reader.read(&node, u64::MAX), reader.read_dir(&node), reader.xattrs(&node));
            }
        }
    }
}

#[test]
fn an_inode_may_end_the_last_block() {
    // With the root's 128 bytes these fill a block to its end.
    let file = plain(Model::File(vec![1; 4096 - 128 - 64]));
    let image = build(&directory([(b"f".to_vec(), file)]));
    fsck(&image.path);
    assert_eq!(std::fs::metadata(&image.path).unwrap().len(), 3 * 4096);
}

#[test]
fn an_empty_image() {
    let image = build(&directory([]));
    fsck(&image.path);
    let reader = Reader::open(&image.path).unwrap();
    let root = reader.root().unwrap();
    assert_eq!((root.links, reader.read_dir(&root).unwrap().len()), (2, 0));
    assert_eq!(std::fs::metadata(&image.path).unwrap().len(), 2 * 4096);
}

#[test]
fn large_directories_are_searched() {
    let names = || (0..30_000).map(|i| format!("file-{i:05}").into_bytes());
    let image = build(&directory([(
        b"d".to_vec(),
        directory(names().map(|name| (name, plain(Model::Fifo)))),
    )]));
    fsck(&image.path);
    let reader = Reader::open(&image.path).unwrap();
    let dir = reader.lookup(Path::new("/d")).unwrap().unwrap();
    assert_eq!(reader.read_dir(&dir).unwrap().len(), 30_000);
    for name in names() {
        assert!(reader.child(&dir, OsStr::from_bytes(&name)).unwrap().is_some());
    }
    for missing in ["", "!", "file-00000x", "file-1", "zzz", ".", ".."] {
        assert!(
            reader.child(&dir, OsStr::new(missing)).unwrap().is_none(),
            "{missing}"
        );
    }
}

#[test]
fn lookup_follows_no_links() {
    let file = plain(Model::File(b"root:x:0:0".to_vec()));
    let image = build(&directory([
        (b"etc".to_vec(), directory([(b"passwd".to_vec(), file)])),
        (b"link".to_vec(), plain(Model::Symlink(b"/etc".to_vec()))),
    ]));
    let reader = Reader::open(&image.path).unwrap();
    let lookup = |path: &str| reader.lookup(Path::new(path));
    let passwd = lookup("//etc/./passwd").unwrap().unwrap();
    assert_eq!(reader.read(&passwd, 100).unwrap(), b"root:x:0:0");
    assert!(matches!(
        reader.read(&passwd, 9),
        Err(ReadError::TooLarge { size: 10, max: 9 })
    ));
    assert_eq!(
        lookup("link").unwrap().unwrap().kind,
        NodeKind::Symlink {
            target: "/etc".into()
        }
    );
    for none in ["link/passwd", "etc/passwd/x", "nothing", "etc/nothing"] {
        assert_eq!(lookup(none).unwrap(), None, "{none}");
    }
    assert!(matches!(lookup("etc/../etc"), Err(ReadError::Path(_))));
    assert!(matches!(reader.read_dir(&passwd), Err(ReadError::Kind { .. })));
}

#[test]
fn replaced_contents_leave_no_large_holes() {
    let mut builder = Builder::new();
    let data: Vec<u8> = (0..100 * 4096u32).map(|i| (i / 4096) as u8).collect();
    let file = |from: usize| plain(Model::File(data[from * 4096..].to_vec()));
    builder.add(Tree::ROOT, b"a", &file(10));
    builder.add(Tree::ROOT, b"b", &file(50));
    builder.add(Tree::ROOT, b"c", &file(97));
    builder.add(Tree::ROOT, b"a", &file(99));
    let image = builder.finish();
    fsck(&image.path);
    let reader = Reader::open(&image.path).unwrap();
    let expected = directory([
        (b"a".to_vec(), file(99)),
        (b"b".to_vec(), file(50)),
        (b"c".to_vec(), file(97)),
    ]);
    let root = reader.root().unwrap();
    assert_eq!(read_back(&reader, &root).unwrap().model, expected.model);
    assert_eq!(
        std::fs::metadata(&image.path).unwrap().len(),
        (1 + 50 + 3 + 1 + 1) * 4096
    );
}

#[test]
fn refuses_what_is_no_image() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let message = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let text = Reader::open(&path).unwrap_err().to_string();
        text.rsplit_once(": ").unwrap().1.to_owned()
    };
    let good = std::fs::read(build(&directory([])).path).unwrap();
    let mut flipped = good.clone();
    flipped[1024 + 50] ^= 1;
    assert_eq!(message(b"short"), "it is shorter than a block");
    assert_eq!(message(&[0; 8192]), "it has no EROFS magic number");
    assert_eq!(message(&flipped), "its superblock has a wrong checksum");
    assert_eq!(message(&good[..4096]), "its size is not what its superblock says");
    assert!(matches!(
        Reader::open(Path::new("/nowhere")),
        Err(ReadError::File { .. })
    ));
}
