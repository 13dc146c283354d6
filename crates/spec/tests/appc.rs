//! The reader of appc pod manifests: what it makes of them, and that every fault is reported with its place.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use isopod_spec::appc::read_pod_manifest;
use isopod_spec::check::PodFault;
use isopod_spec::located::{Fault, FaultKind};
use isopod_spec::{
    Capabilities, EmptyVolume, HostVolume, ImageReference, ImageSource, ImplicitVolumes, Network, PodSpec,
    Propagation, Refusal, Resources, RootfsAccess, Seccomp, SyscallFilter, Transport, Vm, VolumeKind,
};

fn read(text: &str) -> PodSpec {
    read_pod_manifest(text, "pod.json").unwrap_or_else(|errors| panic!("{errors}: {:#?}", errors.faults))
}

fn faults(text: &str) -> Vec<Fault> {
    let errors = read_pod_manifest(text, "pod.json").expect_err("the manifest was read");
    assert!(!errors.faults.is_empty());
    errors.faults
}

/// The faults as they are shown, without the file's name.
fn messages(text: &str) -> Vec<String> {
    let show = |fault: &Fault| fault.to_string().trim_start_matches("pod.json:").to_owned();
    faults(text).iter().map(show).collect()
}

/// A manifest with one app; `app` and `pod` are further fields of them, on lines 4 and 5.
fn manifest(app: &str, pod: &str) -> String {
    format!(
        r#"{{"acVersion": "0.8.11", "acKind": "PodManifest",
"apps": [{{
"name": "web", "image": {{"id": "sha512-00ff"}}
{app}
}}] {pod}
}}"#
    )
}

