//! Images that go out again as they came.

use std::fs;

use isopod_image::Store;
use isopod_image::registry::Registries;
use isopod_spec::{ImageReference, PullPolicy};
use serde_json::json;

use crate::make::{OciLayout, layer, named, run};
use crate::{World, big};

/// Pushes one image by three manifests: `g` and `h` have its layer as gzip makes it, `z` as zstd does. Gives their digests.
fn push_thrice(world: &World) -> [String; 3] {
    use std::io::Write as _;
    let layout = OciLayout::new(&world.path("oci"));
    let plain = big("f", 7);
    let config = serde_json::to_vec(&crate::make::config(std::slice::from_ref(&plain))).unwrap();
    let config = layout.blob("application/vnd.oci.image.config.v1+json", &config);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let gzip = layout.blob(
        "application/vnd.oci.image.layer.v1.tar+gzip",
        &gzip.finish().unwrap(),
    );
    let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
    let zstd = layout.blob("application/vnd.oci.image.layer.v1.tar+zstd", &zstd);
    let pushed = [("g", &gzip), ("h", &gzip), ("z", &zstd)].map(|(name, layer)| {
        let manifest = json!({"schemaVersion": 2, "mediaType": crate::make::MANIFEST, "config": config,
            "layers": [layer], "annotations": {"name": name}});
        let manifest = layout.blob(crate::make::MANIFEST, &serde_json::to_vec(&manifest).unwrap());
        (
            named(manifest.clone(), name),
            manifest["digest"].as_str().unwrap().to_owned(),
        )
    });
    layout.index(&pushed.clone().map(|(entry, _)| entry));
    for name in ["g", "h", "z"] {
        let source = format!("oci:{}:{name}", layout.dir.display());
        world.registry.push(&source, &format!("{name}:1"), &[]);
    }
    pushed.map(|(_, digest)| digest)
}

#[test]
fn a_name_has_the_manifest_that_it_came_by() {
    let world = World::new();
    let digests = push_thrice(&world);
    let names = ["g", "h", "z"].map(|name| format!("{}/{name}:1", world.registry.host));
    let store = world.store();
    let fetched = names.each_ref().map(|name| world.fetch(name));
    for ((image, name), digest) in fetched.iter().zip(&names).zip(&digests) {
        assert_eq!(image.id, fetched[0].id);
        assert_eq!(image.manifest.unwrap().to_string(), *digest, "{name}");
        assert_eq!(store.find(None, Some(name)).unwrap().manifest, image.manifest);
        let again = world.pull(name, PullPolicy::Missing).unwrap();
        assert_eq!(again.manifest, image.manifest);
        let document = store.manifest(image).unwrap().unwrap();
        assert_eq!(isopod_image::Digest::of(&document).to_string(), *digest);
    }
    // Of the last the layer was not downloaded, since the image was there.
    assert_eq!(world.blobs().len(), 1);
    // What is written of it is one layer of its root filesystem: another image.
    assert_ne!(store.export(&fetched[2], std::io::sink()).unwrap(), fetched[2].id);
    let archive = world.path("h.tar");
    store
        .export(&fetched[1], fs::File::create(&archive).unwrap())
        .unwrap();
    let place = format!("oci-archive:{}", archive.display());
    let seen = run("skopeo", &["inspect", "--format", "{{.Digest}}", &place]).stdout;
    assert_eq!(String::from_utf8(seen).unwrap().trim(), digests[1]);
    let tagged = run("tar", &["-xOf", archive.to_str().unwrap(), "index.json"]).stdout;
    let tagged = String::from_utf8(tagged).unwrap();
    assert!(
        tagged.contains(&names[1]) && !tagged.contains(&names[0]),
        "{tagged}"
    );

    // What a name needs stays as long as it is one.
    let kept = || fs::read_dir(world.path("store/manifests")).unwrap().count();
    store.collect(false, |_| false).unwrap();
    assert_eq!((kept(), store.verify(&fetched[1])), (3, Vec::new()));
    store.remove_name(&names[2]).unwrap();
    store.collect(false, |_| false).unwrap();
    assert_eq!((kept(), world.blobs().len()), (2, 1));
}

