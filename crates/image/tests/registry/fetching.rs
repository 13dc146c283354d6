//! What is fetched, when, and under which name.

use isopod_image::ImportError;
use isopod_image::registry::Registries;
use isopod_spec::{ImageReference, PullPolicy};
use serde_json::json;

use crate::World;
use crate::make::{OciLayout, layer, named, run, with};
use crate::serve::{Answer, Proxy, Registry};

#[test]
fn an_image_comes_over_plain_http_from_loopback_and_layers_come_once() {
    let world = World::new();
    world.push(&[layer("a", "1"), layer("b", "2")], "team/one:1");
    world.push(&[layer("a", "1"), layer("b", "2"), layer("c", "3")], "team/two");
    let proxy = Proxy::start(&world.registry.host, |_, _| Answer::Pass);
    let one = world.fetch(&format!("{}/team/one:1", proxy.host));
    assert_eq!(one.names, [format!("{}/team/one:1", proxy.host)]);
    assert_eq!((one.layers.len(), world.blobs().len()), (2, 2));
    // The config and two layers; then the config alone, which says that all is there; then the config and a layer.
    assert_eq!(proxy.blobs(), 3);
    assert_eq!(world.fetch(&format!("docker://{}/team/one:1", proxy.host)), one);
    assert_eq!(proxy.blobs(), 4);
    world.fetch(&format!("{}/team/two", proxy.host));
    assert_eq!(proxy.blobs(), 6);
    // By its digest it is the same image, with another name.
    let digest = format!("{}/team/one@{}", proxy.host, one.manifest.unwrap());
    assert_eq!(world.fetch(&digest).id, one.id);
    assert_eq!(world.pull(&digest, PullPolicy::Never).unwrap().names.len(), 2);
}

#[test]
fn a_tag_that_moved_leaves_the_old_image_without_a_name() {
    let world = World::new();
    let name = format!("{}/x:1", world.registry.host);
    world.push(&[layer("a", "1")], "x:1");
    let old = world.fetch(&name);
    world.push(&[layer("a", "2")], "x:1");
    assert_eq!(world.pull(&name, PullPolicy::Missing).unwrap().id, old.id);
    let new = world.pull(&name, PullPolicy::Newer).unwrap();
    assert_ne!(new.id, old.id);
    let collected = world.store().collect(false, |_| false).unwrap();
    assert_eq!((collected.images, collected.blobs), (vec![old.id], 1));
    assert_eq!(world.blobs(), [new.layers[0].hex()]);
    assert!(world.store().verify(&new).is_empty());
}

#[test]
fn policies() {
    let mut world = World::new();
    world.push(&[layer("a", "1")], "x:1");
    let name = format!("{}/x:1", world.registry.host);
    let error = world.pull(&name, PullPolicy::Never).unwrap_err();
    assert!(matches!(error, ImportError::NotStored(_)), "{error}");
    let image = world.pull(&name, PullPolicy::Missing).unwrap();
    world.settings.patience.attempts = 1;
    world.registry = Registry::start(&world.path("other"), "", "");
    for pull in [PullPolicy::Never, PullPolicy::Missing, PullPolicy::Newer] {
        assert_eq!(world.pull(&name, pull).unwrap(), image, "{pull:?}");
    }
    assert!(
        world.refused(&name).contains("Connection refused"),
        "{}",
        world.refused(&name)
    );
    // An ID, or its beginning, finds the image too.
    for id in [
        image.id.to_string(),
        image.id.hex(),
        image.id.hex()[..12].to_owned(),
    ] {
        assert_eq!(world.pull(&id, PullPolicy::Never).unwrap(), image, "{id}");
    }
}

#[test]
fn what_is_not_there_is_said() {
    let world = World::new();
    let host = &world.registry.host;
    world.push(&[layer("a", "1")], "x:1");
    let message = world.refused(&format!("{host}/x:2"));
    assert!(
        message.starts_with(&format!("registry `{host}` has no `x:2`: MANIFEST_UNKNOWN")),
        "{message}"
    );
    let message = world.refused(&format!("{host}/y@sha256:{}", "0".repeat(64)));
    assert!(message.contains("has no `y@sha256:000"), "{message}");
    assert!(world.store().list().unwrap().is_empty());
}

