//! Against other tools: the mounted root filesystem equals what `umoci unpack` makes of the same image, entry for
//! entry, and archives that `skopeo copy` writes give the same image.

#![allow(clippy::unwrap_used)]

mod layers;
#[path = "../make/mod.rs"]
mod make;

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use isopod_image::{Image, Store};
use isopod_spec::Transport;
use make::{Head, Mounted, Tar, chain, is_root, reference, run};
use proptest::prelude::*;

use layers::{lower, top, upper};

/// All that stat(2) and the rest say about a file, but its inode number.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    mode: u32,
    uid: u32,
    gid: u32,
    links: u64,
    device: u64,
    size: u64,
    mtime: (i64, i64),
    xattrs: Vec<(OsString, Vec<u8>)>,
    contents: Vec<u8>,
    /// The first path with the same inode, in the order of paths.
    same_as: Option<PathBuf>,
}

fn facts(root: &Path) -> BTreeMap<PathBuf, Facts> {
    let mut all = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    let mut paths = vec![root.to_owned()];
    collect_paths(root, &mut paths);
    paths.sort();
    for path in paths {
        let meta = fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        let contents = match () {
            () if kind.is_file() => fs::read(&path).unwrap(),
            () if kind.is_symlink() => fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec(),
            () => Vec::new(),
        };
        let is_device = kind.is_char_device() || kind.is_block_device();
        let name = path.strip_prefix(root).unwrap().to_owned();
        let same_as = inodes.insert(meta.ino(), name.clone()).filter(|_| !kind.is_dir());
        let facts = Facts {
            mode: meta.mode(),
            uid: meta.uid(),
            gid: meta.gid(),
            links: meta.nlink(),
            device: if is_device { meta.rdev() } else { 0 },
            // Every file system counts directories in its own way.
            size: if kind.is_dir() { 0 } else { meta.len() },
            mtime: (meta.mtime(), meta.mtime_nsec()),
            xattrs: xattrs(&path),
            contents,
            same_as,
        };
        all.insert(name, facts);
    }
    all
}

fn collect_paths(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        out.push(entry.path());
        if entry.file_type().unwrap().is_dir() {
            collect_paths(&entry.path(), out);
        }
    }
}

fn xattrs(path: &Path) -> Vec<(OsString, Vec<u8>)> {
    let mut names = vec![0; 65536];
    let count = rustix::fs::llistxattr(path, &mut names).unwrap();
    let mut out: Vec<_> = names[..count]
        .split(|&b| b == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 65536];
            let count = rustix::fs::lgetxattr(path, CString::new(name).unwrap(), &mut value).unwrap();
            (
                std::ffi::OsStr::from_bytes(name).to_owned(),
                value[..count].to_vec(),
            )
        })
        .collect();
    out.sort();
    out
}

/// An OCI layout by umoci with the three layers, tag `v1`.
fn umoci_image(dir: &Path) -> PathBuf {
    let layout = dir.join("oci");
    let text = layout.to_str().unwrap();
    let image = format!("{text}:v1");
    run("umoci", &["init", "--layout", text]);
    run("umoci", &["new", "--image", &image]);
    for (tar, name) in [(lower(), "1.tar"), (upper(), "2.tar"), (top(), "3.tar")] {
        let path = dir.join(name);
        fs::write(&path, tar.finish()).unwrap();
        run(
            "umoci",
            &["raw", "add-layer", "--image", &image, path.to_str().unwrap()],
        );
    }
    let config = [
        ["--config.entrypoint", "/init"],
        ["--config.cmd", "serve"],
        ["--config.env", "PATH=/usr/bin"],
        ["--config.user", "1000:50"],
        ["--config.workingdir", "/srv"],
        ["--config.volume", "/var/lib/data"],
        ["--config.stopsignal", "SIGQUIT"],
    ];
    run(
        "umoci",
        &[&["config", "--image", &image][..], config.as_flattened()].concat(),
    );
    layout
}

fn compare(image: &Image, expected: &BTreeMap<PathBuf, Facts>, dir: &Path) {
    run("fsck.erofs", &["--extract", image.rootfs.to_str().unwrap()]);
    let mounted = Mounted::new("erofs", "ro,loop", &image.rootfs, &dir.join("mounted"));
    let actual = facts(&mounted.0);
    for (path, facts) in expected {
        assert_eq!(Some(facts), actual.get(path), "`{}`", path.display());
    }
    assert_eq!(actual.len(), expected.len());
}

