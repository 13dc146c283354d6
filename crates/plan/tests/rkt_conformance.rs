//! Holds the profile `rkt` against what rkt's own code produced, for every case of the conformance folder.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use isopod_plan::guest::entry::EntryKind;
use isopod_plan::{RktPlan, layout, plan_rkt};
use isopod_spec::{PodSpec, RunConfig, appc};
use serde_json::Value;

fn cases() -> BTreeMap<String, Value> {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/rkt-mount-vectors.json");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    serde_json::from_str(&text).unwrap()
}

fn spec(manifest: &Value) -> PodSpec {
    appc::read_pod_manifest(&manifest.to_string(), "manifest").unwrap()
}

fn configs(spec: &PodSpec) -> Vec<RunConfig> {
    spec.apps
        .iter()
        .map(|app| app.run_config.clone().unwrap_or_default())
        .collect()
}

/// Sections of a unit file; their order is free, that of the settings is not.
fn sections(text: &str) -> BTreeMap<String, Vec<(String, String)>> {
    let mut sections: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(name) = line.strip_prefix('[') {
            current = name.trim_end_matches(']').to_owned();
        } else {
            let (key, value) = line.split_once('=').unwrap();
            sections
                .entry(current.clone())
                .or_default()
                .push((key.into(), value.into()));
        }
    }
    sections
}

type Units = BTreeMap<String, (String, BTreeMap<String, Vec<(String, String)>>)>;

fn ours(plan: &RktPlan) -> (Units, BTreeMap<PathBuf, String>) {
    let mut units = Units::new();
    let mut directories = BTreeMap::new();
    for (path, entry) in plan.guest.iter() {
        let mode = format!("{:o}", entry.mode);
        match &entry.kind {
            EntryKind::File(content) => {
                assert_eq!(path.parent(), Some(Path::new(layout::UNIT_DIR)));
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                units.insert(
                    name,
                    (
                        mode,
                        sections(std::str::from_utf8(&content.bytes().unwrap()).unwrap()),
                    ),
                );
            }
            EntryKind::Directory if Path::new(layout::UNIT_DIR).starts_with(&path) => {}
            EntryKind::Directory => {
                drop(directories.insert(path.strip_prefix("/").unwrap().to_owned(), mode))
            }
            other => panic!("rkt wrote no {other:?}"),
        }
    }
    (units, directories)
}

fn expected(expect: &Value) -> (Units, BTreeMap<PathBuf, String>) {
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let unit = |unit: &Value| {
        let settings = |list: &Value| {
            list.as_array()
                .unwrap()
                .iter()
                .map(|kv| (text(&kv[0]), text(&kv[1])))
                .collect()
        };
        let sections = unit["sections"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(n, list)| (n.clone(), settings(list)));
        (text(&unit["mode"]), sections.collect())
    };
    let units = expect["units"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, u)| (name.clone(), unit(u)));
    let directories = expect["directories"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(p, mode)| (p.into(), text(mode)));
    (units.collect(), directories.collect())
}

#[test]
fn every_case_is_as_rkt_had_it() {
    let cases = cases();
    assert!(cases.len() >= 42, "{} cases", cases.len());
    for (name, case) in &cases {
        let (spec, expect) = (spec(&case["manifest"]), &case["expect"]);
        let result = plan_rkt(&spec, &configs(&spec));
        if let Some(error) = expect["error"].as_str() {
            let words = result.expect_err(name).to_string();
            // The words are our own; what they must name stands in rkt's between quotes.
            let named: Vec<&str> = error
                .lines()
                .next()
                .unwrap()
                .split('"')
                .skip(1)
                .step_by(2)
                .collect();
            assert_eq!(named.len(), 3, "{name}: {error}");
            named
                .iter()
                .for_each(|word| assert!(words.contains(word), "{name}: {words}"));
            continue;
        }
        let plan = result.unwrap_or_else(|e| panic!("{name}: {e}"));
        let args: Vec<String> = plan
            .lkvm_share_args()
            .into_iter()
            .map(|a| a.into_string().unwrap())
            .collect();
        let expected_args: Vec<&str> = expect["hypervisorArgs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|a| a.as_str().unwrap())
            .collect();
        assert_eq!(args, expected_args, "{name}");
        let ((units, directories), (expected_units, expected_directories)) = (ours(&plan), expected(expect));
        assert_eq!(units, expected_units, "{name}");
        assert_eq!(directories, expected_directories, "{name}");
    }
}