#[test]
fn mirrors_come_first_and_the_registry_after_them() {
    let mut world = World::new();
    world.push(&[layer("a", "1")], "cache/x:1");
    let (host, layers) = (world.registry.host.clone(), [layer("a", "2")]);
    let mirror = Proxy::start(&host, |_, _| Answer::Pass);
    world.conf(&format!(
        "[[registry]]\nprefix = 'example.test'\nlocation = '{host}'\n\
         [[registry.mirror]]\nlocation = '127.0.0.1:1'\n[[registry.mirror]]\nlocation = '{}/cache'\n",
        mirror.host
    ));
    let image = world.fetch("example.test/x:1");
    assert_eq!(image.names, ["example.test/x:1"]);
    assert!(mirror.blobs() > 0);
    // What no mirror has, the registry has.
    world.push(&layers, "y:1");
    world.fetch("example.test/y:1");
    world.conf("[[registry]]\nprefix = 'example.test'\nblocked = true\n");
    assert!(world.refused("example.test/x:1").contains("is blocked"));
}

#[test]
fn short_names_are_looked_for_where_registries_conf_says() {
    let mut world = World::new();
    let empty = Registry::start(&world.path("empty"), "", "");
    world.push(&[layer("a", "1")], "web:1");
    world.push(&[layer("a", "2")], "team/tool:latest");
    let host = world.registry.host.clone();
    world.conf(&format!(
        "unqualified-search-registries = ['{}', '{host}']\n[aliases]\n'tool' = '{host}/team/tool'\n",
        empty.host
    ));
    let image = world.fetch("web:1");
    assert_eq!(image.names, [format!("{host}/web:1")]);
    assert_eq!(world.pull("web:1", PullPolicy::Never).unwrap(), image);
    assert_eq!(world.fetch("tool").names, [format!("{host}/team/tool:latest")]);
    let message = world.refused("none:1");
    assert!(
        message.contains("none of") && message.contains(&host) && message.contains(&empty.host),
        "{message}"
    );
}

#[test]
fn of_several_platforms_this_hosts_is_taken() {
    let world = World::new();
    let layout = OciLayout::new(&world.path("oci"));
    let platform = |architecture: &str| json!({"os": "linux", "architecture": architecture});
    let own = isopod_spec::Architecture::HOST.name();
    let other = layout.image(&[layer("other", "1")], |config| {
        config["architecture"] = "s390x".into()
    });
    let mine = layout.image(&[layer("mine", "1")], |_| {});
    let index = json!({
        "schemaVersion": 2,
        "mediaType": crate::make::INDEX,
        "manifests": [with(other, "platform", platform("s390x")), with(mine, "platform", platform(own))],
    });
    let index = layout.blob(crate::make::INDEX, &serde_json::to_vec(&index).unwrap());
    layout.index(&[named(index.clone(), "x")]);
    let source = format!("oci:{}:x", layout.dir.display());
    world.registry.push(&source, "x:1", &["--all"]);
    let image = world.fetch(&format!("{}/x:1", world.registry.host));
    let reader = isopod_image::erofs::Reader::open(&image.rootfs).unwrap();
    assert!(reader.lookup("mine".as_ref()).unwrap().is_some());
    // The index's own digest is a name for it as well.
    let digest = index["digest"].as_str().unwrap();
    assert_eq!(
        world.fetch(&format!("{}/x@{digest}", world.registry.host)).id,
        image.id
    );
    // `dir:` has the whole index too.
    let dir = world.path("dir");
    run(
        "skopeo",
        &[
            "copy",
            "--quiet",
            "--all",
            &source,
            &format!("dir:{}", dir.display()),
        ],
    );
    let reference = ImageReference::parse(format!("dir:{}", dir.display()).as_ref()).unwrap();
    let (other, _) = world
        .store()
        .obtain(&reference, PullPolicy::Missing, &Registries::default())
        .unwrap();
    assert_eq!(other.id, image.id);
}