#[test]
fn the_mounted_image_is_what_umoci_unpacks() {
    if !is_root("the_mounted_image_is_what_umoci_unpacks") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let layout = umoci_image(dir.path());
    let bundle = dir.path().join("bundle");
    let name = format!("{}:v1", layout.display());
    run("umoci", &["unpack", "--image", &name, bundle.to_str().unwrap()]);
    let expected = facts(&bundle.join("rootfs"));
    assert!(expected.len() > 1030, "{}", expected.len());

    let store = Store::open(&dir.path().join("store")).unwrap();
    let image = store.import(&reference(Transport::Oci, &layout, Some("v1")));
    let image = image.unwrap_or_else(|error| panic!("{}", chain(&error)));
    compare(&image, &expected, dir.path());
    assert_eq!(
        fs::read_to_string(bundle.join("rootfs/third-link")).unwrap(),
        "tool 1"
    );

    let run_config = &image.config;
    assert_eq!(
        (&run_config.entrypoint[..], &run_config.cmd[..]),
        (&["/init".into()][..], &["serve".into()][..])
    );
    assert!(run_config.env.contains(&("PATH".into(), "/usr/bin".into())));
    assert_eq!(
        (run_config.user.as_deref(), run_config.group.as_deref()),
        (Some("1000"), Some("50"))
    );
    assert_eq!(run_config.working_dir.as_deref(), Some(Path::new("/srv")));
    assert_eq!(run_config.stop_signal.as_deref(), Some("SIGQUIT"));
    assert_eq!(run_config.mount_points[0].name.as_str(), "volume-var-lib-data");
}

#[test]
fn archives_of_skopeo_give_the_same_image() {
    let dir = tempfile::tempdir().unwrap();
    let layout = umoci_image(dir.path());
    let source = format!("oci:{}:v1", layout.display());
    let direct = Store::open(&dir.path().join("direct")).unwrap();
    let direct = direct.import(&reference(Transport::Oci, &layout, None)).unwrap();
    for (transport, file, name) in [
        (Transport::OciArchive, "oci.tar", "example.org/app:v1"),
        (Transport::DockerArchive, "docker.tar", "app:v1"),
    ] {
        let path = dir.path().join(file);
        let target = format!("{}:{}:{name}", transport.as_str(), path.display());
        run(
            "skopeo",
            &["--insecure-policy", "copy", "--quiet", &source, &target],
        );
        let store = Store::open(&dir.path().join(format!("store-{file}"))).unwrap();
        for name in [Some(name), None] {
            let image = store.import(&reference(transport, &path, name));
            let image = image.unwrap_or_else(|error| panic!("{}", chain(&error)));
            assert_eq!(image.config, direct.config);
            let (one, other) = (
                fs::read(&image.rootfs).unwrap(),
                fs::read(&direct.rootfs).unwrap(),
            );
            // The image's ID is in block 0 as the UUID; skopeo may write the config again.
            assert!(one[4096..] == other[4096..], "{file}");
        }
        assert_eq!(store.list().unwrap().len(), 1);
        assert_eq!(store.find(None, Some(name)).unwrap().names, [name]);
    }
    let compressed = dir.path().join("zstd");
    let (plain, target) = (
        dir.path().join("plain"),
        format!("oci:{}:v1", compressed.display()),
    );
    let plain = format!("dir:{}", plain.display());
    let copy = ["--insecure-policy", "copy", "--quiet"];
    // Compressed layers are copied as they are, so they are unpacked on the way.
    run(
        "skopeo",
        &[&copy[..], &["--dest-decompress", &source, &plain]].concat(),
    );
    run(
        "skopeo",
        &[&copy[..], &["--dest-compress-format", "zstd", &plain, &target]].concat(),
    );
    let blobs = fs::read_dir(compressed.join("blobs/sha256")).unwrap();
    let blobs: Vec<_> = blobs
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    assert_eq!(
        blobs
            .iter()
            .filter(|blob| blob.starts_with(b"\x28\xb5\x2f\xfd"))
            .count(),
        3
    );
    let store = Store::open(&dir.path().join("store-zstd")).unwrap();
    let image = store.import(&reference(Transport::Oci, &compressed, None));
    let image = image.unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert!(fs::read(&image.rootfs).unwrap()[4096..] == fs::read(&direct.rootfs).unwrap()[4096..]);
}

