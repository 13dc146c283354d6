//! Archives: OCI layouts in one file, and docker's.

use super::*;

#[test]
fn an_oci_archive_is_read_as_it_is() {
    let world = World::new();
    let layout = world.layout();
    layout.index(&[named(layout.image(&[layer("f", "archived")], |_| {}), "v1")]);
    let path = world.dir.path().join("a.tar");
    run(
        "tar",
        &[
            "-cf",
            path.to_str().unwrap(),
            "-C",
            layout.dir.to_str().unwrap(),
            ".",
        ],
    );
    let archived = world.import(&reference(Transport::OciArchive, &path, Some("v1")));
    assert_eq!(text(&archived, "f"), "archived");
    assert_eq!(world.import(&layout.reference(None)), archived);

    let world = World::new();
    let short = world.dir.path().join("short.tar");
    fs::write(&short, &fs::read(&path).unwrap()[..4000]).unwrap();
    let message = world.refused(&reference(Transport::OciArchive, &short, None));
    assert!(
        message.starts_with("cannot read archive `DIR/short.tar`: "),
        "{message}"
    );
}

/// `docker save x | gzip`, and what else docker and podman load.
#[test]
fn a_compressed_archive_is_decompressed() {
    let world = World::new();
    let (config, id, item) = docker(&[layer("f", "pressed")], &["l"], json!(["app:1"]));
    let tar = Tar::new()
        .file(&format!("{}.json", id.hex()), &config)
        .file("l", &layer("f", "pressed"))
        .file("manifest.json", manifest(&[&item]).as_bytes());
    let plain = world.archive(Transport::DockerArchive, tar, None).path;
    for (program, ending) in [("gzip", "gz"), ("zstd", "zst"), ("xz", "xz")] {
        let pressed = plain.with_extension(ending);
        fs::write(&pressed, run(program, &["-c", plain.to_str().unwrap()]).stdout).unwrap();
        let store = Store::open(&world.dir.path().join(ending)).unwrap();
        let image = store
            .import(&reference(Transport::DockerArchive, &pressed, None))
            .unwrap();
        assert_eq!((image.id, text(&image, "f").as_str()), (id, "pressed"));
        // The archive has no manifest; its layers and its config make one.
        let made: Value = serde_json::from_slice(&store.manifest(&image).unwrap().unwrap()).unwrap();
        let plain = layer("f", "pressed");
        assert_eq!(
            (&made["config"]["digest"], &made["config"]["size"]),
            (&json!(id.to_string()), &json!(config.len()))
        );
        assert_eq!(
            made["layers"],
            json!([{
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": Digest::of(&plain).to_string(),
                "size": plain.len(),
            }])
        );
        let names: Vec<_> = fs::read_dir(image.rootfs.parent().unwrap().parent().unwrap())
            .unwrap()
            .collect();
        assert_eq!(names.len(), 1, "nothing but the image is left: {names:?}");
    }
}

#[test]
fn compressed_archives_that_are_refused() {
    let world = World::new();
    let write = |bytes: &[u8]| {
        let path = world.dir.path().join("a.tar.gz");
        fs::write(&path, bytes).unwrap();
        reference(Transport::OciArchive, &path, None)
    };
    let zeros = world.dir.path().join("zeros");
    fs::write(&zeros, vec![0; 1 << 20]).unwrap();
    let whole = run("gzip", &["-c", zeros.to_str().unwrap()]).stdout;
    let message = world.refused(&write(&whole[..whole.len() / 2]));
    assert!(
        message.starts_with("cannot decompress archive `DIR/a.tar.gz` into the image store: "),
        "{message}"
    );
    let bzip2 = write(b"BZh91AY&SY");
    assert_eq!(
        world.refused(&bzip2),
        "archive `DIR/a.tar.gz` is compressed with bzip2, which is not supported"
    );
    let hint = world.store.import(&bzip2).unwrap_err().hint().unwrap();
    assert!(hint.starts_with("decompress it first: `bzip2 -dk "), "{hint}");
    let limits = Limits {
        uncompressed_bytes: (1 << 20) - 1,
        ..Limits::default()
    };
    let world = World {
        store: world.store.clone().with_limits(limits),
        dir: tempfile::tempdir().unwrap(),
    };
    let error = world.store.import(&write(&whole)).unwrap_err();
    let message = chain(&error);
    assert!(
        message.ends_with("the image is larger uncompressed than the limit"),
        "{message}"
    );
}