#[test]
fn reads_a_whole_manifest() {
    let pod = read(
        &fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/whole.json")).unwrap(),
    );
    assert_eq!(
        (pod.vm, pod.implicit_volumes),
        (Vm::default(), ImplicitVolumes::Create)
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
fn every_fault_is_reported_at_its_line() {
    let text = r#"{
  "acVersion": "0.9.0",
  "acKind": "ImageManifest",
  "apps": [
    {
      "name": "Web",
      "image": {"id": "md5-00"},
      "app": {"exec": ["sh"], "user": 0, "group": "0",
              "mountPoints": [{"name": "d", "path": "", "readonly": true}]}
    },
    {
      "name": "db",
      "image": {"name": "docker://Alpine"},
      "mounts": [
        {"volume": "dta", "path": "/a"},
        {"volume": "data", "path": "/b/"},
        {"volume": "data", "path": "/b"}
      ]
    },
    {"name": "db", "image": {}}
  ],
  "volumes": [
    {"name": "data", "kind": "host", "source": "srv", "mode": "0755"},
    {"name": "data", "kind": "empty", "mode": "0999", "uid": -1},
    {"kind": "nfs"}
  ],
  "port": []
}"#;
    assert_eq!(
        messages(text),
        [
            "2:16: `acVersion`: `0.9.0` must be a version of the appc specification up to `0.8.11`",
            "3:13: `acKind`: `ImageManifest` must be `PodManifest`",
            "6:15: `apps[0].name`: invalid name `Web`: only lower-case letters, digits and `-` are allowed",
            "7:23: `apps[0].image.id`: `md5-00` must be `sha512-` or `sha256-` and hexadecimal digits",
            "8:24: `apps[0].app.exec[0]`: `sh` must be an absolute path",
            "8:39: `apps[0].app.user`: expected a string, found a number",
            "9:53: `apps[0].app.mountPoints[0].path`: `` must be a path",
            "9:57: `apps[0].app.mountPoints[0].readonly`: there is no such field",
            "13:25: `apps[1].image.name`: invalid image reference `docker://Alpine`: the name of a repository has lower-case letters only",
            "15:20: `apps[1].mounts[0].volume`: app `db` mounts volume `dta` at `/a`, but the pod has no volume of that name",
            "17:36: `apps[1].mounts[2].path`: app `db` mounts both volume `data` and volume `data` at `/b`",
            "20:14: `apps[2].name`: two apps are named `db`",
            "20:29: `apps[2].image.id`: the field is missing",
            "23:48: `volumes[0].source`: `srv` must be an absolute path",
            "23:63: `volumes[0].mode`: the field does not apply to a volume of kind `host`",
            "24:14: `volumes[1].name`: two volumes are named `data`",
            "24:47: `volumes[1].mode`: `0999` must be an octal number of at most 7777",
            "24:62: `volumes[1].uid`: `-1` must be a whole number below 4294967295",
            "25:5: `volumes[2].name`: the field is missing",
            "25:14: `volumes[2].kind`: `nfs` must be `host` or `empty`",
            "27:3: `port`: there is no such field",
        ]
    );
    let hints: Vec<_> = faults(text).iter().filter_map(Fault::hint).collect();
    for hint in [
        "`web` would be valid",
        "did you mean `readOnly`?",
        "did you mean `data`?",
        "did you mean `ports`?",
    ] {
        assert!(hints.iter().any(|found| found == hint), "{hint}: {hints:?}");
    }
}

#[test]
fn a_missing_volume_names_app_path_and_volume() {
    let text = manifest(r#", "mounts": [{"volume": "data", "path": "/srv"}]"#, "");
    let [fault] = &faults(&text)[..] else { panic!() };
    let FaultKind::Pod(PodFault::UnknownVolume {
        app, target, volume, ..
    }) = &fault.kind
    else {
        panic!("{fault}")
    };
    assert_eq!(
        (app.as_str(), target.as_path(), volume.as_str()),
        ("web", Path::new("/srv"), "data")
    );
    assert_eq!(
        (fault.at.line, fault.at.field.as_str()),
        (4, "apps[0].mounts[0].volume")
    );
}

#[test]
fn what_cannot_be_honoured_is_named() {
    let app = |fields: &str| format!(r#", "app": {{"exec": ["/a"], "user": "0", "group": "0", {fields}}}"#);
    let isolators = r#""isolators": [{"name": "resource/network-bandwidth", "value": {"limit": "500"}}]"#;
    for (app, pod, message) in [
        (
            app(r#""ports": [{"name": "p", "protocol": "sctp", "port": 1}]"#).as_str(),
            r#", "ports": [{"name": "p", "hostPort": 80}]"#,
            "5: `ports[0].name`: cannot publish port `p`: its protocol is `sctp`, and only `tcp` and `udp` can be published",
        ),
        (
            "",
            &format!(", {isolators}"),
            "5: `isolators[0]`: isolator `resource/network-bandwidth` is not supported",
        ),
        (
            &app(isolators),
            "",
            "4: `apps[0].app.isolators[0]`: isolator `resource/network-bandwidth` is not supported",
        ),
        (
            &app(r#""isolators": [{"name": "os/unix/sysctl", "value": {"a": "b"}}]"#),
            "",
            "4: `apps[0].app.isolators[0]`: isolator `os/unix/sysctl` of an app is not supported",
        ),
        (
            &app(r#""ports": [{"name": "p", "protocol": "tcp", "port": 1, "socketActivated": true}]"#),
            "",
            "4: `apps[0].app.ports[0].socketActivated`: socket activation is not supported",
        ),
    ] {
        let text = manifest(app, pod);
        let [fault] = &faults(&text)[..] else {
            panic!("{message}: {:?}", messages(&text))
        };
        assert_eq!(
            format!("{}: `{}`: {}", fault.at.line, fault.at.field, fault.kind),
            message
        );
        assert!(fault.hint().is_some());
    }
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
            messages(&text).iter().any(|told| told.contains(message)),
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
            "`ports[1]`: ports `1:80/tcp` and `1:80/tcp` are one port of the host",
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
fn isolators_of_capabilities() {
    let app = |isolators: &str| {
        manifest(
            &format!(r#", "app": {{"exec": ["/a"], "user": "0", "group": "0", "isolators": [{isolators}]}}"#),
            "",
        )
    };
    let isolator =
        |name: &str, set: &str| format!(r#"{{"name": "os/linux/{name}", "value": {{"set": [{set}]}}}}"#);
    let remove = isolator("capabilities-remove-set", r#""CAP_KILL", "CAP_CHOWN""#);
    let pod = read(&app(&remove));
    let expected = Capabilities::Remove(vec!["CAP_KILL".into(), "CAP_CHOWN".into()]);
    assert_eq!(
        pod.apps[0].run_config.as_ref().unwrap().capabilities,
        Some(expected)
    );
    for (isolators, fault) in [
        (
            format!(
                "{remove}, {}",
                isolator("capabilities-retain-set", r#""CAP_KILL""#)
            ),
            "must be the only capability isolator of the app",
        ),
        (
            isolator("capabilities-retain-set", r#""CAP_KIL""#),
            "`CAP_KIL` must be a capability of capabilities(7)",
        ),
        (
            isolator("capabilities-retain-set", ""),
            "`[]` must be a list of at least one name",
        ),
        (
            r#"{"name": "os/linux/capabilities-retain-set"}"#.to_owned(),
            "isolators[0].value`: the field is missing",
        ),
    ] {
        let found = messages(&app(&isolators));
        assert!(found.len() == 1 && found[0].contains(fault), "{fault}: {found:?}");
    }
}

/// The `app` of a manifest with these isolators.
fn isolated(isolators: &str) -> String {
    manifest(
        &format!(r#", "app": {{"exec": ["/a"], "user": "0", "group": "0", "isolators": [{isolators}]}}"#),
        "",
    )
}

#[test]
fn isolators_of_resources_and_privileges() {
    let read = |isolators: &str| read(&isolated(isolators)).apps[0].run_config.clone().unwrap();
    let config = read(
        r#"{"name": "resource/memory", "value": {"request": "1M", "limit": "2Mi"}},
           {"name": "resource/cpu", "value": {"limit": "250m"}},
           {"name": "os/linux/oom-score-adj", "value": -5},
           {"name": "os/linux/no-new-privileges", "value": true}"#,
    );
    let expected = Resources {
        memory_request_bytes: Some(1_000_000),
        memory_limit_bytes: Some(2 << 20),
        // A request that is not there is as large as the limit.
        cpu_request_millis: Some(250),
        cpu_limit_millis: Some(250),
        oom_score_adj: Some(-5),
        pids_limit: None,
    };
    assert_eq!((config.resources, config.no_new_privileges), (expected, true));
    let config = read(r#"{"name": "os/linux/cpu-shares", "value": 512}"#);
    assert_eq!(config.resources.cpu_request_millis, Some(500));
    for (isolator, fault) in [
        (
            r#"{"name": "resource/memory", "value": {"limit": "much"}}"#,
            "value.limit`: `much` must be an amount of bytes, such as `64Mi`",
        ),
        (
            r#"{"name": "resource/cpu", "value": {}}"#,
            "value.limit`: the field is missing",
        ),
        (
            r#"{"name": "resource/cpu", "value": {"limit": 1, "default": true}}"#,
            "value.default`: there is no such field",
        ),
        (
            r#"{"name": "os/linux/no-new-privileges", "value": "true"}"#,
            "expected `true` or `false`, found a string",
        ),
        (
            r#"{"name": "os/linux/oom-score-adj", "value": 1001}"#,
            "`1001` must be a whole number from -1000 to 1000",
        ),
        (
            r#"{"name": "resource/block-iops", "value": {"default": true, "limit": "1000"}}"#,
            "isolator `resource/block-iops` is not supported",
        ),
        (
            r#"{"name": "x/y", "value": 1}"#,
            "isolator `x/y` is not supported",
        ),
    ] {
        let found = messages(&isolated(isolator));
        assert!(found.len() == 1 && found[0].contains(fault), "{fault}: {found:?}");
    }
    let both = r#"{"name": "os/linux/capabilities-remove-set", "value": {"set": ["CAP_KILL"]}},
                  {"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_KILL"]}}"#;
    assert!(messages(&isolated(both))[0].contains("must be the only capability isolator of the app"));
}

#[test]
fn of_several_isolators_of_one_name_the_last_counts() {
    let config = |isolators: &str| read(&isolated(isolators)).apps[0].run_config.clone().unwrap();
    let twice = config(
        r#"{"name": "resource/cpu", "value": {"limit": "1"}}, {"name": "resource/memory", "value": {"limit": "1Gi"}},
           {"name": "resource/cpu", "value": {"request": "2"}},
           {"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_KILL"]}},
           {"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_CHOWN"]}},
           {"name": "os/linux/seccomp-remove-set", "value": {"set": ["mount"], "errno": "EPERM"}},
           {"name": "os/linux/seccomp-remove-set", "value": {"set": ["reboot"]}}"#,
    );
    assert_eq!(
        (
            twice.resources.cpu_limit_millis,
            twice.resources.cpu_request_millis
        ),
        (None, Some(2000))
    );
    assert_eq!(twice.resources.memory_limit_bytes, Some(1 << 30));
    assert_eq!(
        twice.capabilities,
        Some(Capabilities::Retain(vec!["CAP_CHOWN".into()]))
    );
    let names = vec!["reboot".to_owned()];
    let refusal = Refusal::Kill;
    assert_eq!(
        twice.seccomp,
        Some(Seccomp::Remove(SyscallFilter { names, refusal }))
    );
    let pod = r#", "isolators": [{"name": "resource/memory", "value": {"limit": "1Gi"}},
                                 {"name": "resource/memory", "value": {"limit": "512Mi"}}]"#;
    assert_eq!(read(&manifest("", pod)).vm.memory_mib, 512);
}

#[test]
fn isolators_of_system_calls() {
    let isolator = |name: &str, value: &str| {
        isolated(&format!(
            r#"{{"name": "os/linux/seccomp-{name}", "value": {{{value}}}}}"#
        ))
    };
    let read = |name: &str, value: &str| {
        read(&isolator(name, value)).apps[0]
            .run_config
            .clone()
            .unwrap()
            .seccomp
            .unwrap()
    };
    let filter = |names: &[&str], refusal| SyscallFilter {
        names: names.iter().map(|&name| name.to_owned()).collect(),
        refusal,
    };
    assert_eq!(
        read("remove-set", r#""set": ["mount", "reboot"], "errno": "ENOTSUP""#),
        Seccomp::Remove(filter(&["mount", "reboot"], Refusal::Errno("ENOTSUP".into())))
    );
    assert_eq!(
        read("retain-set", r#""set": ["read"], "errno": """#),
        Seccomp::Retain(filter(&["read"], Refusal::Kill))
    );
    assert_eq!(
        read("retain-set", r#""set": ["read", "@appc.io/all"]"#),
        Seccomp::Unconfined
    );
    assert_eq!(
        read("remove-set", r#""set": ["@appc.io/empty"]"#),
        Seccomp::Unconfined
    );
    for (operation, set, with, without) in [
        ("retain-set", "@docker/default-whitelist", "clone3", "unshare"),
        ("retain-set", "@rkt/default-whitelist", "mmap2", "reboot"),
        ("remove-set", "@docker/default-blacklist", "umount2", "mkdir"),
        ("remove-set", "@rkt/default-blacklist", "stime", "clone"),
    ] {
        let value = format!(r#""set": ["{set}", "vhangup", "read"], "errno": "ENOSYS""#);
        let filter = match read(operation, &value) {
            Seccomp::Retain(filter) | Seccomp::Remove(filter) => filter,
            other => panic!("{set}: {other:?}"),
        };
        let has = |name: &str| filter.names.iter().filter(|known| *known == name).count();
        assert_eq!((has(with), has(without), has("vhangup")), (1, 0, 1), "{set}");
        assert_eq!(filter.refusal, Refusal::Errno("ENOSYS".into()));
    }
    for (name, value, fault) in [
        (
            "remove-set",
            r#""set": []"#,
            "`[]` must be a list of at least one name",
        ),
        (
            "remove-set",
            r#""errno": "EPERM""#,
            "value.set`: the field is missing",
        ),
        ("remove-set", r#""set": ["mnt"]"#, "`mnt` is no system call"),
        (
            "remove-set",
            r#""set": ["read"], "errno": "eperm""#,
            "`eperm` must be an error of errno(3), such as `EPERM`",
        ),
        (
            "remove-set",
            r#""set": ["@appc.io/all"]"#,
            "an app without system calls (`@appc.io/all`) is not supported",
        ),
        (
            "retain-set",
            r#""set": ["read", "@appc.io/empty"]"#,
            "an app without system calls (`@appc.io/empty`) is not supported",
        ),
        (
            "retain-set",
            r#""set": ["@systemd/mount"]"#,
            "the set of system calls `@systemd/mount` is not supported",
        ),
    ] {
        let found = messages(&isolator(name, value));
        assert!(found.len() == 1 && found[0].contains(fault), "{fault}: {found:?}");
    }
    let both = r#"{"name": "os/linux/seccomp-remove-set", "value": {"set": ["mount"]}},
                  {"name": "os/linux/seccomp-retain-set", "value": {"set": ["read"]}}"#;
    assert!(messages(&isolated(both))[0].contains("must be the only seccomp isolator of the app"));
}

#[test]
fn isolators_of_the_pod_size_its_vm() {
    let pod = |isolators: &str| manifest("", &format!(r#", "isolators": [{isolators}]"#));
    let read = |isolators: &str| read(&pod(isolators));
    let all = read(
        r#"{"name": "resource/memory", "value": {"request": "64Mi", "limit": "1Gi"}},
           {"name": "resource/cpu", "value": {"limit": "1500m"}},
           {"name": "os/unix/sysctl", "value": {"net.core.somaxconn": "9", "kernel.pid_max": "1000"}}"#,
    );
    assert_eq!((all.vm.memory_mib, all.vm.cpus), (1024, 2));
    let sysctls: Vec<(&str, &str)> = all
        .sysctls
        .iter()
        .map(|s| (s.name.as_str(), s.value.as_str()))
        .collect();
    assert_eq!(sysctls, [("net.core.somaxconn", "9"), ("kernel.pid_max", "1000")]);
    for (isolator, fault) in [
        (
            r#"{"name": "resource/memory", "value": {"limit": "64Mi"}}"#,
            "must be an amount that a VM can have",
        ),
        (
            r#"{"name": "resource/cpu", "value": {"limit": "256"}}"#,
            "must be an amount that a VM can have",
        ),
        (
            r#"{"name": "os/unix/sysctl", "value": {"a.b": 1}}"#,
            "expected a string, found a number",
        ),
        (
            r#"{"name": "os/linux/no-new-privileges", "value": true}"#,
            "is not supported",
        ),
    ] {
        let found = messages(&pod(isolator));
        assert!(found.len() == 1 && found[0].contains(fault), "{fault}: {found:?}");
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

#[test]
fn syntax_faults_have_a_line() {
    for (text, message) in [
        ("", "1:1: not JSON: EOF while parsing a value"),
        (
            "{\n  \"acKind\": \"PodManifest\",\n}",
            "3:1: not JSON: key must be a string",
        ),
        ("{\"a\": 1} // b", "1:10: not JSON: trailing characters"),
        ("{\"a\": 01}", "1:8: not JSON: invalid number"),
        (
            "{\"a\": \"\\ud800\"}",
            "1:7: not JSON: while parsing a quoted scalar, found high surrogate without following low",
        ),
        ("[]", "1:1: expected an object, found a list"),
    ] {
        let found = messages(text);
        assert!(
            found.len() == 1 && found[0].starts_with(message),
            "{text}: {found:?}"
        );
    }
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    assert!(matches!(faults(&deep)[0].kind, FaultKind::Syntax { .. }));
}

#[test]
fn values_that_no_process_can_take_are_refused() {
    let text = manifest(r#", "mounts": [{"volume": "data", "path": "/a\u0000b"}]"#, "");
    assert_eq!(
        messages(&text),
        ["4:41: `apps[0].mounts[0].path`: `/a\\u{0}b` must be text without NUL characters"]
    );
    assert_eq!(
        messages(&manifest(r#", "name": "x""#, "")),
        ["4:3: `apps[0].name`: the field is given twice"]
    );
    let text = r#"{"acVersion": "0.8.11+git", "acKind": "PodManifest", "apps": []}"#;
    assert_eq!(
        messages(text),
        ["1:62: `apps`: `[]` must be a list of at least one app"]
    );
    for version in ["1.0.0", "0.8.12", "0.8", "", "0.8.x", "latest"] {
        let text = manifest("", "").replace("0.8.11", version);
        assert_eq!(faults(&text)[0].at.field, "acVersion", "{version}");
    }
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

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1000, ..ProptestConfig::default() })]

    /// A manifest with a part replaced is read or refused, each fault at a line that the file has.
    #[test]
    fn any_change_is_read_or_refused(
        start in 0usize..1724,
        length in 0usize..12,
        new in r#"[a-z0-9\[\]{}:,"\\\\é \n-]{0,6}"#,
    ) {
        let whole = include_str!("data/whole.json");
        let start = start.min(whole.len());
        let text = format!("{}{new}{}", &whole[..start], &whole[(start + length).min(whole.len())..]);
        if let Err(errors) = read_pod_manifest(&text, "pod.json") {
            prop_assert!(!errors.faults.is_empty());
            for fault in errors.faults {
                prop_assert!((1..=text.matches('\n').count() + 1).contains(&fault.at.line), "{}", fault);
            }
        }
    }
}

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

/// What takes a second took minutes when each was compared with all before it, and lines were counted from the beginning for
/// each fault.
#[test]
fn a_manifest_with_very_many_of_a_kind_is_read_in_time() {
    const MANY: usize = 40_000;
    let list = |item: &str| {
        let items: Vec<_> = (0..MANY).map(|n| item.replace('N', &n.to_string())).collect();
        items.join(",\n")
    };
    let pair = list(r#"{"name": "aN", "value": "v"}"#);
    let text = format!(
        r#"{{"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "a",
            "labels": [{{"name": "os", "value": "linux"}}, {{"name": "arch", "value": "amd64"}}, {pair}],
            "annotations": [{pair}],
            "app": {{"exec": ["/a"], "user": "0", "group": "0", "environment": [{pair}],
                     "isolators": [{}]}}}}"#,
        list(r#"{"name": "os/linux/xN", "value": {}}"#)
    );
    // Its own time: others may have the processor.
    let seconds = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).tv_sec;
    let begun = seconds();
    let errors = isopod_spec::appc::read_image_manifest(&text, "manifest").unwrap_err();
    assert_eq!(errors.faults.len(), MANY);
    let last = errors.faults.last().unwrap();
    assert_eq!(
        (last.at.line, &*last.at.field),
        (4 * MANY + 1, &*format!("app.isolators[{}]", MANY - 1))
    );
    assert!(seconds() - begun < 20);
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
