//! What a pod's manifest says: apps, targets, ports, event handlers.

use std::fs;
use std::path::Path;

use isopod_spec::appc::read_pod_manifest;
use isopod_spec::{
    Capabilities, EmptyVolume, HostVolume, ImageReference, ImageSource, ImplicitVolumes, Network,
    Propagation, RootfsAccess, Transport, Vm, VolumeKind,
};

use crate::{manifest, messages, read};

#[test]
fn reads_a_whole_manifest() {
    let pod = read(
        &fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/whole.json")).unwrap(),
    );
    assert_eq!(
        (&pod.vm, pod.implicit_volumes),
        (&Vm::holding(&pod.apps), ImplicitVolumes::Create)
    );

    let [work, scratch] = &pod.volumes[..] else {
        panic!("{:?}", pod.volumes)
    };
    let host = HostVolume {
        source: "/opt/tenant1/work".into(),
        recursive: false,
        propagation: Propagation::Private,
        must_be: isopod_spec::SourceRule::Any,
    };
    assert_eq!(
        (&work.kind, work.read_only),
        (&VolumeKind::Host(host), Some(true))
    );
    let empty = EmptyVolume {
        mode: Some(0o1777),
        uid: Some(5),
        gid: Some(6),
        ..EmptyVolume::default()
    };
    assert_eq!(
        (&scratch.kind, scratch.read_only),
        (&VolumeKind::Empty(empty), None)
    );

    let [worker, backup] = &pod.apps[..] else {
        panic!("{:?}", pod.apps)
    };
    assert_eq!(worker.name.as_str(), "reduce-worker");
    assert_eq!(worker.rootfs, RootfsAccess::ReadOnly);
    let stored = ImageSource::Stored {
        id: Some("sha512-00ff".into()),
        name: Some("example.com/reduce-worker".into()),
    };
    assert_eq!(worker.image(), Some(&stored));
    let config = worker.run_config.as_ref().unwrap();
    assert_eq!(config.entrypoint, ["/bin/reduce-worker", "--debug=true"]);
    assert_eq!(
        config.env,
        [
            ("A".to_owned(), "b=c".to_owned()),
            ("_2".to_owned(), String::new())
        ]
    );
    assert_eq!(
        (config.user.as_deref(), config.group.as_deref()),
        (Some("/bin/ping"), Some("300"))
    );
    assert_eq!(config.supplementary_gids, [10, 20]);
    assert_eq!(config.working_dir.as_deref(), Some(Path::new("/opt/work")));
    assert_eq!(
        config.capabilities,
        Some(Capabilities::Retain(vec!["CAP_NET_BIND_SERVICE".into()]))
    );
    assert_eq!(config.mount_points.len(), 2);
    assert!(config.mount_points[1].read_only);
    assert_eq!(worker.mounts[0].target, Path::new("/mnt/foo"));
    assert_eq!(worker.mounts[0].read_only, None);

    let Some(ImageSource::Reference(ImageReference::Local(reference))) = backup.image() else {
        panic!("{:?}", backup.root)
    };
    assert_eq!(
        (reference.transport, reference.path.as_path()),
        (Transport::Oci, Path::new("/images/backup"))
    );
    assert!(backup.run_config.is_none());
    assert_eq!(backup.rootfs, RootfsAccess::Writable);
}

/// As rkt had it: from the app's root, whether or not a slash says so.
#[test]
fn targets_begin_at_the_root() {
    let text = r#"{
  "acVersion": "0.8.11", "acKind": "PodManifest",
  "apps": [{"name": "a", "image": {"name": "oci:a"}, "mounts": [
    {"volume": "v", "path": "dir/x"},
    {"volume": "v", "path": "../../up"}
  ]}],
  "volumes": [{"name": "v", "kind": "empty"}]
}"#;
    let pod = read_pod_manifest(text, "pod.json").unwrap();
    let targets: Vec<_> = pod.apps[0]
        .mounts
        .iter()
        .map(|mount| isopod_spec::check::clean(&mount.target))
        .collect();
    assert_eq!(targets, ["/dir/x", "/up"].map(std::path::PathBuf::from));
    let doubled = text.replace("../../up", "/x/../dir/./x/");
    assert!(messages(&doubled)[0].contains("mounts both volume `v` and volume `v` at `/dir/x`"));
}