/// A config, its ID and a manifest item for it.
fn docker(layers: &[Vec<u8>], paths: &[&str], tags: Value) -> (Vec<u8>, Digest, Value) {
    let config = serde_json::to_vec(&config(layers)).unwrap();
    let id = Digest::of(&config);
    let item = json!({"Config": format!("{}.json", id.hex()), "RepoTags": tags, "Layers": paths});
    (config, id, item)
}

fn manifest(items: &[&Value]) -> String {
    serde_json::to_string(items).unwrap()
}

#[test]
fn a_docker_archive_with_linked_layers() {
    let world = World::new();
    let layers = [layer("f", "one"), layer("g", "two"), layer("h", "three")];
    let (config, id, item) = docker(
        &layers,
        &["a/layer.tar", "b/layer.tar", "c/layer.tar"],
        json!(["busybox:1"]),
    );
    let tar = Tar::new()
        .file(
            &format!("{}.json", id.hex()),
            std::str::from_utf8(&config).unwrap().as_bytes(),
        )
        .entry(
            &Head {
                name: b"x.tar",
                type_flag: b'0',
                ..Head::default()
            },
            &layers[0],
        )
        .entry(
            &Head {
                name: b"b/layer.tar",
                type_flag: b'0',
                ..Head::default()
            },
            &layers[1],
        )
        .symlink("a/layer.tar", "../x.tar")
        .entry(
            &Head {
                name: b"blobs/sha256/y",
                type_flag: b'0',
                ..Head::default()
            },
            &layers[2],
        )
        .hard_link("c/layer.tar", "blobs/sha256/y")
        .file("manifest.json", manifest(&[&item]).as_bytes());
    let reference = world.archive(Transport::DockerArchive, tar, None);
    let image = world.import(&reference);
    assert_eq!((image.id, image.manifest.is_some()), (id, true));
    assert_eq!(image.names, ["busybox:1"]);
    assert_eq!(
        [text(&image, "f"), text(&image, "g"), text(&image, "h")],
        ["one", "two", "three"]
    );
    for name in ["busybox:1", "docker.io/library/busybox:1", "library/busybox:1"] {
        let reference = LocalReference {
            name: Some(name.to_owned()),
            ..reference.clone()
        };
        assert_eq!(world.import(&reference).id, id);
    }
}

#[test]
fn docker_archives_that_are_refused() {
    let world = World::new();
    let (one, one_id, one_item) = docker(&[layer("f", "1")], &["l"], json!(["a:1", "b"]));
    let (two, two_id, two_item) = docker(&[layer("f", "2")], &["l"], Value::Null);
    let member = |id: Digest| format!("{}.json", id.hex());
    let base = || Tar::new().file(&member(one_id), &one).file(&member(two_id), &two);
    let refused =
        |tar: Tar, name: Option<&str>| world.refused(&world.archive(Transport::DockerArchive, tar, name));
    let both = || base().file("manifest.json", manifest(&[&one_item, &two_item]).as_bytes());
    assert_eq!(
        refused(both(), None),
        "`DIR/archive.tar` holds several images: `a:1`, `b`"
    );
    assert_eq!(
        refused(both(), Some("c")),
        "`DIR/archive.tar` holds no image `c`, only `a:1`, `b`"
    );
    assert_eq!(
        refused(both(), Some("b")),
        "archive `DIR/archive.tar` has no complete member `l`"
    );
    assert_eq!(
        refused(base().file("manifest.json", b"[]"), None),
        "`DIR/archive.tar` holds no image"
    );
    assert_eq!(
        refused(base(), None),
        "archive `DIR/archive.tar` has no complete member `manifest.json`"
    );
    let swapped = Tar::new()
        .file(&member(one_id), &two)
        .file("manifest.json", manifest(&[&one_item]).as_bytes());
    assert_eq!(
        refused(swapped, None),
        format!("blob `{one_id}` has digest `{two_id}`").replace("DIR", "DIR")
    );
    let circle = base()
        .symlink("l", "m")
        .symlink("m", "l")
        .file("manifest.json", manifest(&[&one_item]).as_bytes());
    assert_eq!(
        refused(circle, None),
        "archive `DIR/archive.tar` has no complete member `l`"
    );
    let wrong_layer = base()
        .entry(
            &Head {
                name: b"l",
                type_flag: b'0',
                ..Head::default()
            },
            &layer("f", "3"),
        )
        .file("manifest.json", manifest(&[&one_item]).as_bytes());
    let message = refused(wrong_layer, None);
    assert!(
        message.contains(": the uncompressed layer has digest `"),
        "{message}"
    );
}
