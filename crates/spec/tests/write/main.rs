//! Pods in other forms. Each folder of `tests/generate` has a pod to look at (`pod.yaml`, `pod.json`, or `spec.json` of a pod by
//! flags), how it is written as a Kubernetes pod file (`kube.yaml`), what that does
//! without (`kube-left-out.txt`), or why there is none (`kube-refused.txt`). `UPDATE=1` writes what is found.

#![allow(clippy::unwrap_used, reason = "a test's way to fail")]

mod kube;
mod pods;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use isopod_spec::kube::{File, KubeSurroundings, Unsupported};
use isopod_spec::{Gap, PodSpec, Written};

fn read(folder: &Path) -> PodSpec {
    if let Ok(text) = fs::read_to_string(folder.join("spec.json")) {
        return serde_json::from_str(&text).unwrap();
    }
    let manifest = folder.join("pod.json");
    if manifest.exists() {
        return isopod_spec::appc::read_pod_manifest(&fs::read_to_string(manifest).unwrap(), "pod.json")
            .unwrap();
    }
    let text = fs::read_to_string(folder.join("pod.yaml")).unwrap();
    let file = File {
        name: "pod.yaml",
        text: &text,
    };
    let surroundings = KubeSurroundings {
        new_uuid: || "11111111-2222-4333-8444-555555555555".into(),
        name: None,
        node_name: "the-host".into(),
        pod_ip: None,
        host_ip: None,
        claims_dir: "/state/claims".into(),
        memory_mib: None,
        cpus: None,
    };
    let read = isopod_spec::kube::read(&[file], &surroundings, Unsupported::Refuse);
    read.unwrap().pods.into_iter().next().unwrap().pod
}

fn listed(gaps: &[Gap]) -> String {
    let mut out = String::new();
    for gap in gaps {
        writeln!(out, "{gap}\n  hint: {}", gap.hint().unwrap_or_default()).unwrap();
    }
    out
}

/// Holds a file against what was found; one that holds nothing need not be there.
fn compare(path: &Path, found: &str, wrong: &mut String) {
    let there = fs::read_to_string(path).unwrap_or_default();
    if there == found {
        return;
    }
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, found).unwrap();
    } else {
        writeln!(wrong, "{} would be:\n{found}", path.display()).unwrap();
    }
}

fn check(folder: &Path, form: &str, written: Result<Written, Vec<Gap>>, wrong: &mut String) {
    let stem = form.split('.').next().unwrap();
    let written = match written {
        Ok(written) => written,
        Err(gaps) => {
            let path = folder.join(format!("{stem}-refused.txt"));
            return compare(&path, &listed(&gaps), wrong);
        }
    };
    compare(&folder.join(form), &written.text, wrong);
    compare(
        &folder.join(format!("{stem}-left-out.txt")),
        &listed(&written.left_out),
        wrong,
    );
}

#[test]
fn every_folder_is_written_as_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/generate");
    let mut wrong = String::new();
    let mut folders: Vec<_> = fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    assert!(folders.len() > 1, "{folders:?}");
    for folder in folders {
        let pod = read(&folder);
        let written = isopod_spec::kube::write(&pod, Unsupported::Ignore);
        check(&folder, "kube.yaml", written, &mut wrong);
    }
    assert!(wrong.is_empty(), "{wrong}");
}