#[test]
fn event_handlers_are_read() {
    let with = |handlers: &str| {
        let app = r#", "app": {"exec": ["/a"], "user": "0", "group": "0", "eventHandlers": HANDLERS}"#;
        manifest(&app.replace("HANDLERS", handlers), "")
    };
    let both = r#"[{"name": "post-stop", "exec": ["/b", "-x"]}, {"exec": ["/c"], "name": "pre-start"}]"#;
    let pod = read_pod_manifest(&with(both), "pod.json").unwrap();
    let handlers = &pod.apps[0].run_config.as_ref().unwrap().event_handlers;
    assert_eq!(
        handlers.post_stop.as_deref(),
        Some(&["/b".to_owned(), "-x".to_owned()][..])
    );
    assert_eq!(handlers.pre_start.as_deref(), Some(&["/c".to_owned()][..]));
    for (handlers, message) in [
        (
            r#"[{"name": "start", "exec": ["/b"]}]"#,
            "`start` must be `pre-start` or `post-stop`",
        ),
        (
            r#"[{"name": "pre-start", "exec": ["b"]}]"#,
            "`b` must be an absolute path",
        ),
        (
            r#"[{"name": "pre-start", "exec": []}]"#,
            "`[]` must be a list that begins with the program",
        ),
        (r#"[{"exec": ["/b"]}]"#, "missing"),
        (
            r#"[{"name": "pre-start", "exec": ["/b"]}, {"name": "pre-start", "exec": ["/b"]}]"#,
            "`pre-start` must be a name that no other handler of the app has",
        ),
    ] {
        let text = with(handlers);
        assert!(
            messages(&text).iter().any(|reported| reported.contains(message)),
            "{message}: {:?}",
            messages(&text)
        );
    }
}

#[test]
fn ports_lead_to_the_apps_port_of_that_name() {
    let app = r#", "app": {"exec": ["/a"], "user": "0", "group": "0", "ports": [
        {"name": "http", "protocol": "tcp", "port": 80}, {"name": "dns", "protocol": "udp", "port": 53, "count": 2},
        {"name": "one", "protocol": "tcp", "port": 7, "count": 0}]}"#;
    let with = |ports: &str| manifest(app, &format!(r#", "ports": [{ports}]"#));
    let Network::User { ports, .. } = read(&with(
        r#"{"name": "http", "hostPort": 8080, "hostIP": "127.0.0.1"}, {"name": "dns", "hostPort": 5300},
        {"name": "own", "hostPort": 9, "podPort": {"name": "x", "protocol": "udp", "port": 7, "count": 0}},
        {"name": "one", "hostPort": 7000}"#,
    ))
    .network
    else {
        panic!("no network")
    };
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    assert_eq!(
        ports,
        [
            "127.0.0.1:8080:80/tcp",
            "5300:53/udp",
            "5301:54/udp",
            "9:7/udp",
            "7000:7/tcp"
        ]
    );
    for (ports, message) in [
        (
            r#"{"name": "smtp", "hostPort": 25}"#,
            "`ports[0].name`: `smtp` must be the name of a port that an app's own `app.ports` has",
        ),
        (r#"{"name": "http"}"#, "`ports[0].hostPort`: the field is missing"),
        (
            r#"{"name": "http", "hostPort": 65536}"#,
            "`ports[0].hostPort`: `65536` must be a whole number from 1 to 65535",
        ),
        (
            r#"{"name": "http", "hostPort": 1, "hostIP": "here"}"#,
            "`ports[0].hostIP`: `here` must be an IP address of the host",
        ),
        (
            r#"{"name": "dns", "hostPort": 65535}"#,
            "`ports[0].name`: cannot publish port `dns`: its range must end at 65535 or before, on the host as well",
        ),
        (
            r#"{"name": "http", "hostPort": 1}, {"name": "http", "hostPort": 1}"#,
            "`ports[1]`: ports `1:80/tcp` and `1:80/tcp` are the same host port",
        ),
    ] {
        let found = messages(&with(ports));
        assert!(
            found.len() == 1 && found[0].ends_with(message),
            "{message}: {found:?}"
        );
    }
}

#[test]
fn a_volume_of_one_app_has_a_name_of_its_own() {
    let own = |kind: &str| {
        format!(r#", "mounts": [{{"volume": "d", "path": "/d", "appVolume": {{"name": "d", {kind}}}}}]"#)
    };
    let pod = read(&manifest(
        &own(r#""kind": "empty", "mode": "0700""#),
        r#", "volumes": [{"name": "d", "kind": "empty"}]"#,
    ));
    let names: Vec<&str> = pod.volumes.iter().map(|volume| volume.name.as_str()).collect();
    assert_eq!(names, ["d", "web-d"]);
    assert_eq!(pod.apps[0].mounts[0].volume.as_str(), "web-d");
    assert!(matches!(&pod.volumes[1].kind, VolumeKind::Empty(empty) if empty.mode == Some(0o700)));
    let found = messages(&manifest(&own(r#""kind": "host""#), ""));
    assert!(
        found
            .iter()
            .any(|fault| fault.contains("appVolume.source`: the field is missing")),
        "{found:?}"
    );
}

#[test]
fn event_handlers_are_the_apps() {
    let app = |handlers: &str| {
        manifest(
            &format!(
                r#", "app": {{"exec": ["/a"], "user": "0", "group": "0", "eventHandlers": [{handlers}]}}"#
            ),
            "",
        )
    };
    let before = r#"{"name": "pre-start", "exec": ["/b", "c"]}"#;
    let config = read(&app(before)).apps[0].run_config.clone().unwrap();
    assert_eq!(config.event_handlers.pre_start.unwrap(), ["/b", "c"]);
    assert_eq!(config.event_handlers.post_stop, None);
    for (handlers, fault) in [
        (
            format!("{before}, {before}"),
            "must be a name that no other handler of the app has",
        ),
        (
            r#"{"name": "start", "exec": ["/b"]}"#.to_owned(),
            "`start` must be `pre-start` or `post-stop`",
        ),
        (
            r#"{"name": "pre-start", "exec": ["b"]}"#.to_owned(),
            "`b` must be an absolute path",
        ),
        (
            r#"{"name": "pre-start"}"#.to_owned(),
            "exec`: the field is missing",
        ),
    ] {
        let found = messages(&app(&handlers));
        assert!(
            found.iter().any(|found| found.contains(fault)),
            "{fault}: {found:?}"
        );
    }
}

#[test]
fn what_only_informs_is_read() {
    let text = manifest(
        r#", "annotations": [{"name": "a", "value": "b"}],
        "app": {"exec": ["/a"], "user": "0", "group": "0", "userLabels": {"Any Key": "x"},
        "ports": [{"name": "http", "protocol": "tcp", "port": 80, "count": 2, "socketActivated": false}]}"#,
        r#", "annotations": null, "ports": [], "isolators": null, "userAnnotations": {"k": "v"}"#,
    );
    assert_eq!(
        read(&text).apps[0].run_config.as_ref().unwrap().entrypoint,
        ["/a"]
    );
    let text = manifest(r#", "annotations": [{"name": "a", "valeu": "b"}]"#, "");
    assert_eq!(
        messages(&text),
        [
            "4:19: `apps[0].annotations[0].value`: the field is missing",
            "4:33: `apps[0].annotations[0].valeu`: there is no such field",
        ]
    );
}

/// rkt's own manifests: each is read, since what the original refused of them (a mount point without a volume) is
/// decided later.
#[test]
fn reads_the_manifests_of_rkts_mount_code() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/rkt-mount-vectors.json");
    let Ok(text) = fs::read_to_string(&path) else {
        return;
    };
    let cases: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(cases.len(), 42);
    for (name, case) in cases {
        let manifest = &case["manifest"];
        let pod = read(&serde_json::to_string_pretty(manifest).unwrap());
        assert_eq!(
            pod.apps.len(),
            manifest["apps"].as_array().unwrap().len(),
            "{name}"
        );
        assert_eq!(
            pod.volumes.len(),
            manifest["volumes"].as_array().map_or(0, Vec::len),
            "{name}"
        );
        for (app, expected) in pod.apps.iter().zip(manifest["apps"].as_array().unwrap()) {
            let points = expected["app"]["mountPoints"].as_array().map_or(0, Vec::len);
            assert_eq!(
                app.run_config.as_ref().unwrap().mount_points.len(),
                points,
                "{name}"
            );
            assert_eq!(
                app.mounts.len(),
                expected["mounts"].as_array().map_or(0, Vec::len),
                "{name}"
            );
        }
    }
}
