//! What follows from the manifests of images.

use isopod_spec::{ImageSource, Network};

use crate::{manifest, messages, read};

#[test]
fn the_version_of_an_image_is_the_tag_of_its_name() {
    let image = |image: &str| {
        let text = manifest("", "").replace(r#"{"id": "sha512-00ff"}"#, image);
        read(&text).apps[0].image().cloned()
    };
    let labels = r#""labels": [{"name": "version", "value": "1.0.0"}, {"name": "arch", "value": "amd64"}]"#;
    for (name, expected) in [
        ("example.com/worker", "example.com/worker:1.0.0"),
        ("localhost:5000/worker", "localhost:5000/worker:1.0.0"),
        ("example.com/worker:2", "example.com/worker:2"),
    ] {
        let source = ImageSource::Stored {
            id: None,
            name: Some(expected.into()),
        };
        assert_eq!(image(&format!(r#"{{"name": "{name}", {labels}}}"#)), Some(source));
    }
    for (label, value) in [("os", "freebsd"), ("arch", "aarch64"), ("arch", "i386")] {
        let image = format!(r#"{{"name": "a", "labels": [{{"name": "{label}", "value": "{value}"}}]}}"#);
        let found = messages(&manifest("", "").replace(r#"{"id": "sha512-00ff"}"#, &image));
        let fault = format!("`apps[0].image.labels`: an image of {label} `{value}` is not supported");
        assert!(found.len() == 1 && found[0].contains(&fault), "{found:?}");
    }
    let source = ImageSource::Stored {
        id: Some("sha512-00ff".into()),
        name: Some("a".into()),
    };
    assert_eq!(
        image(&format!(r#"{{"name": "a", "id": "sha512-00ff", {labels}}}"#)),
        Some(source)
    );
}

/// Where an app is as its image says, so are the names of its ports; what the apps may take sizes the VM.
#[test]
fn images_name_ports_and_isolators_size_the_vm() {
    let pod = read(&manifest(
        "",
        r#", "ports": [{"name": "80-tcp", "hostPort": 8080, "hostIP": "127.0.0.1"}]"#,
    ));
    let names: Vec<String> = pod.named_ports.iter().map(ToString::to_string).collect();
    assert_eq!(
        (names, pod.network),
        (vec!["80-tcp:127.0.0.1:8080".to_owned()], Network::default())
    );

    let app = r#", "app": {"exec": ["/a"], "user": "0", "group": "0", "isolators": [
        {"name": "resource/memory", "value": {"request": "100Mi", "limit": "900Mi"}},
        {"name": "resource/cpu", "value": {"request": "2500m"}}]}"#;
    let size = |pod: &str| {
        let vm = read(&manifest(app, pod)).vm;
        (vm.memory_mib, vm.cpus)
    };
    assert_eq!(size(""), (900 + 128, 3));
    let own = r#", "isolators": [{"name": "resource/memory", "value": {"limit": "256Mi"}}]"#;
    assert_eq!(size(own), (256, 3));
}
