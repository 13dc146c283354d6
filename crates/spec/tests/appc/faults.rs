//! That every fault is reported with its place.

use std::path::Path;

use isopod_spec::appc::read_pod_manifest;
use isopod_spec::check::PodFault;
use isopod_spec::located::{Fault, FaultKind};
use proptest::prelude::*;

use crate::{faults, manifest, messages, read};

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
fn a_range_of_ports_ends_at_the_last_one() {
    let with = |count: u32| {
        let port = format!(r#"{{"name": "p", "protocol": "tcp", "port": 65530, "count": {count}}}"#);
        let app = format!(r#", "app": {{"exec": ["/a"], "user": "0", "group": "0", "ports": [{port}]}}"#);
        manifest(&app, "")
    };
    read(&with(6));
    let [fault] = &faults(&with(7))[..] else { panic!() };
    assert_eq!(
        fault.kind.to_string(),
        "`7` must be no more ports than there are up to 65535"
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
        (
            &app(r#""ports": [{"name": "a--b", "protocol": "tcp", "port": 1}]"#),
            "",
            "4: `apps[0].app.ports[0].name`: invalid name `a--b`: `-` must stand between two letters or digits",
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

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1000, ..ProptestConfig::default() })]

    /// A manifest with a part replaced is read or refused, each fault at a line that the file has.
    #[test]
    fn any_change_is_read_or_refused(
        start in 0usize..1724,
        length in 0usize..12,
        new in r#"[a-z0-9\[\]{}:,"\\\\é \n-]{0,6}"#,
    ) {
        let whole = include_str!("../data/whole.json");
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