#[test]
fn a_tree_of_this_host_is_kept_as_it_is() {
    if !is_root("a_tree_of_this_host_is_kept_as_it_is") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let tar = dir.path().join("layer.tar");
    let status = Command::new("tar")
        .args([
            "--format=pax",
            "--xattrs",
            "--xattrs-include=*",
            "--numeric-owner",
            "-C",
            "/etc",
            "-cf",
        ])
        .args([tar.as_os_str(), ".".as_ref()])
        .status()
        .expect("this test needs `tar`");
    assert!(status.success());
    let layout = make::OciLayout::new(&dir.path().join("oci"));
    layout.index(&[layout.image(&[fs::read(&tar).unwrap()], |_| {})]);
    let bundle = dir.path().join("rootfs");
    fs::create_dir(&bundle).unwrap();
    let (tar, root) = (tar.to_str().unwrap(), bundle.to_str().unwrap());
    run(
        "tar",
        &[
            "--xattrs",
            "--xattrs-include=*",
            "--numeric-owner",
            "-xpf",
            tar,
            "-C",
            root,
        ],
    );
    let store = Store::open(&dir.path().join("store")).unwrap();
    let image = store.import(&layout.reference(None));
    let image = image.unwrap_or_else(|error| panic!("{}", chain(&error)));
    compare(&image, &facts(&bundle), dir.path());
}

#[test]
fn sparse_files_are_what_umoci_unpacks_and_sparse_in_the_store() {
    if !is_root("sparse_files_are_what_umoci_unpacks_and_sparse_in_the_store") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    for (name, size, parts) in [
        ("disk.img", 64 << 20, &[(0u64, "boot"), (40 << 20, "data")][..]),
        ("tail", (1 << 20) + 7, &[(1 << 20, "the end")][..]),
        ("nothing", 3 << 20, &[]),
    ] {
        let file = fs::File::create(tree.join(name)).unwrap();
        file.set_len(size).unwrap();
        for (offset, text) in parts {
            std::os::unix::fs::FileExt::write_all_at(&file, text.as_bytes(), *offset).unwrap();
        }
    }
    let layer = |format: &[&str]| {
        let tar = Command::new("tar")
            .args(["--sparse", "--hole-detection=raw", "--mtime=@1", "-C"])
            .arg(&tree)
            .args(format)
            .args(["-c", "."])
            .output()
            .expect("this test needs `tar`");
        assert!(tar.status.success() && tar.stdout.len() < 1 << 20);
        tar.stdout
    };
    // umoci knows no sparse files of the GNU format.
    for format in [
        &["--format=pax", "--sparse-version=0.1"][..],
        &["--format=pax", "--sparse-version=1.0"],
    ] {
        let work = tempfile::tempdir_in(dir.path()).unwrap();
        let layout = make::OciLayout::new(&work.path().join("oci"));
        layout.index(&[make::named(layout.image(&[layer(format)], |_| {}), "v1")]);
        let bundle = work.path().join("bundle");
        let name = format!("{}:v1", layout.dir.display());
        run("umoci", &["unpack", "--image", &name, bundle.to_str().unwrap()]);
        let store = Store::open(&work.path().join("store")).unwrap();
        let image = store.import(&layout.reference(None));
        let image = image.unwrap_or_else(|error| panic!("{}", chain(&error)));
        compare(&image, &facts(&bundle.join("rootfs")), work.path());
        let meta = fs::metadata(&image.rootfs).unwrap();
        assert!(meta.len() > 64 << 20);
        assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
    }
}

/// umoci fills up neither the last block of such a layer nor writes the two that end an archive.
#[test]
fn layers_of_umoci_insert_are_read() {
    if !is_root("layers_of_umoci_insert_are_read") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (layout, tree) = (dir.path().join("oci"), dir.path().join("tree"));
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("big"), [7; 5000]).unwrap();
    fs::write(dir.path().join("f"), "hello").unwrap();
    let (text, name) = (layout.to_str().unwrap(), format!("{}:v1", layout.display()));
    run("umoci", &["init", "--layout", text]);
    run("umoci", &["new", "--image", &name]);
    for (source, target) in [(dir.path().join("f"), "/etc/f"), (tree, "/srv")] {
        run(
            "umoci",
            &["insert", "--image", &name, source.to_str().unwrap(), target],
        );
    }
    let bundle = dir.path().join("bundle");
    run("umoci", &["unpack", "--image", &name, bundle.to_str().unwrap()]);
    let store = Store::open(&dir.path().join("store")).unwrap();
    let image = store.import(&reference(Transport::Oci, &layout, Some("v1")));
    let image = image.unwrap_or_else(|error| panic!("{}", chain(&error)));
    run("fsck.erofs", &["--extract", image.rootfs.to_str().unwrap()]);
    let mounted = Mounted::new("erofs", "ro,loop", &image.rootfs, &dir.path().join("mounted"));
    assert_eq!(fs::read_to_string(mounted.0.join("etc/f")).unwrap(), "hello");
    assert_eq!(without_times(&mounted.0), without_times(&bundle.join("rootfs")));
}

