//! Pods in other forms. Each folder of `tests/generate` has a pod to look at (`pod.yaml`, `pod.json`, or `spec.json` of a pod by
//! flags), how it is written as a Kubernetes pod file (`kube.yaml`), what that does
//! without (`kube-left-out.txt`), or why there is none (`kube-refused.txt`). `UPDATE=1` writes what is found.

#![allow(clippy::unwrap_used, reason = "a test's way to fail")]

#[path = "../golden/mod.rs"]
mod golden;
mod kube;
mod pods;

use std::fs;
use std::path::Path;

use golden::{compare, folders, listed, surroundings};
use isopod_spec::kube::{File, Unsupported};
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
    let read = isopod_spec::kube::read(&[file], &surroundings(), Unsupported::Refuse);
    read.unwrap().pods.into_iter().next().unwrap().pod
}

fn check(folder: &Path, form: &str, written: Result<Written, Vec<Gap>>, wrong: &mut String) {
    let stem = form.split('.').next().unwrap();
    let written = match written {
        Ok(written) => written,
        Err(gaps) => {
            let path = folder.join(format!("{stem}-refused.txt"));
            return compare(&path, &listed(&gaps, Gap::hint), wrong);
        }
    };
    compare(&folder.join(form), &written.text, wrong);
    compare(
        &folder.join(format!("{stem}-left-out.txt")),
        &listed(&written.left_out, Gap::hint),
        wrong,
    );
}

#[test]
fn every_folder_is_written_as_it_says() {
    let mut wrong = String::new();
    for folder in folders("generate") {
        let pod = read(&folder);
        let written = isopod_spec::kube::write(&pod, Unsupported::Ignore);
        check(&folder, "kube.yaml", written, &mut wrong);
    }
    assert!(wrong.is_empty(), "{wrong}");
}
