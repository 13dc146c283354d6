//! The transports: which image is taken, and what is refused with which words.

#![allow(clippy::unwrap_used)]

mod archives;
#[path = "../make/mod.rs"]
mod make;

use std::fs;
use std::path::Path;

use isopod_image::{Digest, Image, Limits, Reader, Store};
use isopod_spec::Architecture;
use isopod_spec::{LocalReference, Transport};
use make::{Head, INDEX, MANIFEST, OciLayout, Tar, chain, config, layer, named, reference, run, with};
use serde_json::{Value, json};
use tempfile::TempDir;

struct World {
    dir: TempDir,
    store: Store,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        Self { dir, store }
    }

    fn layout(&self) -> OciLayout {
        OciLayout::new(&self.dir.path().join("oci"))
    }

    fn import(&self, reference: &LocalReference) -> Image {
        self.store
            .import(reference)
            .unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    /// The message of a refused import, with the directory of the test taken out.
    fn refused(&self, reference: &LocalReference) -> String {
        let error = self.store.import(reference).expect_err("this must be refused");
        let left = fs::read_dir(self.dir.path().join("store/images"))
            .unwrap()
            .count();
        assert_eq!(left, 0, "a refused import must leave nothing");
        chain(&error).replace(self.dir.path().to_str().unwrap(), "DIR")
    }

    /// A docker archive of these members.
    fn archive(&self, transport: Transport, tar: Tar, name: Option<&str>) -> LocalReference {
        let path = self.dir.path().join("archive.tar");
        fs::write(&path, tar.finish()).unwrap();
        reference(transport, &path, name)
    }
}

fn text(image: &Image, path: &str) -> String {
    let reader = Reader::open(&image.rootfs).unwrap();
    let node = reader.lookup(Path::new(path)).unwrap().unwrap();
    String::from_utf8(reader.read(&node, 1000).unwrap()).unwrap()
}

fn platform(architecture: &str) -> Value {
    json!({"os": "linux", "architecture": architecture})
}

fn other_architecture() -> &'static str {
    if Architecture::HOST.name() == "s390x" {
        "amd64"
    } else {
        "s390x"
    }
}

#[test]
fn the_only_image_needs_no_name() {
    let world = World::new();
    let layout = world.layout();
    let manifest = layout.image(&[layer("f", "one"), layer("g", "two")], |_| {});
    layout.index(&[named(manifest.clone(), "v1")]);
    for name in [None, Some("v1")] {
        let image = world.import(&layout.reference(name));
        assert_eq!(image.manifest.unwrap().to_string(), manifest["digest"]);
        assert_eq!(
            (text(&image, "f"), text(&image, "g")),
            ("one".to_owned(), "two".to_owned())
        );
        assert_eq!(image.config.cmd, ["/bin/sh"]);
        assert_eq!(image.names, [""; 0], "a tag alone is no name");
    }
}

#[test]
fn names_choose_and_a_missing_choice_is_an_error() {
    let world = World::new();
    let layout = world.layout();
    let one = named(layout.image(&[layer("f", "one")], |_| {}), "v1");
    let two = named(layout.image(&[layer("f", "two")], |_| {}), "example.org/app:v2");
    layout.index(&[one, two]);
    assert_eq!(
        world.refused(&layout.reference(None)),
        "`DIR/oci` holds several images: `example.org/app:v2`, `v1`"
    );
    assert_eq!(
        world.refused(&layout.reference(Some("v3"))),
        "`DIR/oci` holds no image `v3`, only `example.org/app:v2`, `v1`"
    );
    assert_eq!(text(&world.import(&layout.reference(Some("v1"))), "f"), "one");
    let image = world.import(&layout.reference(Some("example.org/app:v2")));
    assert_eq!(image.names, ["example.org/app:v2"]);
    assert_eq!(world.store.find(None, Some("example.org/app:v2")).unwrap(), image);
}

#[test]
fn an_index_is_searched_for_this_machine() {
    let world = World::new();
    let layout = world.layout();
    let mine = with(
        layout.image(&[layer("f", "mine")], |_| {}),
        "platform",
        platform(Architecture::HOST.name()),
    );
    let variant = with(
        layout.image(&[layer("f", "variant")], |_| {}),
        "platform",
        json!({"os": "linux", "architecture": Architecture::HOST.name(), "variant": "v9"}),
    );
    let other = with(
        layout.image(&[], |_| {}),
        "platform",
        platform(other_architecture()),
    );
    let attestation = with(
        layout.image(&[layer("f", "attestation")], |_| {}),
        "platform",
        json!({"os": "unknown", "architecture": "unknown"}),
    );
    let index = |manifests: &[Value]| {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        layout.blob(INDEX, &serde_json::to_vec(&index).unwrap())
    };
    let inner = index(&[other.clone(), variant, mine, attestation]);
    layout.index(&[named(index(&[inner]), "multi")]);
    assert_eq!(text(&world.import(&layout.reference(None)), "f"), "mine");

    let world = World::new();
    layout.index(&[index(&[other])]);
    let message = world.refused(&layout.reference(None));
    let (host, other) = (Architecture::HOST.name(), other_architecture());
    assert!(
        message.ends_with(&format!(
            "holds no image for `linux/{host}`, only for `linux/{other}`"
        )),
        "{message}"
    );
}

