//! An image of an image and a layer more.

#![allow(clippy::unwrap_used)]

mod make;

use std::fs::File;
use std::io::Write as _;

use isopod_image::erofs::Reader;
use isopod_image::{Image, Store};
use make::{OciLayout, Tar, chain, layer};
use serde_json::{Value, json};

/// A file with an archive in it.
fn file(archive: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(archive).unwrap();
    file
}

fn commit(store: &Store, base: &Image, layer: &[u8], name: &str, comment: &str) -> Image {
    let step = json!({ "created": "2026-11-23T20:08:36Z", "created_by": "sh", "comment": comment });
    let change = |config: &mut Value| config["User"] = "7".into();
    store
        .commit(base, file(layer), &[name.to_owned()], step, change)
        .unwrap_or_else(|error| panic!("{}", chain(&error)))
}

fn names(image: &Image) -> Vec<String> {
    let reader = Reader::open(&image.rootfs).unwrap();
    let entries = reader.read_dir(&reader.root().unwrap()).unwrap();
    entries
        .iter()
        .map(|entry| entry.name.to_string_lossy().into_owned())
        .collect()
}

/// What is new, what is gone, and how it is run; with all its layers, again and again.
#[test]
fn it_is_the_base_and_a_layer_more() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let layout = OciLayout::new(&dir.path().join("oci"));
    let two = Tar::new().file("f", b"f").file("g", b"g").finish();
    layout.index(&[layout.image(&[layer("e", "e"), two], |_| {})]);
    let base = store.import(&layout.reference(None)).unwrap();
    assert!(base.layers.is_empty(), "those of a layout are not kept");

    let new = Tar::new().file(".wh.f", b"").file("h", b"h").finish();
    let one = commit(&store, &base, &new, "localhost/new:1", "first");
    assert_eq!(names(&one), ["e", "g", "h"]);
    assert_eq!((one.layers.len(), one.config.user.as_deref()), (2, Some("7")));
    assert_eq!(one.created.as_deref(), Some("2026-11-23T20:08:36Z"));
    let two = commit(&store, &one, &layer("i", "i"), "localhost/new:1", "second");
    assert_eq!(names(&two), ["e", "g", "h", "i"]);
    assert_eq!(two.layers[..2], one.layers[..]);
    let found = store.find(None, Some("localhost/new:1")).unwrap();
    assert_eq!((found.id, two.layers.len()), (two.id, 3));

    let config: Value = serde_json::from_slice(&store.config(&two).unwrap()).unwrap();
    let history = config["history"].as_array().unwrap();
    assert_eq!(history.len(), 3, "one for each layer");
    assert_eq!(
        (&history[1]["comment"], &history[2]["comment"]),
        (&"first".into(), &"second".into())
    );
    assert_eq!(config["config"]["Cmd"], json!(["/bin/sh"]));

    // What is saved is the very image, and others read it.
    let archive = dir.path().join("saved.tar");
    assert_eq!(
        store.export(&two, File::create(&archive).unwrap()).unwrap(),
        two.id
    );
    let other = Store::open(&dir.path().join("other")).unwrap();
    let reference = make::reference(isopod_spec::Transport::OciArchive, &archive, None);
    let loaded = other.import(&reference).unwrap();
    assert_eq!((loaded.id, names(&loaded)), (two.id, names(&two)));
}

#[test]
fn what_is_no_layer_makes_no_image() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let layout = OciLayout::new(&dir.path().join("oci"));
    layout.index(&[layout.image(&[layer("e", "e")], |_| {})]);
    let base = store.import(&layout.reference(None)).unwrap();
    let step = json!({ "created": "2026-11-23T20:08:36Z" });
    let names = ["localhost/new:1".to_owned()];
    let error = store
        .commit(&base, file(&[7; 2000]), &names, step, |_| {})
        .unwrap_err();
    assert!(
        chain(&error).contains("cannot apply layer 2 of 2"),
        "{}",
        chain(&error)
    );
    assert_eq!(store.list().unwrap().len(), 1);
}

/// Files without an image, as `docker export` and debootstrap give them: compressed or not, and none at all.
#[test]
fn files_alone_are_an_image() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let tar = Tar::new().file("f", b"f").file("g", b"g").finish();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&tar).unwrap();
    let packed = packed.finish().unwrap();
    let import = |archive: &[u8], names: &[String]| {
        let step = json!({ "created": "2026-11-23T20:08:36Z", "comment": "of files" });
        let change = |config: &mut Value| config["Cmd"] = json!(["/f"]);
        store.import_files(file(archive), "files.tar".as_ref(), names, step, change)
    };
    let one = import(&tar, &["localhost/files:1".to_owned()]).unwrap();
    assert_eq!((names(&one), one.layers.len()), (vec!["f".into(), "g".into()], 1));
    assert_eq!(one.config.cmd, ["/f"]);
    assert_eq!(store.find(None, Some("localhost/files:1")).unwrap().id, one.id);
    assert_eq!(
        import(&packed, &[]).unwrap().id,
        one.id,
        "compressed, it is the same"
    );
    assert_eq!(names(&import(&[0; 1024], &[]).unwrap()), [""; 0]);
    let above = commit(&store, &one, &layer("h", "h"), "localhost/files:2", "more");
    assert_eq!(names(&above), ["f", "g", "h"]);
    let wrong = import(&[7; 2000], &[]).unwrap_err();
    assert!(
        chain(&wrong).contains("cannot apply layer 1 of 1"),
        "{}",
        chain(&wrong)
    );
    let packed = import(b"BZh91AY", &[]).unwrap_err();
    assert!(packed.hint().unwrap().contains("bzip2 -dk"), "{}", chain(&packed));
}
