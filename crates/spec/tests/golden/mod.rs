//! Folders that hold what is found in a text: each file of one is compared, and written with `UPDATE=1`.

#![allow(clippy::unwrap_used, reason = "a test's way to fail")]
#![allow(dead_code, reason = "each test has a part of it")]

use std::fmt::{Display, Write as _};
use std::fs;
use std::path::{Path, PathBuf};

use isopod_spec::kube::KubeSurroundings;
use serde_json::Value;

/// The folders below `tests/NAME`, in their order.
pub(crate) fn folders(name: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name);
    let mut folders: Vec<_> = fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    assert!(folders.len() > 1, "{folders:?}");
    folders
}

/// Faults and the like, each with its hint.
pub(crate) fn listed<T: Display>(faults: &[T], hint: impl Fn(&T) -> Option<String>) -> String {
    let mut out = String::new();
    for fault in faults {
        writeln!(out, "{fault}").unwrap();
        if let Some(hint) = hint(fault) {
            writeln!(out, "  hint: {hint}").unwrap();
        }
    }
    out
}

/// Leaves out what says nothing, so that a field that a pod gains later changes no folder.
pub(crate) fn prune(value: &mut Value) {
    let says_nothing = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(prune);
            fields.retain(|_, value| !says_nothing(value));
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

/// Holds a file against what was found; one that would hold nothing is not there.
pub(crate) fn compare(path: &Path, found: &str, wrong: &mut String) {
    if fs::read_to_string(path).unwrap_or_default() == found {
        return;
    }
    if std::env::var_os("UPDATE").is_none() {
        writeln!(wrong, "{} would be:\n{found}", path.display()).unwrap();
    } else if found.is_empty() {
        fs::remove_file(path).unwrap();
    } else {
        fs::write(path, found).unwrap();
    }
}

/// What pod files are read with.
pub(crate) fn surroundings() -> KubeSurroundings {
    KubeSurroundings {
        new_uuid: || "11111111-2222-4333-8444-555555555555".into(),
        name: None,
        node_name: "the-host".into(),
        pod_ip: Some([10, 0, 2, 15].into()),
        host_ip: Some([10, 0, 2, 2].into()),
        claims_dir: "/state/claims".into(),
        memory_mib: None,
        cpus: None,
    }
}