fn index(layout: &OciLayout, manifests: &[Value]) -> Value {
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    layout.blob(INDEX, &serde_json::to_vec(&index).unwrap())
}

/// What an import of an index of these entries, by the name `multi`, gives of the file `f`.
fn chosen(entries: &dyn Fn(&OciLayout) -> Vec<Value>) -> String {
    let world = World::new();
    let layout = world.layout();
    let entries = entries(&layout);
    layout.index(&[named(index(&layout, &entries), "multi")]);
    text(&world.import(&layout.reference(Some("multi"))), "f")
}

fn for_host(layout: &OciLayout, data: &str, variant: Option<&str>) -> Value {
    let image = layout.image(&[layer("f", data)], |_| {});
    let platform = json!({"os": "linux", "architecture": Architecture::HOST.name(), "variant": variant});
    with(image, "platform", platform)
}

/// "Implementations MUST NOT generate an error" (image-index.md, `mediaType`).
#[test]
fn kinds_that_are_not_known_are_passed_over_in_an_index() {
    let unknown = |layout: &OciLayout| layout.blob("application/vnd.example.signature+json", b"{}");
    let data = chosen(&|layout| vec![unknown(layout), layout.image(&[layer("f", "image")], |_| {})]);
    assert_eq!(data, "image");
    let world = World::new();
    let layout = world.layout();
    layout.index(&[unknown(&layout)]);
    let message = world.refused(&layout.reference(None));
    assert!(
        message.contains("has media type `application/vnd.example.signature+json`"),
        "{message}"
    );
}

#[test]
fn the_first_of_equal_platforms_is_taken() {
    let data = chosen(&|layout| vec![for_host(layout, "1", None), for_host(layout, "2", None)]);
    assert_eq!(data, "1");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_plain_variant_is_taken_else_the_highest_that_the_processor_has() {
    let both = |layout: &OciLayout| {
        vec![
            for_host(layout, "v1", Some("v1")),
            for_host(layout, "plain", None),
        ]
    };
    assert_eq!(chosen(&both), "plain");
    let highest = |layout: &OciLayout| {
        let variants = ["v1", "v2", "v3", "v4", "v5"];
        variants.iter().map(|v| for_host(layout, v, Some(v))).collect()
    };
    let expected = if std::is_x86_feature_detected!("avx512vl") {
        "v4"
    } else if std::is_x86_feature_detected!("avx2") {
        "v3"
    } else {
        "v2"
    };
    assert_eq!(chosen(&highest), expected);
    let world = World::new();
    let layout = world.layout();
    layout.index(&[for_host(&layout, "", Some("v5"))]);
    let message = world.refused(&layout.reference(None));
    assert!(message.ends_with("only for `linux/amd64/v5`"), "{message}");
}

#[test]
fn without_platforms_the_configs_say_them() {
    let data = chosen(&|layout| {
        let other = layout.image(&[layer("f", "other")], |config| {
            config["architecture"] = other_architecture().into();
        });
        let artifact = json!({"schemaVersion": 2, "layers": null,
            "config": layout.blob("application/vnd.oci.empty.v1+json", b"{}")});
        let artifact = layout.blob(MANIFEST, &serde_json::to_vec(&artifact).unwrap());
        vec![other, artifact, layout.image(&[layer("f", "mine")], |_| {})]
    });
    assert_eq!(data, "mine");
}

/// Go writes an empty list as `null`.
#[test]
fn an_image_without_layers_may_say_null() {
    let world = World::new();
    let layout = world.layout();
    let mut config = config(&[]);
    config["rootfs"]["diff_ids"] = Value::Null;
    config["config"]["Env"] = json!(["X", "A=b"]);
    let config = serde_json::to_vec(&config).unwrap();
    let config = layout.blob("application/vnd.oci.image.config.v1+json", &config);
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": null});
    layout.index(&[layout.blob(MANIFEST, &serde_json::to_vec(&manifest).unwrap())]);
    let image = world.import(&layout.reference(None));
    assert_eq!(image.config.env, [("A".to_owned(), "b".to_owned())]);
    assert_eq!(
        Reader::open(&image.rootfs)
            .unwrap()
            .lookup(Path::new("f"))
            .unwrap(),
        None
    );
}

#[test]
fn two_images_without_names_are_ambiguous() {
    let world = World::new();
    let layout = world.layout();
    let images = [
        layout.image(&[layer("f", "1")], |_| {}),
        layout.image(&[layer("f", "2")], |_| {}),
    ];
    layout.index(&images);
    let message = world.refused(&layout.reference(None));
    for image in images {
        assert!(message.contains(image["digest"].as_str().unwrap()), "{message}");
    }
}

#[test]
fn wrong_blobs_are_refused() {
    let change = |which: &str, bytes: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let world = World::new();
        let layout = world.layout();
        let layers = [layer("f", &"x".repeat(3000))];
        let manifest = layout.image(&layers, |_| {});
        let document: Value = serde_json::from_slice(
            &fs::read(layout.blob_path(manifest["digest"].as_str().unwrap())).unwrap(),
        )
        .unwrap();
        layout.index(std::slice::from_ref(&manifest));
        let digest = match which {
            "manifest" => &manifest["digest"],
            "config" => &document["config"]["digest"],
            _ => &document["layers"][0]["digest"],
        };
        let path = layout.blob_path(digest.as_str().unwrap());
        fs::write(&path, bytes(fs::read(&path).unwrap())).unwrap();
        let message = world.refused(&layout.reference(None));
        message.replace(digest.as_str().unwrap(), "BLOB")
    };
    for which in ["manifest", "config", "layer"] {
        let message = change(which, &|mut bytes| {
            bytes.pop();
            bytes
        });
        assert!(message.starts_with("blob `BLOB` has "), "{message}");
        let message = change(which, &|mut bytes| {
            let at = bytes.len() / 4;
            bytes[at] ^= 1;
            bytes
        });
        match which {
            "layer" => assert!(message.contains("`, the manifest says `BLOB`"), "{message}"),
            _ => assert!(message.starts_with("blob `BLOB` has digest "), "{message}"),
        }
    }
}

