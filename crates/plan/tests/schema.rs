//! Holds `docs/plan.schema.json` against the types that it is made from, and real documents against it.
//!
//! `UPDATE=1 cargo test -p isopod-plan schema::` writes the file again.

use std::path::Path;

use crate::fixture::{self, app, empty, facts, files, host, image, mount, pod, read_only};
use isopod_plan::RktHypervisor;
use isopod_plan::{Document, plan, plan_rkt};
use isopod_spec::{EmptyVolume, PodSpec, RunConfig, VolumeKind};
use serde_json::Value;

fn schema() -> Value {
    let mut schema = schemars::schema_for!(Document).to_value();
    schema["title"] = "isopod plan --format json".into();
    schema
}

/// A pod whose document has every part: both kinds of volume, a size, a sub path, a text that is no UTF-8, a notice.
fn everything() -> PodSpec {
    use std::os::unix::ffi::OsStringExt;
    let mut pod = pod();
    pod.apps.push(app("other"));
    let hostile = std::ffi::OsString::from_vec(b"/srv/\xff".to_vec());
    pod.volumes = vec![
        host("data", hostile),
        empty("box"),
        empty("sized"),
        image("model"),
        files("config", &[]),
    ];
    let sized = EmptyVolume {
        size_bytes: Some(u64::from(u32::MAX) + 1),
        ..EmptyVolume::default()
    };
    pod.volumes[2].kind = VolumeKind::Empty(sized);
    pod.apps[0].mounts = vec![
        mount("data", "/data"),
        mount("box", "/data/x"),
        mount("sized", "/s"),
        mount("model", "/m"),
        mount("config", "/c"),
    ];
    pod.apps[1].mounts = vec![read_only("data", "/data")];
    pod.apps[1].mounts[0].sub_path = Some("a/b".into());
    pod
}

#[test]
fn the_schema_in_docs_is_that_of_the_document() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/plan.schema.json");
    let current = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, &current).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == current,
        "docs/plan.schema.json is stale: run this test with UPDATE=1 in the environment"
    );
}

#[test]
fn documents_are_as_the_schema_says() {
    let schema = schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let pod = everything();
    let mut known = facts(&pod, &[]);
    let data = known.sources.get_mut(&fixture::volume_name("data")).unwrap();
    data.tree = fixture::tree(&["/a/b/"]);
    let document = Document::from(&plan(&pod, &known).unwrap());
    let rkt = {
        let mut pod = pod.clone();
        pod.volumes.truncate(2);
        pod.apps[0].mounts.truncate(2);
        let plan = plan_rkt(&pod, &vec![RunConfig::default(); 2]).unwrap();
        plan.document(&pod, RktHypervisor::Lkvm)
    };
    for document in [document, rkt] {
        let value = serde_json::to_value(&document).unwrap();
        let faults: Vec<String> = validator
            .iter_errors(&value)
            .map(|fault| format!("{}: {fault}", fault.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{faults:#?}");
        // What it says of one field must hold, or it says nothing of any.
        let mut broken = value.clone();
        broken["version"] = "one".into();
        assert!(!validator.is_valid(&broken));
        for field in schema["required"].as_array().unwrap() {
            let mut broken = value.clone();
            broken.as_object_mut().unwrap().remove(field.as_str().unwrap());
            assert!(!validator.is_valid(&broken), "{field}");
        }
    }
}