#[test]
fn an_image_from_a_file_gets_the_layers_that_are_there_when_it_is_fetched() {
    let world = World::new();
    push_thrice(&world);
    let store = world.store();
    let source = format!("oci:{}:g", world.path("oci").display());
    let import = || {
        let reference = ImageReference::parse(source.as_ref()).unwrap();
        let obtained = store.obtain(&reference, PullPolicy::Missing, &Registries::default());
        obtained.unwrap().0
    };
    let name = format!("{}/g:1", world.registry.host);
    import();
    let image = world.fetch(&name);
    assert_ne!(store.export(&image, std::io::sink()).unwrap(), image.id);
    let layer = world.path("oci/blobs/sha256");
    let manifest = store.manifest(&import()).unwrap().unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let hex = manifest["layers"][0]["digest"]
        .as_str()
        .unwrap()
        .replace("sha256:", "");
    fs::create_dir_all(world.path("store/blobs")).unwrap();
    fs::copy(layer.join(&hex), world.path("store/blobs").join(&hex)).unwrap();
    let image = world.fetch(&name);
    assert_eq!(store.export(&image, std::io::sink()).unwrap(), image.id);
    store.collect(false, |_| false).unwrap();
    let by_id = store.find(Some(&import().id.hex()), None).unwrap();
    store.export(&by_id, std::io::sink()).unwrap();
}

#[test]
fn an_image_is_exported_as_it_came() {
    let world = World::new();
    world.push(&[layer("a", "1"), layer("b", "2")], "x:1");
    let image = world.fetch(&format!("{}/x:1", world.registry.host));
    let archive = world.path("x.tar");
    world
        .store()
        .export(&image, fs::File::create(&archive).unwrap())
        .unwrap();
    let place = format!("oci-archive:{}", archive.display());
    let seen = run("skopeo", &["inspect", "--format", "{{.Digest}}", &place]).stdout;
    assert_eq!(
        String::from_utf8(seen).unwrap().trim(),
        image.manifest.unwrap().to_string()
    );
    let copy = world.path("copy");
    run(
        "skopeo",
        &["copy", "--quiet", &place, &format!("dir:{}", copy.display())],
    );
    let other = Store::open(&world.path("other")).unwrap();
    for source in [place, format!("dir:{}", copy.display())] {
        let reference = ImageReference::parse(source.as_ref()).unwrap();
        let (imported, _) = other
            .obtain(&reference, PullPolicy::Missing, &Registries::default())
            .unwrap();
        assert_eq!((imported.id, imported.manifest), (image.id, image.manifest));
        assert_eq!(imported.rootfs_digest, image.rootfs_digest);
        assert_eq!(imported.names, image.names);
    }
    let mut bytes = fs::read(&image.rootfs).unwrap();
    bytes[1030] ^= 1;
    fs::write(&image.rootfs, bytes).unwrap();
    // The root filesystem is recreated of its layers, unless one of them is damaged as well.
    assert_eq!(world.store().verify(&image).len(), 1);
    let layer = world.path("store/blobs").join(image.layers[1].hex());
    let kept = fs::read(&layer).unwrap();
    fs::write(&layer, "x").unwrap();
    assert!(!world.store().repair(&image).unwrap());
    let damage = world.store().verify(&image);
    assert_eq!(damage.len(), 2, "{damage:?}");
    fs::write(&layer, kept).unwrap();
    assert!(world.store().repair(&image).unwrap());
    let repaired = world.store().find(Some(&image.id.to_string()), None).unwrap();
    assert_eq!((world.store().verify(&repaired), &repaired), (vec![], &image));
}