#[test]
fn wrong_documents_are_refused() {
    let world = World::new();
    let layout = world.layout();
    let refused = |change: &dyn Fn(&mut Value)| {
        layout.index(&[layout.image(&[layer("f", "")], change)]);
        world.refused(&layout.reference(None))
    };
    assert!(refused(&|c| c["os"] = "windows".into()).contains(": the image is for `windows/"));
    assert!(
        refused(&|c| c["architecture"] = other_architecture().into()).contains(": the image is for `linux/")
    );
    assert!(refused(&|c| c["rootfs"]["diff_ids"] = json!([])).ends_with("has 1 layers, its config lists 0"));
    let wrong = Digest::of(b"wrong").to_string();
    assert!(
        refused(&|c| c["rootfs"]["diff_ids"][0] = wrong.clone().into())
            .ends_with(&format!("the config says `{wrong}`"))
    );
    assert!(refused(&|c| c["rootfs"]["diff_ids"][0] = "sha512:00".into()).contains("only `sha256` digests"));

    let artifact = json!({"schemaVersion": 2, "config": layout.blob("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": []});
    layout.index(&[layout.blob(MANIFEST, &serde_json::to_vec(&artifact).unwrap())]);
    let message = world.refused(&layout.reference(None));
    assert!(
        message.contains("has media type `application/vnd.oci.empty.v1+json`"),
        "{message}"
    );
    fs::write(layout.dir.join("index.json"), b"{").unwrap();
    assert!(
        world
            .refused(&layout.reference(None))
            .starts_with("invalid document `index.json` in `DIR/oci`: ")
    );
    fs::remove_file(layout.dir.join("index.json")).unwrap();
    assert!(
        world
            .refused(&layout.reference(None))
            .starts_with("cannot read `DIR/oci/index.json`: ")
    );
    fs::write(layout.dir.join("index.json"), vec![b' '; (4 << 20) + 1]).unwrap();
    assert!(
        world
            .refused(&layout.reference(None))
            .ends_with("is larger than 4194304 bytes")
    );
}

#[test]
fn a_pipe_in_place_of_a_blob_does_not_block() {
    let world = World::new();
    let layout = world.layout();
    run("mkfifo", &[layout.dir.join("index.json").to_str().unwrap()]);
    assert!(
        world
            .refused(&layout.reference(None))
            .ends_with("not a regular file")
    );
}

#[test]
fn limits_hold_for_an_import() {
    let world = World::new();
    let layout = world.layout();
    layout.index(&[layout.image(&[layer("f", &"x".repeat(5000))], |_| {})]);
    let limits = Limits {
        uncompressed_bytes: 4096,
        ..Limits::default()
    };
    let world = World {
        store: world.store.with_limits(limits),
        dir: world.dir,
    };
    let message = world.refused(&layout.reference(None));
    assert!(
        message.contains("cannot apply layer 1 of 1 of image `sha256:"),
        "{message}"
    );
    assert!(
        message.ends_with("the layers of the image have more than 4096 bytes uncompressed"),
        "{message}"
    );
}
