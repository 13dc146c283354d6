//! The store: one directory per image, names, locks, leftovers, damage.

#![allow(clippy::unwrap_used)]

mod make;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use isopod_image::{Digest, FindError, Image, ImportError, LoadError, Store};
use isopod_spec::LocalReference;
use make::{Mounted, OciLayout, Tar, chain, is_root, layer};
use tempfile::TempDir;

struct World {
    dir: TempDir,
    store: Store,
    layout: OciLayout,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let layout = OciLayout::new(&dir.path().join("oci"));
        Self { dir, store, layout }
    }

    /// Makes the layout hold one image whose only file has these contents.
    fn image(&self, data: &str) -> LocalReference {
        self.layout
            .index(&[self.layout.image(&[layer("f", data)], |_| {})]);
        self.layout.reference(None)
    }

    fn import(&self, data: &str) -> Image {
        self.store
            .import(&self.image(data))
            .unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    fn in_images(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.dir.path().join("store/images"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn a_store_is_its_owners_alone() {
    let world = World::new();
    let image = world.import("x");
    for dir in [
        world.dir.path().join("store").as_path(),
        image.rootfs.parent().unwrap(),
    ] {
        assert_eq!(fs::metadata(dir).unwrap().permissions().mode() & 0o777, 0o700);
    }
    let file = world.dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(Store::open(&file).is_err());
}

#[test]
fn a_second_import_does_nothing() {
    let world = World::new();
    let first = world.import("x");
    let before = fs::metadata(&first.rootfs).unwrap().modified().unwrap();
    // Without the layer there is nothing to import from.
    for blob in fs::read_dir(world.layout.dir.join("blobs/sha256")).unwrap() {
        let path = blob.unwrap().path();
        if fs::read(&path).unwrap().starts_with(b"f\0") {
            let size = fs::metadata(&path).unwrap().len();
            File::create(&path).unwrap().set_len(size).unwrap();
        }
    }
    let second = world.store.import(&world.layout.reference(None)).unwrap();
    assert_eq!(first, second);
    assert_eq!(fs::metadata(&second.rootfs).unwrap().modified().unwrap(), before);
}

#[test]
fn the_same_image_gives_the_same_bytes() {
    let (one, two) = (World::new().import_bytes(), World::new().import_bytes());
    assert!(one == two);
}

impl World {
    fn import_bytes(&self) -> Vec<u8> {
        fs::read(self.import("bytes").rootfs).unwrap()
    }
}

#[test]
fn images_are_found_by_id_and_name() {
    let world = World::new();
    let (one, two) = (world.import("1"), world.import("2"));
    let find = |id: Option<&str>, name: Option<&str>| world.store.find(id, name);
    let (hex, digest) = (one.id.hex(), one.id.to_string());
    let dashed = digest.replace(':', "-");
    for id in [&hex, &digest, &dashed, &hex[..20], &dashed[..20], &digest[..20]] {
        assert_eq!(find(Some(id), None).unwrap(), one, "{id}");
    }
    world.store.set_name("app:latest", &one).unwrap();
    let one = find(None, Some("app")).unwrap();
    assert_eq!(one.names, ["app:latest"]);
    assert_eq!(find(Some(&dashed), Some("app:latest")).unwrap(), one);
    assert!(matches!(
        find(Some(&two.id.hex()), Some("app")),
        Err(FindError::Mismatch { .. })
    ));
    assert!(matches!(find(None, None), Err(FindError::Nothing)));
    assert!(matches!(find(None, Some("none")), Err(FindError::NoName(_))));
    assert!(matches!(
        find(Some(&Digest::of(b"none").hex()), None),
        Err(FindError::NoId(_))
    ));
    for bad in ["", "sha256-", "sha512-00", "XYZ", "../x", &format!("{hex}0")] {
        assert!(
            matches!(find(Some(bad), None), Err(FindError::InvalidId(_))),
            "{bad}"
        );
    }
    let mut all = [one, two];
    all.sort_by_key(|image| image.id);
    assert_eq!(world.store.list().unwrap(), all);
}

#[test]
fn a_beginning_of_two_ids_is_ambiguous() {
    let world = World::new();
    let ids: Vec<_> = (0..17).map(|i| world.import(&i.to_string()).id).collect();
    let twice = ids.iter().find(|id| {
        ids.iter()
            .filter(|other| other.hex()[..1] == id.hex()[..1])
            .count()
            > 1
    });
    let prefix = &twice.expect("17 IDs begin with 16 digits").hex()[..1];
    match world.store.find(Some(prefix), None).unwrap_err() {
        FindError::Ambiguous { candidates, .. } => assert!(candidates.len() > 1),
        other => panic!("{other}"),
    }
}

#[test]
fn a_name_moves_to_the_image_that_gets_it_last() {
    let world = World::new();
    let (one, two) = (world.import("1"), world.import("2"));
    world.store.set_name("app:1", &one).unwrap();
    world.store.set_name("app:1", &two).unwrap();
    world.store.set_name("also", &two).unwrap();
    let names: Vec<_> = world
        .store
        .list()
        .unwrap()
        .into_iter()
        .map(|i| (i.id, i.names))
        .collect();
    assert!(
        names.contains(&(one.id, vec![])) && names.contains(&(two.id, vec!["also".into(), "app:1".into()]))
    );
    for bad in ["", "a b", "a\n", "sha256:00", "sha256-00", &"x".repeat(401)] {
        assert!(world.store.set_name(bad, &one).is_err(), "{bad}");
    }
}

#[test]
fn what_killed_imports_left_is_removed_unless_they_live() {
    let world = World::new();
    let (dead, alive) = (Digest::of(b"dead"), Digest::of(b"alive"));
    let images = world.dir.path().join("store/images");
    for id in [dead, alive] {
        fs::create_dir(images.join(format!(".new-{}", id.hex()))).unwrap();
        fs::write(images.join(format!(".new-{}/rootfs.erofs", id.hex())), "half").unwrap();
    }
    let lock = File::create(world.dir.path().join("store/locks").join(alive.hex())).unwrap();
    lock.lock().unwrap();
    let image = world.import("x");
    let mut expected = vec![format!(".new-{}", alive.hex()), image.id.hex()];
    expected.sort();
    assert_eq!(world.in_images(), expected);
    drop(lock);
    world.import("y");
    assert!(!world.in_images().iter().any(|name| name.starts_with('.')));
}

#[test]
fn gc_removes_what_a_change_of_names_left_that_was_killed() {
    let world = World::new();
    let image = world.import("x");
    world.store.set_name("app:1", &image).unwrap();
    let left = world.dir.path().join("store/names.json.new");
    fs::write(&left, "{\"version\":1,").unwrap();
    world.store.collect(false, |_| false).unwrap();
    assert!(!left.exists());
    assert_eq!(world.store.list().unwrap()[0].names, ["app:1"]);
}

#[test]
fn an_import_takes_over_what_a_killed_one_left_of_the_same_image() {
    let world = World::new();
    let image = world.import("x");
    let dir = image.rootfs.parent().unwrap();
    fs::rename(dir, dir.with_file_name(format!(".new-{}", image.id.hex()))).unwrap();
    assert_eq!(world.import("x"), image);
    assert_eq!(world.in_images(), [image.id.hex()]);
}

#[test]
fn imports_at_the_same_time_do_the_work_once() {
    let world = World::new();
    let tar = (0..200).fold(Tar::new(), |tar, i| {
        tar.file(&format!("f{i}"), &[i as u8; 20_000])
    });
    world.layout.index(&[world.layout.image(&[tar.finish()], |_| {})]);
    let reference = world.layout.reference(None);
    let import = || {
        let image = Store::open(&world.dir.path().join("store"))
            .unwrap()
            .import(&reference)
            .unwrap();
        // A second import would have made another file.
        let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&image.rootfs).unwrap());
        (image, inode)
    };
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(import)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert!(results.iter().all(|result| *result == results[0]));
    assert_eq!(world.in_images(), [results[0].0.id.hex()]);
}

#[test]
fn damage_is_found_and_mended_by_an_import() {
    for (file, text) in [
        ("rootfs.erofs", Some("short")),
        ("rootfs.erofs", None),
        ("config.json", Some("{}")),
        ("config.json", None),
        ("image.json", Some("{")),
        ("image.json", None),
    ] {
        let world = World::new();
        let image = world.import("x");
        let path = image.rootfs.with_file_name(file);
        match text {
            Some(text) => fs::write(path, text).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
        let error = world.store.find(Some(&image.id.hex()), None).unwrap_err();
        assert!(error.to_string().contains(file), "{error}");
        assert_eq!(world.store.list().unwrap(), []);
        assert_eq!(world.import("x"), image);
    }
}

#[test]
fn files_of_a_later_version_are_left_alone() {
    let world = World::new();
    let image = world.import("x");
    let path = image.rootfs.with_file_name("image.json");
    fs::write(&path, r#"{"version":2,"something":"new"}"#).unwrap();
    let error = world.store.import(&world.layout.reference(None)).unwrap_err();
    assert!(
        matches!(error, ImportError::Load(LoadError::Version { version: 2, .. })),
        "{error}"
    );
    assert!(path.exists());
}

#[test]
fn names_and_manifests_of_the_version_before_are_read() {
    let world = World::new();
    let image = world.import("x");
    let (store, dir) = (&world.store, world.dir.path().join("store"));
    let manifest = store.manifest(&image).unwrap().expect("a manifest");
    let hex = image.manifest.unwrap().hex();
    fs::rename(
        dir.join("manifests").join(hex),
        image.rootfs.with_file_name("manifest.json"),
    )
    .unwrap();
    let names = dir.join("names.json");
    let text = format!(r#"{{"version":1,"names":{{"app:1":"{}"}}}}"#, image.id);
    fs::write(&names, text).unwrap();
    let found = store.find(None, Some("app:1")).unwrap();
    assert_eq!((found.id, found.manifest), (image.id, image.manifest));
    assert_eq!(store.manifest(&found).unwrap(), Some(manifest));
    store.set_name("app:2", &found).unwrap();
    assert_eq!(store.find(None, Some("app:1")).unwrap().names, ["app:1", "app:2"]);
    store.collect(false, |_| false).unwrap();
    assert_eq!(store.verify(&found), []);
    fs::write(&names, r#"{"version":3}"#).unwrap();
    let message = store.list().unwrap_err();
    assert!(
        chain(&message).ends_with("has version 3, this version of isopod reads version 2"),
        "{}",
        chain(&message)
    );
}

#[test]
fn a_full_disk_is_an_error_that_leaves_nothing() {
    if !is_root("a_full_disk_is_an_error_that_leaves_nothing") {
        return;
    }
    let world = World::new();
    let disk = Mounted::new(
        "tmpfs",
        "size=2m",
        Path::new("none"),
        &world.dir.path().join("disk"),
    );
    let store = Store::open(&disk.0).unwrap();
    for size in [1, 1 << 20, 3 << 20] {
        let tar = Tar::new().file("big", &vec![7; size]).finish();
        world.layout.index(&[world.layout.image(&[tar], |_| {})]);
        let result = store.import(&world.layout.reference(None));
        if size < 2 << 20 {
            result.unwrap();
            continue;
        }
        let error = result.unwrap_err();
        assert!(
            chain(&error).contains("No space left on device"),
            "{}",
            chain(&error)
        );
        assert_eq!(
            error.hint().as_deref(),
            Some("free some space on the disk of the image store")
        );
        let names: Vec<_> = fs::read_dir(disk.0.join("images"))
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert!(names.len() == 2 && names.iter().all(|name| !name.to_string_lossy().starts_with('.')));
    }
}

/// Whatever an image can hold is in the one layer that its root filesystem makes, and comes out of it the same.
#[test]
fn an_image_from_a_file_is_exported_as_one_layer() {
    let world = World::new();
    let long = format!("{}/{}", "d".repeat(90), "f".repeat(200));
    let tree = Tar::new()
        .dir("etc", 0o2755)
        .file("etc/passwd", b"root:x:0:0::/root:/bin/sh\n")
        .hard_link("etc/other", "etc/passwd")
        .file("big", &vec![7; 3 << 20 | 5])
        .file("empty", b"")
        .file(&long, &[1; 4096])
        .symlink("link", &"t".repeat(150))
        .symlink("etc/short", "../big")
        .pax(&[
            (b"uid", b"4000000"),
            (b"gid", b"4000001"),
            (b"mtime", b"1700000000.123456789"),
            (b"SCHILY.xattr.user.a", b"one\ntwo\0"),
        ])
        .file("odd", b"o")
        .pax(&[(b"mtime", b"-1.5")])
        .file("old", b"o")
        .finish();
    let removed = Tar::new().file("etc/.wh.short", b"").finish();
    world
        .layout
        .index(&[world.layout.image(&[tree, removed], |config| {
            config["config"]["Cmd"] = serde_json::json!(["/bin/true"]);
            config["history"] = serde_json::json!([{}, {}]);
        })]);
    let image = world.store.import(&world.layout.reference(None)).unwrap();
    let export = |image: &Image, name: &str| {
        let path = world.dir.path().join(name);
        let id = world.store.export(image, File::create(&path).unwrap()).unwrap();
        (id, path)
    };
    let (id, archive) = export(&image, "one.tar");
    assert_ne!(id, image.id);
    let copy = world
        .store
        .import(&make::reference(
            isopod_spec::Transport::OciArchive,
            &archive,
            None,
        ))
        .unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!((copy.id, &copy.config), (id, &image.config));
    assert!(copy.layers.is_empty() && copy.manifest.is_some());
    // The same tree is the same layer.
    assert_eq!(export(&copy, "two.tar").0, id);
    let place = format!("oci-archive:{}", archive.display());
    make::run("skopeo", &["inspect", &place]);
    let (reader, whole) = (
        isopod_image::erofs::Reader::open(&copy.rootfs).unwrap(),
        isopod_image::erofs::Reader::open(&image.rootfs).unwrap(),
    );
    for name in ["etc/other", "big", &long, "odd", "old", "link"] {
        let of = |reader: &isopod_image::erofs::Reader| {
            let node = reader.lookup(Path::new(name)).unwrap().unwrap();
            let xattrs = reader.xattrs(&node).unwrap();
            let data = match node.kind {
                isopod_image::erofs::NodeKind::File => reader.read(&node, 4 << 20).unwrap(),
                _ => Vec::new(),
            };
            (
                node.kind.clone(),
                node.mode,
                (node.uid, node.gid),
                node.mtime,
                node.links,
                xattrs,
                data,
            )
        };
        assert_eq!(of(&reader), of(&whole), "{name}");
    }
    assert!(reader.lookup(Path::new("etc/short")).unwrap().is_none());
}

#[test]
fn an_image_that_cannot_be_read_is_reported_and_can_be_removed() {
    let world = World::new();
    let (good, bad) = (world.import("good"), world.import("bad"));
    let config = bad.rootfs.with_file_name("config.json");
    fs::write(&config, "{}").unwrap();
    let (images, unreadable) = world.store.list_all().unwrap();
    assert_eq!((images.len(), images[0].id), (1, good.id));
    assert_eq!((unreadable.len(), unreadable[0].0), (1, bad.id));
    assert_eq!(world.store.identify(&bad.id.hex()[..20]).unwrap(), bad.id);
    world.store.remove(bad.id).unwrap();
    assert!(world.store.list_all().unwrap().1.is_empty());
    // Nothing to make it of is kept of an image from a file.
    assert!(!world.store.repair(&good).unwrap());
}

/// An archive of several images is read by its names, as an OCI layout and as docker reads it, here and by skopeo.
#[test]
fn images_are_saved_together() {
    let world = World::new();
    let named = |data: &str, name: &str| {
        let image = world.import(data);
        world.store.set_name(name, &image).unwrap();
        world.store.find(None, Some(name)).unwrap()
    };
    let images = [
        named("one", "example.org/one:1"),
        named("two", "example.org/two:2"),
    ];
    let archive = world.dir.path().join("images.tar");
    let ids = world
        .store
        .save(&images, File::create(&archive).unwrap())
        .unwrap();
    assert_eq!(ids.len(), 2);
    let other = Store::open(&world.dir.path().join("other")).unwrap();
    for (transport, word) in [
        (isopod_spec::Transport::DockerArchive, "docker-archive"),
        (isopod_spec::Transport::OciArchive, "oci-archive"),
    ] {
        let all = make::reference(transport, &archive, None);
        let several = other.import(&all).unwrap_err();
        assert!(
            chain(&several).contains("holds several images"),
            "{}",
            chain(&several)
        );
        for (name, id) in [("example.org/one:1", ids[0]), ("example.org/two:2", ids[1])] {
            let loaded = other
                .import(&make::reference(transport, &archive, Some(name)))
                .unwrap();
            assert_eq!(loaded.id, id, "{word} {name}");
            assert!(loaded.names.contains(&name.to_owned()), "{:?}", loaded.names);
            make::run(
                "skopeo",
                &["inspect", &format!("{word}:{}:{name}", archive.display())],
            );
        }
    }
}