/// An entry of a random layer: type, path, and the target of a link.
type RandomEntry = (u8, String, String);

fn random_entry() -> impl Strategy<Value = RandomEntry> {
    let name = "([ab]/){0,2}([abc]|[abc]|[abc]|\\.wh\\.[abc]|\\.wh\\.\\.wh\\.\\.opq)";
    let target = prop_oneof!["/?([ab]/){0,2}[abc]", "\\.\\./[abc]"];
    (
        prop_oneof![3 => Just(b'0'), 1 => Just(b'1'), 1 => Just(b'2'), 2 => Just(b'5')],
        name,
        target,
    )
}

/// The layer as a tar; files hold the numbers of their layer and entry.
fn random_tar(entries: &[RandomEntry], layer: u8) -> Vec<u8> {
    let add = |tar: Tar, ((type_flag, name, link), i): (&RandomEntry, u8)| {
        let is_whiteout = name.contains(".wh.");
        let type_flag = if is_whiteout { b'0' } else { *type_flag };
        let link = match type_flag {
            // `..` is refused here.
            b'1' => link.rsplit("../").next().unwrap(),
            b'2' => link,
            _ => "",
        };
        let data = if type_flag == b'0' && !is_whiteout {
            vec![layer, i]
        } else {
            vec![]
        };
        let (name, link, mode) = (name.as_bytes(), link.as_bytes(), 0o700 + u32::from(layer));
        tar.entry(
            &Head {
                name,
                type_flag,
                mode,
                link,
                ..Head::default()
            },
            &data,
        )
    };
    entries.iter().zip(1..).fold(Tar::new(), add).finish()
}

/// The facts without times: umoci gives directories that no entry describes the time of the day.
fn without_times(root: &Path) -> BTreeMap<PathBuf, Facts> {
    let mut all = facts(root);
    all.values_mut().for_each(|facts| facts.mtime = (0, 0));
    all
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn random_layers_are_merged_as_umoci_does(
        layers in proptest::collection::vec(proptest::collection::vec(random_entry(), 1..10), 1..4)
    ) {
        if !is_root("random_layers_are_merged_as_umoci_does") {
            return Ok(());
        }
        let dir = tempfile::tempdir().unwrap();
        let layout = make::OciLayout::new(&dir.path().join("oci"));
        let layers: Vec<_> = layers.iter().zip(1..).map(|(entries, layer)| random_tar(entries, layer)).collect();
        layout.index(&[make::named(layout.image(&layers, |_| {}), "v1")]);
        let (bundle, name) = (dir.path().join("bundle"), format!("{}:v1", layout.dir.display()));
        let theirs = Command::new("umoci").args(["unpack", "--image", &name]).arg(&bundle).output();
        let theirs = theirs.expect("this test needs `umoci`");
        let complaint = String::from_utf8_lossy(&theirs.stderr);
        let store = Store::open(&dir.path().join("store")).unwrap();
        match (store.import(&layout.reference(None)), theirs.status.success()) {
            (Ok(image), true) => {
                let mounted = Mounted::new("erofs", "ro,loop", &image.rootfs, &dir.path().join("mounted"));
                prop_assert_eq!(without_times(&mounted.0), without_times(&bundle.join("rootfs")));
            }
            (Err(_), false) => {}
            // A hard link to its own name: umoci removes the file before it looks for it.
            (Ok(_), false) if complaint.contains(": link: no such file") => {}
            (Err(error), true) => prop_assert!(false, "only Isopod refuses: {}", chain(&error)),
            (Ok(_), false) => prop_assert!(false, "only umoci refuses: {}", complaint),
        }
    }
}
